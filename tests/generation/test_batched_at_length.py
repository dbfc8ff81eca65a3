"""The engines side by side on trained models and thousands of answers."""

import pytest
from agreement import assert_agrees, compare

from mlx_prune.bbq.items import load_items
from mlx_prune.bbq.prompts import PromptBuilder
from mlx_prune.checkpoint import open as checkpoints
from mlx_prune.generation.batched import BatchedEngine
from mlx_prune.generation.interface import GenerationSettings, Prompt

pytestmark = pytest.mark.long


def check(model, items, settings):
    loaded = checkpoints.load(model)
    builder = PromptBuilder(loaded.tokenizer)
    prompts = [Prompt(item.item_id, tuple(builder.tokens(item))) for item in items]
    engine = BatchedEngine(loaded.model, loaded.tokenizer, settings)
    agreement = compare(loaded.model, loaded.tokenizer, settings, engine, prompts)
    assert engine.sharing, engine.note
    assert_agrees(agreement)


@pytest.mark.parametrize("noise", ["item", "seed"])
def test_embedded_model(noise):
    check("demo", load_items("demo", limit=300, condition="all"), GenerationSettings(noise=noise))


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_trained_model_on_original_items(real_data, temperature):
    items = load_items(real_data / "bbq", limit=200, condition="all")
    check(real_data / "models" / "stories260k", items, GenerationSettings(temperature=temperature))
