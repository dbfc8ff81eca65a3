"""Matrices are read from the source's weight files one by one, and written to their places in the copy's."""

from __future__ import annotations

import mlx.core as mx
import pytest
from tiny_models import save_tiny_model

from mlx_prune.checkpoint.folder import OutputFolder
from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.checkpoint.pruned_files import PrunedFiles


@pytest.mark.parametrize("architecture", ["llama", "phi3"])
def test_a_matrix_is_written_where_the_source_has_it(tmp_path, architecture):
    model = Checkpoint.open(save_tiny_model(tmp_path / "m", architecture)).on_disk("stored")
    folder = OutputFolder(tmp_path / "out", tmp_path / "partial")
    files = PrunedFiles(model.checkpoint, model.network, model.linears, folder)
    folder.restart()
    first, second, *_ = model.linears
    files.create([first])
    weight = files.original(first)
    files.write(first, weight * 2)
    assert files.layout == "source"
    assert mx.array_equal(files.written(first), weight * 2)
    assert mx.array_equal(files.written(second), files.original(second))
