"""Records of a small random study with all that records may hold: gaps, failures, items without target."""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa

from mlx_prune.configuration import Configuration
from mlx_prune.runs.records import SCHEMA, write_part
from mlx_prune.stats.outcomes import STEREOTYPED, UNKNOWN, RunOutcomes, assemble, classify

SEEDS = (42, 123, 456, 789, 1024)
LETTERS = "ABC"
GRID = (
    ("dense", 0.0, None),
    ("magnitude", 30.0, None),
    ("magnitude", 70.0, None),
    ("random", 50.0, None),
    ("wanda", 50.0, None),
    ("wanda", 50.0, "2:4"),
)


def random_records(seed=0, models=("alpha",), items=40, seeds=SEEDS, grid=GRID, complete=False):
    """Rows as dictionaries; categories of different size, templates of different size."""
    rng = np.random.default_rng(seed)
    rows = []
    for model in models:
        for number in range(items):
            category = ("Age", "Religion", "SES")[number % 5 % 3]
            shared = _item(rng, category, number, complete)
            lean = rng.normal(-1.5, 1.5)
            for method, sparsity, pattern in grid:
                scores = np.array([lean, lean - 0.4, 1.0]) + rng.normal(0, 0.3 + sparsity / 50, 3)
                roles = np.exp(scores) / np.exp(scores).sum()
                order = _order(shared)
                for one in seeds:
                    if not complete and rng.random() < 0.03:
                        continue
                    fails = rng.random() < sparsity / 400 + 0.01
                    option = None if fails else int(order[rng.choice(3, p=roles)])
                    p = np.zeros(3)
                    p[order] = roles * 0.97
                    rows.append(
                        {
                            "model": model,
                            "prune_method": method,
                            "pattern": pattern,
                            "sparsity": sparsity,
                            **shared,
                            "seed": one,
                            "raw_response": "um" if fails else LETTERS[option],
                            "parsed_answer": None if fails else LETTERS[option],
                            "parse_rule": "none" if fails else "exact",
                            **dict(zip(("p_a", "p_b", "p_c"), np.float32(p).tolist(), strict=True)),
                            **dict(zip(("p1_a", "p1_b", "p1_c"), np.float32(p).tolist(), strict=True)),
                            "prompt_tokens": 50,
                            "generated_tokens": 2,
                            "elapsed_s": float(rng.gamma(4, 0.05)),
                        }
                    )
    return rows


def _item(rng, category, number, complete):
    stereotyped, anti, unknown = (int(i) for i in rng.permutation(3))
    without_target = not complete and rng.random() < 0.08
    disambiguated = not complete and rng.random() < 0.15
    return {
        "item_id": f"{category}:{number}",
        "category": category,
        "question_index": int(number // 5 % 6),
        "question_polarity": ("neg", "nonneg")[number % 2],
        "context_condition": "disambig" if disambiguated else "ambig",
        "stereotype_target_index": None if without_target else stereotyped,
        "anti_stereotype_target_index": None if without_target else anti,
        "unknown_index": unknown,
        "label": anti if disambiguated else unknown,
        "known_label_fault": False,
    }


def _order(shared):
    unknown = shared["unknown_index"]
    first = shared["stereotype_target_index"]
    first = (unknown + 1) % 3 if first is None else first
    return np.array([first, 3 - unknown - first, unknown])


def write_study(folder: Path, rows):
    """Lay the rows out as a study's runs, two parts per run."""
    runs = {}
    for row in rows:
        runs.setdefault((row["model"], row["prune_method"], row["sparsity"], row["pattern"]), []).append(row)
    for (model, method, sparsity, pattern), mine in runs.items():
        suffix = f"-{pattern.replace(':', 'of')}" if pattern else ""
        run = folder / "runs" / model / f"{method}-s{sparsity:g}{suffix}"
        half = len(mine) // 2
        for part, some in enumerate((mine[:half], mine[half:])):
            write_part(run, f"part-{part}", pa.Table.from_pylist(some, schema=SCHEMA))
    return folder


def usable(rows):
    """The rows that item-based statistics rest on."""
    return [r for r in rows if r["context_condition"] == "ambig" and r["stereotype_target_index"] is not None]


def run_outcomes(rows):
    """The same rows as :class:`RunOutcomes`, built record by record."""
    runs = []
    keys = dict.fromkeys((r["model"], r["prune_method"], r["sparsity"], r["pattern"]) for r in rows)
    for key in keys:
        mine = [
            r for r in usable(rows) if (r["model"], r["prune_method"], r["sparsity"], r["pattern"]) == key
        ]
        items = list({r["item_id"]: r for r in mine}.values())
        ids = [r["item_id"] for r in items]
        roles = [[r["p_" + LETTERS[r[f"{role}_index"]].lower()] for role in ROLE_COLUMNS] for r in items]
        runs.append(
            RunOutcomes(
                Configuration(*key),
                ids,
                [r["category"] for r in items],
                np.array([r["question_index"] for r in items]),
                np.array([ids.index(r["item_id"]) for r in mine]),
                np.array([r["seed"] for r in mine]),
                classify(
                    np.array(
                        [
                            -1 if r["parsed_answer"] is None else LETTERS.index(r["parsed_answer"])
                            for r in mine
                        ]
                    ),
                    np.array([r["stereotype_target_index"] for r in mine]),
                    np.array([r["unknown_index"] for r in mine]),
                ),
                np.array([r["parse_rule"] == "first_character" for r in mine], bool),
                np.array(roles, np.float32).reshape(-1, 3),
            )
        )
    return runs


ROLE_COLUMNS = ("stereotype_target", "anti_stereotype_target", "unknown")


def outcome_of(row):
    if row["parsed_answer"] is None:
        return "unparsed"
    option = LETTERS.index(row["parsed_answer"])
    if option == row["stereotype_target_index"]:
        return "stereotyped"
    return "unknown" if option == row["unknown_index"] else "anti"


def answers(rows, configuration):
    """item -> seed -> row of one configuration."""
    found = {}
    for row in rows:
        if Configuration.of(row) == dataclasses.replace(configuration, model=row["model"]):
            found.setdefault(row["item_id"], {})[row["seed"]] = row
    return found


def simulated(rate_dense, rate_pruned, items=3000, seeds=5, seed=0):
    """Outcomes drawn independently from known per-item rates of the stereotyped option."""
    rng = np.random.default_rng(seed)
    base = run_outcomes(random_records(0, items=3, grid=(("dense", 0.0, None), ("wanda", 50.0, None))))
    runs = []
    for run, rate in zip(base, (rate_dense, rate_pruned), strict=True):
        hit = rng.random((items, seeds)) < rate[:, None]
        p = np.stack([rate, 0 * rate, 1 - rate], axis=1).astype(np.float32)
        runs.append(
            dataclasses.replace(
                run,
                item_ids=[f"Age:{i}" for i in range(items)],
                categories=["Age"] * items,
                question_indices=np.arange(items) % 25,
                item=np.repeat(np.arange(items), seeds),
                seed=np.tile(np.arange(seeds), items),
                code=np.where(hit, STEREOTYPED, UNKNOWN).astype(np.int8).ravel(),
                guessed=np.zeros(hit.size, bool),
                probabilities=p,
            )
        )
    return assemble(runs)
