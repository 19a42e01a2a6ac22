"""What it costs to run a model: CPU seconds, measured turn by turn.

Shapes: B batch, P tokens read before.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import xarray as xr

from elegans.models.base import SequenceModel
from elegans.ops.rng import torch_rng
from elegans.tasks.base import evaluating


def interleaved_seconds(actions: Mapping[Any, Callable[[], object]], *, rounds: int) -> dict[Any, float]:
    """The median CPU seconds of each action over `rounds` rounds, in each of which every action has its turn.

    Turns spread whatever else the machine does over all of them alike. A first round warms up and does not count.
    """
    seconds: dict[Any, list[float]] = {name: [] for name in actions}
    for round_ in range(rounds + 1):
        for name, action in actions.items():
            start = time.process_time()
            action()
            if round_:
                seconds[name].append(time.process_time() - start)
    return {name: statistics.median(each) for name, each in seconds.items()}


def decoding_cost(
    model: SequenceModel,
    positions: Sequence[int],
    *,
    batch_size: int = 1,
    num_tokens: int = 8,
    rounds: int = 10,
    seed: int = 0,
) -> xr.Dataset:
    """The cost of the next token after P tokens, for each P of `positions`, on random tokens.

    `seconds` is CPU time per token and `batch_size` sequences, the mean over `num_tokens` steps, the median over
    `rounds`; `state_bytes` what one sequence holds by then. Raises `NotImplementedError` for a model without state.
    """
    tokens = torch.randint(
        model.vocab_size, (batch_size, max(positions) + num_tokens), generator=torch_rng("decoding-cost", seed)
    )
    with evaluating(model):
        states = {p: model.extend(tokens[:, :p], model.init_state(batch_size))[1] for p in positions}

        def decode(position: int) -> None:
            state = states[position]
            for token in tokens[:, position : position + num_tokens].unbind(1):
                _, state = model.step(token, state)

        spent = interleaved_seconds({p: lambda p=p: decode(p) for p in positions}, rounds=rounds)
    return xr.Dataset(
        {
            "seconds": ("position", [spent[p] / num_tokens for p in positions]),
            "state_bytes": ("position", [model.state_bytes(p) for p in positions]),
        },
        coords={"position": list(positions)},
    )
