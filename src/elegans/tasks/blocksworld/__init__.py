"""Blocksworld: a world for planning with an oracle, tests that share no problem with training, and text both ways."""

from elegans.tasks.blocksworld.classes import canonical, part_of, place, problem_table
from elegans.tasks.blocksworld.english import English
from elegans.tasks.blocksworld.instances import MIXES, Mix, draw_problems, random_state
from elegans.tasks.blocksworld.notation import Compact, Notation
from elegans.tasks.blocksworld.oracle import Oracle
from elegans.tasks.blocksworld.pddl import DOMAIN, Pddl, PddlError, parse_problem, problem_pddl
from elegans.tasks.blocksworld.planbench import PlanBenchItem, load_pddl, load_split
from elegans.tasks.blocksworld.sequences import BlocksworldSequences
from elegans.tasks.blocksworld.space import StateSpace, state_space
from elegans.tasks.blocksworld.state import (
    ANYWHERE,
    HAND,
    TABLE,
    Action,
    BlocksworldState,
    Goal,
    from_below,
    from_stacks,
    goal_of,
    inverse,
    legal_actions,
    make_goal,
    step,
)
from elegans.tasks.blocksworld.words import Words, policy_prompt, relational, self_evaluation_prompt, world_model_prompt
from elegans.tasks.blocksworld.world import (
    Blocksworld,
    BlocksworldProblem,
    BufferedBlocksworld,
    BufferedState,
    blocksworld_of,
    buffered,
)

__all__ = [
    "ANYWHERE",
    "DOMAIN",
    "HAND",
    "MIXES",
    "TABLE",
    "Action",
    "Blocksworld",
    "BlocksworldProblem",
    "BlocksworldSequences",
    "BlocksworldState",
    "BufferedBlocksworld",
    "BufferedState",
    "Compact",
    "English",
    "Goal",
    "Mix",
    "Notation",
    "Oracle",
    "Pddl",
    "PddlError",
    "PlanBenchItem",
    "StateSpace",
    "Words",
    "blocksworld_of",
    "buffered",
    "canonical",
    "draw_problems",
    "from_below",
    "from_stacks",
    "goal_of",
    "inverse",
    "legal_actions",
    "load_pddl",
    "load_split",
    "make_goal",
    "parse_problem",
    "part_of",
    "place",
    "policy_prompt",
    "problem_pddl",
    "problem_table",
    "random_state",
    "relational",
    "self_evaluation_prompt",
    "state_space",
    "step",
    "world_model_prompt",
]
