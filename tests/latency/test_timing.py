"""Timing one generation: how many steps it takes, what it counts, and what it leaves out."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx_lm.generate import generate_step
from tiny_models import ARCHITECTURES, save_tiny_model

from mlx_prune.checkpoint.open import load
from mlx_prune.latency.timing import memory_bytes, time_generation


class Watched(nn.Module):
    """A model that notes the length of every call, and may take its time."""

    def __init__(self, inner: Any, prompt_s: float = 0.0, token_s: float = 0.0) -> None:
        super().__init__()
        self.inner = inner
        self._calls: list[int] = []
        self._pauses = (prompt_s, token_s)

    @property
    def layers(self) -> Any:
        return self.inner.layers

    def __call__(self, inputs: mx.array, cache: Any = None) -> mx.array:
        self._calls.append(inputs.shape[1])
        time.sleep(self._pauses[0 if inputs.shape[1] > 1 else 1])
        return self.inner(inputs, cache=cache)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", "llama")


@pytest.fixture(scope="module")
def network(folder: Path) -> Any:
    return load(folder).model


def test_prompt_and_tokens_are_timed_apart(network: Any) -> None:
    slow = Watched(network, prompt_s=0.1, token_s=0.02)
    timing = time_generation(slow, mx.arange(10), 6)
    # mlx-lm runs the last prompt token alone and begins the next token before it hands one out.
    assert timing.ttft_s >= 0.1 + 2 * 0.02
    assert timing.per_token_s >= 0.02
    assert timing.rest_s == pytest.approx(5 * timing.per_token_s)
    assert slow._calls == [9, 1, 1, 1, 1, 1, 1, 1]


def test_the_end_of_sequence_token_does_not_end_it(folder: Path) -> None:
    loaded = load(folder)
    greedy = [token for token, _ in generate_step(mx.arange(5), loaded.model, max_tokens=6)]
    loaded.tokenizer.eos_token_ids = {greedy[1]}
    watched = Watched(loaded.model)
    timing = time_generation(watched, mx.arange(5), 6)
    assert timing.new_tokens == 6
    assert sum(watched._calls) == 5 + 6


def test_one_token_has_no_time_per_further_token(network: Any) -> None:
    timing = time_generation(network, mx.arange(4), 1)
    assert timing.rest_s == 0
    assert math.isnan(timing.per_token_s)
    assert timing.ttft_s > 0


def test_longer_prompts_take_more_memory_beyond_the_weights(network: Any) -> None:
    mx.eval(network.parameters())
    short, long = (time_generation(network, mx.zeros(n, mx.uint32), 2).extra_bytes for n in (8, 400))
    assert 0 < short < long
    # The keys and values of 400 tokens: 3 layers x 1 head x 14 numbers x 2 x 4 bytes, at least.
    assert long > 400 * 3 * 14 * 2 * 4


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_memory_is_that_of_the_weights_in_the_compute_type(architecture: str, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", architecture, dtype="bfloat16")
    file = next(folder.glob("*.safetensors"))
    stored = sum(array.size for array in mx.load(str(file)).values())
    assert memory_bytes(load(folder, dtype="bfloat16", lazy=True).model) == 2 * stored
    assert memory_bytes(load(folder, dtype="float32", lazy=True).model) == 4 * stored
    assert time_generation(load(folder).model, mx.arange(7), 3).new_tokens == 3


def test_memory_of_a_quantized_layer_counts_its_scales() -> None:
    layer = nn.Linear(64, 6, bias=False).to_quantized(group_size=32, bits=4)
    # Half a byte per weight, and a float32 scale and bias per group of 32.
    assert memory_bytes(layer) == 64 * 6 // 2 + 2 * 4 * (64 * 6 // 32)
