"""Peak memory of a streamed prune against the depth of the model, and the time per billion weights.

    python bench/memory.py [--width 1536] [--depths 3 6 12] [--methods random magnitude wanda]

Each prune runs in a process of its own. Its peak is the highest resident memory beyond what the process held
before the prune (interpreter and libraries), less the hidden states of the calibration text; the budget is
three times the largest block. At the defaults the deepest model holds more than 1 GB of weights.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from _common import table
from generated_model import llama_config, write_model

SAMPLES, LENGTH = 8, 128
_CHILD = """
import json, sys, time
import mlx_prune
import mlx.core as mx, numpy as np
from mlx_prune.chat.tokenizer import OpenedTokenizer
from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.pruning import masking, on_disk, source as sources
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.activations.calibration import Calibration
from mlx_prune.activations.text import CalibrationTokens
source, out, method, samples, length = sys.argv[1:]
tokens = np.random.default_rng(0).integers(0, 1000, (int(samples), int(length)), dtype=np.int32)
Checkpoint.tokenizer = lambda _: OpenedTokenizer(None, ())
sources.calibration_tokens = lambda *_: CalibrationTokens(tokens, "random tokens", "")
mx.eval(mx.ones((64, 64)) @ mx.ones((64, 64)))
before = masking.peak_rss_bytes()
start, cpu = time.perf_counter(), time.process_time()
text = Calibration("random tokens") if method == "wanda" else None
report = on_disk.prune_checkpoint(source, out, Recipe(method, 0.5, calibration=text), cache=False)
print(json.dumps({
    "rss": masking.peak_rss_bytes() - before,
    "mlx": report.peak_memory_bytes,
    "prune_s": report.prune_time_s,
    "total_s": time.perf_counter() - start,
    "cpu_s": time.process_time() - cpu,
    "params": report.total_prunable_params,
    "calibration_s": report.calibration_time_s,
}))
"""


def measure(source: Path, out: Path, method: str) -> dict[str, Any]:
    """Prune in a fresh process and tell what it took."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(source), str(out), method, str(SAMPLES), str(LENGTH)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout))


def block_bytes(width: int, dtype: str) -> int:
    config = llama_config(width, 1)
    keys = config["num_key_value_heads"] * config["head_dim"]
    weights = 2 * width * width + 2 * keys * width + 3 * width * int(config["intermediate_size"])
    return int(weights) * (4 if dtype == "float32" else 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=1536)
    parser.add_argument("--depths", type=int, nargs="+", default=[3, 6, 12])
    parser.add_argument("--methods", nargs="+", default=["random", "magnitude", "wanda"])
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    arguments = parser.parse_args()
    block = block_bytes(arguments.width, arguments.dtype)
    rows, bars = [], []
    for depth in arguments.depths:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "model"
            source.mkdir()
            write_model(source, llama_config(arguments.width, depth), dtype=arguments.dtype)
            size = (source / "model.safetensors").stat().st_size
            for method in arguments.methods:
                found = measure(source, Path(folder) / method, method)
                hidden = 4 * SAMPLES * LENGTH * arguments.width if method == "wanda" else 0
                share = (found["rss"] - hidden) / block
                billions = found["params"] / 1e9
                rows.append(
                    [
                        f"{method}, {depth} blocks",
                        f"{size / 1e9:.2f}",
                        f"{(found['rss'] - hidden) / 1e6:.0f}",
                        f"{share:.2f}",
                        f"{found['prune_s'] / billions:.1f}",
                        f"{found['total_s'] / billions:.1f}",
                        f"{found['cpu_s'] / billions:.1f}",
                    ]
                )
                bars.append(f"{method:>9} {depth:3d} blocks | {'#' * round(10 * share):<30s}| {share:.2f}")
    table(
        f"Streamed prune to 50 %, {arguments.dtype} checkpoint, largest block {block / 1e6:.0f} MB",
        [
            "",
            "model GB",
            "peak MB",
            "of a block (at most 3)",
            "prune s / 1e9 weights",
            "with copying",
            "CPU s / 1e9",
        ],
        rows,
    )
    print("\n".join(bars))


if __name__ == "__main__":
    main()
