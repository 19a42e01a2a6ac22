"""Does the reversal curse follow from training dynamics? Zhu et al. 2024, arXiv 2405.04669.

Read in this order: `arms` (which models on which facts), `experiments` (how they are trained and what is measured),
`claims` (what the paper says, with the controls that must fail), `figures`.
"""

from elegans.studies.reversal_curse.arms import ARMS
from elegans.studies.reversal_curse.claims import CLAIMS
from elegans.studies.reversal_curse.figures import FIGURES
from elegans.study import Paper, Study

STUDY = Study(
    name="reversal-curse",
    title="The reversal curse and intransitivity from training dynamics",
    question="Why does a model trained on 'A is B' not know 'B is A', and one trained on A -> B and B -> C not know A -> C?",
    paper=Paper(
        arxiv="2405.04669",
        title="Towards a Theoretical Understanding of the 'Reversal Curse' via Training Dynamics",
        authors="H. Zhu, B. Huang, S. Zhang, M. Jordan, J. Jiao, Y. Tian, S. Russell",
        venue="NeurIPS 2024",
        code="https://github.com/marlo-z/reversal_curse_analysis",
    ),
    arms=ARMS,
    claims=CLAIMS,
    figures=FIGURES,
    differences=[
        "Laptop transformers have 1 to 4 layers of width 64 and 50 pairs; the paper trains 24 layers of width 768 on up to "
        "400 pairs. The paper preset has those sizes.",
        "Batches are drawn with replacement from the training facts, not in shuffled epochs, so that batch t does not "
        "depend on the history. The paper preset converts 3000 epochs into steps.",
        "Laptop transformers train at a learning rate of 0.001 without dropout. The released code uses 0.01 and dropout "
        "0.1, as the paper preset does.",
        "Token tables and unembedding are untied in most arms, as they are in effect in the released runs: there the "
        "transformer is replaced after its head was tied to the old token table. An arm with tied tables is part of the "
        "robustness claim. For the same reason freezing embeddings freezes the inputs only.",
        "The released training script for chains ignores its switch for a loss on the whole sequence, and freezing the "
        "embeddings silently changes the loss. Here the loss is on the answer's tokens, everywhere.",
        "Its switch for weight decay is parsed and never used. Here it is used, and an arm with strong decay tests it.",
        "Its validation loss averages batch averages of logarithms with 1e-50 added inside. Here it is the mean over all "
        "items of the exact negative log-likelihood.",
        "The reverse loss ends far above that of a uniform guess: models answer, confidently, with words of the trained "
        "facts. So claims about transformers compare with a uniform guess among the possible answers and say 'at least'.",
        "In the bilinear model the reverse loss ends slightly above its start, because overlapping embeddings leak "
        "probability to trained answers. The claim is that it does not improve; equality holds only as the width grows.",
        "The one-layer model takes a gradient step on the sum over facts, from zero, with one fixed direction for the "
        "held pairs. Its result then does not depend on the seed, and its claims are decided exactly.",
    ],
    expected_minutes={"smoke": 0.2, "laptop": 3, "paper": 10_000},
)
