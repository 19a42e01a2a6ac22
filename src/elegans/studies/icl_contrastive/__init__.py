"""Is in-context learning by softmax attention a step of contrastive learning? Ren and Liu, arXiv 2310.13220.

The identity is per query, for one layer and given weights. It says how the output of attention can be read, not how its
weights are trained, nor that a layer designed from the dual loss learns better: the last claims test that.

Read in this order: `arms` (which layers), `experiments` (what is computed), `claims`, `figures`.
"""

from elegans.studies.icl_contrastive.arms import ARMS
from elegans.studies.icl_contrastive.claims import CLAIMS
from elegans.studies.icl_contrastive.figures import FIGURES
from elegans.study import Paper, Study

STUDY = Study(
    name="icl-contrastive",
    title="In-context learning as a step of representation learning",
    question="Is softmax attention over demonstrations one gradient step of a self-supervised model, and do layers "
    "designed from that model's loss learn better?",
    paper=Paper(
        arxiv="2310.13220",
        title="Towards Understanding How Transformers Learn In-context Through a Representation Learning Lens",
        authors="R. Ren, Y. Liu",
        venue="NeurIPS 2024",
    ),
    arms=ARMS,
    claims=CLAIMS,
    figures=FIGURES,
    differences=[
        "The paper's numbers and the settings of its experiments could not be established; every number here is our own, "
        "and the paper preset takes the sizes usual in this literature. Its fine-tuning of BERT on GLUE is left out.",
        "The equivalence holds per query, for one layer and given weights. It makes no statement about the training of "
        "those weights, so claims on trained layers are tested apart from it.",
        "The exact feature map is the eigendecomposition of the Gaussian kernel of the points, scaled by exp(|x|^2 / 2). "
        "Decomposing the exponential kernel itself loses three more digits at norms 1 and 2. Even so, beyond norm 2 "
        "float64 no longer resolves the kernel.",
        "At norm 1 the error of random features falls more slowly than 1 / sqrt(R) with positive features and unevenly "
        "with trigonometric ones; the figure shows it, the claim on the rate is for norms up to 0.5.",
        "Layers are trained from four starts per seed, and the one with the lowest error on validation prompts counts. One "
        "softmax layer has bad local optima, in which single starts stay whatever the learning rate. Against plain layers "
        "that are stuck, augmented ones can look better than they are.",
        "Against the paper: augmented keys bring nothing once the plain layer is at its optimum.",
        "Against reading negatives as contrast: random ones beat the least similar ones. What they do is subtract a mean of "
        "the values, which softmax weights, being positive, cannot; on an exponential function, whose mean matters, both "
        "harm.",
        "The query token does not attend to itself, except where regularization needs it to: its label is 0, and its "
        "attention to itself only dilutes the answer.",
        "Ten seeds, because with five the claim on augmented keys stayed open: a plain layer that is stuck on all four "
        "starts, on one seed in five, spreads its gain.",
        "The exponential function has weights of standard deviation 0.5, because with 1 a few prompts make up the error.",
        "Settings, and the norms at which claims are read, were found on seeds 100 to 104: at norm 0.3 the map elu + 1 is "
        "nearly the exponential, and norm 1 is where random features begin to fail.",
    ],
    seeds=10,
    expected_minutes={"smoke": 0.1, "laptop": 2, "paper": 4500},
)
