"""The records of one run, counted: what every table, card and gate takes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlx_prune.bbq.answers import LETTERS
from mlx_prune.configuration import COLUMNS, Configuration
from mlx_prune.errors import RecordsError
from mlx_prune.stats.columns import AnswerColumns, from_table
from mlx_prune.stats.outcomes import RunOutcomes, classify
from mlx_prune.stats.rates import Rates, compute_rates
from mlx_prune.stats.uncertainty import letter_entropy

_PROBABILITIES = ("p_a", "p_b", "p_c")
UNSCALED = ("p1_a", "p1_b", "p1_c")
"""Columns that :func:`count_run` takes a model's uncertainty from, where they are given."""

NEEDED_COLUMNS = (
    *COLUMNS,
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
"""Columns of records that :func:`count_run` reads."""


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
        entropies: Of the letters' probabilities at temperature 1, in bits, by item of ``outcomes``; empty
            where they were not given.
    """

    configuration: Configuration
    rates: Rates
    outcomes: RunOutcomes
    letters: NDArray[np.intp]
    elapsed_s: NDArray[np.float64]
    actual_sparsity: float | None
    understood: NDArray[np.float64]
    entropies: Mapping[str, float] = field(default_factory=dict)


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
    outcomes, entropies = _outcomes(configuration, table, columns)
    return RunData(
        configuration,
        compute_rates(columns),
        outcomes,
        np.bincount(columns.parsed_answer[ambiguous] + 1, minlength=len(LETTERS) + 1)[1:],
        np.asarray(elapsed, np.float64),
        0.0 if configuration.is_dense else actual_sparsity,
        _understood(table, columns),
        entropies,
    )


def _understood(table: pa.Table, columns: AnswerColumns) -> NDArray[np.float64]:
    ambiguous = columns.condition == 0
    # One number per template, without sorting records, which would take longer than all the rest.
    question = table["question_index"].combine_chunks().dictionary_encode().indices.to_numpy()
    template = (columns.category * (1 + question.max()) + question)[ambiguous]
    counts = np.stack([np.bincount(template, weight) for weight in (columns.strict[ambiguous], None)])
    return np.asarray(counts[:, counts[1] > 0], np.float64)


def _configuration(table: pa.Table) -> Configuration:
    found = {name: pc.unique(table[name]).to_pylist() for name in COLUMNS}
    if any(len(values) != 1 for values in found.values()):
        raise RecordsError("a run holds records of several configurations; redo it with --force.")
    return Configuration.of({name: values[0] for name, values in found.items()})


def _outcomes(
    configuration: Configuration, table: pa.Table, columns: AnswerColumns
) -> tuple[RunOutcomes, dict[str, float]]:
    kept = (columns.condition == 0) & (columns.stereotype_target_index >= 0)
    _, first, item = np.unique(columns.item[kept], return_index=True, return_inverse=True)
    rows = np.flatnonzero(kept)[first]
    facts = table.select(["item_id", "category", "question_index", *_PROBABILITIES]).take(rows)
    stereotyped, unknown = columns.stereotype_target_index, columns.unknown_index
    roles = np.stack([stereotyped, 3 - stereotyped - unknown, unknown], axis=1)[rows]
    letters = np.stack([facts[name].to_numpy() for name in _PROBABILITIES], axis=1)
    # Decoded first: a dictionary's scalars become Python's one by one, and slowly.
    ids = facts["item_id"].cast(pa.string()).to_pylist()
    found = RunOutcomes(
        configuration,
        ids,
        facts["category"].cast(pa.string()).to_pylist(),
        facts["question_index"].to_numpy(),
        item.reshape(-1),
        table["seed"].to_numpy()[kept],
        classify(columns.parsed_answer[kept], stereotyped[kept], unknown[kept]),
        columns.guessed[kept],
        np.take_along_axis(letters, roles, axis=1).astype(np.float32),
    )
    if not set(UNSCALED) <= set(table.column_names):
        return found, {}
    unscaled = np.stack([table[name].take(rows).to_numpy() for name in UNSCALED], axis=1)
    return found, dict(zip(ids, letter_entropy(unscaled.astype(np.float64)).tolist(), strict=True))
