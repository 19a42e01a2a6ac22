"""What does a state of fixed size cost? Ren, Li and Liu, arXiv 2410.03810.

Read in this order: `arms` (what is stored, copied and computed, by which models), `experiments` (how they are trained and
what is measured), `claims` (what the paper says, with the controls that must fail), `figures`.
"""

from elegans.studies.ssm_limits.arms import ARMS
from elegans.studies.ssm_limits.claims import CLAIMS
from elegans.studies.ssm_limits.figures import FIGURES
from elegans.study import Paper, Study

STUDY = Study(
    name="ssm-limits",
    title="What a state of fixed size costs: copying and chains of thought",
    question="Can a state space model copy, and can it compute dynamic programs with a chain of thought at less cost than a "
    "transformer?",
    paper=Paper(
        arxiv="2410.03810",
        title="Exploring the Limitations of Mamba in COPY and CoT Reasoning",
        authors="R. Ren, Z. Li, Y. Liu",
        venue="EMNLP 2025",
    ),
    arms=ARMS,
    claims=CLAIMS,
    figures=FIGURES,
    differences=[
        "The paper has no released code, and only its abstract was read: its settings and numbers are not known here. "
        "Copying follows Jelassi et al. (arXiv 2402.01032), chains of thought follow Feng et al. (arXiv 2305.15408), and so "
        "does the paper preset.",
        "What the paper proves, existence and impossibility over weights, is shown by constructions: keys in a scan without "
        "decay for capacity, overwritten slots for locality. Constructions show what suffices. That fewer numbers cannot do "
        "does not follow: one real number can hold several symbols, and the true bound is in bits.",
        "Claims on trained models compare equal parameters, and updates up to the same number. State space models are still "
        "learning at the end: 'fewer correct' is claimed, never 'cannot'.",
        "The learning rate is swept for each family and task on seed 100, scored on `select`. So are the strings decisive: "
        "trained on 4 to 16 characters, without shorter ones, state space models hardly begin to copy within these updates.",
        "Prefix sums and longest increasing subsequences of 10 uniform numbers stand for Feng et al.'s programs, whose "
        "lengths are 50 to 100 with planted runs (paper preset). Arithmetic, equations and edit distance can be set: "
        "--set 'lis-*.config.task=edit-distance'. Arithmetic has one legal chain per prompt here; in Feng et al.'s data the "
        "order is random, so exact match has a ceiling there.",
        "Chains count only as the model writes them, from the first token to the last. Scored with the true chain given, "
        "the answer is nearly always right long before the chain is (figure how-not-to-score).",
        "Transformers have learned positions on chains of thought: ALiBi learns these programs much more slowly, since a "
        "step looks up the question at a fixed distance. The price is that nothing is known beyond the trained length.",
        "Prompts of `test` and `select` are none of `train`, by a hash. Training ends where `select` is solved, so the "
        "quicker family gets fewer updates.",
        "Characters copied are scored with the true copy so far given, as Jelassi et al. do; free-running scores stand "
        "beside them in the figure of lengths. Examples stand one per sequence, not packed; hard ALiBi has 8 heads "
        "instead of 4, because only half of the heads have windows.",
        "The local task interleaves numbers with lagged sums modulo 2 and is ours. Its layer has one state number per "
        "channel, no convolution, and reads step sizes and addresses from the block, so that a small state narrows the "
        "memory alone. Lags of 8 and more are not learnt reliably within these updates; the construction covers them. The "
        "smallest state is compared in doublings.",
        "State size is counted in numbers per channel times channels; Mamba's convolution holds three more tokens per "
        "channel, which state-bytes includes and multiply-adds leave out.",
        "An earlier version was run on seeds 0 to 2 and left ten claims undecided: its strings had 4 to 16 characters, the "
        "short ones up to 8, lagged sums were not learnt, and capacity was measured on fewer pairs. Settings were found "
        "anew on seeds 100 to 103, and the claims on copies and lags restated for them, before any seed was run again. Then "
        "two starts of 800 updates left m = 4 unlearnt on two of five seeds, and became three of 1000, with other weights.",
    ],
    seeds=5,
    expected_minutes={"smoke": 0.3, "laptop": 22, "paper": 20_000},
)
