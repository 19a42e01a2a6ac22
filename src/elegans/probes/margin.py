"""Hard-margin directions: where gradient descent on a separable problem is said to converge.

Shapes: N points, D width.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import nnls

Points = Float[np.ndarray, "N D"]
Labels = Int[np.ndarray, " N"]

SMALLEST = 1e-6
"""1 / ||u*||, in units of 1 / (typical point), below which points count as not separable."""


def hard_margin(points: Points, labels: Labels) -> Float[np.ndarray, " D"] | None:
    r"""The hard-margin SVM without bias, :math:`\arg\min \lVert u \rVert` s.t. :math:`y_n u^\top v_n \ge 1`.

    None where no such u exists. Labels are -1 and +1. This is least-distance programming: with :math:`G_n = y_n v_n`,
    the residual r of the non-negative least-squares problem :math:`\min_{z \ge 0} \lVert [G^\top; 1^\top] z - e_{D+1}
    \rVert` gives :math:`u = -r_{1..D} / r_{D+1}`, and r = 0 says that the points are not separable (Lawson and Hanson,
    Solving Least Squares Problems, chapter 23). The solver is exact: no penalty, no iteration count to tune.
    """
    if set(np.unique(labels).tolist()) - {-1, 1}:
        raise ValueError(f"labels must be -1 or +1, got {np.unique(labels).tolist()}")
    signed = np.unique(np.asarray(points, dtype=np.float64) * np.asarray(labels)[:, None], axis=0)
    size = np.linalg.norm(signed, axis=1).mean()
    if not size > 0:
        return None
    system = np.vstack([signed.T / size, np.ones(len(signed))])
    target = np.zeros(len(system))
    target[-1] = 1.0
    z, distance = nnls(system, target, maxiter=30 * system.shape[1])
    if distance < SMALLEST:
        return None
    residual = system @ z - target
    return -residual[:-1] / (residual[-1] * size)


def margin(u: Float[np.ndarray, " D"], points: Points, labels: Labels) -> float:
    """min_n y_n u . v_n / ||u||: the distance of the nearest point to the boundary, negative if one is on the wrong side.

    Not a number for u = 0.
    """
    norm = float(np.linalg.norm(u))
    return float((labels * (points @ u)).min()) / norm if norm > 0 else float("nan")


def margin_ratio(u: Float[np.ndarray, " D"], points: Points, labels: Labels) -> float:
    """The margin of u over the largest possible one, at most 1. Not a number where points are not separable."""
    best = hard_margin(points, labels)
    return margin(u, points, labels) * float(np.linalg.norm(best)) if best is not None else float("nan")


def margin_cosine(u: Float[np.ndarray, " D"], points: Points, labels: Labels) -> float:
    """Cosine of the angle between u and the hard-margin direction. Not a number where points are not separable."""
    best, norm = hard_margin(points, labels), float(np.linalg.norm(u))
    return float(u @ best) / (norm * float(np.linalg.norm(best))) if best is not None and norm > 0 else float("nan")


def mean_difference(points: Points, labels: Labels) -> Float[np.ndarray, " D"]:
    """The mean of the positive points minus that of the negative ones: the direction of a naive classifier."""
    return points[labels > 0].mean(axis=0) - points[labels < 0].mean(axis=0)
