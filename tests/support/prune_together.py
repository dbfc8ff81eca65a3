"""One process of a prune that several share; started by test_shared_passes.py."""

import sys
from pathlib import Path

import mlx_prune
from mlx_prune import distributed
from mlx_prune.pruning.experts.recipe import ExpertsRecipe
from mlx_prune.pruning.job import write_pruned


def recipe_of(label: str):
    """The recipe of a label, on a short text."""
    method, _, allocation = label.partition("+")
    text = mlx_prune.Calibration("demo", 5, 32)
    if method == "experts":
        return ExpertsRecipe(method, 0.4, calibration=text)
    return mlx_prune.Recipe(method, 0.5, calibration=text, allocation=allocation or None)


if __name__ == "__main__":
    model, out, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    assert distributed.size() == count
    recipe = recipe_of(sys.argv[4])
    for _ in range(2):
        # The second call finds the finished folder, on whichever process it lies.
        report = write_pruned(model, out, recipe)
    sys.stdout.write(str(report.zero_params))
