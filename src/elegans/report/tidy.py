"""Where the nodes of a drawn tree lie."""

from __future__ import annotations

from collections.abc import Sequence


def tidy(parents: Sequence[int]) -> list[float]:
    """Place every node of a tree across its depth: siblings in order, parents midway between first and last child.

    Two nodes of one depth are at least 1 apart. Each subtree is moved towards the siblings before it until their outlines
    touch (after Reingold and Tilford 1981), so a tree is about as wide as its widest depth, not as its leaves together.

    Args:
        parents: of each node by number, -1 for the root, which comes first; parents come before their children.

    Returns one number per node, the least of them 0.
    """
    children: list[list[int]] = [[] for _ in parents]
    for node, parent in enumerate(parents[1:], 1):
        children[parent].append(node)
    shifts = [0.0] * len(parents)
    outlines: dict[int, tuple[list[float], list[float]]] = {}
    for node in range(len(parents) - 1, -1, -1):
        low: list[float] = []
        high: list[float] = []
        for child in children[node]:
            child_low, child_high = outlines.pop(child)
            shift = max((end - begin + 1 for end, begin in zip(high, child_low, strict=False)), default=0.0)
            shifts[child] = shift
            low += [begin + shift for begin in child_low[len(low) :]]
            high[: len(child_high)] = [end + shift for end in child_high]
        middle = shifts[children[node][-1]] / 2 if children[node] else 0.0
        for child in children[node]:
            shifts[child] -= middle
        outlines[node] = [0.0, *(begin - middle for begin in low)], [0.0, *(end - middle for end in high)]

    places = [0.0] * len(parents)
    for node, parent in enumerate(parents[1:], 1):
        places[node] = places[parent] + shifts[node]
    least = min(places)
    return [place - least for place in places]


def spans(parents: Sequence[int]) -> list[tuple[int, int]]:
    """A number for every node, and the greatest below it: ``a`` is on the path to ``b`` if b's number lies in a's span.

    Takes `parents` as `tidy` does.
    """
    sizes = [1] * len(parents)
    for node in range(len(parents) - 1, 0, -1):
        sizes[parents[node]] += sizes[node]
    numbers = [0] * len(parents)
    used = [1] * len(parents)
    for node, parent in enumerate(parents[1:], 1):
        numbers[node] = numbers[parent] + used[parent]
        used[parent] += sizes[node]
    return [(number, number + size - 1) for number, size in zip(numbers, sizes, strict=True)]
