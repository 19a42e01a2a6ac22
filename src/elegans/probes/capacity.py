r"""How much a state of fixed size can hold, without training: the COPY operation through a selective state space layer.

With rates A = 0 nothing decays, and the layer is the sum :math:`S = \sum_j v_j k_j^\top` over what was written, read as
:math:`o = S q`. COPY asks for :math:`o_i = v_{pos(i)}` where q_i is the key of pos(i) (Ren et al. 2024, arXiv 2410.03810).

Shapes: R repetitions, T pairs, Q queries, N size of a key, E size of a value; the state has E x N numbers.
"""

from typing import Literal, get_args

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from elegans.ops.rng import torch_rng
from elegans.ops.selective_scan import selective_scan
from elegans.tasks.base import IGNORE
from elegans.tasks.lagged_sum import LaggedSum

Memory = Literal["linear", "least-squares", "one-hot", "softmax"]


def recall(
    keys: Float[Tensor, "R T N"], values: Float[Tensor, "R T E"], queries: Float[Tensor, "R Q N"]
) -> Float[Tensor, "R Q E"]:
    """Write all pairs into the state of a selective scan with A = 0, then read it with each query."""
    written, read = torch.zeros_like(keys), torch.zeros_like(queries)
    u = torch.cat([values, values.new_zeros(*queries.shape[:2], values.shape[-1])], dim=1)
    A = u.new_zeros(u.shape[-1], keys.shape[-1])
    B, C = torch.cat([keys, read], dim=1), torch.cat([written, queries], dim=1)
    outputs, _ = selective_scan(u, torch.ones_like(u), A, B, C)
    return outputs[:, keys.shape[1] :]


def copy_capacity(
    memory: Memory,
    *,
    length: int,
    state_size: int,
    num_symbols: int = 16,
    beta: float = 30.0,
    repetitions: int = 8,
    seed: int = 0,
) -> xr.Dataset:
    r"""COPY of random symbols at random places: `length` pairs are written, then each is asked for by its key, in any order.

    ================= ==============================================================================================
    memory            holds and reads
    ================= ==============================================================================================
    ``linear``        :math:`S = \sum_j v_j k_j^\top` with random unit keys, read by the keys
    ``least-squares`` the same, read by the keys times :math:`(\sum_j k_j k_j^\top)^+`: the best linear readout
    ``one-hot``       the same with the first N unit vectors for keys; pairs after the N-th are not held
    ``softmax``       all pairs; attention with scores :math:`\beta \, k \cdot q` on random unit keys
    ================= ==============================================================================================

    Values are unit vectors, one per symbol. Mean over repetitions: `accuracy`, the share of outputs whose largest
    coordinate is the symbol asked for; and their largest `error` :math:`\max_i \| o_i - v_{pos(i)} \|_\infty`.

    Args:
        memory: see above.
        length: T.
        state_size: N, numbers of a key; the state of all but ``softmax`` has N per symbol.
        num_symbols: E, the alphabet.
        beta: inverse temperature of ``softmax``.
        repetitions: independent draws of keys, symbols and order.
        seed: of these draws.
    """
    if memory not in get_args(Memory):
        raise ValueError(f"memory must be one of {', '.join(get_args(Memory))}, got {memory!r}")
    rng = torch_rng("copy-capacity", seed, length, state_size)
    symbols = torch.randint(num_symbols, (repetitions, length), generator=rng)
    order = torch.rand(repetitions, length, generator=rng).argsort(1)
    keys = normalize(torch.randn(repetitions, length, state_size, generator=rng), dim=-1)
    if memory == "one-hot":
        keys = torch.eye(length, state_size).expand(repetitions, -1, -1)
    values = one_hot(symbols, num_symbols).float()
    readers = keys
    if memory == "least-squares":
        readers = keys @ torch.linalg.pinv(keys.mT @ keys, hermitian=True)
    queries = readers.take_along_dim(order[..., None], dim=1)
    soft = memory == "softmax"
    outputs = (beta * queries @ keys.mT).softmax(-1) @ values if soft else recall(keys, values, queries)
    return _scores(outputs, values.take_along_dim(order[..., None], dim=1))


def _scores(outputs: Float[Tensor, "R Q E"], wanted: Float[Tensor, "R Q E"]) -> xr.Dataset:
    right = (outputs.argmax(-1) == wanted.argmax(-1)).double().mean()
    return xr.Dataset({"accuracy": float(right), "error": float((outputs - wanted).abs().amax((1, 2)).mean())})


def slot_accuracy(task: LaggedSum, *, slots: int, split: str = "test", step_size: float = 50.0) -> float:
    r"""Accuracy on a lagged sum of a selective layer that nobody trained: N = 1, `slots` channels, A = -1.

    When y_t comes, channel t mod `slots` takes a large step, :math:`h \leftarrow e^{-\Delta} h + \Delta \cdot y_t / \Delta`,
    which overwrites it; all others take none. y_t is read as s_t + h of channel (t - m) mod `slots`, which the gate picks.
    With m slots or more the layer is exact at any length; with fewer, the value has been overwritten. So m slots suffice.
    That they are needed does not follow: one real number can hold several symbols.

    Args:
        task: with lag m.
        slots: inner width E.
        split: whose fixed sample is scored.
        step_size: :math:`\Delta`; what is left of an overwritten value is :math:`e^{-\Delta}` of it.

    Raises `ValueError` for less than one slot.
    """
    if slots < 1:
        raise ValueError(f"slots must be at least 1, got {slots}")
    batch = task.dataset(split)
    place = torch.arange(batch.tokens.shape[1])
    pair, is_sum = place // 2, place % 2 == 1
    write = one_hot(pair % slots, slots) * is_sum[:, None]
    dt = (step_size * write).float().expand(len(batch), -1, -1)
    ones = torch.ones(*batch.tokens.shape, 1)
    u = batch.tokens[..., None].expand_as(dt).float()
    held, _ = selective_scan(u, dt, -torch.ones(slots, 1), ones / step_size, ones)
    read = (held * one_hot((pair - task.lag) % slots, slots)).sum(-1)
    said = (batch.tokens + read.round().long()) % task.modulus
    scored = batch.targets != IGNORE
    return float((said == batch.targets)[scored].double().mean())
