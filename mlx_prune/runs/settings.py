"""What a model is asked, and how its answers are drawn: the sections [bbq] and [generation] of a study."""

from __future__ import annotations

from dataclasses import dataclass

from mlx_prune.bbq.items import CONDITIONS
from mlx_prune.bbq.thinking import MODES
from mlx_prune.dtypes import FLOATS
from mlx_prune.errors import DataError
from mlx_prune.generation.engines import ENGINES
from mlx_prune.generation.interface import STUDY_SEEDS, GenerationSettings

DEFAULT_TOP = 128
"""Likeliest tokens of which a divergence keeps the dense probabilities: half a kilobyte and more a token."""


def require_from(least: int, name: str, value: int | None) -> None:
    """Refuse a number that is given and too small.

    Raises:
        DataError: It is below ``least``.
    """
    if value is not None and value < least:
        raise DataError(f"{name} is a whole number from {least} upwards, not {value}.")


@dataclass(frozen=True)
class Bbq:
    """Which questions are asked.

    Attributes:
        source: "hub" (Elfsong/BBQ), a folder of BBQ's JSONL files, or "demo" for invented ones. None is
            "demo" for the embedded model; any other needs one.
        categories: Which to ask; None is the study's five.
        condition: "ambig", "disambig" or "all" contexts.
        limit: Ask this many items in all, spread over the categories.
        exclude_label_faults: Leave out items known to carry reversed labels.
        wording: TOML file with the prompt's words and the columns of the questions, for other languages and
            other files; None is ``questions.toml`` beside the questions, or BBQ's own words and columns.

    Raises:
        DataError: A value is out of its range.
    """

    source: str | None = None
    categories: tuple[str, ...] | None = None
    condition: str = "ambig"
    limit: int | None = None
    exclude_label_faults: bool = False
    wording: str | None = None

    def __post_init__(self) -> None:
        if self.condition not in CONDITIONS:
            raise DataError(f"condition must be one of {', '.join(CONDITIONS)}, not {self.condition!r}.")
        require_from(1, "limit", self.limit)


@dataclass(frozen=True)
class Generation:
    """How answers are drawn; defaults are the published study's, with noise independent across items.

    Attributes:
        seeds: One answer per item and seed.
        temperature: Of the sampling; 0 takes the most probable token.
        max_tokens: Longest answer, in tokens.
        noise: "item" draws noise of its own for every question; "seed" one for all questions of a seed, as
            the study did.
        engine: "batched", or "sequential", which measures the time of each answer.
        batch_size: Items in flight at once; None chooses from the model's size and the free memory.
        dtype: "auto", "float32", "bfloat16" or "float16", for a model that is still to be loaded.
        thinking: "off" leaves the thinking part out where the chat template can, and refuses a template that
            makes the model think all the same; "skip" closes that part with nothing in it.

    Raises:
        DataError: A value is out of its range.
    """

    seeds: tuple[int, ...] = STUDY_SEEDS
    temperature: float = 0.3
    max_tokens: int = 5
    noise: str = "item"
    engine: str = "batched"
    batch_size: int | None = None
    dtype: str = "auto"
    thinking: str = "off"

    def __post_init__(self) -> None:
        _ = self.settings
        if self.engine not in ENGINES:
            raise DataError(f"engine is {self.engine!r}; choose 'batched' or 'sequential'.")
        dtypes = ("auto", *FLOATS.values())
        if self.dtype not in dtypes:
            raise DataError(f"dtype must be one of {', '.join(dtypes)}, not {self.dtype!r}.")
        if self.thinking not in MODES:
            raise DataError(f"thinking is {self.thinking!r}; choose 'off' or 'skip'.")
        require_from(1, "batch_size", self.batch_size)

    @property
    def settings(self) -> GenerationSettings:
        """How answers are drawn, as the engines take it."""
        return GenerationSettings(self.temperature, self.max_tokens, self.seeds, self.noise)
