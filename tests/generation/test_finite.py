"""Logits that are not numbers end a run at its first batch, on every path."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from agreement import make_items, make_prompts
from tiny_models import ARCHITECTURES, save_tiny_model

from mlx_prune.checkpoint import open as checkpoints
from mlx_prune.errors import CheckpointError, DataError
from mlx_prune.generation.batched import BatchedEngine
from mlx_prune.generation.interface import GenerationSettings
from mlx_prune.generation.sequential import SequentialEngine
from mlx_prune.latency.run import bench
from mlx_prune.latency.settings import BenchSettings
from mlx_prune.runs.evaluate import evaluate
from mlx_prune.runs.perplexity import perplexity
from mlx_prune.runs.records import part_files
from mlx_prune.runs.settings import Generation
from mlx_prune.runs.verify import verify_records

SETTINGS = Generation(temperature=1.0, max_tokens=3, seeds=(1, 2))


def broken(folder: Path, architecture: str = "llama", dtype: str = "float32") -> checkpoints.LoadedModel:
    """A model whose last norm overflows: infinite hidden states, logits that are NaN."""
    loaded = checkpoints.load(save_tiny_model(folder, architecture, num_hidden_layers=1), dtype=dtype)
    norm = loaded.model.model.norm
    norm.weight = mx.full(norm.weight.shape, mx.inf, norm.weight.dtype)
    return loaded


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_both_engines_refuse_at_the_first_batch(
    tmp_path: Path, architecture: str, temperature: float
) -> None:
    loaded = broken(tmp_path / "model", architecture)
    settings = GenerationSettings(temperature=temperature, max_tokens=3, seeds=(1, 2))
    prompts = make_prompts(loaded.tokenizer, 4)
    for kind in (BatchedEngine, SequentialEngine):
        with pytest.raises(CheckpointError, match=r"logits .* are not numbers .*weights may be damaged"):
            list(kind(loaded.model, loaded.tokenizer, settings).answer(prompts))


def test_the_cause_of_float16_is_its_range(tmp_path: Path) -> None:
    loaded = broken(tmp_path / "model", dtype="float16")
    with pytest.raises(CheckpointError, match=r"65,504.*--dtype bfloat16"):
        evaluate(loaded, questions=make_items(2), generation=SETTINGS)
    with pytest.raises(DataError, match=r"65,504.*--dtype bfloat16"):
        perplexity(loaded, text="demo", sequences=1, sequence_length=8)


def test_a_number_that_fails_only_in_a_later_step_is_met_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = checkpoints.load(save_tiny_model(tmp_path / "model", num_hidden_layers=1))
    kind = type(loaded.model)
    original = kind.__call__

    def fails_while_decoding(self: object, tokens: mx.array, cache: Any = None, **more: object) -> mx.array:
        logits: mx.array = original(self, tokens, cache=cache, **more)
        layout = getattr(cache[0], "layout", None) if cache else None
        decoding = tokens.shape[1] == 1 if layout is None else not layout.new
        late = cache is not None and decoding and mx.max(mx.array(cache[0].offset)).item() > 100
        return logits * mx.nan if late else logits

    monkeypatch.setattr(kind, "__call__", fails_while_decoding)
    for engine in ("batched", "sequential"):
        with pytest.raises(CheckpointError, match="are not numbers"):
            evaluate(loaded, questions=make_items(8), generation=replace(SETTINGS, engine=engine))


def test_nothing_is_recorded_and_a_replay_does_not_call_it_the_same(tmp_path: Path) -> None:
    loaded = broken(tmp_path / "model")
    with pytest.raises(CheckpointError, match="are not numbers"):
        evaluate(loaded, tmp_path / "run", questions=make_items(4), generation=SETTINGS, verify=4)
    assert part_files(tmp_path / "run") == []
    sound = checkpoints.load(loaded.path)
    table = evaluate(sound, questions=make_items(4), generation=SETTINGS).table
    prompts = {prompt.item_id: prompt for prompt in make_prompts(sound.tokenizer, 4)}
    with pytest.raises(CheckpointError, match="are not numbers"):
        verify_records(loaded, table, prompts, SETTINGS.settings, count=2)


def test_minus_infinity_is_a_number_to_draw_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = checkpoints.load(save_tiny_model(tmp_path / "model", num_hidden_layers=1))
    kind = type(loaded.model)
    original = kind.__call__

    def masked(self: object, *arguments: object, **options: object) -> mx.array:
        logits: mx.array = original(self, *arguments, **options)
        return mx.where(mx.arange(logits.shape[-1]) % 2 == 0, logits, -mx.inf)

    monkeypatch.setattr(kind, "__call__", masked)
    for engine in (BatchedEngine, SequentialEngine):
        answered = list(
            engine(loaded.model, loaded.tokenizer, SETTINGS.settings).answer(
                make_prompts(loaded.tokenizer, 2)
            )
        )
        tokens = [token for batch in answered for p in batch for a in p.answers for token in a.tokens]
        assert np.all(np.array(tokens) % 2 == 0)


def test_a_model_without_numbers_is_not_timed(tmp_path: Path) -> None:
    loaded = broken(tmp_path / "model")
    with pytest.raises(CheckpointError, match="are not numbers"):
        bench([loaded, loaded], BenchSettings(bbq="demo", items=1, rounds=1))
