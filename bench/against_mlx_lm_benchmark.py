"""Do `mlxprune bench` and `mlx_lm.benchmark` measure the same tokens per second?

    python bench/against_mlx_lm_benchmark.py MODEL [--prompt-tokens 128] [--generation-tokens 64]

Both time the same random prompt on the same machine in the same process, turn by turn in a random order, each
time with a freshly loaded model. Printed are the medians of all turns and the paired ratio with its 95 %
interval. mlx_lm.benchmark also decodes text inside the timed part and counts the first token of an answer
among the generated ones; the latter is undone here, the former is a real difference of some microseconds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import sys
import unittest.mock

import numpy as np

import mlx_prune  # noqa: F401  (first: puts OpenBLAS in front of MLX's BLAS on Linux)
from mlx_prune.checkpoints import checkpoint_dtype, load, resolve
from mlx_prune.environment import device, versions
from mlx_prune.measures.equivalence import verdict
from mlx_prune.measures.latency import time_generation
from mlx_prune.measures.paired import paired_ratio
from mlx_prune.shards import open_shards


def theirs(folder: str, prompt_tokens: int, new_tokens: int, trials: int) -> tuple[float, float]:
    """Median prompt and generation tokens/s of one run of mlx_lm.benchmark."""
    import mlx_lm.benchmark

    words = ["mlx_lm.benchmark", "--model", folder, "-p", str(prompt_tokens)]
    words += ["-g", str(new_tokens), "-n", str(trials)]
    said = io.StringIO()
    with unittest.mock.patch.object(sys, "argv", words), contextlib.redirect_stdout(said):
        mlx_lm.benchmark.main()
    trials_said = re.findall(r"Trial \d+:\s+prompt_tps=([\d.]+), generation_tps=([\d.]+)", said.getvalue())
    prompt, generation = np.median(np.array(trials_said, float), axis=0)
    return float(prompt), float(generation) * (new_tokens - 1) / new_tokens


def ours(folder: str, prompt_tokens: int, new_tokens: int, trials: int) -> tuple[float, float]:
    """The same of mlxprune's timing, warmed up once as mlx_lm.benchmark does."""
    import mlx.core as mx

    # The prompt of mlx_lm.benchmark: drawn after the same seed and the same construction of the model.
    mx.random.seed(0)
    loaded = load(folder, dtype=checkpoint_dtype(open_shards(resolve(folder))))
    vocabulary = loaded.config["vocab_size"]
    prompt = mx.random.randint(0, vocabulary, (1, prompt_tokens))[0].astype(mx.uint32)
    mx.eval(prompt)
    time_generation(loaded.model, prompt, new_tokens)
    timings = [time_generation(loaded.model, prompt, new_tokens) for _ in range(trials)]
    return (
        float(np.median([prompt_tokens / t.ttft_s for t in timings])),
        float(np.median([1 / t.per_token_s for t in timings])),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", nargs="?", default="demo")
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--generation-tokens", type=int, default=64)
    parser.add_argument("--trials", type=int, default=5, help="generations per turn")
    parser.add_argument("--turns", type=int, default=20, help="turns of each")
    parser.add_argument("--margin", type=float, default=5.0, help="difference that counts as noise, percent")
    options = parser.parse_args()
    folder = str(resolve(options.model))

    rng = np.random.default_rng(0)
    speeds = np.empty((2, options.turns, 2))
    for turn in range(options.turns):
        for side in rng.permutation(2).tolist():
            speeds[side, turn] = (theirs, ours)[side](
                folder, options.prompt_tokens, options.generation_tokens, options.trials
            )
    machine, known = device(), versions()
    print(
        f"{machine['machine']}, {machine['cores']} cores, {machine['backend']}, mlx {known['mlx']}, ", end=""
    )
    print(f"mlx-lm {known['mlx-lm']}; {options.model}, {options.prompt_tokens} prompt tokens, ", end="")
    print(f"{options.generation_tokens} generated, {options.turns} turns of {options.trials} each\n")
    print("| Tokens/s | mlx_lm.benchmark | mlxprune bench | Ratio (95 % interval) | |")
    print("| --- | ---: | ---: | ---: | --- |")
    for metric, name in enumerate(("prompt", "generation")):
        a, b = speeds[0, :, metric], speeds[1, :, metric]
        ratio = paired_ratio(b[:, None], a[:, None])
        found = str(verdict(ratio, options.margin / 100)).replace("round", "turn")
        print(
            f"| {name} | {np.median(a):,.0f} | {np.median(b):,.0f} "
            f"| {ratio.ratio:.3f} ({ratio.low:.3f}-{ratio.high:.3f}) | {found} |"
        )


if __name__ == "__main__":
    main()
