"""Load BBQ items from the embedded set, the Hub or a folder, and choose which of them to ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from mlx_prune.bbq.folder import (
    BBQ_CATEGORIES,
    STUDY_CATEGORIES,
    canonical_category,
    category_files,
    read_category,
)
from mlx_prune.bbq.item import CONTEXTS, Item
from mlx_prune.bbq.subset import limit_items
from mlx_prune.bbq.wording import Wording, wording_of
from mlx_prune.errors import DataError
from mlx_prune.paths import expanded

__all__ = ["CONDITIONS", "STUDY_CATEGORIES", "Item", "load_items"]

CONDITIONS = (*CONTEXTS, "all")


def load_items(
    source: str | Path,
    *,
    categories: Sequence[str] | None = None,
    condition: str = "ambig",
    limit: int | None = None,
    exclude_label_faults: bool = False,
    wording: Wording | None = None,
) -> list[Item]:
    """Load the items of an evaluation, category by category, each in the order of its file.

    Args:
        source: "demo" for the embedded items, "hub" for Elfsong/BBQ at a pinned revision (downloaded once),
            or a folder of BBQ's JSONL files (JSONL or Parquet files in Elfsong/BBQ's columns work as well).
        categories: Names in any case; by default the study's five, as far as the source has them, or all of
            a source with categories that BBQ does not have.
        condition: "ambig", "disambig" or "all".
        limit: How many items in all, spread evenly and nested (:func:`~mlx_prune.bbq.subset.limit_items`).
            None for all items.
        exclude_label_faults: Leave out the items whose group tags are known to be reversed, before limiting.
        wording: What tells BBQ's fields in their rows; by default what lies beside them
            (:func:`~mlx_prune.bbq.wording.wording_of`).

    Returns:
        The items; at most ``limit``, fewer only where the source has fewer.

    Raises:
        DataError: If the source cannot be read, names are unknown, or nothing remains.
    """
    if condition not in CONDITIONS:
        raise DataError(f"condition must be one of {', '.join(CONDITIONS)}, not {condition!r}.")
    if limit is not None and limit < 1:
        raise DataError(f"limit must be at least 1, not {limit}.")
    available, read = _open(source, wording)
    every = [
        item
        for category in _choose(categories, available, source)
        for item in read(category)
        if condition in ("all", item.context_condition)
        and not (exclude_label_faults and item.known_label_fault)
    ]
    chosen = limit_items(every, limit)
    if not chosen:
        raise DataError(
            f"{source} holds no items for condition {condition!r}; ask for another, or for 'all'."
        )
    return chosen


def _open(source: str | Path, wording: Wording | None) -> tuple[Iterable[str], Callable[[str], list[Item]]]:
    if source == "hub":
        from mlx_prune.bbq.hub import HUB_CATEGORIES, read_hub_category

        return HUB_CATEGORIES, read_hub_category
    if source == "demo":
        from mlx_prune import demo

        folder = demo.items_path()
    else:
        folder = expanded(source)
    files = category_files(folder)
    told = wording or wording_of(source)
    return files, lambda category: read_category(category, files[category], told)


def _choose(categories: Sequence[str] | None, available: Iterable[str], source: str | Path) -> list[str]:
    known = list(available)
    if categories is None:
        chosen = [category for category in STUDY_CATEGORIES if category in known]
        return chosen if chosen and set(known) <= set(BBQ_CATEGORIES) else known
    if not categories or isinstance(categories, str):
        raise DataError(f"categories must be a list of names out of {', '.join(known)}.")
    chosen = list(dict.fromkeys(canonical_category(category) for category in categories))
    for category in chosen:
        if category not in known:
            raise DataError(f"{source} has no category {category!r}; it has {', '.join(known)}.")
    return chosen
