"""One question, and what every run answered to it: all of a study, or one beside its dense run."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from mlx_prune.bbq.item import Item
from mlx_prune.configuration import Configuration
from mlx_prune.errors import RecordsError
from mlx_prune.runs.folder import RunFolder
from mlx_prune.runs.item_answers import ItemAnswers, answers_to
from mlx_prune.stats.counting import NEEDED_COLUMNS, count_run
from mlx_prune.stats.moves import moves
from mlx_prune.stats.outcomes import RunOutcomes, assemble
from mlx_prune.store import RECORDS_FOLDER
from mlx_prune.study.folder import StudyFolder
from mlx_prune.study.questions import AskedItems, asked_items

# Ids that are named where one is not there.
_NEAREST = 3


@dataclass(frozen=True)
class Side:
    """What one run answered to a question; None where it was not asked."""

    configuration: Configuration
    answers: ItemAnswers | None


@dataclass(frozen=True)
class Moved:
    """A question that a run moved; distance and lean as in :class:`~mlx_prune.stats.moves.Moves`."""

    configuration: Configuration
    item_id: str
    distance: float
    lean: float


@dataclass(frozen=True, eq=False)
class Place:
    """Runs whose answers are read together; made by :func:`open_place`.

    Attributes:
        runs: The dense one of each model first.
        pairs: A dense run and one to compare with it, each.
        study: Of which they are part, or None.
    """

    runs: tuple[RunFolder, ...]
    pairs: tuple[tuple[RunFolder, RunFolder], ...] = ()
    study: StudyFolder | None = None

    @cached_property
    def asked(self) -> AskedItems:
        """The texts of the questions, as far as they are known."""
        return asked_items(self.runs, self.study)

    @cached_property
    def ids(self) -> dict[str, None]:
        """Ids of all questions that were answered."""
        tables = (run.records(["item_id"], encoded=True) for run in self.runs)
        return dict.fromkeys(name for table in tables for name in table["item_id"].unique().to_pylist())

    def find(self, name: str) -> str:
        """The id of a question, of which upper and lower case need not be right.

        Raises:
            RecordsError: There is none; the nearest are named.
        """
        found = next((one for one in self.ids if one.lower() == name.lower()), None)
        if found is None:
            near = ", ".join(_nearest(name, list(self.ids)))
            raise RecordsError(f"there is no question {name!r} here; the nearest are {near}.")
        return found

    def sides(self, item: str) -> list[Side]:
        """What every run answered to a question."""
        return [Side(run.configuration, answers_to(run, [item]).get(item)) for run in self.runs]

    def moved(self, most: int) -> list[Moved]:
        """The ambiguous questions that each run moved most from its dense one, both ways.

        Args:
            most: Of each run and direction at most; no question template is there twice.

        Raises:
            RecordsError: There is nothing to compare with.
        """
        if not self.pairs:
            raise RecordsError(
                f"{self.runs[-1].path} has no dense run beside it; name one with --dense, or name a question."
            )
        return [one for dense, run in self.pairs for one in _moved(dense, run, most)]


def open_place(path: Path, dense: Path | None = None) -> Place:
    """The runs of a study, or a run and the dense one beside it.

    Args:
        path: A folder that ``mlxprune study`` or ``mlxprune eval`` wrote.
        dense: A run to compare a run with; None takes the dense run of the study that it is part of.

    Raises:
        RecordsError: It is neither, or holds no answers.
    """
    study = StudyFolder(path)
    if study.exists:
        if dense is not None:
            raise RecordsError(f"{path} is a study, which has its own dense runs; leave --dense out.")
        runs = [run for run in study.runs() if (run.path / RECORDS_FOLDER).is_dir() and run.count()]
        if not runs:
            raise RecordsError(f"{path} holds no answers; run the study first.")
        runs.sort(key=lambda run: run.configuration.order)
        known = {run.configuration: run for run in runs}
        pairs = [(known.get(run.configuration.dense), run) for run in runs if not run.configuration.is_dense]
        return Place(tuple(runs), tuple((one, run) for one, run in pairs if one is not None), study)
    run, around = _run(path), StudyFolder.around(path)
    if dense is not None:
        pair = _run(dense), run
        return Place(pair, (pair,))
    beside = None if around is None else around.run(run.configuration.dense)
    if beside is None or not beside.exists or run.configuration.is_dense:
        return Place((run,), (), around)
    return Place((beside, run), ((beside, run),), around)


def _run(path: Path) -> RunFolder:
    if not (path / RECORDS_FOLDER).is_dir():
        raise RecordsError(f"{path} is neither a run nor a study; give a folder that holds answers.")
    return RunFolder(path)


def _moved(reference: RunFolder, run: RunFolder, most: int) -> list[Moved]:
    sides = [count_run(one.records(NEEDED_COLUMNS, encoded=True)).outcomes for one in (reference, run)]
    outcomes = assemble(_as_pair(*sides))
    found = moves(outcomes)
    every = ~np.isnan(found.distance[1])
    places = [
        place for up in (True, False) for place in found.most_moved(1, every, outcomes.template, most, up=up)
    ]
    return [
        Moved(
            run.configuration,
            str(outcomes.item_ids[place]),
            float(found.distance[1, place]),
            float(found.lean[1, place]),
        )
        for place in places
    ]


def _as_pair(dense: RunOutcomes, other: RunOutcomes) -> list[RunOutcomes]:
    """Two runs under names that put the first before the second, whatever they are of."""
    return [
        replace(dense, configuration=Configuration("model")),
        replace(other, configuration=Configuration("model", "other")),
    ]


def _nearest(name: str, ids: Sequence[str]) -> list[str]:
    """Ids of the category that is meant, by how near their number is; else those spelled alike."""
    category, _, number = name.rpartition(":")
    known = {one.rpartition(":")[0] for one in ids}
    lower = {one.lower(): one for one in known}
    meant = difflib.get_close_matches(category.lower(), lower, n=1, cutoff=0.5)
    if not meant or not number.isdecimal():
        return difflib.get_close_matches(name, ids, n=_NEAREST, cutoff=0.0)
    mine = [one for one in ids if one.rpartition(":")[0] == lower[meant[0]]]
    return sorted(mine, key=lambda one: abs(_number(one) - int(number)))[:_NEAREST]


def _number(name: str) -> int:
    last = name.rpartition(":")[2]
    return int(last) if last.isdecimal() else 0


def role(item: Item, option: int | None) -> str:
    """What an option is: "stereotyped", "other", "unknown", or "person" where no single one fits.

    Args:
        item: The question.
        option: Its index; None, for an answer that was not understood, is nothing.
    """
    if option is None:
        return ""
    if option == item.unknown_index:
        return "unknown"
    if item.stereotype_target_index is None:
        return "person"
    return "stereotyped" if option == item.stereotype_target_index else "other"
