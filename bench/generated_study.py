"""Random records of a study's size and shape: the grid of three models, three methods and four sparsities."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from mlx_prune.runs.records import SCHEMA, write_part

# Ambiguous items and question templates of the study's categories.
CATEGORIES = {
    "Age": (1840, 25),
    "Gender_identity": (2836, 51),
    "Race_ethnicity": (3440, 52),
    "Religion": (600, 25),
    "SES": (3432, 51),
}
MODELS = ("gemma-2-9b-it", "mistral-7b-instruct-v0.3", "phi-3.5-mini-instruct")
STRENGTH = {"dense": 0.0, "random": 4.0, "magnitude": 2.0, "wanda": 1.0}
SPARSITIES = (10, 30, 50, 70)
SEEDS = (42, 123, 456, 789, 1024)


def generate(folder: Path, scale: float = 1.0, seed: int = 0) -> int:
    """Write runs, perplexity.json and pruning_meta.json; returns the number of records."""
    rng = np.random.default_rng(seed)
    items = _items(rng, scale)
    total, perplexity = 0, []
    for model in MODELS:
        lean = rng.normal(-2.5, 1.2, len(items["item_id"])) + rng.normal(0, 0.8, 300)[items["template"]]
        for method, strength in STRENGTH.items():
            for sparsity in (0,) if method == "dense" else SPARSITIES:
                run = folder / "runs" / model / f"{method}-s{sparsity}"
                stamp = {"model": model, "prune_method": method, "sparsity": sparsity, "pattern": None}
                table = _records(rng, items, lean, strength * sparsity / 100, stamp)
                write_part(run, "part-0", table)
                total += table.num_rows
                perplexity.append(stamp | {"perplexity": float(9 * np.exp(strength * sparsity / 50))})
                if method != "dense":
                    meta = {"actual_sparsity": sparsity * (2 / 3 if method == "wanda" else 1)}
                    (run / "pruning_meta.json").write_text(json.dumps(meta))
    (folder / "perplexity.json").write_text(json.dumps({"results": perplexity}))
    return total


def _items(rng: np.random.Generator, scale: float) -> dict[str, np.ndarray]:
    ids, categories, questions = [], [], []
    for category, (count, templates) in CATEGORIES.items():
        for number in range(int(count * scale)):
            ids.append(f"{category}:{2 * number}")
            categories.append(category)
            questions.append(1 + number * templates // int(count * scale))
    pairs = [f"{c} {q}" for c, q in zip(categories, questions, strict=True)]
    return {
        "item_id": np.array(ids),
        "category": np.array(categories),
        "question_index": np.array(questions, np.int32),
        "template": np.unique(pairs, return_inverse=True)[1],
        # Position of the stereotyped person, the other person and the unknown option.
        "roles": np.argsort(rng.random((len(ids), 3)), axis=1),
    }


def _records(
    rng: np.random.Generator,
    items: dict[str, np.ndarray],
    lean: np.ndarray,
    push: float,
    stamp: dict[str, object],
) -> pa.Table:
    count, seeds = len(lean), len(SEEDS)
    scores = np.stack([lean + push, lean - 0.3 + push, np.ones(count)], axis=1)
    scores[:, :2] += rng.normal(0, 0.3, (count, 2))
    role_probability = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    drawn = (rng.random((count, seeds, 1)) > role_probability.cumsum(axis=1)[:, None]).sum(axis=2).clip(max=2)
    answer = np.take_along_axis(items["roles"], drawn, axis=1).ravel()
    failed = rng.random(count * seeds) < float(str(stamp["sparsity"])) / 1000
    probability = np.zeros((count, 3))
    np.put_along_axis(probability, items["roles"], role_probability, axis=1)
    repeated = {name: np.repeat(items[name], seeds) for name in ("item_id", "category", "question_index")}
    roles = np.repeat(items["roles"], seeds, axis=0)
    total = count * seeds
    letters = np.array(["A", "B", "C"], dtype=object)[answer]
    columns = {name: [value] * total for name, value in stamp.items()} | repeated
    columns |= {
        "question_polarity": np.where(np.arange(total) % 2, "neg", "nonneg"),
        "context_condition": ["ambig"] * total,
        "seed": np.tile(SEEDS, count),
        "raw_response": np.where(failed, "I cannot say", letters),
        "parsed_answer": np.where(failed, None, letters),
        "parse_rule": np.where(failed, "none", "exact"),
        "stereotype_target_index": roles[:, 0],
        "anti_stereotype_target_index": roles[:, 1],
        "unknown_index": roles[:, 2],
        "label": roles[:, 2],
        "known_label_fault": np.zeros(total, bool),
        "prompt_tokens": np.full(total, 120),
        "generated_tokens": np.full(total, 2),
        "elapsed_s": np.round(rng.gamma(4, 0.05, total), 4),
    }
    for number, letter in enumerate("abc"):
        columns[f"p_{letter}"] = columns[f"p1_{letter}"] = np.repeat(probability[:, number], seeds)
    return pa.table({field.name: pa.array(columns[field.name], field.type) for field in SCHEMA})
