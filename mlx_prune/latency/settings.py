"""How a latency run is to be made. Imports no numbers library: the command line shows the defaults."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlx_prune.errors import DataError

if TYPE_CHECKING:
    from mlx_prune.bbq.wording import Wording

MARGIN = 0.05
SCHEDULES = ("auto", "interleaved", "blocks")
BBQ_TOKENS = 5
SYNTHETIC_TOKENS = 32
# Of all synthetic prompts together, and of one answer; they are held as Python numbers, about 40 bytes each.
MOST_TOKENS = 10_000_000
_LONGEST_COOLDOWN_S = 86_400


@dataclass(frozen=True)
class BenchSettings:
    """How :func:`mlx_prune.bench` times models.

    Attributes:
        rounds: Times that every model answers every item.
        items: BBQ questions, or synthetic prompts per length.
        cooldown_s: Seconds to rest between rounds.
        bbq: Source of the questions, "demo" (the default), "hub" or a folder.
        wording: Their columns and their prompts' words; None is what lies beside them, or BBQ's.
        prompt_lengths: Lengths of synthetic prompts in tokens, instead of questions.
        new_tokens: Tokens per answer; by default 5 for questions and 32 for synthetic prompts.
        margin: Largest difference that does not matter, as a fraction.
        schedule: "interleaved" (models in turn at every item), "blocks" (one in memory at a time), or "auto":
            interleaved where all fit in memory together.
        dtype: Compute type, as in :func:`mlx_prune.load`.
        sizes: Also measure the files under zstd, as a bitmask and as GGUF.
        seed: Of the order and the synthetic prompts.

    Raises:
        DataError: A value is out of its range, or conflicts with another.
    """

    rounds: int = 5
    items: int = 40
    cooldown_s: float = 2.0
    bbq: str | Path | None = None
    wording: Wording | None = None
    prompt_lengths: tuple[int, ...] = ()
    new_tokens: int | None = None
    margin: float = MARGIN
    schedule: str = "auto"
    dtype: str = "auto"
    sizes: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.items < 1:
            raise DataError("there must be at least one round and one item.")
        if not 0 <= self.cooldown_s <= _LONGEST_COOLDOWN_S:
            raise DataError(
                f"a cooldown is from 0 to {_LONGEST_COOLDOWN_S:,} seconds, not {self.cooldown_s:g}."
            )
        if not 0 < self.margin < 1:
            raise DataError(f"the margin is a fraction between 0 and 1, not {self.margin}.")
        if self.new_tokens is not None and not 1 <= self.new_tokens <= MOST_TOKENS:
            raise DataError(
                f"an answer of {self.new_tokens:,} tokens cannot be timed; choose 1 to {MOST_TOKENS:,}."
            )
        if self.schedule not in SCHEDULES:
            raise DataError(f"the schedule is one of {', '.join(SCHEDULES)}, not {self.schedule!r}.")
        lengths = self.prompt_lengths
        if lengths and self.bbq is not None:
            raise DataError("questions and synthetic prompts exclude each other; give one of them.")
        if lengths and self.wording is not None:
            raise DataError("a wording is for questions; synthetic prompts have no words.")
        if lengths and (min(lengths) < 1 or len(set(lengths)) != len(lengths)):
            raise DataError("prompt lengths must be distinct and at least 1.")

    @property
    def questions(self) -> str | None:
        """Source of the questions, None for synthetic prompts."""
        return None if self.prompt_lengths else str(self.bbq or "demo")

    @property
    def answer_tokens(self) -> int:
        """Tokens per answer."""
        return self.new_tokens or (SYNTHETIC_TOKENS if self.prompt_lengths else BBQ_TOKENS)
