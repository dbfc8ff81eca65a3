"""A finished run folder with chosen answers, as `mlxprune eval` leaves one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from mlx_prune.bbq.answers import LETTERS
from mlx_prune.runs.records import SCHEMA, write_part

SEEDS = (1, 2, 3)


def save_run(run: Path, answers: Mapping[tuple[str, int], int | None], **entries: Any) -> Path:
    """A finished run; `answers` gives the chosen option (0 fits the stereotype, 2 is unknown) or None."""
    configuration = {
        "model": "Tiny",
        "prune_method": "wanda",
        "pattern": None,
        "sparsity": 50.0,
        "bbq": "hub",
        "items": "i",
        "prompts": "p",
        "temperature": 0.3,
        "max_tokens": 5,
        "seeds": list(SEEDS),
        "noise": "item",
        **entries,
    }
    rows = []
    for (item, seed), option in answers.items():
        row: dict[str, Any] = dict.fromkeys(SCHEMA.names)
        row |= {name: configuration[name] for name in ("model", "prune_method", "pattern", "sparsity")}
        row |= {"item_id": item, "category": item.split(":")[0], "seed": seed, "question_index": 1}
        row |= {"question_polarity": "neg", "context_condition": "ambig", "raw_response": "x"}
        row |= {"parsed_answer": None if option is None else LETTERS[option]}
        row |= {"parse_rule": "none" if option is None else "exact", "stereotype_target_index": 0}
        row |= {"anti_stereotype_target_index": 1, "unknown_index": 2, "label": 2, "known_label_fault": False}
        rows.append(row)
    write_part(run, "part", pa.Table.from_pylist(rows, schema=SCHEMA))
    about = {"format": 1, "status": "complete", "configuration": configuration, "device": {"machine": "M9"}}
    (run / "run.json").write_text(json.dumps(about))
    return run
