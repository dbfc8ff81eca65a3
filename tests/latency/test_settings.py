"""How a latency run is to be made: what is asked for where nothing is said, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mlx_prune
from mlx_prune.cli.bench import command
from mlx_prune.errors import DataError
from mlx_prune.latency.settings import BenchSettings


@pytest.mark.parametrize(
    ("asked", "questions", "tokens"),
    [
        ({}, "demo", 5),
        ({"bbq": Path("folder"), "new_tokens": 7}, "folder", 7),
        ({"prompt_lengths": (8, 16)}, None, 32),
        ({"prompt_lengths": (8,), "new_tokens": 1}, None, 1),
    ],
)
def test_answers_are_short_for_questions_and_longer_for_synthetic_prompts(
    asked: dict[str, Any], questions: str | None, tokens: int
) -> None:
    settings = BenchSettings(**asked)
    assert (settings.questions, settings.answer_tokens) == (questions, tokens)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"new_tokens": 10_000_001}, r"10,000,001 tokens cannot be timed; choose 1 to 10,000,000\."),
        ({"cooldown_s": 86_401}, "86401"),
        ({"margin": 1.0}, "between 0 and 1"),
        ({"prompt_lengths": (4, 4)}, "distinct"),
        ({"schedule": "random"}, "one of auto, interleaved, blocks"),
    ],
)
def test_what_is_out_of_range_is_refused_before_any_model_opens(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        BenchSettings(**asked)


def test_the_command_has_the_defaults_of_the_function() -> None:
    defaults = {p.name: p.default for p in command.params}
    assert mlx_prune.BenchSettings is BenchSettings
    for name in ("rounds", "items", "cooldown_s", "schedule", "dtype", "seed"):
        assert defaults[name] == getattr(BenchSettings(), name)
    assert defaults["margin"] == 100 * BenchSettings().margin
