"""A study of masks, removed neurons and blocks, and quantization, with sizes and times that go with them."""

import json

from random_study import random_records, write_study

from mlx_prune.report.write import report_tables

MIXED = (
    ("dense", 0.0, None),
    ("random", 50.0, None),
    ("magnitude", 50.0, None),
    ("wanda", 50.0, None),
    ("wanda", 50.0, "2:4"),
    ("sparsegpt", 50.0, None),
    ("wanda+owl", 50.0, None),
    ("width", 50.0, None),
    ("width+repair", 50.0, None),
    ("depth", 50.0, None),
    ("q4", 0.0, None),
    ("q8", 0.0, None),
    ("wanda+q4", 50.0, None),
    ("width+mxfp4", 50.0, None),
)
# Size and time relative to dense, perplexity, actual sparsity in percent.
FACTS = {
    "dense": (1.0, 1.0, 8.94, 0.0),
    "random": (1.0, 1.001, 54_775.0, 50.0),
    "magnitude": (1.0, 0.998, 54.05, 50.0),
    "wanda": (1.0, 1.002, 13.1, 50.0),
    "wanda 2:4": (1.0, 0.999, 16.4, 50.0),
    "sparsegpt": (1.0, 1.003, 12.4, 50.0),
    "wanda+owl": (1.0, 1.001, 12.9, 50.0),
    "width": (0.63, 0.68, 31.0, 33.1),
    "width+repair": (0.63, 0.681, 22.5, 33.1),
    "depth": (0.55, 0.54, 88.0, 50.0),
    "q4": (0.29, 0.62, 9.4, 0.4),
    "q8": (0.54, 0.75, 8.95, 0.1),
    "wanda+q4": (0.29, 0.622, 14.0, 50.2),
    "width+mxfp4": (0.19, 0.45, 36.0, 33.4),
}
FEW = tuple(entry for entry in MIXED if entry[0] in ("dense", "wanda", "width", "q4", "random"))


def write_mixed_study(folder, *, models=("alpha", "beta"), items=60, grid=MIXED, without=(), seed=0):
    """Write the study and return its folder.

    ``without`` leaves out files ("latency", "sizes", "perplexity") or, as (file, model, method), single rows.
    """
    write_study(folder, random_records(seed, models, items, grid=grid))
    for run in folder.glob("runs/*/*"):
        method, _, rest = run.name.partition("-s")
        facts = FACTS[f"{method} 2:4" if "of" in rest else method]
        about = {"format": 1, "status": "complete", "configuration": {"bbq": "demo", "temperature": 0.3}}
        about |= {"versions": {"mlx-prune": "0.1.0", "mlx": "0.32.4"}, "device": {"machine": "Test CPU"}}
        (run / "run.json").write_text(json.dumps(about))
        if method != "dense":
            (run / "pruning_meta.json").write_text(json.dumps({"actual_sparsity": facts[3]}))
    files = {"sizes": [], "latency": [], "perplexity": []}
    for model in models:
        for method, sparsity, pattern in grid:
            size, ratio, perplexity, _ = FACTS[f"{method} {pattern}" if pattern else method]
            name = {"model": model, "prune_method": method, "sparsity": sparsity, "pattern": pattern}
            files["sizes"].append(name | {"size_bytes": round(size * 2_000_000)})
            error = 0.015 * perplexity
            files["perplexity"].append(name | {"perplexity": perplexity, "standard_error": error})
            if method != "dense":
                same = abs(ratio - 1) < 0.02
                ends = {"low": ratio * 0.985, "high": ratio * 1.015, "verdict": "same" if same else "faster"}
                files["latency"].append(
                    name | {"ratio": ratio, **ends, "dense_ms": 20.0, "pruned_ms": 20 * ratio}
                )
    for file, rows in files.items():
        left = [row for row in rows if (file, row["model"], row["prune_method"]) not in without]
        if file not in without:
            (folder / f"{file}.json").write_text(json.dumps({"results": left}))
    (folder / "study.toml").write_text('name = "a mixed study"\nmodels = ["demo"]\n')
    return folder


def few(tmp_path, **options):
    """The tables of a study of a few configurations of one model."""
    return report_tables(write_mixed_study(tmp_path, models=("alpha",), items=30, grid=FEW, **options))


def by_label(tables, model="alpha"):
    """The rows of the table of gain and price, by configuration."""
    return {row.configuration.name: row for row in tables["frontier"].where(model=model).rows}
