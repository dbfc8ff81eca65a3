"""Items for generation tests, and the comparison of an engine's answers with the one-at-a-time reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import make_prompt_cache

from mlx_prune.bbq.item import Item
from mlx_prune.generation.interface import Engine, GenerationSettings, Prompt, PromptAnswers
from mlx_prune.generation.sampling import Noise, log_probabilities, perturb
from mlx_prune.generation.sequential import SequentialEngine

NEAR_TIE = 1e-4

_PEOPLE = ["the teacher", "an old man", "my neighbor from the second floor", "a nurse", "the student", "Bo"]
_PLACES = ["at the market", "in the park near the river", "at work", "on a bus that was late again"]
_ASKED = ["Who was late?", "Who was known to be good with numbers and letters?", "Who left?"]


def make_items(count: int, categories: tuple[str, ...] = ("Age", "Religion"), seed: int = 0) -> list[Item]:
    """Made-up items of varied lengths; a neg and a nonneg question share each context."""
    rng = np.random.default_rng(seed)
    items = []
    for index in range(count):
        if index % 2 == 0:
            one, other = rng.choice(_PEOPLE, 2, replace=False)
            context = f"I saw {one} and {other} {rng.choice(_PLACES)}."
        unknown = int(rng.integers(3))
        target = (unknown + 1 + int(rng.integers(2))) % 3
        answers = [str(one), str(other)]
        answers.insert(unknown, "Cannot be determined")
        category = categories[(index // 2) % len(categories)]
        items.append(
            Item(
                # Example ids repeat across categories, as in the original data.
                item_id=f"{category}:{index // (2 * len(categories)) * 2 + index % 2}",
                category=category,
                question_index=1 + index // 8,
                question_polarity=("neg", "nonneg")[index % 2],
                context_condition="ambig",
                context=context,
                question=str(rng.choice(_ASKED)),
                answers=(answers[0], answers[1], answers[2]),
                label=unknown,
                stereotype_target_index=target,
                anti_stereotype_target_index=3 - unknown - target,
                unknown_index=unknown,
                known_label_fault=index % 5 == 0,
            )
        )
    return items


def make_prompts(tokenizer: Any, count: int, seed: int = 0) -> list[Prompt]:
    """Short prompts with shared beginnings, tokenized plainly."""
    return [
        Prompt(item.item_id, tuple(tokenizer.encode(f"{item.context} {item.question} A) {item.answers[0]}")))
        for item in make_items(count, seed=seed)
    ]


def answer_all(engine: Engine, prompts: list[Prompt]) -> dict[str, PromptAnswers]:
    """Every prompt's answers by item id; no prompt may be answered twice."""
    found: dict[str, PromptAnswers] = {}
    for batch in engine.answer(prompts):
        for answered in batch:
            assert answered.item_id not in found
            found[answered.item_id] = answered
    return found


@dataclass(frozen=True)
class Agreement:
    """How an engine compares with the reference; ``unexplained`` differ without a near tie."""

    answers: int
    identical: int
    near_ties: list[tuple[str, int, float]]
    unexplained: list[tuple[str, int, str, str]]
    ended_early: int


def compare(
    model: Any, tokenizer: Any, settings: GenerationSettings, engine: Engine, prompts: list[Prompt]
) -> Agreement:
    """Compare an engine with ``mlx_lm.stream_generate``, answer by answer."""
    found = answer_all(engine, prompts)
    reference = SequentialEngine(model, tokenizer, settings)
    identical, ended, total = 0, 0, 0
    near, unexplained = [], []
    for prompt in prompts:
        assert tuple(a.seed for a in found[prompt.item_id].answers) == settings.seeds
        for got in found[prompt.item_id].answers:
            want, _ = reference.one(prompt, got.seed)
            total += 1
            ended += want.tokens[-1] in tokenizer.eos_token_ids
            if (got.text, got.tokens) == (want.text, want.tokens):
                identical += 1
                continue
            margin = first_margin(model, settings, prompt, got.seed, got.tokens, want.tokens)
            if margin < NEAR_TIE:
                near.append((prompt.item_id, got.seed, margin))
            else:
                unexplained.append((prompt.item_id, got.seed, got.text, want.text))
    return Agreement(total, identical, near, unexplained, ended)


def assert_agrees(agreement: Agreement) -> None:
    """Every answer is the reference's, but where two scores are so close that their last digits decide."""
    assert not agreement.unexplained
    assert agreement.identical + len(agreement.near_ties) == agreement.answers
    # So close a draw is rare.
    assert len(agreement.near_ties) <= 1 + 0.001 * agreement.answers, agreement.near_ties


def first_margin(
    model: Any,
    settings: GenerationSettings,
    prompt: Prompt,
    seed: int,
    got: tuple[int, ...],
    want: tuple[int, ...],
) -> float:
    """Distance of the two best perturbed scores at the first draw where two answers part."""
    step = next(i for i, (a, b) in enumerate(zip(got, want, strict=False)) if a != b)
    tokens = mx.array([[*prompt.tokens, *want[:step]]])
    logprobs = log_probabilities(model(tokens, cache=make_prompt_cache(model))[:, -1])
    if settings.temperature > 0:
        noise = Noise(settings.noise, logprobs.shape[-1]).draw([(seed, prompt.item_id)], step)
        logprobs = perturb(logprobs, settings.temperature, noise)
    best = np.sort(np.array(logprobs[0]))
    return float(best[-1] - best[-2])
