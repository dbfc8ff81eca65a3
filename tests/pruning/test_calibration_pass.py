"""A calibration text runs through a model on disk, its hidden states in memory or on disk."""

from __future__ import annotations

import numpy as np
from tiny_models import save_tiny_model

from mlx_prune.activations.calibration import Calibration
from mlx_prune.activations.statistics import square_sums
from mlx_prune.pruning.calibration_pass import CalibrationPass
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.source import Source


def test_a_pass_measures_the_same_with_hidden_states_on_disk(tmp_path):
    model = save_tiny_model(tmp_path / "m", "llama", num_hidden_layers=3)
    recipe = Recipe("wanda", 0.5, calibration=Calibration("demo", samples=3, sequence_length=16))
    sums = []
    for name, limit in (("disk", 0), ("memory", 1 << 30)):
        source = Source.open(model, recipe, dtype="auto", trust_remote_code=False, what="")
        text = CalibrationPass(source.model, source.data, tmp_path / name, limit)
        steps = text.steps()
        assert text.on_disk == (name == "disk")
        assert text.described["batch_size"] == steps.batch_size
        for index in range(2):
            seen = steps.watch(index, measure=square_sums, advance=True)
        sums.append({layer: np.array(entry.sums) for layer, entry in seen.items()})
    kept = sorted(path.name for path in (tmp_path / "disk").iterdir())
    assert kept == ["hidden-00000", "hidden-00001", "hidden-00002"]
    assert not (tmp_path / "memory").exists()
    for layer, values in sums[0].items():
        np.testing.assert_array_equal(values, sums[1][layer])
    CalibrationPass(source.model, source.data, tmp_path / "disk", 0).forget()
    assert not list((tmp_path / "disk").iterdir())
