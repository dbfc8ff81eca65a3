"""Model cards of every kind of method: what was done and what it costs."""

from __future__ import annotations

from typing import Any

import pytest
from huggingface_hub import ModelCard

from mlx_prune.cards.base import BaseModel
from mlx_prune.cards.card import model_card, short_title
from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.publishing.names import check_repo_id, repository_name

BASE = BaseModel("Tiny", "org/Tiny")
CALIBRATED = {
    "statistics": "sequential",
    "seed": 0,
    "calibration": {"source": "demo", "samples": 8, "sequence_length": 64},
}
COSTS = {
    "parameters": {"before": 1000, "after": 700},
    "bytes": {"before": 4000, "after": 2800},
    "flops_per_token": {"before": 9000, "after": 6000, "context": 2048},
}


def record(method: str, **entries: Any) -> dict[str, Any]:
    meta = {
        "model": "org/Tiny",
        "method": method,
        "target_sparsity": 50.0,
        "actual_sparsity": 49.5,
        "total_prunable_params": 800,
        "zero_params": 396,
        "prune_time_s": 1.5,
        "pattern": None,
        "seed": None,
        "calibration": None,
    }
    return meta | entries


def bits(mode: str = "affine", number: int = 4, group: int = 64) -> dict[str, Any]:
    return {
        "mode": mode,
        "bits": number,
        "group_size": group,
        "layers": 7,
        "left": ["model.layers.0.mlp.down_proj"],
        "bits_per_weight": 4.52,
        "zeros_before": 400,
        "zeros_kept": 380,
    }


METAS = {
    "wanda+owl": record("wanda+owl", scope="blocks", **CALIBRATED),
    "sparsegpt": record("sparsegpt", scope="blocks", pattern="2:4", **CALIBRATED),
    "width+both+repair": record(
        "width+both+repair",
        remaining_prunable_params=500,
        removed={"neurons": {"before": 96, "after": 48}, "groups": {"before": 2, "after": 1}},
        scores="magnitude",
        multiple=16,
        zero_params=0,
        **CALIBRATED,
        **COSTS,
    ),
    "depth+contiguous": record(
        "depth+contiguous",
        remaining_prunable_params=400,
        removed={"blocks": {"before": 4, "after": 2, "removed": [1, 2]}},
        zero_params=0,
        **(CALIBRATED | {"statistics": "dense"}),
        **COSTS,
    ),
    "q4": record("q4", target_sparsity=0.0, quantization=bits(), **COSTS),
    "q3-g32": record("q3-g32", target_sparsity=0.0, quantization=bits(number=3, group=32), **COSTS),
    "magnitude+mxfp4": record("magnitude+mxfp4", quantization=bits("mxfp4", 4, 32), scope="blocks", **COSTS),
    "depth+q8": record(
        "depth+q8", remaining_prunable_params=400, quantization=bits(number=8), **CALIBRATED, **COSTS
    ),
}


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("wanda+owl", ["OWL", "396 of 800 prunable", "as large as the dense model's"]),
        ("sparsegpt", ["2 of every 4", "inverse Hessian", "no kernels for 2:4"]),
        (
            "width+both+repair",
            ["96 before, 48 now", "Key-value groups per block**: 2 before, 1 now", "least squares", "70.0%"],
        ),
        ("depth+contiguous", ["4 before, 2 now (without 1, 2)", "removed or zero", "700 of its 1,000"]),
        ("q4", ["4 bits in groups of 64", "4.52 bits per weight", "down_proj", "380 of 400 (95.00%)"]),
        ("magnitude+mxfp4", ["400 of its weights were set to zero, then quantized to 4.52"]),
    ],
)
def test_the_card_says_what_was_done_and_what_it_costs(method: str, said: list[str]) -> None:
    card = model_card(PruningRecord.of(METAS[method]), base=BASE)
    for words in said:
        assert words in card
    if method == "q4":
        assert "pruned by" not in card
        assert "Zeroed parameters" not in card


@pytest.mark.parametrize(
    ("method", "title", "name", "tags"),
    [
        ("q4", "4-bit quantization (q4)", "tiny-q4-pia", ["quantization", "q4"]),
        (
            "magnitude+mxfp4",
            "magnitude pruning at 50% target sparsity, 4-bit",
            "tiny-magnitude-mxfp4-s50-pia",
            ["pruning", "magnitude", "quantization", "mxfp4"],
        ),
        (
            "width+both+repair",
            "width+both+repair pruning at 50% removed",
            "tiny-width-both-repair-s50-pia",
            ["pruning", "width", "both", "repair"],
        ),
    ],
)
def test_titles_tags_and_names_follow_the_method(method: str, title: str, name: str, tags: list[str]) -> None:
    meta = METAS[method]
    assert short_title(PruningRecord.of(meta)) == title
    assert repository_name("org/Tiny", method, meta["target_sparsity"], meta["pattern"]) == name
    check_repo_id(f"owner/{name}")
    found = ModelCard(model_card(PruningRecord.of(meta), base=BASE)).data.to_dict()["tags"]
    assert found[: len(tags)] == tags
