"""Counter-based randomness: every random number is a pure function of a named address.

An address is a tuple such as ``("reversal-pairs", seed, "train", step)``. Asking twice for the same address gives the
same stream, whatever was drawn in between, so batch ``t`` of seed ``s`` needs no history and an interrupted run goes on
bit-identically. Nothing in elegans reads or writes a global generator.
"""

import hashlib
import json

import numpy as np
import torch

Part = str | int | np.integer


def _digest(address: tuple[Part, ...]) -> bytes:
    for part in address:
        if isinstance(part, bool) or not isinstance(part, (str, int, np.integer)):
            raise TypeError(f"a random address is made of strings and integers, got {part!r}")
    text = json.dumps([part if isinstance(part, str) else int(part) for part in address])
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def numpy_rng(*address: Part) -> np.random.Generator:
    """The NumPy generator (Philox, 128-bit key) of an address."""
    return np.random.Generator(np.random.Philox(key=int.from_bytes(_digest(address), "little")))


def torch_rng(*address: Part) -> torch.Generator:
    """The torch CPU generator of an address; draw on the CPU and move, so that a GPU sees the same numbers."""
    return torch.Generator().manual_seed(int.from_bytes(_digest(address)[:8], "little"))


def torch_seed(*address: Part) -> int:
    """A 63-bit seed for an address, for code that can only be seeded globally (dropout masks)."""
    return int.from_bytes(_digest(address)[:8], "little") >> 1
