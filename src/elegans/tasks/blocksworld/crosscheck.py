"""A second opinion on plans, from the unified-planning library (extra ``pddl``)."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from elegans.tasks.blocksworld.pddl import DOMAIN, Pddl, problem_pddl
from elegans.tasks.blocksworld.state import Action
from elegans.tasks.blocksworld.world import BlocksworldProblem, blocksworld_of


def validate_with_unified_planning(problem: BlocksworldProblem, plan: Sequence[Action]) -> bool:
    """Whether unified-planning's validator, which reads problem and plan as PDDL, calls the plan a solution.

    It shares no code with `elegans.tasks.planning.solves`, which must say the same. Raises `ValueError` where the library
    is not installed.
    """
    if importlib.util.find_spec("unified_planning") is None:
        raise ValueError("no unified-planning to check plans with: pip install 'elegans[pddl]'")
    from unified_planning.engines import ValidationResultStatus  # pyright: ignore[reportMissingImports]
    from unified_planning.io import PDDLReader  # pyright: ignore[reportMissingImports]
    from unified_planning.shortcuts import PlanValidator, get_environment  # pyright: ignore[reportMissingImports]

    get_environment().credits_stream = None
    reader = PDDLReader()
    task = reader.parse_problem_string(DOMAIN, problem_pddl(problem))
    given = reader.parse_plan_string(task, Pddl(blocksworld_of(problem).notation.names).plan(plan))
    with PlanValidator(name="sequential_plan_validator") as validator:
        return validator.validate(task, given).status == ValidationResultStatus.VALID
