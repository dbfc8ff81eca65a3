"""Random records of answers with what they are scored by, as plain dicts, as columns and as a run's table."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from mlx_prune.bbq.answers import LETTERS, RULES
from mlx_prune.stats.columns import from_table as columns_from_table

COLUMNS = (
    "category",
    "item_id",
    "context_condition",
    "parsed_answer",
    "stereotype_target_index",
    "unknown_index",
    "label",
    "parse_rule",
)


def random_records(seed: int, items: int = 60, seeds: int = 5) -> list[dict]:
    """Records with both contexts, unparsed answers and items without a target, in random order."""
    rng = np.random.default_rng(seed)
    records = []
    for number in range(items):
        category = str(rng.choice(["SES", "Age", "Religion"]))
        unknown = int(rng.integers(3))
        target = -1 if rng.random() < 0.15 else (unknown + int(rng.integers(1, 3))) % 3
        condition = str(rng.choice(["ambig", "disambig"]))
        label = unknown if condition == "ambig" else (unknown + int(rng.integers(1, 3))) % 3
        for _ in range(seeds):
            parsed = int(rng.integers(-1, 3))
            rule = "none" if parsed < 0 else str(rng.choice(RULES[:-1]))
            values = (category, f"{category}:{number}", condition, parsed, target, unknown, label, rule)
            records.append(dict(zip(COLUMNS, values, strict=True)))
    return [records[i] for i in rng.permutation(len(records))]


def columns_of(records: list[dict]):
    return columns_from_table(table_of(records))


def table_of(records: list[dict]) -> pa.Table:
    """The records as a run stores them: letters, and nulls for none."""
    table = {name: [record[name] for record in records] for name in COLUMNS}
    letters = {-1: None, **dict(enumerate(LETTERS))}
    table["parsed_answer"] = [letters.get(answer, str(answer)) for answer in table["parsed_answer"]]
    table["stereotype_target_index"] = [None if t < 0 else t for t in table["stereotype_target_index"]]
    narrow = {name: pa.int32() for name in ("stereotype_target_index", "unknown_index", "label")}
    return pa.table({name: pa.array(values, narrow.get(name)) for name, values in table.items()})
