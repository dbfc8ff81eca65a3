"""What width and depth buy in time, for an MLP and for whole answers, against the dense model and a mask.

    python bench/structured.py [--width 1024] [--blocks 8] [--items 12] [--rounds 3]

A Llama-shaped model with random weights is pruned to 50 % by Wanda, width and depth. First its MLP is timed
alone, then the whole model, dense and pruned in turns; then `mlxprune bench`'s loop times all models against
the dense one. The MLP holds half the neurons, so its time should halve where the arithmetic, not the calls,
takes the time; a mask's file is as large as the dense one's and takes as long.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _common import interleaved, table

# isort: split
import mlx.core as mx
import numpy as np
from generated_model import llama_config, write_model

from mlx_prune.activations.calibration import Calibration
from mlx_prune.checkpoint.matrices import blocks
from mlx_prune.checkpoint.open import load
from mlx_prune.latency.run import bench
from mlx_prune.latency.settings import BenchSettings
from mlx_prune.latency.table import interval_text
from mlx_prune.pruning.on_disk import prune_checkpoint
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.structure.prune import prune_structured
from mlx_prune.pruning.structured_recipe import StructuredRecipe

VOCABULARY = 1000
COLUMNS = ["", "ms", "of dense", "CPU ms", "of dense"]


def write_tokenizer(folder: Path) -> None:
    """One token per word, w0 to w999."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {f"w{number}": number for number in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "w1", "unk_token": "w0"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def pruned(folder: Path, width: int, depth: int, dtype: str) -> dict[str, Path]:
    """The dense model and its pruned forms, by name."""
    dense = folder / "dense"
    dense.mkdir()
    write_model(dense, llama_config(width, depth, VOCABULARY), dtype=dtype)
    write_tokenizer(dense)
    text = folder / "text.txt"
    numbers = np.random.default_rng(0).integers(2, VOCABULARY, 8 * 128)
    text.write_text(" ".join(f"w{number}" for number in numbers))
    calibration = Calibration(text, samples=8, sequence_length=128)
    prune_checkpoint(dense, folder / "wanda", Recipe("wanda", 0.5, calibration=calibration), cache=False)
    for method in ("width", "depth"):
        prune_structured(dense, folder / method, StructuredRecipe(method, 0.5, calibration=calibration))
    return {name: folder / name for name in ("dense", "wanda", "width", "depth")}


def time_mlp(models: dict[str, Path], width: int, rounds: int) -> None:
    mlps = {name: blocks(load(models[name]).model)[0].mlp for name in ("dense", "wanda", "width")}
    rows = []
    for tokens in (1, 16, 128):
        x = mx.random.normal((1, tokens, width)).astype(mlps["dense"].up_proj.weight.dtype)
        rows += rows_of(mlps, [x + number for number in range(max(1, 64 // tokens))], tokens, rounds)
    table("One MLP, best of the rounds", COLUMNS, rows)


def time_forwards(models: dict[str, Path], rounds: int) -> None:
    networks = {name: load(folder).model for name, folder in models.items()}
    rows = []
    for tokens in (1, 128):
        ids = mx.random.randint(2, VOCABULARY, (1, tokens))
        rows += rows_of(networks, [ids], tokens, rounds)
    table("One forward of the whole model, best of the rounds", COLUMNS, rows)


def rows_of(calls: dict[str, Any], inputs: list[mx.array], tokens: int, rounds: int) -> list[list[str]]:
    def contender(name: str) -> Callable[[], object]:
        return lambda: mx.eval([calls[name](x) for x in inputs])

    times = interleaved({name: contender(name) for name in calls}, rounds)
    dense = times["dense"]
    return [
        [
            f"{name}, {tokens} tokens",
            f"{1e3 * timing.wall / len(inputs):.2f}",
            f"{timing.wall / dense.wall:.2f}",
            f"{1e3 * timing.cpu / len(inputs):.2f}",
            f"{timing.cpu / dense.cpu:.2f}",
        ]
        for name, timing in times.items()
    ]


def time_models(models: dict[str, Path], items: int, rounds: int, new_tokens: int) -> None:
    found = bench(
        list(models.values()),
        BenchSettings(
            rounds=rounds,
            items=items,
            cooldown_s=0,
            prompt_lengths=(128,),
            new_tokens=new_tokens,
            sizes=False,
        ),
    )
    rows = []
    for name, facts, row in zip(models, found.models, found.rows, strict=True):
        compared = {
            metric: interval_text(row.comparisons[metric]) if row.comparisons else "1"
            for metric in ("ttft", "per_token", "total")
        }
        verdict = row.comparisons["total"].verdict.word if row.comparisons else ""
        size = f"{facts.disk_bytes / 1e6:.0f}"
        rows.append([name, size, f"{row.times['total'].median_ms:.0f}", *compared.values(), verdict])
    columns = [
        "",
        "MB",
        "total ms",
        "first token, of dense",
        "per token, of dense",
        "total, of dense",
        "verdict",
    ]
    table(f"Whole answers: 128 prompt tokens, {new_tokens} generated", columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--items", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--generate", type=int, default=16)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = pruned(Path(folder), arguments.width, arguments.blocks, arguments.dtype)
        time_mlp(models, arguments.width, 3 * arguments.rounds)
        time_forwards(models, 3 * arguments.rounds)
        time_models(models, arguments.items, arguments.rounds, arguments.generate)


if __name__ == "__main__":
    main()
