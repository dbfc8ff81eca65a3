"""The texts of a study's questions: those kept with its runs, or else those of the source it names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mlx_prune.bbq.item import Item
from mlx_prune.bbq.items import load_items
from mlx_prune.checkpoint.invented import DEMO
from mlx_prune.errors import DataError, RecordsError
from mlx_prune.paths import expanded
from mlx_prune.runs.folder import RunFolder
from mlx_prune.runs.items import items_fingerprint, read_items
from mlx_prune.study.data import wording
from mlx_prune.study.folder import StudyFolder


@dataclass(frozen=True)
class AskedItems:
    """The questions of runs, as far as their texts are known.

    Attributes:
        by_id: By item id, in the order they were asked.
        missing: Why some or all are not known, as a sentence; empty where all are.
    """

    by_id: dict[str, Item]
    missing: str = ""


def asked_items(runs: Iterable[RunFolder], study: StudyFolder | None = None) -> AskedItems:
    """The questions of some runs, read once for all that were asked the same.

    Only texts with the fingerprint of those that were asked are taken. Nothing is fetched from a network.

    Args:
        runs: Whose; those without a ``run.json``, as other tools write them, tell nothing.
        study: What they are part of, whose questions are read again where a run kept none.

    Raises:
        RecordsError: A ``run.json`` is damaged.
    """
    found: dict[str, Item] = {}
    differing: set[str] = set()
    missing = ""
    groups: dict[str, list[RunFolder]] = {}
    for run in runs:
        groups.setdefault(str(run.about.asked.get("items", "")), []).append(run)
    for fingerprint, alike in groups.items():
        items, reason = _kept(alike)
        if items is None and study is not None and fingerprint:
            items = _of_source(study, fingerprint)
        if items is None:
            missing = missing or reason
            continue
        clash = {item.item_id for item in items if found.get(item.item_id, item) != item}
        if clash:
            missing = missing or f"Runs were asked different questions by the name of {min(clash)}."
        found.update((item.item_id, item) for item in items)
        differing |= clash
    return AskedItems({name: item for name, item in found.items() if name not in differing}, missing)


def _kept(runs: Iterable[RunFolder]) -> tuple[list[Item] | None, str]:
    """The questions beside the first run that has them, or why there are none."""
    reason = ""
    for run in runs:
        try:
            return read_items(run), ""
        except RecordsError as error:
            reason = reason or str(error)
    return None, reason


def _of_source(study: StudyFolder, fingerprint: str) -> list[Item] | None:
    """The questions that the study's file names, where they lie on this machine and are still the same."""
    config = study.config
    source = None if config is None else config.bbq.source
    if config is None or source is None or not (source == DEMO or expanded(source).is_dir()):
        return None
    bbq = config.bbq
    try:
        items = load_items(
            source,
            categories=bbq.categories,
            condition=bbq.condition,
            limit=bbq.limit,
            exclude_label_faults=bbq.exclude_label_faults,
            wording=wording(config),
        )
    except DataError:
        return None
    return items if items_fingerprint(items) == fingerprint else None
