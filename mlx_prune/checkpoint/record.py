"""``pruning_meta.json``: what was done to a checkpoint. Nothing else writes or reads it; needs no MLX."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from mlx_prune.configuration import Configuration
from mlx_prune.errors import CheckpointError
from mlx_prune.json_files import read_object, to_jsonable, typed
from mlx_prune.store import write_atomically

META_FILE = "pruning_meta.json"
FORMAT = 1
_ADVICE = "prune again with --force, or delete the file"
_OF_A_CHECKPOINT = (
    *("model", "method", "target_sparsity", "actual_sparsity"),
    *("total_prunable_params", "zero_params", "prune_time_s"),
)


class Zeros(msgspec.Struct, frozen=True, kw_only=True):
    """Exact zeros of a projection or a block: of how many weights, and their share in percent."""

    zeros: int
    params: int | None = None
    sparsity: float | None = None


class Change(msgspec.Struct, frozen=True):
    """A size of the dense model and what it is now."""

    before: int
    after: int

    @property
    def saved(self) -> float:
        """The fraction that is gone."""
        return 1 - self.after / self.before if self.before else 0.0


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """Blocks, neurons or groups: how many there were and are, and which went, where that is recorded."""

    before: int
    after: int
    removed: list[Any] | None = None


class Quantized(msgspec.Struct, frozen=True, kw_only=True):
    """What quantization did: format, layers it touched and left, zeros of the weights before and after.

    Attributes:
        quantizer: One that looked at the calibration text; None where weights were rounded.
        bits_used: Of the layers, ascending, where they may differ.
    """

    mode: str
    bits: int
    group_size: int
    layers: int
    left: list[str]
    bits_per_weight: float
    zeros_before: int
    zeros_kept: int
    quantizer: str | None = None
    bits_used: list[int] = []


class CalibrationText(msgspec.Struct, frozen=True, kw_only=True):
    """The text that was run through the model: its source, amount and SHA-256."""

    source: str
    samples: int
    sequence_length: int
    sha256: str | None = None


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint that a study was given: where it lay, and what makes it hard to compare.

    Attributes:
        path: Folder or Hub id.
        hash: Of its weights (:attr:`.Checkpoint.quick_hash`).
        warnings: Sentences.
        other_tokens: Whether a text is other tokens to it than to its dense model, so that perplexities per
            token do not compare.
    """

    path: str
    hash: str
    warnings: list[str] = []
    other_tokens: bool = False


class Recovered(msgspec.Struct, frozen=True, kw_only=True):
    """What training a pruned model back took, and what it brought on the text that was held out of it.

    Attributes:
        teacher: What the user called the dense model; None without one.
        loss: "distill" or "text".
        full: Whether the kept weights themselves were trained.
        data: Source, amount and SHA-256 of the text.
        steps: Updates that the weights are the result of.
        learning_rate: At its highest.
        tokens: That were learned from, over all steps.
        recover_time_s: All of it, in seconds.
        held_out: Losses in nats per token, perplexity and divergence from the teacher, by "teacher",
            "pruned" and "recovered".
        rank: Of the updates; None where weights were trained.
        first_step: What was done before training, if anything; "taken" says whether it was kept.
        adapter_bytes: Of the file of updates that lie beside quantized weights; None where they were merged.
        mask_prompt: Whether losses are of the replies in conversations alone.
        command: That recovers the checkpoint again.
        fingerprint: Of all that the result follows from.
    """

    teacher: str | None
    loss: str
    full: bool
    data: dict[str, Any]
    steps: int
    learning_rate: float
    tokens: int
    recover_time_s: float
    held_out: dict[str, dict[str, float | None]]
    rank: int | None = None
    first_step: dict[str, Any] | None = None
    adapter_bytes: int | None = None
    mask_prompt: bool = False
    command: str | None = None
    fingerprint: str | None = None

    @property
    def did(self) -> str:
        """What was done, for a sentence about the model."""
        parts = []
        if self.first_step is not None and self.first_step.get("taken"):
            parts.append(self._began())
        if self.steps:
            what = "kept weights" if self.full else f"updates of rank {self.rank}"
            if self.adapter_bytes is not None:
                what = f"adapters of rank {self.rank} beside the quantized weights"
            goal = "the dense model's next-token distributions" if self.loss == "distill" else "next tokens"
            goal += " of replies alone" if self.mask_prompt else ""
            parts.append(f"{what} trained on {goal} for {self.steps:,} steps")
        return ", then ".join(parts) or "nothing that helped was found, so the weights are the pruned ones"

    def _began(self) -> str:
        """What was done without training."""
        if (self.first_step or {}).get("method") != "eora":
            return "kept weights fitted to the dense model's outputs by least squares"
        if self.adapter_bytes is not None:
            return f"adapters of rank {self.rank} computed from the difference to the dense model (EoRA)"
        rank = "" if self.rank is None else f" of rank {self.rank}"
        return f"updates{rank} computed from the difference to the dense model (EoRA), merged under the mask"

    def perplexity(self, of: str) -> float | None:
        """On the held-out part: of the "teacher", the "pruned" or the "recovered" model."""
        return self.held_out.get(of, {}).get("perplexity")

    @property
    def gap_closed(self) -> float | None:
        """The share of the rise of perplexity over the teacher's that is gone; None where there was none."""
        dense, pruned, now = (self.perplexity(of) for of in ("teacher", "pruned", "recovered"))
        if dense is None or pruned is None or now is None or not pruned > dense:
            return None
        return (pruned - now) / (pruned - dense)


class PruningRecord(msgspec.Struct, frozen=True, kw_only=True, rename={"weight_bytes": "bytes"}):
    """The content of a ``pruning_meta.json``; an entry that a record does not have is None.

    Sparsities are in percent, times in seconds. Which entries there are depends on what was done.

    Attributes:
        format: Of the file; records from before there was a number are of format 1.
        model: What the user called the dense model.
        method: Method label.
        command: The command that makes the checkpoint again, with OUT for its folder.
        total_prunable_params: Weights of all linear layers in the dense model's blocks.
        remaining_prunable_params: Those that are left; only of a model that was made smaller.
        recovery: How it was trained back after pruning.
        layers: By a pattern of names, the sparsity of its own that was asked for; the last match counts.
        results: What was measured, as a card keeps it.
        checkpoint: In a run of a study, the checkpoint that was there before.
        entries: All of it as it stands in the file, unknown entries and their order included.
    """

    format: Annotated[int, msgspec.Meta(ge=1)] = FORMAT
    model: str | None = None
    method: str | None = None
    command: str | None = None
    target_sparsity: float | None = None
    actual_sparsity: float | None = None
    total_prunable_params: int | None = None
    remaining_prunable_params: int | None = None
    zero_params: int | None = None
    prune_time_s: float | None = None
    pattern: str | None = None
    scope: str | None = None
    scores: str | None = None
    multiple: int | None = None
    statistics: str | None = None
    seed: int | None = None
    calibration: CalibrationText | None = None
    layers: dict[str, float] | None = None
    projections: dict[str, Zeros] | None = None
    parameters: Change | None = None
    weight_bytes: Change | None = None
    flops_per_token: Change | None = None
    removed: dict[str, Removed] | None = None
    quantization: Quantized | None = None
    left_out: list[str] | None = None
    warnings: list[str] | None = None
    versions: dict[str, str] | None = None
    fingerprint: str | None = None
    recovery: Recovered | None = None
    results: dict[str, Any] | None = None
    checkpoint: Given | None = None
    entries: dict[str, Any]

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> PruningRecord:
        """A record of these entries.

        Raises:
            msgspec.ValidationError: One is of another kind than is written.
        """
        entries = {"format": FORMAT, **content}
        return msgspec.convert({**entries, "entries": entries}, cls)

    @classmethod
    def find(cls, folder: Path, needed: tuple[str, ...] = ()) -> PruningRecord | None:
        """The record in a folder, or None where there is none.

        Args:
            folder: The folder.
            needed: Entries that a record must have.

        Raises:
            CheckpointError: It is damaged, of a newer version, or lacks what is needed.
        """
        file = folder / META_FILE
        if not file.exists():
            return None
        content = read_object(file, CheckpointError, _ADVICE, FORMAT)
        absent = [name for name in needed if content.get(name) is None]
        if absent:
            raise CheckpointError(f"{file} lacks {', '.join(absent)}; {_ADVICE}.")
        entries = {"format": FORMAT, **content}
        return typed({**entries, "entries": entries}, cls, str(file), CheckpointError, _ADVICE)

    @classmethod
    def read(cls, folder: Path) -> PruningRecord:
        """The record of a pruned checkpoint's folder, complete enough for a card.

        Raises:
            CheckpointError: There is none, or as :meth:`find`.
        """
        record = cls.find(folder, _OF_A_CHECKPOINT)
        if record is None:
            raise CheckpointError(
                f"{folder} holds no {META_FILE}, so it is not a checkpoint made by `mlxprune prune`; "
                "give one that is."
            )
        return record

    @property
    def configuration(self) -> Configuration:
        """The model, by the name that the user gave it, and what was done to it."""
        return Configuration(self.model or "", self.method or "", self.target_sparsity or 0.0, self.pattern)

    @property
    def smaller(self) -> bool:
        """Whether neurons, heads or blocks were removed."""
        return self.remaining_prunable_params is not None

    def with_entries(self, **changed: Any) -> PruningRecord:
        """The same with some entries replaced or added."""
        return self.of({**self.entries, **changed})

    def without(self, *names: str) -> PruningRecord:
        """The same without some entries."""
        return self.of({name: value for name, value in self.entries.items() if name not in names})

    def to_bytes(self) -> bytes:
        """The file; figures that are not finite are null there."""
        return f"{json.dumps(to_jsonable(self.entries), indent=2, allow_nan=False)}\n".encode()

    def write(self, folder: Path) -> None:
        """Write the file of a folder, whole or not at all.

        Raises:
            RecordsError: It cannot be written.
        """
        write_atomically(folder / META_FILE, self.to_bytes())
