"""Does a tree of steps, judged by two models, plan better? Gao et al., arXiv 2410.01707.

Read in this order: `settings` (the searches, as a table), `arms` (three models per seed and what is asked of them),
`training`, `plans`, `searching`, `rewards`, `speculation` (what is run and measured), `claims` (what the paper says, with
the controls that must fail), `figures`.
"""

from elegans.studies.contrastive_mcts.arms import ARMS
from elegans.studies.contrastive_mcts.claims import CLAIMS
from elegans.studies.contrastive_mcts.figures import FIGURES
from elegans.study import Paper, Study

STUDY = Study(
    name="contrastive-mcts",
    title="Reasoning by tree search with a contrastive reward: SC-MCTS*",
    question="Does Monte Carlo tree search plan better than a language model alone at equal cost, which of its rewards "
    "point to the goal, and what does speculative decoding save?",
    paper=Paper(
        arxiv="2410.01707",
        title="Interpretable Contrastive Monte Carlo Tree Search Reasoning",
        authors="Z. Gao, B. Niu, X. He, H. Xu, H. Liu, A. Liu, X. Hu, L. Wen",
        code="https://github.com/zitian-gao/SC-MCTS",
    ),
    arms=ARMS,
    claims=CLAIMS,
    figures=FIGURES,
    differences=[
        "Expert, amateur and draft are decoders of 157, 35 and 65 thousand parameters, trained here on optimal plans; the "
        "paper's are Llama models of 70 and 405 billion and 1 and 8 billion parameters, prompted with four examples. "
        "`elegans solve` runs the same searches with such models. At this size the claims speak of rewards and search "
        "rules, not of what large models know.",
        "Problems have 4 and 5 blocks and are of classes (up to renaming blocks) that were never trained on; the paper "
        "takes PlanBench's. Seeds train other models and share the problems, so intervals are over models.",
        "States are shown to the policy as one relational word per block, refreshed after every second action as in the "
        "released code. Such words are read and never predicted: the log-likelihood of the whole sequence, which the "
        "released code adds up, has no meaning here and is left out.",
        "The released code contains neither the normalization, nor its online update, nor eq. 3, nor the sweep of C that "
        "the paper describes; it adds self-evaluation twice, and calls an unbounded divergence to the mixture by the name "
        "of Jensen-Shannon. Here it is the paper's. `full system` has three regions with online update, a constant set "
        "from the spread of rewards on other problems, and eq. 3 on the share of the goal that holds.",
        "Region boundaries, which the paper sets by eye, are found by a mixture of normal distributions. The composite of "
        "the claims is standardized in one region, without online update.",
        "Transitions in the search follow the rules, as the paper says; in the released code the expert writes them. "
        "Speculation is therefore measured on its own, on next states.",
        "The paper says that no verifier enters the reward; the released code adds a bonus of 100 where the goal holds. "
        "Both are run. Sums get a bonus of 100, means per step one of 10. Without a goal signal, paths do not end at the "
        "goal and the choice among them does not look at it.",
        "Factors have half the weight of a reward, in estimates of untried actions too, as in RAP. With their full "
        "weight there, raw negative rewards keep untried actions from being tried: means per step then need C = 3. The "
        "half was chosen on seed 100. Classes of problems were dealt to training, choices and tests anew after that; seeds "
        "101 and 102 were looked at on problems for choices (``part=dev``), and nothing was changed then.",
        "Five seeds leave claims whose value varies with the strength of the expert undecided. RESULTS.md has ten, by "
        "``--until-decided --max-seeds 10``, called when the five were known; its intervals are wider for three looks, that "
        "one included.",
        "Credit for progress was expected to starve exploration. With factors at half weight it does so only without its "
        "penalties (a quarter fewer nodes); with them it explores more, so that first play has nothing to repair.",
        "Paths are as long as the shortest plan, which an oracle tells, as in the released code; `spare` has four actions "
        "more. Plans without search may have any length.",
        "Each addition is compared with the same search without it, on the same problems, where the paper's Table 2 adds "
        "one part after the other. McNemar's exact p-values stand in a figure; claims are decided over seeds.",
        "Costs count each method as if nothing had been read for another. A pass is a batch. Passes of the amateur and "
        "prompts that a cache would hold are not counted.",
        "The fast draft needs a slow expert: the trained one is padded with blocks that add nothing until its latency is "
        "more than ten times the draft's. Unpadded, speculation does not pay at this size.",
        "Whether an action is right is known here from the distance to the goal; the paper interprets histograms of "
        "rewards.",
    ],
    seeds=5,
    expected_minutes={"smoke": 0.2, "laptop": 17, "paper": 3000},
)
