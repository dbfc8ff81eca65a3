"""Remove experts of a mixture by several scores, over five seeds, and print perplexities as a table.

A seed chooses the calibration sequences, or the experts themselves (random). What the scores do to answers,
with intervals, is told by the study in ``study.toml``.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

import mlx_prune
from mlx_prune.pruning.experts.prune import prune_experts
from mlx_prune.pruning.experts.recipe import ExpertsRecipe

SCORES = ("reap", "ean", "frequency", "random")
SHARES = (0.25, 0.5)
SAMPLES, LENGTH = 32, 256


def main() -> None:
    """Prune, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="folder of a mixture, as train.py writes it")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sequences", type=int, default=64, help="of the held-out text, 256 tokens each")
    args = parser.parse_args()

    def perplexity(folder: Path) -> float:
        model = mlx_prune.load(folder)
        return mlx_prune.perplexity(
            model, text="demo", sequences=args.sequences, sequence_length=LENGTH
        ).value

    print(f"dense: {perplexity(args.model):.3f}", flush=True)
    print("| score | removed | perplexity, mean of the seeds | each seed | seeds on which REAP is lower |")
    print("|---|---:|---:|---|---:|")
    with tempfile.TemporaryDirectory() as work:
        for share in SHARES:
            found: dict[str, np.ndarray] = {}
            for score in SCORES:
                values = []
                for seed in range(args.seeds):
                    text = mlx_prune.Calibration("demo", SAMPLES, LENGTH)
                    recipe = ExpertsRecipe(
                        "experts",
                        share,
                        score=score,
                        seed=seed,
                        calibration=None if score == "random" else text,
                    )
                    out = Path(work) / f"{score}-{share}-{seed}"
                    prune_experts(args.model, out, recipe)
                    values.append(perplexity(out))
                found[score] = np.array(values)
                each = ", ".join(f"{value:.2f}" for value in values)
                lower = int((found["reap"] < found[score]).sum())
                beaten = "" if score == "reap" else f"{lower} of {args.seeds}"
                print(f"| {score} | {share:.0%} | {np.mean(values):.3f} | {each} | {beaten} |", flush=True)


if __name__ == "__main__":
    main()
