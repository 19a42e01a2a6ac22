"""Does attention that need not sum to one know where it is, rest when useless, and read better? arXiv 2402.04779.

Read in this order: `arms` (which mask, which positions, which controls), `experiments` (how they are trained and what is
measured), `claims` (what the paper says, with the controls that must fail), `figures`.
"""

from elegans.studies.stablemask.arms import ARMS
from elegans.studies.stablemask.claims import CLAIMS
from elegans.studies.stablemask.figures import FIGURES
from elegans.study import Paper, Study

STUDY = Study(
    name="stablemask",
    title="StableMask: a causal mask with pseudo scores that decay",
    question="Does letting attention read nothing, less and less along the sequence, give absolute positions, relieve "
    "sinks and improve language models - and does it take the decay to do so?",
    paper=Paper(
        arxiv="2402.04779",
        title="StableMask: Refining Causal Masking in Decoder-only Transformer",
        authors="Q. Yin, X. He, X. Zhuang, Y. Zhao, J. Yao, X. Shen, Q. Zhang",
        venue="ICML 2024",
        code="https://github.com/MikaStars39/StableMask",
    ),
    arms=ARMS,
    claims=CLAIMS,
    figures=FIGURES,
    seeds=5,
    differences=[
        "Claims come from the paper's abstract and the figure of its mask; no number of the paper is used. Thresholds are "
        "ours, fixed on seeds from 100 up.",
        "Pseudo scores are those of the figure, -(j - 1) gamma in column j > i. The released code differs from it: its last "
        "version computes pseudo scores of 0, earlier ones reverse the heads or use distances.",
        "gamma is the slope 2^(-8 h / H) of head h, as in the released code; whether the paper also uses one rate for all "
        "heads is not established.",
        "Models train in the endless form, the paper's form for inference, because it means the same at every length and "
        "can be cached. The finite form, whose outputs depend on the length, is compared on positions and prefixes.",
        "The released branch for ALiBi leaves ALiBi's bias out. Here it is added to the visible scores.",
        "The released branch for RoPE multiplies scores by the logarithm of the length, which the baseline does not get. "
        "Here neither does.",
        "Laptop text models have 2 layers of width 64 and GELU, and read 400 batches of 32 windows of 64 characters of "
        "Python's help texts. The paper trains 71M to 1.4B parameters on WikiText-103, MiniPile and the Pile. So a laptop "
        "can bound the harm and see large gains only. Python's help texts differ between Python versions.",
        "The paper preset has the sizes and the optimizer of the released script, but reads characters of a text of yours: "
        "--set '*-rope-*.config.text=FILE' and the same for alibi. Its learning rates are swept around the released one. "
        "The sizes of its small tasks are ours.",
        "Every text model trains at the best of three learning rates, chosen at seed 100 on a split of its own, and its "
        "averaged weights are tested. The intervals are over initial weights and batches, for one fixed text.",
        "The released schedule falls to a floor that is a learning rate where a factor is expected, and so far below the "
        "intended one. Here the floor is a tenth of the peak, as intended.",
        "The position tasks are in the manner of arXiv 2205.13401, and Bigram-Backcopy is in the manner of arXiv "
        "2410.13835; neither set-up is the paper's, as far as the abstract tells.",
        "A learned sink logit is shown beside StableMask wherever a trained model is measured: what it does too is not "
        "owed to the decay. It rests off triggers as well, and relieves the first token in part.",
        "A row that keeps little is small in every column. So sinks are compared in rows divided by what they keep.",
        "Extrapolation is a loss ratio of the same characters in windows of 64 and 256, without eviction from a cache. It "
        "says nothing about streaming over much longer texts, which the abstract contrasts with StreamingLLM. The abstract "
        "names no encoding there. With RoPE we read it as a claim too, and the collapse of RoPE models beyond their "
        "training length speaks against it. With ALiBi causal attention extrapolates too, so there the figure of lengths, "
        "not the verdict, says what the mask adds.",
    ],
    expected_minutes={"smoke": 0.3, "laptop": 8, "paper": 60_000},
)
