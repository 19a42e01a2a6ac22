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
        "How far an outcome-supervised layer extrapolates is decided by its start: from a random one it diverges soon "
        "after its trained number of thoughts, from the theorem's sparse one it goes on improving to about twice "
        "that. Loops are trained from the sparse start only; from a random one their training was unstable at these "
        "settings.",
        "Errors are squared distances without the factor 1/2 of the losses. A prompt whose error passes 1e6 counts as "
        "1e6.",
    ],
    seeds=5,
    expected_minutes={"smoke": 0.1, "laptop": 2, "paper": 60},
)
