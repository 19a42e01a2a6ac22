"""What mixing tokens costs by counting: multiply-adds and numbers held, for a sequence generated token by token.

Projections, MLPs and the convolution are left out: they cost the same at every position, whatever the mixer.
"""

from typing import Literal, get_args

MixerKind = Literal["attention", "window", "ssm"]


def multiply_adds(kind: MixerKind, *, length: int, width: int, state_size: int = 16, window: int | None = None) -> int:
    r"""Multiply-adds of one layer over `length` generated tokens.

    ============= ===================================== ==============================================================
    kind          of the t-th token                     over T tokens
    ============= ===================================== ==============================================================
    ``attention`` t scores and t values, 2 d t          d T (T + 1)
    ``window``    the last m tokens, 2 d min(t, m)      about 2 d m T
    ``ssm``       decay, write, read of d N numbers     3 d N T
    ============= ===================================== ==============================================================

    A state that grows with the problem, N = T, makes ``ssm`` as dear as attention up to a constant; a problem of
    locality m, N = m, costs :math:`\Theta(m T)` (Ren et al. 2024, arXiv 2410.03810; Yang et al. 2024, arXiv 2402.13934).

    Args:
        kind: see above.
        length: T.
        width: d, the width of keys and values over all heads, or the channels of the state space layer.
        state_size: N, of ``ssm``.
        window: m, of ``window``.
    """
    _check(kind, window)
    if kind == "ssm":
        return 3 * width * state_size * length
    reach = length if kind == "attention" or window is None else min(window, length)
    return width * (reach * (reach + 1) + 2 * (length - reach) * reach)


def numbers_held(kind: MixerKind, *, length: int, width: int, state_size: int = 16, window: int | None = None) -> int:
    """Numbers that one layer keeps of one sequence after `length` tokens; arguments as in `multiply_adds`."""
    _check(kind, window)
    if kind == "ssm":
        return width * state_size
    return 2 * width * (length if kind == "attention" or window is None else min(window, length))


def _check(kind: str, window: int | None) -> None:
    if kind not in get_args(MixerKind):
        raise ValueError(f"kind must be one of {', '.join(get_args(MixerKind))}, got {kind!r}")
    if kind == "window" and (window is None or window < 1):
        raise ValueError(f"a window has at least 1 token, got {window}")
