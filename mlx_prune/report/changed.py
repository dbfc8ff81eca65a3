"""Answers that changed: the questions that each compressed model moved most from the dense one, both ways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from mlx_prune.bbq.item import Item
from mlx_prune.configuration import Configuration
from mlx_prune.report.data import StudyData
from mlx_prune.runs.folder import RunFolder
from mlx_prune.runs.item_answers import ItemAnswers, answers_to
from mlx_prune.stats.moves import MOVED, Moves, moves
from mlx_prune.stats.outcomes import Outcomes
from mlx_prune.stats.rates import OVERALL

MOST = 5
"""Questions of one configuration, category and direction, at most."""


@dataclass(frozen=True)
class ChangedItem:
    """One question that was moved.

    Attributes:
        item: The question.
        distance: As in :class:`~mlx_prune.stats.moves.Moves`, like the next.
        lean: Positive towards the stereotype.
        rank: Its place among those of its configuration, category and direction, from 0.
        dense: What the dense model answered.
        now: What the compressed one did.
    """

    item: Item
    distance: float
    lean: float
    rank: int
    dense: ItemAnswers
    now: ItemAnswers


@dataclass(frozen=True)
class ChangedBy:
    """What one configuration moved.

    Attributes:
        configuration: Which.
        questions: Ambiguous questions with a stereotyped option that both were asked.
        median: Of their distances.
        up: How many lean more to the stereotype, by :data:`~mlx_prune.stats.moves.MOVED` or more.
        down: How many lean less.
        items: Those that moved most, category by category; towards the stereotype first.
    """

    configuration: Configuration
    questions: int
    median: float
    up: int
    down: int
    items: tuple[ChangedItem, ...]


@dataclass(frozen=True)
class ChangedAnswers:
    """The answers that changed in a study.

    Attributes:
        by: Configuration by configuration; none where nothing can be shown.
        missing: Why something cannot be shown, as a sentence; empty where all can.
        silent: Configurations that are left out because too few of their answers were understood.
    """

    by: tuple[ChangedBy, ...]
    missing: str = ""
    silent: tuple[Configuration, ...] = ()


NOTHING_CHANGED = ChangedAnswers(())
"""Of a study in which nothing was compared."""


@dataclass(frozen=True)
class _Chosen:
    """A question to show, before its answers are read."""

    item: str
    distance: float
    lean: float
    rank: int


def changed_answers(data: StudyData, most: int = MOST) -> ChangedAnswers:
    """The questions whose option probabilities moved most, with all that was answered to them.

    Args:
        data: The study.
        most: Questions of one configuration, category and direction at most; no template is there twice.

    Raises:
        RecordsError: A file of records is damaged.
    """
    paths = {state.configuration: state.path for state in data.states if state.path is not None}
    known = set(data.asked.by_id)
    found: list[tuple[ChangedBy, list[_Chosen]]] = []
    recorded = False
    for outcomes in data.paired:
        moved = moves(outcomes)
        recorded = recorded or not np.isnan(moved.distance[1:]).all()
        found += [
            one for one in _of_model(data, outcomes, moved, known, most) if one[0].configuration in paths
        ]
    if not data.paired:
        return NOTHING_CHANGED
    compressed = [one for outcomes in data.paired for one in outcomes.configurations[1:]]
    silent = tuple(one for one in compressed if not data.compared(one, OVERALL))
    if not found:
        return ChangedAnswers((), _why_nothing(data, recorded), silent)
    wanted: dict[Configuration, list[str]] = {}
    for by, chosen in found:
        for configuration in (by.configuration, by.configuration.dense):
            wanted.setdefault(configuration, []).extend(one.item for one in chosen)
    answers = {one: answers_to(RunFolder(paths[one]), items) for one, items in wanted.items() if one in paths}
    shown = tuple(_with_answers(data, by, chosen, answers) for by, chosen in found)
    return ChangedAnswers(shown, data.asked.missing, silent)


def _why_nothing(data: StudyData, recorded: bool) -> str:
    if not data.asked.by_id and data.asked.missing:
        return data.asked.missing
    if not recorded:
        return "The records hold no option probabilities."
    return "Too few answers were understood, of the dense model or of all others, to show any that changed."


def _of_model(
    data: StudyData, outcomes: Outcomes, moved: Moves, known: set[str], most: int
) -> Iterator[tuple[ChangedBy, list[_Chosen]]]:
    texts = np.array([name in known for name in outcomes.item_ids.tolist()])
    for number, configuration in enumerate(outcomes.configurations[1:], start=1):
        both = ~np.isnan(moved.distance[number])
        if not data.compared(configuration, OVERALL) or not (both & texts).any():
            continue
        chosen = []
        for place, category in enumerate(outcomes.categories):
            if not data.compared(configuration, category):
                continue
            items = both & texts & (outcomes.category == place)
            for up in (True, False):
                places = moved.most_moved(number, items, outcomes.template, most, up=up)
                chosen += [
                    _Chosen(
                        str(outcomes.item_ids[one]),
                        moved.distance[number, one],
                        moved.lean[number, one],
                        rank,
                    )
                    for rank, one in enumerate(places)
                ]
        lean = moved.lean[number, both]
        yield (
            ChangedBy(
                configuration,
                questions=int(both.sum()),
                median=float(np.median(moved.distance[number, both])),
                up=int((lean >= MOVED).sum()),
                down=int((lean <= -MOVED).sum()),
                items=(),
            ),
            chosen,
        )


def _with_answers(
    data: StudyData,
    by: ChangedBy,
    chosen: list[_Chosen],
    answers: Mapping[Configuration, Mapping[str, ItemAnswers]],
) -> ChangedBy:
    dense, now = answers.get(by.configuration.dense, {}), answers.get(by.configuration, {})
    items = tuple(
        ChangedItem(
            data.asked.by_id[one.item], one.distance, one.lean, one.rank, dense[one.item], now[one.item]
        )
        for one in chosen
        if one.item in dense and one.item in now
    )
    return ChangedBy(by.configuration, by.questions, by.median, by.up, by.down, items)
