"""What a latency run was of: the models, the prompts, and how it was made."""

from __future__ import annotations

from dataclasses import dataclass

from mlx_prune.latency.samples import METRICS
from mlx_prune.stats.levels import CONFIDENCE


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model apart from its times.

    Attributes:
        label: Short and unique name for tables.
        name: What the user called it.
        path: Its folder.
        recipe: What was done to it, in a few words; empty for a plain checkpoint.
        dtype: Compute type.
        load_s: Median seconds to load model and tokenizer, files most likely in the system's cache.
        memory_bytes: Its parameters in memory.
        disk_bytes: Its safetensors files; None for a model that exists in memory only.
        zstd_bytes: The same files under zstd, or None if not asked for.
        bitmask_bytes: Their tensors with the zeros left out, or None
            (:func:`~mlx_prune.checkpoint.costs.bitmask_bytes`).
        gguf_bytes: Exported by mlx-lm, or None.
        gguf_note: Why there is no GGUF size.
    """

    label: str
    name: str
    path: str
    recipe: str
    dtype: str
    load_s: float | None
    memory_bytes: int
    disk_bytes: int | None = None
    zstd_bytes: int | None = None
    gguf_bytes: int | None = None
    gguf_note: str = ""
    bitmask_bytes: int | None = None


@dataclass(frozen=True)
class Workload:
    """Prompts of one kind.

    Attributes:
        name: "bbq", or "p128" for synthetic prompts of 128 tokens.
        first: Index of its first item among those of all workloads.
        items: Number of prompts.
        prompt_tokens: For every model, the lengths of its prompts.
        new_tokens: Tokens generated per prompt.
    """

    name: str
    first: int
    items: int
    prompt_tokens: tuple[tuple[int, ...], ...]
    new_tokens: int

    @property
    def indices(self) -> range:
        """Indices of its items."""
        return range(self.first, self.first + self.items)

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is compared; a single token has no further ones."""
        return tuple(metric for metric in METRICS if metric != "per_token" or self.new_tokens > 1)


@dataclass(frozen=True)
class RunSettings:
    """What a result keeps of its :class:`~mlx_prune.latency.settings.BenchSettings`.

    Attributes:
        schedule: "interleaved" (in turn per item) or "blocks" (one model in memory at a time, ABBA).
        rounds: Rounds asked for.
        cooldown_s: Pause between rounds.
        margin: Largest difference that does not matter, as a fraction.
        confidence: Level at which the intervals of all comparisons hold together.
        seed: Of the order and the synthetic prompts.
        bbq: Source of the BBQ prompts, or None for synthetic ones.
        trust_remote_code: Whether the models' own code was allowed to run.
    """

    schedule: str
    rounds: int
    cooldown_s: float
    margin: float
    confidence: float = CONFIDENCE
    seed: int = 0
    bbq: str | None = None
    trust_remote_code: bool = False
