"""Acting without search: one choice after the other, each from the state that the last one led to."""

from __future__ import annotations

import numpy as np

from elegans.ops.rng import numpy_rng
from elegans.reasoning.search.composite import Composite
from elegans.reasoning.search.node import Choice, State, Trajectory
from elegans.tasks.planning import Problem


def act(
    problem: Problem, rewards: Composite, *, depth_limit: int, temperature: float = 0.0, seed: int = 0
) -> Trajectory:
    """Take the action of the highest reward, or with a temperature draw one from the softmax of the rewards.

    Ends at the goal, after `depth_limit` actions, or where no action is left; an action that the world refuses is not
    taken. With the log-likelihood of actions as the reward and temperature 1 this samples from the policy.
    """
    if depth_limit < 0 or temperature < 0:
        raise ValueError(f"need depth_limit >= 0 and temperature >= 0, got {depth_limit} and {temperature}")
    world, rewards = problem.world, rewards.fresh()
    trajectory, address = Trajectory((problem.start,)), ()
    rng = numpy_rng("closed-loop", seed)
    while len(trajectory.actions) < depth_limit and not world.is_goal(trajectory.state):
        state = trajectory.state
        actions = tuple(world.actions(state))

        def successor(place: int, state: State = state, actions: tuple = actions) -> State:
            return world.apply(state, actions[place])

        choice = Choice(trajectory, actions, successor, address)
        scores = rewards.combined(rewards.factors_of(choice)) if actions else np.empty(0)
        noise = rng.gumbel(size=len(scores))
        order = np.argsort(-(scores / temperature + noise if temperature else scores), kind="stable")
        for place in order.tolist():
            try:
                trajectory = trajectory.then(actions[place], successor(place))
            except ValueError:
                continue
            address = (*address, place)
            break
        else:
            break
    return trajectory
