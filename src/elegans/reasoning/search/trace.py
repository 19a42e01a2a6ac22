"""A searched tree as plain values, to store and to draw."""

from __future__ import annotations

import math
from typing import Any

from elegans.reasoning.search.node import Node
from elegans.reasoning.search.tree import SearchResult


def trace(result: SearchResult, *, expanded_only: bool = False) -> dict[str, Any]:
    """The tree as what JSON can hold: lists, objects, text, finite numbers, true, false and null.

    Nodes are listed parents first. Their `id` (``root``, ``0``, ``0.2``, ...) are places among siblings, so two runs of one
    search can be laid over each other. A node has `parent`, `action` and, once visited, `state` as texts of the world;
    `factors` as they are; `estimate`, `reward`, `visits`, `value`; `goal_fraction`, `goal`, `terminal`; `invalid`, the
    reason why the world refused it; `chosen`, whether it is on the chosen path. What is unknown is null.
    `expanded_only` leaves out what was judged but not visited.
    """
    world, tree = result.tree.problem.world, result.tree
    chosen = {id(node) for node in result.path}

    def described(node: Node) -> dict[str, Any]:
        visited = node.trajectory is not None
        return {
            "id": node.id,
            "parent": None if node.parent is None else node.parent.id,
            "action": None if node.parent is None else world.render_action(node.action),
            "state": world.render_state(node.trajectory.state) if node.trajectory is not None else None,
            "factors": {name: _finite(value) for name, value in node.factors.items()},
            "estimate": None if node.parent is None else _finite(node.estimate),
            "reward": _finite(node.reward) if visited and node.parent is not None else None,
            "visits": node.visits,
            "value": _finite(node.value) if node.visits else None,
            "goal_fraction": _finite(node.goal_fraction) if visited else None,
            "goal": node.goal if visited else None,
            "terminal": node.terminal,
            "invalid": node.invalid or None,
            "chosen": id(node) in chosen,
        }

    nodes = [node for node in tree.root.walk() if not expanded_only or node.visits or node is tree.root]
    return {
        "format": 1,
        "problem": tree.problem.name,
        "optimal_length": tree.problem.optimal_length,
        "status": result.status,
        "fault": result.fault or None,
        "reached_goal": result.reached_goal,
        "solved": result.solved,
        "plan": [world.render_action(action) for action in result.actions],
        "path": [node.id for node in result.path],
        "iterations": tree.iterations,
        "expanded": tree.expanded,
        "seconds": _finite(tree.seconds),
        "passes": tree.spent.passes,
        "read_tokens": tree.spent.read_tokens,
        "generated_tokens": tree.spent.generated_tokens,
        "nodes": [described(node) for node in nodes],
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
