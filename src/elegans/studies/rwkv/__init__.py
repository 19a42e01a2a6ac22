"""Can a recurrent network train in parallel and match transformers? RWKV-4: Peng et al. 2023, arXiv 2305.13048.

Read in this order: `arms` (which networks learn what), `experiments` (how they are trained and what is measured),
`claims` (what the paper says, with the controls that must fail), `figures`.
"""

from elegans.studies.rwkv.arms import ARMS
from elegans.studies.rwkv.claims import CLAIMS
from elegans.studies.rwkv.figures import FIGURES
from elegans.study import Paper, Study

STUDY = Study(
    name="rwkv",
    title="RWKV-4: a recurrent network that trains in parallel",
    question="Is a network with a state of fixed size on par with a transformer, and where does the fixed size show?",
    paper=Paper(
        arxiv="2305.13048",
        title="RWKV: Reinventing RNNs for the Transformer Era",
        authors="B. Peng, E. Alcaide, Q. Anthony, et al.",
        venue="Findings of EMNLP 2023",
        code="https://github.com/BlinkDL/RWKV-LM",
    ),
    arms=ARMS,
    claims=CLAIMS,
    figures=FIGURES,
    differences=[
        "Networks have 2 layers of width 64 (116k parameters) and see 0.8 million tokens; the paper trains 169M to 14B "
        "parameters on the Pile. Parity, scaling and recall at those sizes are not tested. The paper preset has the "
        "12 layers of width 768 of the 169M network, with a small vocabulary (93M).",
        "The text is generated, at all scales: documents with a hidden topic, local statistics and facts. Their Bayes loss "
        "is exact, so that what a network lacks can be told by kind of token.",
        "The released code trains with Adam at betas 0.9 and 0.99 without clipping, on an exponentially falling rate. Here "
        "all networks share AdamW with betas 0.9 and 0.98, weight decay 0.01, clipping and a cosine; a running average of "
        "the weights is judged. The code's layerwise rates of its later version are not used.",
        "Learning rates are swept over three values at seed 100, on a split of its own. The sweep "
        "of width 64 serves the narrower networks too. Shift attention in recall and order is not swept, which favors "
        "RWKV-4.",
        "Three seeds left most claims undecided, so the default became five after a look at them; nothing else was changed. "
        "--first-seed 1000 repeats the study on seeds that nobody has seen.",
        "GPT-2's start (0.02) is for width 768. The transformers start with matrices of 0.07 and embeddings of 0.3, found "
        "on seed 100: with 0.02 shift attention does not recall within the budget.",
        "Shift attention is a second baseline, which the paper has not. It tells whether state or token shift is at work.",
        "Recall and order are small synthetic tasks in place of LAMBADA and RTE. The gap in recall narrows with training "
        "and with an easier curriculum: it is one of learning at equal budget, not a bound on memory.",
        "The paper shows the decays of trained networks alone. Here they are compared with the start and with a start "
        "where layers are alike: the order of the layers is put in by the start.",
        "Small embeddings are compared with other starts that keep the norm after the embeddings. The claim is about the "
        "number of updates to a loss, at one learning rate; later the curves meet.",
        "Scaling varies the width alone, at equal tokens and depth: no frontier of compute-optimal sizes.",
        "Decoding and training costs are CPU time of this implementation, medians of interleaved rounds, and vary from "
        "run to run.",
    ],
    seeds=5,
    expected_minutes={"smoke": 0.5, "laptop": 9, "paper": 10_000},
)
