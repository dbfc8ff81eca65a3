"""Record tables for tests: made-up ones, two answers to each item; and whether two tables hold the same."""

import numpy as np

from mlx_prune.configuration import Configuration
from mlx_prune.generation.interface import Answer, PromptAnswers
from mlx_prune.runs.records import record_table

STAMP = Configuration("gemma-2-9b-it", "wanda", 50.0, "2:4")


def answered(item, texts=("A", "(b) x"), elapsed=None):
    answers = tuple(
        Answer(item.item_id, seed, text, (5,) * (seed + 1), 90, elapsed) for seed, text in enumerate(texts)
    )
    return PromptAnswers(item.item_id, (0.5, 0.25, 0.125), (0.3, 0.2, 0.1), answers)


def table_of(items, skip=frozenset(), **kwargs):
    return record_table(
        STAMP, {i.item_id: i for i in items}, [answered(i, **kwargs) for i in items], set(skip)
    )


def responses(table):
    """The texts of the answers, by question and seed."""
    keys = zip(table["item_id"].to_pylist(), table["seed"].to_pylist(), strict=True)
    return dict(zip(keys, table["raw_response"].to_pylist(), strict=True))


def assert_same_records(one, other, but=()):
    """The same answers of the same items and seeds; their probabilities to what float32 sums resolve.

    Args:
        one: A table of records.
        other: Another, in any order of rows.
        but: Columns that may differ.
    """
    left, right = (
        table.drop_columns(list(but)).sort_by([("item_id", "ascending"), ("seed", "ascending")])
        for table in (one, other)
    )
    probabilities = [name for name in left.column_names if name.startswith(("p_", "p1_"))]
    for name in probabilities:
        np.testing.assert_allclose(left[name], right[name], atol=1e-5)
    assert left.drop_columns(probabilities).equals(right.drop_columns(probabilities))
