"""What became of every answer of a model's configurations, as one small array.

For the statistics a record is one byte: was the answer unparsed, the unknown option, the stereotyped person
or the other one? Every table of a study is a few sums over an array (configurations, items, seeds) of such
bytes. Only ambiguous items with a stereotyped option are in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlx_prune.configuration import Configuration
from mlx_prune.errors import RecordsError

ABSENT, UNPARSED, UNKNOWN, ANTI, STEREOTYPED = range(5)
OUTCOMES = ("absent", "unparsed", "unknown", "anti", "stereotyped")


def classify(parsed: NDArray[Any], stereotyped: NDArray[Any], unknown: NDArray[Any]) -> NDArray[np.int8]:
    """Name the outcome of each answer to an item that has a stereotyped option.

    Args:
        parsed: Index of the chosen option, -1 where none was understood; any shape.
        stereotyped: Index of the stereotyped option; same shape.
        unknown: Index of the unknown option; same shape.

    Returns:
        int8 outcome codes, same shape.
    """
    codes = np.full(np.shape(parsed), ANTI, np.int8)
    codes[parsed == unknown] = UNKNOWN
    codes[parsed == stereotyped] = STEREOTYPED
    codes[parsed < 0] = UNPARSED
    return codes


@dataclass(frozen=True, eq=False)
class RunOutcomes:
    """The answers of one configuration, record by record.

    Attributes:
        configuration: Which.
        item_ids: Distinct item ids, in any order (items,).
        categories: Category of each distinct item.
        question_indices: Template number of each distinct item.
        item: Position in ``item_ids`` of each record (records,).
        seed: Seed of each record (records,).
        code: Outcome code of each record (records,).
        guessed: Whether an answer was read off by the fourth parsing rule only (records,).
        probabilities: First-token probabilities at the run's temperature of the stereotyped, the other and
            the unknown option's letter, of each distinct item; NaN where not recorded (items, 3).
    """

    configuration: Configuration
    item_ids: Sequence[str]
    categories: Sequence[str]
    question_indices: NDArray[np.integer[Any]]
    item: NDArray[np.integer[Any]]
    seed: NDArray[np.integer[Any]]
    code: NDArray[np.int8]
    guessed: NDArray[np.bool_]
    probabilities: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The answers of all configurations of one model to the same items under the same seeds.

    Attributes:
        configurations: Dense first if it is there, then by method, sparsity and pattern.
        item_ids: Of all items that any configuration answered, sorted by category.
        categories: Category names, sorted.
        category: Position in ``categories`` of each item (items,).
        template: Cluster number of each item: items made from one question template share it (items,).
        seeds: Sorted.
        codes: Outcome codes (configurations, items, seeds).
        guessed: Answers that only the fourth parsing rule read, first a, b or c anywhere; same shape.
        probabilities: As in :class:`RunOutcomes` (configurations, items, 3).
    """

    configurations: tuple[Configuration, ...]
    item_ids: NDArray[np.str_]
    categories: tuple[str, ...]
    category: NDArray[np.intp]
    template: NDArray[np.intp]
    seeds: tuple[int, ...]
    codes: NDArray[np.int8]
    guessed: NDArray[np.bool_]
    probabilities: NDArray[np.float32]

    @property
    def dense(self) -> int | None:
        """Position of the dense configuration, or None if it was not run."""
        first = self.configurations[0] if self.configurations else None
        return 0 if first is not None and first.is_dense else None

    @cached_property
    def template_category(self) -> NDArray[np.intp]:
        """Position in ``categories`` of each question template (templates,)."""
        found = np.zeros(int(self.template.max()) + 1, np.intp)
        found[self.template] = self.category
        return found

    @cached_property
    def _counts(self) -> NDArray[np.intp]:
        """How many answers of each item have each outcome (outcomes, configurations, items)."""
        *shape, seeds = self.codes.shape
        items = np.repeat(np.arange(math.prod(shape)), seeds)
        places = items + self.codes.ravel().astype(np.intp) * math.prod(shape)
        counts = np.bincount(places, minlength=len(OUTCOMES) * math.prod(shape))
        return counts.reshape(len(OUTCOMES), *shape)

    def counts(self, *outcomes: int) -> NDArray[np.intp]:
        """How many answers of each item have one of these outcomes (configurations, items)."""
        return np.asarray(self._counts[list(outcomes)].sum(axis=0))

    def parsed(self) -> NDArray[np.intp]:
        """How many answers of each item were understood (configurations, items)."""
        return self.counts(*range(UNKNOWN, len(OUTCOMES)))

    def select(self, items: NDArray[np.bool_]) -> Outcomes:
        """The same configurations, restricted to some items (a mask over items)."""
        return Outcomes(
            self.configurations,
            self.item_ids[items],
            self.categories,
            self.category[items],
            self.template[items],
            self.seeds,
            self.codes[:, items],
            self.guessed[:, items],
            self.probabilities[:, items],
        )

    def strict(self) -> Outcomes:
        """The same answers, taken as not parsed where only the fourth parsing rule read them."""
        if not self.guessed.any():
            return self
        return replace(self, codes=np.where(self.guessed, np.int8(UNPARSED), self.codes))


def assemble(runs: Sequence[RunOutcomes]) -> Outcomes:
    """Line up the runs of one model by item and seed.

    Raises:
        RecordsError: If there is nothing to compare, a configuration is there twice, two runs disagree about
            an item's category or template, or a run holds a record twice.
    """
    if not runs:
        raise RecordsError("there are no records to compare; run an evaluation first.")
    runs = sorted(runs, key=lambda run: run.configuration.order)
    configurations = tuple(run.configuration for run in runs)
    if len(set(configurations)) != len(configurations):
        raise RecordsError(f"two runs hold the same configuration of {configurations[0].model}; remove one.")
    place = _common_items(runs)
    if not place:
        raise RecordsError(
            "the records hold no ambiguous item with a stereotyped option; nothing to compare."
        )
    ordered = sorted(place, key=lambda item: (place[item][0], item))
    position = {item: number for number, item in enumerate(ordered)}
    places = np.zeros(0, np.intp)
    previous: Sequence[str] | None = None
    seeds = np.unique(np.concatenate([run.seed for run in runs]))
    codes = np.full((len(runs), len(ordered), len(seeds)), ABSENT, np.int8)
    guessed = np.zeros(codes.shape, bool)
    probabilities = np.full((len(runs), len(ordered), 3), np.nan, np.float32)
    for number, run in enumerate(runs):
        if run.item_ids != previous:
            places, previous = np.array([position[i] for i in run.item_ids], np.intp), run.item_ids
        item = places[run.item]
        flat = item * len(seeds) + np.searchsorted(seeds, run.seed)
        if np.bincount(flat, minlength=1).max() > 1:
            raise RecordsError(f"the run of {run.configuration} holds records twice; redo it with --force.")
        codes[number].reshape(-1)[flat] = run.code
        if run.guessed.any():
            guessed[number].reshape(-1)[flat] = run.guessed
        probabilities[number, places] = run.probabilities
    categories, category = np.unique([place[item][0] for item in ordered], return_inverse=True)
    templates = category * (1 + max(question for _, question in place.values()))
    templates += np.array([place[item][1] for item in ordered], np.intp)
    return Outcomes(
        configurations,
        np.array(ordered, dtype=np.str_),
        tuple(str(name) for name in categories),
        category,
        np.unique(templates, return_inverse=True)[1],
        tuple(int(seed) for seed in seeds),
        codes,
        guessed,
        probabilities,
    )


def _common_items(runs: Sequence[RunOutcomes]) -> dict[str, tuple[str, int]]:
    place: dict[str, tuple[str, int]] = {}
    previous: RunOutcomes | None = None
    for run in runs:
        # Runs of one study mostly answer the same items in the same order.
        if previous is not None and _same_items(run, previous):
            continue
        previous = run
        facts = zip(run.categories, run.question_indices.tolist(), strict=True)
        found = dict(zip(run.item_ids, facts, strict=True))
        clash = next((i for i in found.keys() & place.keys() if found[i] != place[i]), None)
        if clash is not None:
            raise RecordsError(f"runs of {run.configuration.model} disagree about item {clash!r}; redo one.")
        place |= found
    return place


def _same_items(one: RunOutcomes, other: RunOutcomes) -> bool:
    return (
        one.item_ids == other.item_ids
        and one.categories == other.categories
        and np.array_equal(one.question_indices, other.question_indices)
    )
