"""The settings of `solve_study`, and what becomes of one problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from elegans.study import Config, UsageError, setting, unknown

REWARDS = {
    "ll": "log-likelihood of the action",
    "se": "self-evaluation: one more pass per choice",
    "cd": "log-ratio of expert and amateur",
    "jsd": "Jensen-Shannon divergence of expert and amateur",
}
CONTRASTIVE = ("cd", "jsd")


@dataclass(frozen=True, kw_only=True)
class SolveConfig(Config):
    """The problems, the models, what they are shown, and the search. The seed is that of the random rewards."""

    problems: str = setting("", "file of problems, see elegans.tasks.problem_file")
    digest: str = setting("", "of what is read from files and of the amateur: another content is another job")
    world: str = setting("blocksworld", "blocksworld, countdown, or 'package.module:function'")
    render: Literal["english", "compact", "pddl"] = setting("english", "how Blocksworld is written")
    lm: str = setting("", "the expert: directory of a Hugging Face causal LM; empty where it is behind a server")
    server: str = setting("", "the expert behind an OpenAI-compatible server: http://host:port/v1#model")
    amateur: str = setting("", "directory of the amateur; empty where no reward asks it")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = setting("auto", "of the weights in memory")
    shots: int = setting(4, "solved problems in front of every prompt", at_least=0, at_most=64)
    examples: str = setting("", "file of the problems to be solved there; empty: drawn, none of the user's")
    reward: str = setting("ll+se", "factors, each with weight 1, joined by +")
    iterations: int = setting(30, "of the search for a problem, at most", at_least=1)
    depth: int = setting(16, "actions in a plan, at most", at_least=1)
    c: float = setting(1.0, "exploration constant of UCT", at_least=0)
    passes: int | None = setting(None, "of the expert in the search for a problem, at most", at_least=0)
    tokens: int | None = setting(None, "that the expert reads in the search for a problem, at most", at_least=0)
    seconds: float | None = setting(None, "of the search for a problem, at most", at_least=0)
    stop_when_solved: bool = setting(False, "end the search for a problem with the first plan, in place of the best")
    draws: int = setting(5, "searches with random rewards for each problem", at_least=1)
    timeout: float = setting(60.0, "seconds for one request to a server", above=0)
    retries: int = setting(3, "further attempts of a request", at_least=0)

    @property
    def factors(self) -> tuple[str, ...]:
        """Names of the factors."""
        return tuple(self.reward.split("+"))

    def check(self) -> None:
        """Rewards that exist and can be had."""
        for name in self.factors:
            if name not in REWARDS:
                raise unknown("reward", name, REWARDS)
        if len(set(self.factors)) < len(self.factors):
            raise UsageError(f"reward names a factor twice: {self.reward}")
        asking = [name for name in self.factors if name in CONTRASTIVE]
        if asking and not self.amateur:
            raise UsageError(f"the reward {asking[0]} compares the expert with an amateur; name one by --amateur")
        if asking and self.server:
            raise UsageError(f"the reward {asking[0]} needs whole distributions, which no server gives")
        if self.render != "english" and self.world != "blocksworld":
            raise UsageError(f"there is one way to write {self.world}; {self.render} is for blocksworld")


@dataclass(frozen=True)
class Answer:
    """What became of one problem."""

    problem: str
    solved: bool
    status: str
    """What ended the search, see `elegans.reasoning.SearchResult`."""
    fault: str
    plan: tuple[str, ...]
    """The chosen actions, whether or not they reach the goal."""
    shortest: int | None
    """Actions of the shortest plan, where known."""
    greedy: bool
    """Whether the greedy plan solves it."""
    passes: int
    tokens: int
    seconds: float

    def __str__(self) -> str:
        if self.status == "fault":
            return f"{self.problem}: fault: {self.fault}"
        if not self.solved:
            return f"{self.problem}: not solved: {self.status}"
        known = "" if self.shortest is None else f" (shortest: {self.shortest})"
        return f"{self.problem}: solved in {len(self.plan)} actions{known}"
