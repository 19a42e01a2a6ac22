"""Monte Carlo tree search over the actions of a world (RAP, arXiv 2305.14992; SC-MCTS*, arXiv 2410.01707)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from elegans.reasoning.scorer import ScorerError
from elegans.reasoning.search.backup import Backup, MeanBackup
from elegans.reasoning.search.composite import Composite
from elegans.reasoning.search.node import Action, Choice, Node, State, Trajectory
from elegans.reasoning.search.output import BestPath, Output
from elegans.reasoning.search.selection import UCT, Selection
from elegans.reasoning.search.simulation import Greedy, Simulation, best_estimate
from elegans.reasoning.search.tree import Budget, GoalSignal, SearchResult, Tree
from elegans.tasks.planning import Problem, World


class _Stop(Exception):  # noqa: N818 (no error: a limit is reached)
    """A budget's limit."""


@dataclass(frozen=True, kw_only=True)
class MCTS:
    """The algorithm. It holds no state: one instance searches any number of problems, each the same way every time.

    An iteration goes down from the root by `selection` to a node that was not expanded; expands it, which asks for the
    rewards of all its actions at once; goes on by `simulation`; and credits the path by `backup`. A state is computed
    when its node is first visited, so a world whose transitions cost something is not asked for those of all siblings.

    An action that the world refuses (`ValueError`) makes a node that is never visited; the search takes another. A scorer
    that fails (`ScorerError`) ends the search with status ``fault``. Either way the tree holds whole iterations only.

    Args:
        rewards: of actions, before they are taken.
        depth_limit: actions in the longest path.
        budget: when to stop.
        selection, simulation, backup, output: the parts. The defaults measured best on Blocksworld, not the published
            ones (see the package).
        goal: the world's word on visited states; None for rewards of the models alone.
        factor_weight: of `rewards` beside the goal's own weight, in the estimates of untried actions too.
        end_at_goal: whether a path ends where the goal holds.
        max_children: only so many actions with the highest estimates are kept.
        stop_when_solved: end the search when a path reaches the goal.
    """

    rewards: Composite
    depth_limit: int
    budget: Budget = field(default_factory=Budget)
    selection: Selection = field(default_factory=UCT)
    simulation: Simulation = field(default_factory=Greedy)
    backup: Backup = field(default_factory=MeanBackup)
    output: Output = field(default_factory=BestPath)
    goal: GoalSignal | None = field(default_factory=GoalSignal)
    factor_weight: float = 0.5
    end_at_goal: bool = True
    max_children: int | None = None
    stop_when_solved: bool = False

    def __post_init__(self) -> None:
        if self.depth_limit < 1 or self.budget.iterations < 0 or self.max_children == 0:
            raise ValueError("need depth_limit >= 1, iterations >= 0, and max_children >= 1 or None")

    def search(self, problem: Problem, tree: Tree | None = None) -> SearchResult:
        """Search a problem, or go on with a tree of it that an earlier call of this algorithm left."""
        if tree is None:
            tree = Tree(problem, self._root(problem), self.rewards.fresh())
        run = _Run(self, tree)
        status, fault = "iterations", ""
        try:
            while status == "iterations" and tree.iterations < self.budget.iterations:
                run.check()
                solved = run.iterate()
                if tree.root.terminal:
                    status = "complete"
                elif solved and self.stop_when_solved:
                    status = "solved"
        except _Stop as stop:
            status = str(stop)
        except ScorerError as error:
            status, fault = "fault", str(error)
        finally:
            run.settle()
        return SearchResult(tree, self.output(tree.root), status, fault)

    def _root(self, problem: Problem) -> Node:
        world, start = problem.world, problem.start
        root = Node(trajectory=Trajectory((start,)), goal=world.is_goal(start))
        root.goal_fraction = world.goal_fraction(start)
        root.terminal = root.goal and self.end_at_goal
        return root


class _Run:
    """One call of `MCTS.search`: a tree under a budget."""

    def __init__(self, algorithm: MCTS, tree: Tree) -> None:
        self.algorithm, self.tree = algorithm, tree
        self.world: World = tree.problem.world
        self._begun, self._used = time.monotonic(), tree.rewards.usage()
        self._earlier_seconds, self._earlier_spent = tree.seconds, tree.spent
        self._expanded: list[Node] = []

    def settle(self) -> None:
        """Write down what was spent."""
        self.tree.seconds = self._earlier_seconds + time.monotonic() - self._begun
        self.tree.spent = self._earlier_spent + self.tree.rewards.usage() - self._used

    def check(self) -> None:
        """Raise `_Stop` where a limit is reached."""
        self.settle()
        budget, spent = self.algorithm.budget, self.tree.spent
        for name, used, limit in (
            ("passes", spent.passes, budget.passes),
            ("tokens", spent.read_tokens + spent.generated_tokens, budget.tokens),
            ("seconds", self.tree.seconds, budget.seconds),
        ):
            if used >= limit:
                raise _Stop(name)

    def iterate(self) -> bool:
        """One iteration, whole or not at all; whether it reached the goal."""
        learned, self._expanded = self.tree.rewards.fresh().normalizers, []
        try:
            leaf = self.algorithm.simulation(self, self._select())
        except BaseException:
            for node in self._expanded:
                node.children = None
            self.tree.rewards.normalizers = learned
            self.tree.expanded -= len(self._expanded)
            raise
        path = leaf.path()
        for node, credit in zip(path, self.algorithm.backup.returns(path), strict=True):
            node.visits += 1
            node.value = self.algorithm.backup.aggregate(node, credit)
        self.tree.iterations += 1
        return leaf.goal

    def _select(self) -> Node:
        """Down to a node that was never expanded, or is an end."""
        node = self.tree.root
        while node.children is not None and not node.terminal:
            node = self.go(node, self.algorithm.selection.scores) or node
        return node

    def go(self, parent: Node, scores: Callable[[Node, list[Node]], np.ndarray]) -> Node | None:
        """See `Walker.go`."""
        while children := parent.valid_children:
            child = children[int(np.argmax(scores(parent, children)))]
            if child.trajectory is not None or self._visit(child):
                return child
        parent.terminal = True
        return None

    def _visit(self, node: Node) -> bool:
        """Take the action of a node for the first time; False if the world refuses it."""
        assert node.parent is not None and node.parent.trajectory is not None
        before = node.parent.trajectory
        try:
            state = self.world.apply(before.state, node.action)
        except ScorerError:
            raise
        except ValueError as error:
            node.invalid = " ".join(str(error).split()) or type(error).__name__
            return False
        self.arrive(node, before.then(node.action, state))
        return True

    def arrive(self, node: Node, trajectory: Trajectory) -> None:
        """Set what is known of a node once its state is."""
        state, algorithm = trajectory.state, self.algorithm
        node.goal, node.goal_fraction = self.world.is_goal(state), self.world.goal_fraction(state)
        node.reward = node.estimate + (algorithm.goal(node) if algorithm.goal else 0.0)
        node.terminal = (node.goal and algorithm.end_at_goal) or len(trajectory.actions) >= algorithm.depth_limit
        node.trajectory = trajectory

    def expand(self, node: Node) -> None:
        """See `Walker.expand`."""
        self.check()
        node.children = self._children(node, self.tree.rewards)
        node.terminal = not node.children
        self._expanded.append(node)
        self.tree.expanded += 1

    def peek(self, node: Node) -> Node | None:
        """See `Walker.peek`."""
        self.check()
        aside = Node(node.action, node.index, node.parent, node.trajectory)
        aside.children = self._children(aside, self.tree.rewards.fresh())
        return self.go(aside, best_estimate)

    def _children(self, node: Node, rewards: Composite) -> list[Node]:
        """The actions of a node, judged."""
        trajectory = node.trajectory
        assert trajectory is not None
        actions: tuple[Action, ...] = tuple(self.world.actions(trajectory.state))
        if not actions:
            return []

        def successor(place: int) -> State:
            return self.world.apply(trajectory.state, actions[place])

        factors = rewards.factors_of(Choice(trajectory, actions, successor, node.address))
        estimates = self.algorithm.factor_weight * rewards.combined(factors)
        children = [
            Node(
                action=action,
                index=place,
                parent=node,
                factors={name: values[place] for name, values in factors.items()},
                estimate=float(estimates[place]),
            )
            for place, action in enumerate(actions)
        ]
        kept = sorted(children, key=lambda child: -child.estimate)[: self.algorithm.max_children]
        return sorted(kept, key=lambda child: child.index)
