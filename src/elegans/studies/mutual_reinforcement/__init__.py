"""Do the label of a text and the types of its words help each other? Gan et al., arXiv 2403.02902.

Read in this order: `arms` (corpora, language models, what they are tuned to), `worlds`, `experiments` (what is scored, and
what is lost without some edges; how that is measured: `questions`), `verbalizers`, `claims` (what the paper says, with the
controls that must fail), `figures`. `own` asks it of a model and texts of one's own.
"""

from elegans.studies.mutual_reinforcement.arms import ARMS
from elegans.studies.mutual_reinforcement.claims import CLAIMS
from elegans.studies.mutual_reinforcement.figures import FIGURES
from elegans.study import Paper, Study

STUDY = Study(
    name="mutual-reinforcement",
    title="Words and texts: does labelling one help to label the other?",
    question="Do the label of a text and the types of its words help a language model to find each other, and along "
    "which edges of attention does the help flow?",
    paper=Paper(
        arxiv="2403.02902",
        title="Demonstrating Mutual Reinforcement Effect through Information Flow",
        authors="C. Gan, X. He, Q. Zhang, T. Mori",
        venue="2024",
    ),
    arms=ARMS,
    claims=CLAIMS,
    figures=FIGURES,
    differences=[
        "There is no released code for the flow, and only the abstract was read: the paper's base model, rates, "
        "numbers of texts, templates and tables are not known here. Saliency follows Wang et al. (arXiv 2305.14160): "
        "summed over heads before the absolute value. Which edges count as flow between the levels is our reading.",
        "The paper's six sets are Japanese texts with labels and typed words. Here corpora are generated, with four "
        "to six classes, no grammar and tens of words. What they have that real texts have not is a known truth: "
        "ceilings and I(Y; W | X) are exact, and rho sets the latter, down to nothing. A verdict on them says what "
        "the effect depends on, not how large it is in Japanese.",
        "The language model is a Llama of 0.2 million parameters that has read unlabelled texts of the same "
        "generator, with the type of each name written behind it as knowledge of the world. It says nothing of "
        "models of 0.5 to 8 billion parameters; --lm DIR asks those.",
        "Two effects are kept apart. With the true other level in the input (X,W->y, X,y->W) the gain is conditional "
        "information, bounded by I(Y; W | X): by itself it is no property of language models. Learning both levels "
        "at once (X->y;W) leaves the ceiling where it is and can only save labelled texts: joint-learning-helps. In "
        "use the other level is not given: 'own' in the figure feeds the model what a model said.",
        "Types are scored with the span given, and the first one of a text only, since at rho 1 the second follows "
        "from the first. Writing spans and types from nothing is scored beside it (figure written-pairs): to copy "
        "names in their order is learned late, on some seeds not within these updates.",
        "Formats are compact (span type span type), with as many updates each, and the learning rate is chosen for "
        "each by its score on `select`, on seed 100. Models that are given a level are trained without it in 30 % of "
        "the lines, so that doing without can be asked of them.",
        "Saliency over its uniform share is claimed as the paper reads flow, with rho 0 as the control: where that "
        "control meets the claim too, such flow is no evidence. Twice is asked for, since the best layer of random "
        "weights reaches 1.2 to 1.5 times. rho 1 and rho 0 are compared by shares: the flow itself vanishes as a "
        "model grows sure of its answer. Cutting the edges decides.",
        "Edges cut out of random words of the text are at least as many as those cut out of the other level, in all "
        "layers, to the same queries. Cutting the types is read on the label, cutting the label on the first type. A "
        "cut may leave less than the text alone gives, for the model has learned to rely on what follows a span; "
        "asked without the level ('no'), which it was trained for, it does as well as the model that never had it.",
        "The first of two subtopics of a class has the class's name as one of its words, so that a name covers half "
        "of the texts of its class. Where the name is as good as any topic word, other words have nothing to add. "
        "Knowledgeable verbalizers follow the released code of OpenPrompt: the rarer half of the annotated words is "
        "left out, log-probabilities are calibrated and averaged; class names stay. Random words are drawn from "
        "unlabelled texts.",
        "Settings were chosen on seeds 100 to 103. A first run on seeds 0 to 4, with 500 updates on unlabelled texts, left "
        "one world's model short of knowing which names go with which topic, and one arm failed where random words were "
        "names of classes. 1000 updates were then settled on seeds 100 to 103; the texts of seeds 0 to 4 were drawn anew, "
        "from the same initial weights.",
        "No number is known for joint learning. The threshold of 3 points is that of the other gains.",
        "With --lm and a file in 'pretrained-*.config.data' all worlds have the same texts, so rho and the six "
        "corpora are names only, there are no ceilings, and what compares values of rho cannot be tested.",
    ],
    seeds=5,
    expected_minutes={"smoke": 0.3, "laptop": 16, "paper": 3000},
)
