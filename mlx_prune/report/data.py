"""What a study folder holds, reduced to what its tables need; reads files only, MLX not needed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlx_prune.bbq.answers import LETTERS, MIN_ANSWERED
from mlx_prune.configuration import Configuration
from mlx_prune.errors import RecordsError
from mlx_prune.json_files import read_object
from mlx_prune.labels import DENSE
from mlx_prune.report.run_states import COMPLETE, RunState, run_states
from mlx_prune.runs.records import read_records
from mlx_prune.stats.columns import AnswerColumns, from_table
from mlx_prune.stats.outcomes import Outcomes, RunOutcomes, assemble, classify, configuration_order
from mlx_prune.stats.rates import CategoryRates, Rates, compute_rates
from mlx_prune.study.results import read_results

META_FILE = "pruning_meta.json"
PERPLEXITY_FILE = "perplexity.json"
SIZES_FILE = "sizes.json"
# Wider no interval is on the log scale; its end is still a float.
_LARGEST_LOG = 700.0

NORMAL_95 = 1.959963984540054

_CONFIGURATION = ("model", "prune_method", "sparsity", "pattern")
_PROBABILITIES = ("p_a", "p_b", "p_c")
_COLUMNS = (
    *_CONFIGURATION,
    "item_id",
    "category",
    "question_index",
    "context_condition",
    "seed",
    "parsed_answer",
    "parse_rule",
    "stereotype_target_index",
    "unknown_index",
    "label",
    *_PROBABILITIES,
    "elapsed_s",
)


@dataclass(frozen=True, eq=False)
class RunData:
    """The records of one configuration, counted.

    Attributes:
        configuration: Which.
        rates: Per category and overall.
        outcomes: Answers to the ambiguous items that have a stereotyped option.
        letters: How often A, B and C were answered in ambiguous contexts (3,).
        elapsed_s: Seconds of each answer that was timed on its own.
        actual_sparsity: Percent of zeros among the prunable weights, or None if it was not recorded.
        understood: Answers in ambiguous contexts, understood ones and all, by question template
            (2, templates).
    """

    configuration: Configuration
    rates: Rates
    outcomes: RunOutcomes
    letters: NDArray[np.intp]
    elapsed_s: NDArray[np.float64]
    actual_sparsity: float | None
    understood: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class StudyData:
    """A study, counted.

    Attributes:
        runs: Sorted by model, dense first, then by method, sparsity and pattern.
        models: Answers by model.
        perplexity: Where it was measured.
        perplexity_interval: Its 95 % interval, the figure itself twice where no standard error was recorded;
            infinite where the perplexity overflowed.
        size_bytes: Size on disk, where there is a checkpoint.
        min_answered: Share of answers that must be understood for a rate to be compared.
        states: How far every configuration is; those that are not complete are not among the runs.
    """

    runs: tuple[RunData, ...]
    models: Mapping[str, Outcomes]
    perplexity: Mapping[Configuration, float]
    size_bytes: Mapping[Configuration, float]
    perplexity_interval: Mapping[Configuration, tuple[float, float]]
    min_answered: float = MIN_ANSWERED
    states: tuple[RunState, ...] = ()

    def actual_sparsity(self, configuration: Configuration) -> float | None:
        """Percent of zeros among the prunable weights, or None if it was not recorded."""
        return self._by_configuration[configuration].actual_sparsity

    def rates(self, configuration: Configuration, category: str) -> CategoryRates | None:
        """Rates of one category or "overall"; None where the configuration was not asked it."""
        try:
            return self._by_configuration[configuration].rates[category]
        except KeyError:
            return None

    def compared(self, configuration: Configuration, category: str) -> bool:
        """Whether enough answers were understood, of the dense model too, to compare the two."""
        sides = (configuration, configuration.dense)
        found = [self.rates(side, category) for side in sides]
        return not any(rates is not None and rates.too_few(self.min_answered) for rates in found)

    @cached_property
    def _by_configuration(self) -> dict[Configuration, RunData]:
        return {run.configuration: run for run in self.runs}


def read_study(folder: Path, *, min_answered: float = MIN_ANSWERED) -> StudyData:
    """Read the complete runs of a study, ``runs/<model>/<configuration>/``, and the measures beside them.

    Args:
        folder: The study.
        min_answered: Share of answers that must be understood for a rate to be compared.

    Raises:
        RecordsError: If there are no records, no run is complete, or a file is damaged.
    """
    runs, states = [], run_states(folder)
    for state in states:
        if state.path is not None and state.state == COMPLETE:
            # One run at a time in memory; what is kept of it is about ten bytes a record.
            table = read_records(state.path, _COLUMNS, encoded=True)
            runs.append(count_run(table, _actual_sparsity(state.path)))
    if not runs:
        begun = sum(state.answers > 0 for state in states)
        if begun:
            raise RecordsError(
                f"none of the {len(states)} configurations of {folder} is complete; run the study again to "
                "carry on."
            )
        raise RecordsError(f"{folder} holds no records; run the study first, or choose its folder.")
    perplexity = _by_configuration(folder / PERPLEXITY_FILE, "perplexity")
    errors = _by_configuration(folder / PERPLEXITY_FILE, "standard_error", needed=False)
    sizes = _by_configuration(folder / SIZES_FILE, "size_bytes")
    return combine(
        runs,
        perplexity={name: value for name, value in perplexity.items() if value is not None},
        size_bytes={name: value for name, value in sizes.items() if value is not None},
        perplexity_interval={name: _interval(value, errors[name]) for name, value in perplexity.items()},
        min_answered=min_answered,
        states=tuple(states),
    )


def combine(
    runs: list[RunData],
    *,
    perplexity: Mapping[Configuration, float] | None = None,
    size_bytes: Mapping[Configuration, float] | None = None,
    perplexity_interval: Mapping[Configuration, tuple[float, float]] | None = None,
    min_answered: float = MIN_ANSWERED,
    states: tuple[RunState, ...] = (),
) -> StudyData:
    """Put counted runs together.

    Raises:
        RecordsError: If two runs contradict each other.
    """
    runs = sorted(runs, key=lambda run: configuration_order(run.configuration))
    names = dict.fromkeys(run.configuration.model for run in runs)
    models = {
        name: assemble([run.outcomes for run in runs if run.configuration.model == name]) for name in names
    }
    return StudyData(
        tuple(runs),
        models,
        perplexity or {},
        size_bytes or {},
        perplexity_interval or {},
        min_answered,
        states,
    )


def count_run(table: pa.Table, actual_sparsity: float | None = None) -> RunData:
    """Count the records of one configuration.

    Args:
        table: Records with the columns of :data:`mlx_prune.runs.records.SCHEMA`.
        actual_sparsity: Percent of zeros among the prunable weights, if known; a dense model has none.

    Raises:
        RecordsError: If the records are of several configurations, or hold impossible values.
    """
    configuration = _configuration(table)
    columns = from_table(table)
    ambiguous = columns.condition == 0
    elapsed = table["elapsed_s"].drop_null().to_numpy()
    return RunData(
        configuration,
        compute_rates(columns),
        _outcomes(configuration, table, columns),
        np.bincount(columns.parsed_answer[ambiguous] + 1, minlength=len(LETTERS) + 1)[1:],
        np.asarray(elapsed, np.float64),
        0.0 if configuration.prune_method == DENSE else actual_sparsity,
        _understood(table, columns),
    )


def _understood(table: pa.Table, columns: AnswerColumns) -> NDArray[np.float64]:
    ambiguous = columns.condition == 0
    # One number per template, without sorting records, which would take longer than all the rest.
    question = table["question_index"].combine_chunks().dictionary_encode().indices.to_numpy()
    template = (columns.category * (1 + question.max()) + question)[ambiguous]
    counts = np.stack([np.bincount(template, weight) for weight in (columns.strict[ambiguous], None)])
    return np.asarray(counts[:, counts[1] > 0], np.float64)


def _configuration(table: pa.Table) -> Configuration:
    values = [pc.unique(table[name]).to_pylist() for name in _CONFIGURATION]
    if any(len(found) != 1 for found in values):
        raise RecordsError("a run holds records of several configurations; redo it with --force.")
    model, method, sparsity, pattern = (found[0] for found in values)
    return Configuration(str(model), str(method), float(sparsity), pattern)


def _outcomes(configuration: Configuration, table: pa.Table, columns: AnswerColumns) -> RunOutcomes:
    kept = (columns.condition == 0) & (columns.stereotype_target_index >= 0)
    _, first, item = np.unique(columns.item[kept], return_index=True, return_inverse=True)
    rows = np.flatnonzero(kept)[first]
    facts = table.select(["item_id", "category", "question_index", *_PROBABILITIES]).take(rows)
    stereotyped, unknown = columns.stereotype_target_index, columns.unknown_index
    roles = np.stack([stereotyped, 3 - stereotyped - unknown, unknown], axis=1)[rows]
    letters = np.stack([facts[name].to_numpy() for name in _PROBABILITIES], axis=1)
    return RunOutcomes(
        configuration,
        # Decoded first: a dictionary's scalars become Python's one by one, and slowly.
        facts["item_id"].cast(pa.string()).to_pylist(),
        facts["category"].cast(pa.string()).to_pylist(),
        facts["question_index"].to_numpy(),
        item.reshape(-1),
        table["seed"].to_numpy()[kept],
        classify(columns.parsed_answer[kept], stereotyped[kept], unknown[kept]),
        columns.guessed[kept],
        np.take_along_axis(letters, roles, axis=1).astype(np.float32),
    )


def _actual_sparsity(run: Path) -> float | None:
    path = run / META_FILE
    if not path.is_file():
        return None
    value = _json(path).get("actual_sparsity")
    return None if value is None else float(value)


def _by_configuration(path: Path, key: str, *, needed: bool = True) -> dict[Configuration, float | None]:
    """Figures of ``{"results": [{"model", "prune_method", "sparsity", "pattern", key}, ...]}``."""
    found = {}
    for row in read_results(path):
        if needed and key not in row:
            raise RecordsError(f"{path} is damaged (a row has no {key}); delete it to measure again.")
        value = row.get(key)
        found[Configuration.of(row)] = None if value is None else float(value)
    return found


def _interval(value: float | None, error: float | None) -> tuple[float, float]:
    """95 % interval of a perplexity on the log scale; a figure that is null in the file overflowed."""
    if value is None:
        return math.inf, math.inf
    factor = math.exp(min(NORMAL_95 * (error or 0.0) / value, _LARGEST_LOG))
    return value / factor, value * factor


def _json(path: Path) -> dict[str, Any]:
    return read_object(path, RecordsError, "measure again")
