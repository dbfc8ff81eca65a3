"""Records with impossible values, lacking columns or none at all are refused before anything is counted."""

from __future__ import annotations

import pyarrow as pa
import pytest
from scored_records import columns_of, random_records, table_of

from mlx_prune.errors import RecordsError
from mlx_prune.stats.rates import from_table


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parsed_answer": 3}, "parsed_answer"),
        ({"parsed_answer": -2}, "parsed_answer"),
        ({"unknown_index": -1}, "unknown_index"),
        ({"stereotype_target_index": 1, "unknown_index": 1}, "stereotyped option is its unknown"),
        ({"context_condition": "ambiguous"}, "context_condition"),
        ({"parse_rule": "guess"}, "parse_rule"),
    ],
)
def test_impossible_values_are_refused(change, message):
    records = random_records(0, items=3)
    records[1] |= change
    with pytest.raises(RecordsError, match=message):
        columns_of(records)


def test_tables_with_missing_columns_nulls_or_other_letters_are_refused():
    table = table_of(random_records(0, items=3))
    with pytest.raises(RecordsError, match="no column 'label'"):
        from_table(table.drop_columns(["label"]))
    nulls = pa.array([None] * len(table), pa.string())
    with pytest.raises(RecordsError, match="empty cells"):
        from_table(table.set_column(0, "category", nulls))
    letters = pa.array(["D"] * len(table))
    with pytest.raises(RecordsError, match="'D'"):
        from_table(table.set_column(table.column_names.index("parsed_answer"), "parsed_answer", letters))


def test_no_records_is_an_error_not_a_rate():
    with pytest.raises(RecordsError, match="no records"):
        from_table(table_of(random_records(0, items=1)).slice(0, 0))
