"""pruning_meta.json from outside: an entry of another kind is one sentence, for everyone who reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_models import save_tiny_model

from mlx_prune.cards.card import write_card
from mlx_prune.checkpoint.open import load
from mlx_prune.errors import CheckpointError
from mlx_prune.latency.models import Candidate, describe
from mlx_prune.pruning.inspection import inspect
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.streaming import prune_checkpoint
from mlx_prune.runs.job import read_stamp

WRONG: dict[str, Any] = {
    "target_sparsity": "x",
    "actual_sparsity": "x",
    "method": 3,
    "model": ["m"],
    "zero_params": "x",
    "total_prunable_params": 1.5,
    "projections": 3,
    "pattern": 3,
    "calibration": 3,
    "quantization": 3,
    "versions": 3,
    "warnings": 3,
    "prune_time_s": True,
}


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pruned")
    prune_checkpoint(save_tiny_model(place / "m", "llama"), place / "out", Recipe("magnitude", 0.5))
    return place / "out"


@pytest.fixture(scope="module")
def good(pruned: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((pruned / "pruning_meta.json").read_text())
    return found


@pytest.mark.parametrize("name", WRONG)
def test_an_entry_of_another_kind_is_told_to_every_reader(
    pruned: Path, good: dict[str, Any], name: str
) -> None:
    (pruned / "pruning_meta.json").write_text(json.dumps({**good, name: WRONG[name]}))
    opened = load(pruned, lazy=True)
    readers = (
        lambda: inspect(pruned),
        lambda: write_card(pruned),
        lambda: read_stamp(opened),
        lambda: describe(Candidate(pruned, "a", "auto", False), opened, sizes=False, progress=lambda _: None),
    )
    for read in readers:
        with pytest.raises(CheckpointError, match=rf"pruning_meta\.json gives {name} as .*; prune"):
            read()


@pytest.mark.parametrize("name", ["target_sparsity", "zero_params"])
def test_a_card_needs_what_it_shows(pruned: Path, good: dict[str, Any], name: str) -> None:
    (pruned / "pruning_meta.json").write_text(json.dumps({**good, name: None}))
    with pytest.raises(CheckpointError, match=f"lacks {name}"):
        write_card(pruned)
