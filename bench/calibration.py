"""Measuring activation statistics, against a bare forward pass of the same tokens without the head.

python bench/calibration.py [--width 1024] [--blocks 4] [--samples 16] [--length 256] [--rounds 3]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import mlx_prune  # noqa: F401  (first: puts OpenBLAS in front of MLX's BLAS on Linux)

# isort: split
import mlx.core as mx
import numpy as np
from _common import interleaved, table
from generated_model import llama_config, write_model

from mlx_prune.activations.hidden import HiddenStates
from mlx_prune.activations.passes import BlockSteps, batch_size
from mlx_prune.activations.statistics import square_sums
from mlx_prune.activations.text import CalibrationTokens
from mlx_prune.checkpoint.matrices import prunable_linears
from mlx_prune.checkpoint.open import Checkpoint, LoadedModel


class Bench:
    """One generated model and its calibration tokens."""

    def __init__(self, folder: Path, samples: int, length: int) -> None:
        self.folder = folder
        self.model = self.load()
        tokens = np.random.default_rng(0).integers(0, 1000, (samples, length), dtype=np.int32)
        self.data = CalibrationTokens(tokens, "random tokens", "")
        per_block: list[list[Any]] = [[] for _ in self.model.model.layers]
        for linear in prunable_linears(self.model.model):
            per_block[linear.block].append(linear)
        self.batch = batch_size(per_block, length, mx.float32, self.model.config)

    def load(self) -> LoadedModel:
        source = Checkpoint(self.folder)
        network, config = source.network_and_config("auto", lazy=False)
        return LoadedModel("generated", source, network, None, config, source.compute_dtype("auto"))

    def forward(self) -> None:
        """The backbone alone, in the batches that calibration uses."""
        for start in range(0, len(self.data.tokens), self.batch):
            mx.eval(self.model.model.model(mx.array(self.data.tokens[start : start + self.batch])))

    def dense(self) -> None:
        """Statistics of every layer in one pass."""
        steps = BlockSteps(
            self.model.model, prunable_linears(self.model.model), self.data, config=self.model.config
        )
        steps.begin(HiddenStates(len(steps.batches)))
        for index in range(steps.count):
            steps.watch(index, measure=square_sums, advance=index + 1 < steps.count)

    def sequential(self) -> None:
        """Each block twice: measured, then run with its pruned weights; selection is not counted here."""
        steps = BlockSteps(
            self.model.model, prunable_linears(self.model.model), self.data, config=self.model.config
        )
        steps.begin(HiddenStates(len(steps.batches)))
        for index in range(steps.count):
            steps.watch(index, measure=square_sums, advance=False)
            if index + 1 < steps.count:
                steps.advance(index)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), llama_config(arguments.width, arguments.blocks), dtype="float32")
        bench = Bench(Path(folder), arguments.samples, arguments.length)
        calls = {
            "bare forward, no head": bench.forward,
            "dense statistics": bench.dense,
            "sequential statistics": bench.sequential,
        }
        times = interleaved(calls, arguments.rounds)
        bare = times["bare forward, no head"]
        limits = {"dense statistics": "1.15", "sequential statistics": "2.2"}
        rows = [
            [
                name,
                f"{t.wall:.2f}",
                f"{t.wall / bare.wall:.3f}",
                f"{t.cpu:.2f}",
                f"{t.cpu / bare.cpu:.3f}",
                limits.get(name, ""),
            ]
            for name, t in times.items()
        ]
        table(
            f"Calibration: {arguments.blocks} blocks of width {arguments.width}, "
            f"{arguments.samples} x {arguments.length} tokens, batches of {bench.batch}",
            ["", "s (best)", "ratio", "CPU s", "ratio", "at most"],
            rows,
        )


if __name__ == "__main__":
    main()
