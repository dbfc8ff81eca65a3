"""One process of a prune that several share; started by test_shared_passes.py."""

import sys
from pathlib import Path

import mlx_prune
from mlx_prune import distributed

if __name__ == "__main__":
    model, out, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    assert distributed.size() == count
    method, _, allocation = sys.argv[4].partition("+")
    text = mlx_prune.Calibration("demo", 5, 32)
    recipe = mlx_prune.Recipe(method, 0.5, calibration=text, allocation=allocation or None)
    for _ in range(2):
        # The second call finds the finished folder, on whichever process it lies.
        report = mlx_prune.prune_checkpoint(model, out, recipe)
    sys.stdout.write(str(report.zero_params))
