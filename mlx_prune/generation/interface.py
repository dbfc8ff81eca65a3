"""What every generation engine takes and gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from mlx_prune.errors import DataError

STUDY_SEEDS = (42, 123, 456, 789, 1024)
# Noise is drawn for every token of an answer before the first: seeds x tokens x vocabulary floats per prompt.
LONGEST_ANSWER = 1024


@dataclass(frozen=True)
class GenerationSettings:
    """How answers are drawn; the defaults are the study's, except for the noise.

    Attributes:
        temperature: Of the sampling; 0 takes the most probable token.
        max_tokens: Longest answer, in tokens.
        seeds: One answer per prompt and seed.
        noise: "item" draws noise from (seed, item, step): independent across items. "seed" draws it from
            (seed, step), so that all items of a seed share it, as in the study. Either way a dense and a
            pruned model meet the same noise at the same item and seed.
        letters: Of the three options, as the prompts name them.

    Raises:
        DataError: A value is out of its range.
    """

    temperature: float = 0.3
    max_tokens: int = 5
    seeds: tuple[int, ...] = STUDY_SEEDS
    noise: str = "item"
    letters: tuple[str, ...] = ("A", "B", "C")

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise DataError(f"temperature {self.temperature} is not a number from 0 upwards.")
        if self.max_tokens < 1:
            raise DataError(f"max_tokens is {self.max_tokens}; an answer needs at least one token.")
        if self.max_tokens > LONGEST_ANSWER:
            raise DataError(f"max_tokens is {self.max_tokens:,}; an answer has {LONGEST_ANSWER:,} at most.")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise DataError(f"seeds {self.seeds} must be one or more distinct whole numbers.")
        if not all(0 <= seed < 2**32 for seed in self.seeds):
            raise DataError(f"seeds {self.seeds} must lie between 0 and 2**32 - 1.")
        if self.noise not in ("item", "seed"):
            raise DataError(f"noise is {self.noise!r}; choose 'item' or 'seed'.")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A tokenized prompt; the item id keys its noise."""

    item_id: str
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to one prompt under one seed.

    Attributes:
        text: As ``mlx_lm.stream_generate`` streams it.
        tokens: Every token drawn, the end-of-sequence token included.
        prompt_tokens: Length of the prompt.
        elapsed_s: Wall time of the call, or None where answers were not generated one at a time.
    """

    item_id: str
    seed: int
    text: str
    tokens: tuple[int, ...]
    prompt_tokens: int
    elapsed_s: float | None


@dataclass(frozen=True, slots=True)
class PromptAnswers:
    """All answers to one prompt, with the first-token probabilities of the three letters.

    Attributes:
        letter_probabilities: At the run's temperature.
        letter_probabilities_t1: At temperature 1.
        answers: One per seed, in the order of the settings.
    """

    item_id: str
    letter_probabilities: tuple[float, float, float]
    letter_probabilities_t1: tuple[float, float, float]
    answers: tuple[Answer, ...]


class Engine(Protocol):
    """Anything that answers prompts.

    Attributes:
        settings: How answers are drawn.
        batch_size: Items in flight; None where that is still to be chosen.
        note: What the engine could not do and why, as a sentence for people; empty if nothing.
    """

    settings: GenerationSettings
    batch_size: int | None
    note: str

    def answer(self, prompts: Sequence[Prompt]) -> Iterator[list[PromptAnswers]]:
        """Answer every prompt once per seed, in batches that are finished when they are yielded.

        The order of the batches, and of the prompts inside them, is the engine's own.
        """
        ...
