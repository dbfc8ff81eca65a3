"""The columns of records that rates are computed from, as integer codes: fast for millions of records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlx_prune.bbq.answers import LETTERS, RULES, STRICT_RULES
from mlx_prune.bbq.item import CONTEXTS
from mlx_prune.errors import RecordsError

if TYPE_CHECKING:
    import pyarrow as pa

Ints = NDArray[np.int64]

# A column of names as (distinct names, index of each entry's name).
Coded = tuple[Sequence[str], Ints]


@dataclass(frozen=True)
class AnswerColumns:
    """One entry per record (an answer to one item under one seed); all arrays are int64 of one length.

    Attributes:
        categories: Category names in alphabetical order.
        category: Index into ``categories``.
        item: A number per item, from 0; the same for all answers to one item.
        condition: 0 for ambiguous contexts, 1 for disambiguated ones.
        parsed_answer: Index of the option that was read, -1 if none was.
        stereotype_target_index: Index of the option that fits the stereotype, -1 if no single one does.
        unknown_index: Index of the unknown option.
        label: Index of the right option.
        rule: Index of the parsing rule in :data:`mlx_prune.bbq.answers.RULES`.
    """

    categories: tuple[str, ...]
    category: Ints
    item: Ints
    condition: Ints
    parsed_answer: Ints
    stereotype_target_index: Ints
    unknown_index: Ints
    label: Ints
    rule: Ints

    def __len__(self) -> int:
        return len(self.category)

    @property
    def strict(self) -> NDArray[np.bool_]:
        """Whether one of the first three rules found the answer (records,)."""
        return self.rule < len(STRICT_RULES)

    @property
    def guessed(self) -> NDArray[np.bool_]:
        """Whether only the fourth rule found the answer, the first a, b or c anywhere (records,)."""
        return np.asarray(self.rule == RULES.index("first_character"))


def from_table(table: pa.Table) -> AnswerColumns:
    """Encode the records of a run: ``parsed_answer`` is a letter, and nulls stand for "none".

    Raises:
        RecordsError: If a column is missing, or a value cannot occur in a record.
    """
    letters, answers = _arrow_codes(table, "parsed_answer", nullable=True)
    # One more entry at the end, which the code -1 of a null picks.
    answers = np.append(_positions("parsed_answer", letters, LETTERS), -1)[answers]
    indices = {
        column: np.asarray(_column(table, column).cast("int64").fill_null(-1).to_numpy(), np.int64)
        for column in ("stereotype_target_index", "unknown_index", "label")
    }
    names = {
        column: _arrow_codes(table, column)
        for column in ("category", "item_id", "context_condition", "parse_rule")
    }
    for column, values in indices.items():
        lowest = -1 if column == "stereotype_target_index" else 0
        if values.size and (values.min() < lowest or values.max() > 2):
            raise _damaged(f"column {column!r} holds a value outside {lowest} to 2")
    if np.any(indices["stereotype_target_index"] == indices["unknown_index"]):
        raise _damaged("a record's stereotyped option is its unknown option")
    categories, category = names["category"]
    ordered = sorted(categories)
    return AnswerColumns(
        categories=tuple(ordered),
        category=_positions("category", categories, ordered)[category],
        item=names["item_id"][1],
        condition=_known("context_condition", names["context_condition"], CONTEXTS),
        rule=_known("parse_rule", names["parse_rule"], RULES),
        parsed_answer=answers,
        **indices,
    )


def _known(column: str, coded: Coded, allowed: Sequence[str]) -> Ints:
    names, codes = coded
    return _positions(column, names, allowed)[codes]


def _positions(column: str, names: Sequence[str], allowed: Sequence[str]) -> Ints:
    for name in names:
        if name not in allowed:
            raise _damaged(f"column {column!r} holds {name!r}, which is none of {', '.join(allowed)}")
    return np.array([allowed.index(name) for name in names], np.int64)


def _column(table: pa.Table, name: str) -> Any:
    if name not in table.column_names:
        raise _damaged(f"no column {name!r}")
    return table.column(name)


def _arrow_codes(table: pa.Table, name: str, *, nullable: bool = False) -> Coded:
    """Names and codes of a column of strings; nulls, where allowed, have the code -1."""
    column = _column(table, name)
    if column.null_count and not nullable:
        raise _damaged(f"column {name!r} has empty cells")
    if not hasattr(column.type, "index_type"):
        column = column.cast("string").dictionary_encode()
    encoded = column.unify_dictionaries().combine_chunks()
    return encoded.dictionary.to_pylist(), np.asarray(encoded.indices.fill_null(-1).to_numpy(), np.int64)


def _damaged(reason: str) -> RecordsError:
    return RecordsError(f"the records are damaged ({reason}); redo the run with --force.")
