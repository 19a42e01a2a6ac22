"""A world whose transitions a language model writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from elegans.reasoning.scorer import Scorer, Text
from elegans.reasoning.search.node import Action, State
from elegans.tasks.planning import World


class GeneratedWorld:
    """Another world's actions and goal, with states that a model generates (RAP, arXiv 2305.14992).

    A text that is no state makes the action one that the world refuses, so the search takes another. Each state and
    action is generated once. With a scorer that has a draft, the texts are generated speculatively.

    Args:
        world: gives actions, goal and texts.
        scorer: writes the state, greedily.
        prompt: of the text that the model continues, from a state and an action.
        parse: the new state, from the same and the generated text; raises `ValueError` for a text that is none.
        max_tokens, stop: end the text.
    """

    def __init__(
        self,
        world: World,
        scorer: Scorer,
        prompt: Callable[[State, Action], Text],
        parse: Callable[[State, Action, str], State],
        *,
        max_tokens: int,
        stop: Sequence[str] = ("\n",),
    ) -> None:
        self.world, self.scorer, self.prompt, self.parse = world, scorer, prompt, parse
        self.max_tokens, self.stop = max_tokens, tuple(stop)
        self._texts: dict[tuple[State, Action], str] = {}

    def actions(self, state: State) -> Sequence[Action]:
        """Those of the world."""
        return self.world.actions(state)

    def apply(self, state: State, action: Action) -> State:
        """The generated state. Raises `ValueError` for a text that is none."""
        if (state, action) not in self._texts:
            made = self.scorer.generate(self.prompt(state, action), max_tokens=self.max_tokens, stop=self.stop)
            self._texts[state, action] = made[0].text
        return self.parse(state, action, self._texts[state, action])

    def is_goal(self, state: State) -> bool:
        """As the world says."""
        return self.world.is_goal(state)

    def goal_fraction(self, state: State) -> float:
        """As the world says."""
        return self.world.goal_fraction(state)

    def render_state(self, state: State) -> str:
        """As the world says."""
        return self.world.render_state(state)

    def render_action(self, action: Action) -> str:
        """As the world says."""
        return self.world.render_action(action)
