"""Implicit patterns: in-context learning or fine-tuning? Yin et al. 2024, arXiv 2410.04691.

Read in this order: `arms` (which language model, which patterns), `quiz` (what it is asked), `experiments` (how it is grown,
shown examples, tuned), `circuits` (how it is taken apart), `claims` (what the paper says, with the controls that must fail),
`figures`. `own` asks it of a user's model and data.
"""

from elegans.studies.implicit_patterns.arms import ARMS
from elegans.studies.implicit_patterns.claims import CLAIMS
from elegans.studies.implicit_patterns.figures import FIGURES
from elegans.study import Paper, Study

STUDY = Study(
    name="implicit-patterns",
    title="Patterns in questions: in-context learning against fine-tuning",
    question="Does a language model pick up a pattern that its questions share from a few solved ones in the prompt, and "
    "how many does fine-tuning need for the same?",
    paper=Paper(
        arxiv="2410.04691",
        title="Deeper Insights Without Updates: The Power of In-Context Learning Over Fine-Tuning",
        authors="Q. Yin, X. He, L. Deng, C. T. Leong, F. Wang, Y. Yan, X. Shen, Q. Zhang",
        venue="EMNLP 2024 Findings",
        code="https://github.com/MikaStars39/ICLvsFinetune",
    ),
    arms=ARMS,
    claims=CLAIMS,
    figures=FIGURES,
    differences=[
        "The laptop has no model of 0.5 to 7 billion parameters. It grows a Llama of 0.16 million for each seed, on "
        "documents of pointer reading, five hops through six cells: three blocks cannot always follow, and a pattern (all "
        "questions of a document end at one cell) makes one step of it. What is in the pretraining documents is known: "
        "patterns of all cells but the last. Laptop verdicts are about this model; they neither confirm nor refute the "
        "paper at its scale, which `elegans run implicit-patterns --scale paper --lm DIR` asks.",
        "A model from a directory reads the paper's four domains and the released fifth, linear equations, as its `seen` "
        "tasks, whatever its pretraining data were, and pointer reading, which no corpus has, as the held-out one. Claims "
        "are on means over the tasks whose accuracy without shots lies between 0.3 and 0.85.",
        "The released generators are repaired; each lists its repairs (`elegans.tasks.implicit`), and `released=True` "
        "brings the faults back: code-reading labels that are all one stale value, Boolean items without the pattern, "
        "relations that never mislead, training items easier than the test.",
        "Only the abstract and a summary were read, no table: the claims are qualitative, and their thresholds ours.",
        "ICL is scored at a fixed number of shots k*; the released score is the best of five numbers of shots on the "
        "test items. Each question has its own shots. A right answer is an exact match of the first word said; the "
        "released score, the right answer anywhere in the output, is stored as `contains`.",
        "Fine-tuning is scored twice: by the released protocol (AdamW, rate 1e-5, 20 updates of warm-up, loss on the whole "
        "text, checkpoint 100) and at the best of three rates, chosen on questions of `select`, with the loss on the "
        "answer. Released runs mix all tasks in one model and leave out the instruction in training; here each task has "
        "its own, with it. Rate 1e-5 is nearly no update of a tiny model and not comparable with that of a large one.",
        "Fine-tuning questions and shots come from the questions that pretraining documents are made of (`train`); those "
        "reported are of `test`, which pretraining, shots, fine-tuning and the choice of rates never see.",
        "The circuit shift has no released code and its formula is not known here. It is the distance between normalized "
        "effects of activation patching, single heads and MLPs, with a noise floor on disjoint samples, a control for the "
        "length of the prompt, and fine-tuning stopped where it meets the accuracy of k* shots. Two kinds of shots are "
        "compared in front of the same questions, which is the sharper test. Relations are left out: the prompts of two "
        "different answers have different lengths, and nothing can be exchanged. A fine-tuned model that answers with other "
        "certainty can shift by that alone.",
        "With other seeds of the draw, fine-tuning on few questions varies much: up to 64 it is a mean over three draws.",
    ],
    seeds=5,
    expected_minutes={"smoke": 0.3, "laptop": 12, "paper": 1200},
)
