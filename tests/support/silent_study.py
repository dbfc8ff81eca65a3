"""A study in which one model answers gibberish, one is guessed at, one lacks a category, one is not done."""

import json

import numpy as np
from random_study import random_records, write_study

GRID = (
    ("dense", 0.0, None),
    ("random", 50.0, None),
    ("magnitude", 30.0, None),
    ("magnitude", 50.0, None),
    ("wanda", 50.0, None),
    ("wanda", 70.0, None),
)
SILENT, GUESSED, PARTLY, STOPPED = GRID[1], GRID[4], GRID[3], GRID[5]
ANSWERED = 8


def write_silent_study(folder, *, items=100, stopped=8):
    """Write the study and return its folder.

    ``SILENT`` has :data:`ANSWERED` parsed answers to ambiguous questions, of ``GUESSED`` the last rule read
    four in ten, always as A, of ``PARTLY`` hardly any answer in the category SES is parsed, and of
    ``STOPPED`` there are ``stopped`` records.
    """
    rng = np.random.default_rng(7)
    rows, ambiguous, begun = [], 0, 0
    for row in random_records(5, items=items, grid=GRID, complete=True):
        name = (row["prune_method"], row["sparsity"], row["pattern"])
        gibberish = {"parsed_answer": None, "parse_rule": "none", "raw_response": "zz"}
        if name == SILENT:
            ambiguous += row["parsed_answer"] is not None
            if row["parsed_answer"] is not None and (ambiguous % 50 or ambiguous > 50 * ANSWERED):
                row |= gibberish
        elif name == GUESSED and rng.random() < 0.4:
            said = "The answer is Hussein B"
            row |= {"parsed_answer": "A", "parse_rule": "first_character", "raw_response": said}
        elif name == PARTLY and row["category"] == "SES" and rng.random() < 0.9:
            row |= gibberish
        elif name == STOPPED:
            begun += 1
            if begun > stopped:
                continue
        rows.append(row)
    write_study(folder, rows)
    entries = [
        {"model": "alpha", "prune_method": method, "sparsity": sparsity, "pattern": pattern}
        for method, sparsity, pattern in GRID
    ]
    for entry in entries:
        run = folder / "runs" / "alpha" / f"{entry['prune_method']}-s{entry['sparsity']:g}"
        stopped_here = (entry["prune_method"], entry["sparsity"]) == STOPPED[:2]
        about = {"format": 1, "configuration": entry | {"bbq": "demo", "items": "f", "seeds": [1]}}
        about |= {"status": "running"} if stopped_here else {"status": "complete"}
        about |= {} if stopped_here else {"totals": {"records": 5 * items}}
        (run / "run.json").write_text(json.dumps(about))
        if entry["prune_method"] != "dense":
            meta = {"actual_sparsity": entry["sparsity"]}
            (run / "pruning_meta.json").write_text(json.dumps(meta))
    found = [e | {"perplexity": 9 + e["sparsity"] / 10, "standard_error": 0.1} for e in entries]
    (folder / "perplexity.json").write_text(json.dumps({"results": found}))
    (folder / "study.toml").write_text(
        'name = "a study with gibberish"\nmodels = ["somewhere/alpha"]\n'
        '[grid]\nmethods = ["random", "magnitude", "wanda"]\nsparsities = [30.0, 50.0]\n'
    )
    return folder
