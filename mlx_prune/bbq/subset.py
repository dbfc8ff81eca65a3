"""Fewer items than a source holds: spread evenly over all that it holds, and nested.

A smaller number of items is part of every larger one, so that a run may grow without asking anything twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mlx_prune.bbq.item import Item

# Of ten equal parts of a stratum, whose middles come first; any beginning of the list is spread out, too.
_FIRST_TENTHS = (5, 2, 8, 0, 6, 3, 9, 1, 7, 4)


def limit_items(items: Sequence[Item], limit: int | None) -> list[Item]:
    """Choose ``limit`` items in all, in their order; fewer only where there are fewer.

    They are shared evenly over the categories, inside each over contexts and question polarities, and spaced
    evenly inside each of those. What is chosen for a smaller limit is chosen for a larger one as well.
    """
    if limit is None:
        return list(items)
    categories: dict[str, list[int]] = {}
    for index, item in enumerate(items):
        categories.setdefault(item.category, []).append(index)
    shares = _share(limit, [len(members) for members in categories.values()])
    chosen = []
    for members, share in zip(categories.values(), shares, strict=True):
        strata: dict[tuple[str, str], list[int]] = {}
        for index in members:
            strata.setdefault((items[index].context_condition, items[index].question_polarity), []).append(
                index
            )
        counts = _share(share, [len(stratum) for stratum in strata.values()])
        for stratum, count in zip(strata.values(), counts, strict=True):
            chosen += [stratum[place] for place in _spread(len(stratum), count)]
    return [items[index] for index in sorted(chosen)]


def _share(total: int, sizes: Sequence[int]) -> list[int]:
    """Split ``total`` over groups as evenly as sizes allow; larger, then earlier groups get what remains.

    No share falls when the total grows.
    """
    shares = [0] * len(sizes)
    # Smallest first: what a group cannot take is shared by those that follow.
    order = sorted(range(len(sizes)), key=lambda index: (sizes[index], -index))
    for rank, index in enumerate(order):
        shares[index] = min(sizes[index], (total - sum(shares)) // (len(sizes) - rank))
    return shares


def _spread(size: int, count: int) -> list[int]:
    """The first ``count`` of a fixed order of ``size`` places, whose every beginning is spread evenly.

    The first 10, 30, 90, ... are the middles of as many equal parts.
    """
    places: dict[int, None] = {}
    for place in _middles(size):
        if len(places) >= min(count, size):
            break
        places[place] = None
    return list(places)


def _middles(size: int) -> Iterator[int]:
    """Places in the order of the middles of 10 parts, then of the thirds of each, and so on; repeated."""
    middles, parts = [2 * tenth + 1 for tenth in _FIRST_TENTHS], 10
    while True:
        # A middle m of n parts lies at m / 2n.
        yield from (middle * size // (2 * parts) for middle in middles)
        middles = [3 * middle + shift for shift in (0, -2, 2) for middle in middles]
        parts *= 3
