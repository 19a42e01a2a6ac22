"""Words to tokens, with the mapping of whatever tokenizer is used."""

from collections.abc import Mapping, Sequence

import numpy as np


def token_table(words: Sequence[str], ids: Mapping[str, int]) -> np.ndarray:
    """The token of each word. Raises `ValueError` naming the first word that has none."""
    for word in words:
        if word not in ids:
            raise ValueError(f"no token for the word {word!r}")
    return np.array([ids[word] for word in words], dtype=np.int64)
