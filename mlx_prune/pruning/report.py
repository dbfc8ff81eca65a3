"""What every prune tells of itself, whatever it removed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Self

import mlx.core as mx

from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.environment import device, versions
from mlx_prune.kernels.choice import KernelRecord
from mlx_prune.pruning.masking import Stopwatch, peak_rss_bytes


@dataclass(frozen=True, kw_only=True)
class Report(ABC):
    """What a prune did.

    Attributes:
        model: What the user called the model.
        prune_time_s: Measuring, choosing and writing, in seconds.
        calibration_time_s: The part of it spent on running the model on text.
        peak_memory_bytes: Highest memory MLX held during the prune.
        peak_rss_bytes: Highest resident memory of the process so far.
        dtype: Compute type of the calibration.
        calibration: Source, sizes and hashes of the text; None without.
        layout: "source" (the source's own files or tensor names), "mlx" (mlx-lm's names and shapes), or None
            as long as nothing is saved.
        versions: Of this package and the libraries.
        device: The machine.
        fingerprint: Of the recipe and the source, by which a finished prune is recognized.
        kernels: What computed it, where there are GPU kernels
            (:class:`~mlx_prune.kernels.choice.KernelRecord`).
    """

    model: str
    prune_time_s: float
    calibration_time_s: float
    peak_memory_bytes: int
    peak_rss_bytes: int
    dtype: str
    calibration: dict[str, Any] | None
    layout: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    device: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    kernels: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def measured(
        cls, watch: Stopwatch, kernels: KernelRecord, seconds: float | None = None, **did: Any
    ) -> Self:
        """Of a prune that ends now.

        Args:
            watch: Holds the seconds of its parts.
            kernels: What computed.
            seconds: In all, where that is more than the parts.
            **did: The other attributes.
        """
        return cls(
            prune_time_s=round(sum(watch.seconds.values()) if seconds is None else seconds, 3),
            calibration_time_s=round(watch.get("calibrate"), 3),
            peak_memory_bytes=mx.get_peak_memory(),
            peak_rss_bytes=peak_rss_bytes(),
            versions=versions(),
            device=dict(device()),
            kernels=kernels.to_json(),
            **did,
        )

    @classmethod
    def finished(cls, record: PruningRecord, **did: Any) -> Self:
        """Of a prune that was recorded; the attributes of its own kind are given."""
        kept = {name: record.entries[name] for name in Report.__dataclass_fields__ if name in record.entries}
        return cls(**kept, **did)

    @property
    @abstractmethod
    def record(self) -> PruningRecord:
        """For pruning_meta.json."""

    def to_json(self) -> dict[str, Any]:
        """The content of pruning_meta.json; sparsities are in percent there."""
        return self.record.entries
