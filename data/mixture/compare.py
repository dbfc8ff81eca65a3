"""Remove experts of separately trained mixtures by each score, and print perplexities as a table.

The models are the sample: scores are compared by the paired differences of the logarithms of their
perplexities, with a t interval over the models. A model's place in the list is the seed that chooses its
calibration sequences. What the scores do to answers, with intervals, is told by the study in ``study.toml``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import mlx_prune
from mlx_prune.pruning.experts.prune import prune_experts
from mlx_prune.pruning.experts.recipe import SCORES, UNMEASURED, ExpertsRecipe
from mlx_prune.stats.perplexity import mean_added, relative

SHARES = (0.25, 0.5)
SAMPLES, LENGTH = 32, 256


def log_perplexity(folder: Path, sequences: int) -> float:
    """On the first sequences of the held-out text, in nats per token."""
    model = mlx_prune.load(folder)
    found = mlx_prune.perplexity(model, text="demo", sequences=sequences, sequence_length=LENGTH)
    return float(np.log(found.value))


def pruned(model: Path, score: str, share: float, seeds: Iterable[int | None], sequences: int) -> float:
    """Logarithm of the perplexity with experts removed, its mean over the seeds."""
    found = []
    for seed in seeds:
        text = None if score in UNMEASURED else mlx_prune.Calibration("demo", SAMPLES, LENGTH)
        recipe = ExpertsRecipe("experts", share, score=score, seed=seed, calibration=text)
        with tempfile.TemporaryDirectory() as work:
            prune_experts(model, Path(work) / "pruned", recipe)
            found.append(log_perplexity(Path(work) / "pruned", sequences))
    return float(np.mean(found))


def against(reap: NDArray[np.float64], other: NDArray[np.float64]) -> str:
    """How much higher or lower REAP's perplexity is than another score's, over the models."""
    ratio = mean_added(reap - other)
    low, mean, high = (f"{100 * relative(log):+.1f}" for log in (ratio.low, ratio.log, ratio.high))
    return f"{mean} % ({low} to {high}) | {int((reap < other).sum())} of {len(reap)}"


def row(score: str, share: str, found: NDArray[np.float64], compared: str) -> str:
    """A line of the table; the mean is the geometric one, as differences of logarithms are compared."""
    each = ", ".join(f"{value:.2f}" for value in np.exp(found))
    return f"| {score} | {share} | {np.exp(found.mean()):.3f} | {each} | {compared} |"


def main() -> None:
    """Prune, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, nargs="+", help="folders of mixtures, as train.py writes them")
    parser.add_argument("--draws", type=int, default=3, help="removals at random of each model, averaged")
    parser.add_argument("--sequences", type=int, default=24, help="of the held-out text, 256 tokens each")
    args = parser.parse_args()

    dense = np.array([log_perplexity(model, args.sequences) for model in args.models])
    print("| score | removed | mean | each model | REAP against it (95 % interval) | REAP lower on |")
    print("|---|---:|---:|---|---:|---:|")
    print(row("none", "0 %", dense, " | "), flush=True)
    for share in SHARES:
        found: dict[str, NDArray[np.float64]] = {}
        for score in SCORES:
            values = []
            for place, model in enumerate(args.models):
                first = place * args.draws
                draws = {"random": range(first, first + args.draws), "weight-norm": (None,)}
                seeds = draws.get(score, (place,))
                values.append(pruned(model, score, share, seeds, args.sequences))
            found[score] = np.array(values)
            compared = " | " if score == "reap" else against(found["reap"], found[score])
            print(row(f"`{score}`", f"{share:.0%}".replace("%", " %"), found[score], compared), flush=True)


if __name__ == "__main__":
    main()
