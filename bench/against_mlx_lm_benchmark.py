"""Do `mlxprune bench` and `mlx_lm.benchmark` measure the same tokens per second?

    python bench/against_mlx_lm_benchmark.py MODEL [--prompt-tokens 128] [--generation-tokens 64]

mlx_lm.benchmark runs as it is; beside each of its trials, before or after it at random, mlxprune times the
same model on the same prompt. Printed are the medians of both and the paired ratio with its 95 % interval.
mlx_lm.benchmark also decodes text inside the timed part, which is a real difference of some microseconds per
token, and counts the first token of an answer among those generated after it, which is undone here.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import sys
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import mlx_prune  # noqa: F401  (first: puts OpenBLAS in front of MLX's BLAS on Linux)

# isort: split
import mlx.core as mx
import mlx_lm.benchmark
import numpy as np

from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.environment import device, versions
from mlx_prune.latency.ratio import paired_ratio
from mlx_prune.latency.timing import Timing, time_generation
from mlx_prune.latency.verdict import verdict


def both(folder: str, prompt_tokens: int, new_tokens: int, trials: int) -> tuple[np.ndarray, np.ndarray]:
    """(trials, 2) prompt and generation tokens/s of mlx_lm.benchmark, and of ours beside its trials."""
    rng = np.random.default_rng(0)
    timings: list[Timing] = []
    stream_generate = mlx_lm.benchmark.stream_generate

    def taking_turns(model: Any, tokenizer: Any, prompt: list[int], **options: Any) -> Iterator[Any]:
        ids = mx.array(prompt, mx.uint32)
        first = rng.random() < 0.5
        if first:
            timings.append(time_generation(model, ids, options["max_tokens"]))
        yield from stream_generate(model, tokenizer, prompt, **options)
        if not first:
            timings.append(time_generation(model, ids, options["max_tokens"]))

    words = ["mlx_lm.benchmark", "--model", folder, "-p", str(prompt_tokens)]
    words += ["-g", str(new_tokens), "-n", str(trials)]
    said = io.StringIO()
    with (
        patch.object(sys, "argv", words),
        patch.object(mlx_lm.benchmark, "stream_generate", taking_turns),
        contextlib.redirect_stdout(said),
    ):
        mlx_lm.benchmark.main()
    printed = re.findall(r"Trial \d+:\s+prompt_tps=([\d.]+), generation_tps=([\d.]+)", said.getvalue())
    theirs = np.array(printed, float) * [1, (new_tokens - 1) / new_tokens]
    # The first pair is mlx_lm.benchmark's warm-up.
    ours = np.array([[prompt_tokens / t.ttft_s, 1 / t.per_token_s] for t in timings[1:]])
    return theirs, ours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", nargs="?", default="demo")
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--generation-tokens", type=int, default=64)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--margin", type=float, default=5.0, help="difference that counts as noise, percent")
    options = parser.parse_args()
    folder = str(Checkpoint.open(options.model).path)
    theirs, ours = both(
        folder,
        options.prompt_tokens,
        options.generation_tokens,
        options.trials,
    )
    machine, known = device(), versions()
    print(
        f"{machine['machine']}, {machine['cores']} cores, {machine['backend']}, mlx {known['mlx']}, ", end=""
    )
    print(f"mlx-lm {known['mlx-lm']}; {options.model}, {options.prompt_tokens} prompt tokens, ", end="")
    print(f"{options.generation_tokens} generated, {options.trials} trials\n")
    print("| Tokens/s | mlx_lm.benchmark | mlxprune bench | Ratio (95 % interval) | |")
    print("| --- | ---: | ---: | ---: | --- |")
    for metric, name in enumerate(("prompt", "generation")):
        a, b = theirs[:, metric], ours[:, metric]
        ratio = paired_ratio(b[:, None], a[:, None])
        found = str(verdict(ratio, options.margin / 100)).replace("round", "trial")
        found = found.replace("slower", "more").replace("faster", "fewer")
        print(
            f"| {name} | {np.median(a):,.0f} | {np.median(b):,.0f} "
            f"| {ratio.ratio:.3f} ({ratio.low:.3f}-{ratio.high:.3f}) | {found} |"
        )


if __name__ == "__main__":
    main()
