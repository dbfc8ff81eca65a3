"""What is timed, and in which order."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import save_tiny_model

from mlx_prune.bbq.items import load_items
from mlx_prune.bbq.prompts import PromptBuilder
from mlx_prune.chat.tokenizer import open_tokenizer
from mlx_prune.errors import DataError
from mlx_prune.latency import plan as latency_plan
from mlx_prune.latency.plan import (
    bbq_plan,
    block_round,
    choose_schedule,
    interleaved_round,
    item_order,
    synthetic_plan,
)
from mlx_prune.latency.settings import BenchSettings


@pytest.mark.parametrize("models", [2, 3, 5])
def test_models_take_turns_at_every_item(models: int) -> None:
    turns = list(interleaved_round(models, 30, 0, seed=1))
    assert sorted(turns) == [(item, model) for item in range(30) for model in range(models)]
    by_item = [turns[i : i + models] for i in range(0, len(turns), models)]
    assert all(len({item for item, _ in group}) == 1 for group in by_item)
    assert [group[0][0] for group in by_item] != list(range(30))


def test_who_comes_first_evens_out_over_two_rounds() -> None:
    first, second = (
        {i: [m for j, m in interleaved_round(3, 40, number, seed=7) if j == i] for i in range(40)}
        for number in (0, 1)
    )
    assert all(first[item] == second[item][::-1] for item in range(40))
    starts = np.bincount([order[0] for order in first.values()], minlength=3)
    assert starts.min() >= 5, "the order is drawn anew for every item"


def test_orders_differ_between_rounds_and_seeds_and_repeat_with_the_seed() -> None:
    orders = [list(interleaved_round(2, 20, number, seed)) for seed in (0, 1) for number in (0, 1, 2)]
    assert all(a != b for a, b in pairwise(orders))
    assert orders[0] == list(interleaved_round(2, 20, 0, 0))
    assert item_order(20, 0, 1, 0) != item_order(20, 0, 2, 0)
    assert sorted(item_order(20, 0, 1, 0)) == list(range(20))


def test_blocks_go_there_and_back() -> None:
    assert list(block_round(2)) == [(0, 0), (0, 1), (1, 1), (1, 0)]
    assert [model for _, model in block_round(3)] == [0, 1, 2, 2, 1, 0]


def test_synthetic_prompts_are_shared_and_valid_for_all_vocabularies() -> None:
    plan = synthetic_plan([300, 200], BenchSettings(prompt_lengths=(16, 7), items=5, new_tokens=3))
    assert plan.prompts[0] == plan.prompts[1]
    assert [len(ids) for ids in plan.prompts[0]] == [16] * 5 + [7] * 5
    assert max(max(ids) for ids in plan.prompts[0]) < 200
    assert len(set(plan.prompts[0])) == 10
    assert [(w.name, list(w.indices)) for w in plan.workloads] == [
        ("p16", [0, 1, 2, 3, 4]),
        ("p7", [5, 6, 7, 8, 9]),
    ]
    assert plan.workloads[1].prompt_tokens == ((7,) * 5, (7,) * 5)
    assert plan.new_tokens == (3,) * 10
    with pytest.raises(DataError, match="distinct"):
        synthetic_plan([300], BenchSettings(prompt_lengths=(4, 4), items=1, new_tokens=1))


def test_questions_are_rendered_by_each_models_own_template(tmp_path: Path) -> None:
    with_template = open_tokenizer(save_tiny_model(tmp_path / "a", "llama")).tokenizer
    plain = open_tokenizer(save_tiny_model(tmp_path / "b", "llama", chat_template=None)).tokenizer
    plan = bbq_plan([with_template, plain], BenchSettings(bbq="demo", items=10, new_tokens=5))
    questions = load_items("demo", limit=10)
    assert len({question.category for question in questions}) == 5
    for tokenizer, prompts in zip((with_template, plain), plan.prompts, strict=True):
        builder = PromptBuilder(tokenizer)
        assert [list(ids) for ids in prompts] == [builder.tokens(question) for question in questions]
    assert plan.prompts[0] != plan.prompts[1]


def test_models_that_fit_together_are_interleaved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency_plan, "available_memory", lambda: 300)
    assert choose_schedule("auto", [100, 100]) == "interleaved"
    assert choose_schedule("auto", [100, 101]) == "blocks"
    assert choose_schedule("blocks", [1, 1]) == "blocks"
    assert choose_schedule("interleaved", [900, 900]) == "interleaved"
    with pytest.raises(DataError, match="one of auto, interleaved, blocks"):
        BenchSettings(schedule="random")


def test_available_memory_is_some_of_what_there_is() -> None:
    from mlx_prune.environment import physical_memory

    assert 0 < latency_plan.available_memory() <= physical_memory()


def test_a_gpu_tells_its_own_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {"max_recommended_working_set_size": 11, "memory_size": 16}
    monkeypatch.setattr(latency_plan, "backend", lambda: "metal")
    monkeypatch.setattr(latency_plan.mx, "device_info", lambda: told)
    assert latency_plan.available_memory() == 11
