"""The README.md of a checkpoint that was really pruned."""

from __future__ import annotations

import json
from pathlib import Path

from huggingface_hub import ModelCard
from pruned_checkpoint import REPO
from tiny_models import save_tiny_model

from mlx_prune.activations.calibration import Calibration
from mlx_prune.pruning.on_disk import prune_checkpoint
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.publishing.plan import plan_publication


def test_pruned_checkpoint_has_a_card_with_its_own_figures_and_can_be_published(tmp_path: Path):
    source = save_tiny_model(tmp_path / "Tiny", "llama", num_hidden_layers=1)
    (source / "README.md").write_text("---\nlicense: apache-2.0\n---\n# The dense model's own card\n")
    text = tmp_path / "text.txt"
    text.write_text("The teacher and the student were at the market. Who was late? " * 40)
    out = tmp_path / "out"
    recipe = Recipe("wanda", 0.3, calibration=Calibration(text, 4, 16))
    report = prune_checkpoint(str(source), out, recipe)
    card = ModelCard((out / "README.md").read_text(encoding="utf-8"))
    assert card.data.license == "apache-2.0"
    assert f"{report.zero_params:,} of {report.total_prunable_params:,} prunable" in card.text
    assert f"**Actual sparsity**: {100 * report.actual_sparsity:.2f}%" in card.text
    assert "4 samples of 16 tokens from text.txt" in card.text
    assert "self_attn.q_proj" in card.text
    assert str(tmp_path) not in card.text
    assert "dense model's own card" not in card.text
    plan = plan_publication(out, REPO)
    assert set(plan.sizes) == {path.name for path in out.iterdir()}
    assert json.loads(plan.texts["pruning_meta.json"])["zero_params"] == report.zero_params
    assert all(str(tmp_path).encode() not in text for text in plan.texts.values())
