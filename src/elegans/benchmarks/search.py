"""Tree search with a language model beside llm-reasoners (Hao et al. 2024, arXiv 2404.05221): the same tree, node for node.

Monte Carlo tree search of a Blocksworld problem with the rewards of RAP (arXiv 2305.14992): the log-likelihood of an
action after a few solved problems, and of "good" after a few judged actions. Theirs is their `MCTS` on their `HFModel`,
asked as their Blocksworld example asks it: one pass over the whole text for each action and reward. Unlike in that
example, states follow the rules instead of the model's word, and examples do not change with the depth; both sides see
the same texts. Ours starts every call with empty caches. Weights are random, which costs what trained ones cost. As the
trees are the same, the ratio of times is that of nodes expanded per second.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from torch import Tensor

from elegans.benchmarks import peers
from elegans.benchmarks.harness import Case, Contender, Goal
from elegans.lm import TextModel, tiny_llama, word_tokenizer
from elegans.reasoning import MCTS, Budget, HFScorer, Scorer, SearchResult
from elegans.reasoning.search import (
    ActionReader,
    BestPath,
    Composite,
    GoalSignal,
    LogLikelihood,
    Prompts,
    SelfEvaluation,
    SumBackup,
    Trajectory,
)
from elegans.tasks.blocksworld import (
    Action,
    BlocksworldProblem,
    BufferedState,
    English,
    Mix,
    Oracle,
    blocksworld_of,
    buffered,
    draw_problems,
    inverse,
    step,
)
from elegans.tasks.blocksworld.english import INTRODUCTION
from elegans.tasks.planning import Problem

ITERATIONS, BONUS, NUM_SHOTS = 10, 100.0, 2
Blocks = Problem[BufferedState, Action]


@dataclass(frozen=True)
class Setup:
    """What is searched, and by which model."""

    problem: Blocks
    depth_limit: int
    prompts: Prompts
    lm: TextModel


def draw(count: int, length: int, seed: int) -> list[BlocksworldProblem]:
    """Problems of four blocks and this optimal length."""
    mix = Mix(counts=((4, count),), lengths=(length, length))
    return draw_problems(mix, part="train", notation=English, names="abcd", seed=seed)


def set_up(length: int, device: torch.device, **sizes: int) -> Setup:
    """A problem whose optimal length is the depth limit, and a model of these sizes."""
    problem = buffered(draw(1, length, seed=0)[0])
    prompts = few_shot(problem, draw(NUM_SHOTS, 4, seed=1))
    return Setup(problem, length, prompts, model_of(problem, prompts, device, **sizes))


def few_shot(problem: Blocks, shots: Sequence[BlocksworldProblem]) -> Prompts:
    """Solved and judged examples before the state, which is refreshed whenever the hand is empty."""
    world, solved, judged = blocksworld_of(problem), [INTRODUCTION], [INTRODUCTION]
    english = world.notation
    assert isinstance(english, English)
    for shot in shots:
        goal, state = blocksworld_of(shot).goal, shot.start
        plan = Oracle(goal).plan(state)
        solved.append(english.example(state, goal, plan))
        for action, verdict in ((plan[0], "good"), (inverse(plan[0]), "bad")):
            judged.append(f"{english.statement(state, goal)}{english.action(action)}\n[EVALUATION]\n{verdict}\n")
            state = step(state, action)

    def policy(trajectory: Trajectory) -> str:
        return "\n".join((*solved, query(trajectory)))

    def query(trajectory: Trajectory) -> str:
        state = trajectory.state
        assert isinstance(state, BufferedState)
        taken = "".join(f"{english.action(action)}\n" for action in state.buffer)
        return f"{english.statement(state.refreshed, world.goal)}{taken}"

    def act(_: Trajectory, action: Any) -> str:
        return english.action(action)

    def judge(trajectory: Trajectory, action: Any) -> tuple[str, str]:
        return "\n".join((*judged, f"{query(trajectory)}{english.action(action)}\n[EVALUATION]\n")), "good"

    return Prompts(policy, act, judge)


def model_of(problem: Blocks, prompts: Prompts, device: torch.device, **sizes: int) -> TextModel:
    """A Llama with random weights that has the words of the prompts, with any punctuation, as its tokens."""
    start, action = Trajectory((problem.start,)), problem.world.actions(problem.start)[0]
    assert prompts.judge is not None
    text = f"{prompts.policy(start)} {prompts.judge(start, action)[0]}"
    plain = dict.fromkeys(word.rstrip(",.:") for word in text.split())
    tokenizer = word_tokenizer(f"{word}{mark}" for word in plain for mark in ("", ",", ".", ":"))
    lm = tiny_llama(tokenizer, context=2048, **sizes)
    return TextModel(lm.model.to(device), tokenizer)


def ours(setup: Setup) -> SearchResult:
    """The search with what it has against reading twice: shared prefixes, one batch per choice, remembered factors."""
    scorer = cast(Scorer, HFScorer(setup.lm.model, setup.lm.tokenizer))
    reader = ActionReader(setup.prompts, scorer)
    algorithm = MCTS(
        rewards=Composite([LogLikelihood(reader), SelfEvaluation(reader)]),
        depth_limit=setup.depth_limit,
        budget=Budget(iterations=ITERATIONS),
        backup=SumBackup(),
        output=BestPath("sum"),
        goal=GoalSignal(bonus=BONUS),
    )
    return algorithm.search(setup.problem)


def our_tree(result: SearchResult) -> list[Tensor]:
    """Both rewards and the visits of all nodes but the root, parents first."""
    nodes = [node for node in result.tree.root.walk() if node.parent]
    rows = [(node.factors["log-likelihood"], node.factors["self-evaluation"], node.visits) for node in nodes]
    return list(torch.tensor(rows, dtype=torch.double).T)


def theirs(setup: Setup) -> Callable[[], Any]:
    """The search by llm-reasoners: world model, search config and algorithm. States carry the number of actions."""
    from reasoners import SearchConfig, WorldModel, algorithm  # pyright: ignore[reportMissingImports]

    with TemporaryDirectory() as folder:
        setup.lm.save(folder)
        model = peers.reasoners_model(folder, setup.lm.device)
    world, prompts, judge = setup.problem.world, setup.prompts, setup.prompts.judge
    assert judge is not None

    class Rules(WorldModel):
        def init_state(self) -> Any:
            return 0, setup.problem.start

        def step(self, state: Any, action: Action) -> Any:
            after = world.apply(state[1], action)
            return (state[0] + 1, after), {"share": BONUS if world.is_goal(after) else world.goal_fraction(after)}

        def is_terminal(self, state: Any) -> bool:
            return state[0] == setup.depth_limit or world.is_goal(state[1])

    class Rewards(SearchConfig):
        def get_actions(self, state: Any) -> Any:
            return world.actions(state[1])

        def fast_reward(self, state: Any, action: Action) -> tuple[float, dict[str, float]]:
            here = Trajectory((state[1],))
            prompt, (question, good) = prompts.policy(here), judge(here, action)
            likelihood = model.get_loglikelihood(prompt, [f"{prompt}{prompts.action(here, action)}"])[0]
            evaluation = model.get_loglikelihood(question, [f"{question}{good}"])[0]
            return 0.5 * (likelihood + evaluation), {"likelihood": likelihood, "evaluation": evaluation}

        def reward(self, state: Any, action: Action, *, likelihood: float, evaluation: float, share: float) -> Any:
            return 0.5 * (likelihood + evaluation + share), {}

    search = algorithm.MCTS(depth_limit=setup.depth_limit, n_iters=ITERATIONS)
    return lambda: search(Rules(), Rewards())


def their_tree(result: Any) -> list[Tensor]:
    """See `our_tree`."""

    def walk(node: Any) -> Iterator[Any]:
        for child in node.children or ():
            yield child
            yield from walk(child)

    rows = [(*node.fast_reward_details.values(), len(node.cum_rewards)) for node in walk(result.tree_state)]
    return list(torch.tensor(rows, dtype=torch.double).T)


def compare(setup: Setup) -> Case:
    """A case; theirs reads each action twice, once for each reward."""
    found = ours(setup)
    nodes, actions = found.tree.expanded, sum(1 for _ in found.tree.root.walk()) - 1
    first = setup.prompts.policy(Trajectory((setup.problem.start,)))
    return Case(
        name=f"depth {setup.depth_limit}, prompts from {len(setup.lm.tokenizer.encode(first))} tokens on",
        contenders=(
            Contender(
                name="elegans",
                call=lambda: ours(setup),
                values=our_tree,
                facts={"nodes": nodes, "passes": found.tree.spent.passes},
            ),
            Contender(
                name=peers.REASONERS,
                call=theirs(setup) if peers.has_reasoners() else None,
                values=their_tree,
                goal=Goal(at_least=3),
                facts={"nodes": nodes, "passes": 2 * actions},
            ),
        ),
        tolerance=2e-6,  # 1e-4 nats, as actions have about 50
    )


def cases(quick: bool, device: torch.device) -> Iterator[Case]:
    """A Llama of 5 million parameters, on problems of two lengths."""
    if not peers.has_transformers():
        return
    sizes = {"width": 32, "depth": 1} if quick else {"width": 256, "depth": 6, "ffn": 688}
    with peers.quiet():
        for length in (2,) if quick else (4, 6):
            yield compare(set_up(length, device, **sizes))
