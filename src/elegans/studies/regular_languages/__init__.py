"""How does one head learn regular languages? Huang, Liang and Yang 2025, arXiv 2505.00926.

Read in this order: `arms` (which strings), `experiments` (how they are learned and what is measured), `claims` (what the
paper says, with the controls that must fail), `figures`.
"""

from elegans.studies.regular_languages.arms import ARMS
from elegans.studies.regular_languages.claims import CLAIMS
from elegans.studies.regular_languages.figures import FIGURES
from elegans.study import Paper, Study

STUDY = Study(
    name="regular-languages",
    title="How one head learns regular languages, in two phases",
    question="How does one attention layer learn even pairs, and why does parity check need a chain of thought?",
    paper=Paper(
        arxiv="2505.00926",
        title="How Transformers Learn Regular Language Recognition: "
        "A Theoretical Study on Training Dynamics and Implicit Bias",
        authors="R. Huang, Y. Liang, J. Yang",
        venue="ICML 2025",
    ),
    arms=ARMS,
    claims=CLAIMS,
    figures=FIGURES,
    differences=[
        "Against the paper: at its own setting, lambda = 2 and t_0 = 100, attention does not settle after t_0. It moves by "
        "more than 0.4 in total variation and W grows from 1 to 20. With lambda = 8 and t_0 = 1000 it does settle. The "
        "claims `attention-settles` and `attention-settles-when-warm` say so.",
        "Weights start at exactly zero and every length is trained on all its strings. Then nothing is random, the loss is "
        "the population's, and claims are decided without an interval; only the sampled arm has seeds.",
        "The number of steps is not established; 20,000 steps are where both margins have settled on a laptop.",
        "The loss is read as falling at least like 1/t, as the abstract says. It falls faster here, because attention keeps "
        "moving; the slower reading 1/sqrt(t) would hold too.",
        "The hard-margin direction is computed anew for the attention outputs of each step. Right after the strings become "
        "separable its cosine with u is high while u still misclassifies, so margins are reported beside cosines.",
        "For chains of thought the claim is on the margin, not on the cosine: there the difference of class means, which is "
        "not the hard-margin direction, has a cosine of 0.98 as well.",
        "Beside chains, even pairs are trained on strings shorter than the input only. On longer ones the two tasks give "
        "one string two labels. Strings of length 1 alone suffice: they break the symmetry of the start at zero.",
        "'Without short strings nothing is learned' holds from zero. A random start learns, later, and is its control.",
        "Settings were found on seeds 100 to 104. There the controls of the two claims on settling were replaced, since "
        "drift before t_0 is too small to tell settling from stillness, and three symbols turned out not to be learned.",
    ],
    seeds=5,
    expected_minutes={"smoke": 0.1, "laptop": 1.2, "paper": 10},
)
