"""What a language model is shown of a world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from elegans.reasoning.scorer import Text
from elegans.reasoning.search.node import Action, Trajectory
from elegans.tasks.planning import World


@dataclass(frozen=True)
class Prompts:
    """The texts (or tokens) of a search.

    Attributes:
        policy: what stands before the next action.
        action: the action as the continuation of that.
        judge: for self-evaluation: the question whether an action is good, and the answer that says yes. None where the
            model was never taught to judge.
    """

    policy: Callable[[Trajectory], Text]
    action: Callable[[Trajectory, Action], Text]
    judge: Callable[[Trajectory, Action], tuple[Text, Text]] | None = None

    @classmethod
    def of(cls, world: World, instructions: str = "", *, judge: bool = False) -> Prompts:
        """Plain prompts of any world: instructions or examples, the state, and the actions as the world renders them.

        With `judge` the model is asked in words whether an action is good.
        """

        def policy(trajectory: Trajectory) -> str:
            return f"{instructions}{world.render_state(trajectory.state)}\nAction:"

        def action(_: Trajectory, chosen: Action) -> str:
            return f" {world.render_action(chosen)}"

        def question(trajectory: Trajectory, chosen: Action) -> tuple[str, str]:
            return f"{policy(trajectory)}{action(trajectory, chosen)}\nIs this action good or bad?", " good"

        return cls(policy, action, question if judge else None)
