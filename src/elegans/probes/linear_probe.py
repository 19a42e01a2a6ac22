"""Linear probes: what can be read off an activation by a linear map (Alain and Bengio 2016, arXiv 1610.01644).

Shapes: B sequences, T positions.
"""

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor, nn

from elegans.ops.rng import numpy_rng
from elegans.probes.metrics import as_array
from elegans.probes.positions import Positions, masks_of
from elegans.probes.record import Names, record
from elegans.tasks.base import evaluating


def linear_probe(
    model: nn.Module,
    tokens: Int[Tensor, "B T"],
    labels: Int[Tensor, " N"] | Float[Tensor, " N"],
    *,
    sites: Names = "blocks.*.in",
    positions: Positions = "each",
    test_share: float = 0.3,
    strength: float = 1.0,
    seed: int = 0,
) -> xr.Dataset:
    r"""How well the label of a sequence is read off its activations at each site and position.

    Integer labels are classes: multinomial logistic regression, scored by accuracy. Others are numbers: ridge regression,
    scored by :math:`R^2`. Activations are standardized first.

    Args:
        labels: one per sequence, N = B.
        sites: with activations [B, T, ...]; axes after the position are taken together.
        test_share: share of the sequences that no probe is fitted to.
        strength: of the L2 regularization.
        seed: of the split and of the shuffled labels.

    Returns:
        `test` and `train` scores, and `control`: the test score of a probe fitted to shuffled labels, and scored on
        them. Dimensions (site, position).
    """
    if len(labels) != len(tokens):
        raise ValueError(f"labels must be one for each of the {len(tokens)} sequences, got {len(labels)}")
    held_out = round(test_share * len(tokens))
    if not 1 <= held_out <= len(tokens) - 2:
        raise ValueError(f"test_share must leave sequences on both sides, got {test_share} of {len(tokens)}")
    names, masks = masks_of(positions, (tokens.shape[0], tokens.shape[1]))
    if (masks.sum(-1) != 1).any():
        raise ValueError("a probe reads single positions, not groups of them")
    with evaluating(model), record(model, sites) as seen:
        model(tokens.to(next(model.parameters()).device))
    for site in seen:
        if site.endswith((".scores", ".weights")):
            raise ValueError(f"a probe reads activations of positions; {site!r} holds a map of pairs of them")
    rng = numpy_rng("linear-probe", seed)
    order, values = rng.permutation(len(tokens)), labels.cpu().numpy()
    split = order[held_out:], order[:held_out]
    shuffled = values[rng.permutation(len(values))]
    scores = np.empty((3, len(seen), len(names)))
    for row, activation in enumerate(seen.values()):
        for column, mask in enumerate(masks):
            x = as_array(activation[mask.to(activation.device)].flatten(1))
            train, test = _fitted(x, values, split, strength)
            scores[:, row, column] = test, train, _fitted(x, shuffled, split, strength)[1]
    measures = {
        name: (("site", "position"), score) for name, score in zip(("test", "train", "control"), scores, strict=True)
    }
    return xr.Dataset(measures, {"site": list(seen), "position": names})


def _fitted(
    x: np.ndarray, labels: np.ndarray, split: tuple[np.ndarray, np.ndarray], strength: float
) -> tuple[float, float]:
    """Scores on the training and on the test sequences."""
    # Imported here, because it takes a second that the other probes need not wait for.
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes = np.issubdtype(labels.dtype, np.integer)
    head = LogisticRegression(C=1 / strength, max_iter=2000) if classes else Ridge(alpha=strength)
    train, test = split
    probe = make_pipeline(StandardScaler(), head).fit(x[train], labels[train])
    return float(probe.score(x[train], labels[train])), float(probe.score(x[test], labels[test]))
