"""The models of a latency run: named or loaded, and what is known of them apart from their times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlx_prune.checkpoint.costs import bitmask_bytes, zstd_bytes
from mlx_prune.checkpoint.gguf import gguf_size
from mlx_prune.checkpoint.open import Checkpoint, LoadedModel
from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.latency.facts import ModelFacts
from mlx_prune.latency.timing import memory_bytes
from mlx_prune.progress import Progress, ProgressCallback
from mlx_prune.words import percentage


@dataclass(frozen=True)
class Candidate:
    """A model to be timed, named or already loaded.

    Attributes:
        model: Loaded, or where it lies.
        label: Its name in tables.
        dtype: Compute type asked for.
    """

    model: Checkpoint | LoadedModel
    label: str
    dtype: str

    @property
    def loaded(self) -> LoadedModel | None:
        """The model, if it came loaded."""
        return self.model if isinstance(self.model, LoadedModel) else None

    def open(self, *, lazy: bool) -> LoadedModel:
        """The loaded model; one that was only named is loaded anew."""
        if isinstance(self.model, LoadedModel):
            return self.model
        return self.model.load(self.dtype, lazy=lazy)


def describe(
    candidate: Candidate, opened: LoadedModel, *, sizes: bool, progress: ProgressCallback
) -> ModelFacts:
    """Gather sizes and origin of a model.

    Args:
        candidate: The model.
        opened: The same, loaded; its weights may be lazy.
        sizes: Whether to compress and export its files, too.
        progress: Called while files are compressed.
    """
    facts = ModelFacts(
        label=candidate.label,
        name=opened.name,
        path=str(opened.path),
        recipe="" if candidate.loaded else _recipe(opened.path, opened.config),
        dtype=opened.dtype,
        load_s=None,
        memory_bytes=memory_bytes(opened.model),
    )
    if candidate.loaded is not None:
        return facts
    shards = opened.checkpoint.shards
    on_disk = shards.nbytes
    facts = replace(facts, disk_bytes=on_disk, gguf_note="not asked for")
    if not sizes:
        return facts

    def report(stage: str) -> Callable[[int], None]:
        return lambda done: progress(Progress(f"{stage} {candidate.label}", done, on_disk))

    packed = zstd_bytes(shards.files, progress=report("compress"))
    without_zeros = bitmask_bytes(shards, progress=report("zeros of"))
    gguf = gguf_size(opened.checkpoint)
    return replace(
        facts,
        zstd_bytes=packed,
        bitmask_bytes=without_zeros,
        gguf_bytes=gguf.n_bytes,
        gguf_note=gguf.note,
    )


def labels(models: Sequence[str | Path | LoadedModel]) -> list[str]:
    """Short names for tables: the last part of each, numbered where it is not the only one."""
    names = [model.name if isinstance(model, LoadedModel) else str(model) for model in models]
    short = [Path(name).name or name for name in names]
    if len(set(short)) < len(set(names)):
        short = names
    before = (short[:place].count(name) for place, name in enumerate(short))
    return [f"{name} ({count + 1})" if count else name for name, count in zip(short, before, strict=True)]


def _recipe(folder: Path, config: dict[str, Any]) -> str:
    """What was done to a checkpoint, from the files that pruning and quantization leave beside it."""
    record = PruningRecord.find(folder)
    words = []
    if record is not None:
        # Of removed blocks or neurons the target says more; quantization alone has no sparsity.
        percent = record.target_sparsity if record.smaller else record.actual_sparsity
        shown = f" {percentage(percent)}" if percent and record.target_sparsity != 0 else ""
        words.append((record.method or "pruned") + shown)
    quantization = config.get("quantization")
    recorded = record is not None and record.quantization is not None
    if isinstance(quantization, dict) and "bits" in quantization and not recorded:
        words.append(f"{quantization['bits']}-bit")
    return ", ".join(words)
