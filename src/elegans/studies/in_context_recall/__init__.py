"""When does one attention layer learn to recall from context? Nguyen and Nguyen-Tang 2025, arXiv 2505.15009.

Read in this order: `arms` (which weights are tied, at which noise), `experiments` (how they are trained and what is
measured), `claims` (what the paper says, with the controls that must fail), `figures`.
"""

from elegans.studies.in_context_recall.arms import ARMS
from elegans.studies.in_context_recall.claims import CLAIMS
from elegans.studies.in_context_recall.figures import FIGURES
from elegans.study import Paper, Study

STUDY = Study(
    name="in-context-recall",
    title="In-context recall: optimality, rate, unseen answers",
    question="Does a one-layer transformer learn to recall from context optimally, how fast, and for answers it never "
    "gave?",
    paper=Paper(
        arxiv="2505.15009",
        title="How Transformers Learn In-Context Recall Tasks? Optimality, Training Dynamics and Generalization",
        authors="Q. Nguyen, T. Nguyen-Tang",
    ),
    arms=ARMS,
    claims=CLAIMS,
    figures=FIGURES,
    differences=[
        "Batches are smaller than the released code's 512 sentences, and updates fewer than 2000. The paper preset "
        "has those sizes. Rates, diversity and freed blocks are measured on sentences of 32 tokens instead of 256.",
        "The printed rate lr / Q of Theorem 3.2 does not hold: measured slopes are lr / sqrt(Q), as a reviewer noted.",
        "The softmax model trains one scale for its value weights beside the one for attention. With a value scale of "
        "1, as in the released code, no logit exceeds 1 and the Bayes risk is out of reach.",
        "Value and feed-forward weights that are free train at a rate that falls to zero, a fairer baseline: at the "
        "released constant rate normalized gradient descent never settles.",
        "With only W free the rate is constant, as released: with a falling one the excess on unseen answers was "
        "still 0.4 nats where that on seen ones was 0.005 (noiseless, 800 updates). It generalizes, but late.",
        "ReLU attention starts from weights of 1e-8 instead of adding 1e-8 to every score: a ReLU at exactly zero "
        "would not train.",
        "In the tied model the feed-forward weights are given, with the true noise rate (or the counted one) in them, "
        "and the triggers are known. Its optimality is partly by construction; what is learned is where to attend.",
        "Losses are exact means over the label given the sentence. With sampled labels noise would exceed the "
        "differences.",
        "Two bigrams are placed uniformly among the ways in which they do not overlap; the released code places the "
        "first uniformly and redraws the second until it fits. The distributions differ near the ends of a sentence "
        "only.",
        "The last token of fixed training sentences is counted once; batches go around them in a fixed order, not "
        "shuffled.",
        "A softmax with all weights free is left out: at this learning rate it does not reach the Bayes risk even on "
        "seen answers, and whether another rate would is open.",
        "Settings, and the thresholds of claims whose source is ours, were found on seeds 100 to 104.",
    ],
    seeds=5,
    expected_minutes={"smoke": 0.2, "laptop": 3, "paper": 120},
)
