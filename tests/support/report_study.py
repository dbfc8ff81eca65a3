"""A study folder with all that a report reads: runs, pruning metadata, perplexity, latency, study.toml."""

import json
from pathlib import Path

from random_study import random_records, write_study

METHODS = ("random", "magnitude", "wanda")
GRID = (
    ("dense", 0.0, None),
    *((method, target, None) for method in METHODS for target in (10.0, 50.0, 70.0)),
)
WITH_PATTERN = (*GRID, ("wanda", 50.0, "2:4"))
RUN_CONFIGURATION = {
    "engine": "batched",
    "temperature": 0.3,
    "max_tokens": 5,
    "seeds": [42, 123, 456, 789, 1024],
    "noise": "item",
    "dtype": "float32",
}


def write_full_study(
    folder: Path, *, models=("alpha",), items=60, grid=WITH_PATTERN, categories=None, seed=0
):
    """Write the study and return its folder; ``categories`` renames the generator's three, in rotation."""
    rows = random_records(seed, models, items, grid=grid)
    if categories:
        for row in rows:
            number = int(row["item_id"].split(":")[1])
            row["category"] = categories[number % len(categories)]
            row["item_id"] = f"{row['category']}:{number}"
    write_study(folder, rows)
    for run in sorted(folder.glob("runs/*/*")):
        method, target = run.name.split("-")[0], float(run.name.split("-s")[1].split("-")[0])
        about = {"configuration": RUN_CONFIGURATION, "versions": {"mlx-prune": "0.1.0", "mlx": "0.32.4"}}
        about |= {"format": 1, "status": "complete", "device": {"machine": "Test CPU", "backend": "cpu"}}
        (run / "run.json").write_text(json.dumps(about))
        if method != "dense":
            actual = target * (2 / 3 if method == "wanda" else 1)
            (run / "pruning_meta.json").write_text(json.dumps({"actual_sparsity": actual}))
    entries = [
        {"model": model, "prune_method": method, "sparsity": sparsity, "pattern": pattern}
        for model in models
        for method, sparsity, pattern in grid
    ]
    perplexity = [
        entry | {"perplexity": made_up_perplexity(entry), "standard_error": 0.01 * made_up_perplexity(entry)}
        for entry in entries
    ]
    latency = [
        entry
        | {"ratio": 1.004, "low": 0.99, "high": 1.02, "verdict": "same", "dense_ms": 20.0, "pruned_ms": 20.1}
        for entry in entries
        if entry["prune_method"] != "dense"
    ]
    (folder / "perplexity.json").write_text(json.dumps({"results": perplexity}))
    (folder / "latency.json").write_text(json.dumps({"results": latency}))
    (folder / "study.toml").write_text('name = "a test study"\nmodels = ["demo"]\n')
    return folder


def made_up_perplexity(entry):
    """Grows with sparsity, steeply for random pruning."""
    steep = {
        "dense": 0.0,
        "random": 0.12,
        "magnitude": 0.03,
        "wanda": 0.006,
        "wanda@chat": 0.005,
        "wanda+recover": 0.002,
    }[entry["prune_method"]]
    return 8.94 * 2.718281828 ** (steep * entry["sparsity"])
