"""What the parts of a structured prune hand to each other: the job, and its outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlx_prune.checkpoint.folder import OutputFolder
from mlx_prune.checkpoint.open import OnDisk
from mlx_prune.checkpoint.writer import CheckpointWriter, plan
from mlx_prune.progress import ProgressCallback
from mlx_prune.pruning.calibration_pass import CalibrationPass
from mlx_prune.pruning.masking import Stopwatch
from mlx_prune.pruning.structure.cuts import Indices

if TYPE_CHECKING:
    from mlx_prune.pruning.structured_recipe import StructuredRecipe


@dataclass
class Shrinking:
    """One structured prune.

    Attributes:
        source: The model.
        recipe: What goes.
        folder: Where the weight files go.
        calibration: The text; None where the recipe measures nothing.
        progress: Told after each block.
        watch: Gets the seconds of "calibrate", "select" and "write".
    """

    source: OnDisk
    recipe: StructuredRecipe
    folder: OutputFolder
    calibration: CalibrationPass | None
    progress: ProgressCallback
    watch: Stopwatch = field(default_factory=Stopwatch)

    def writer(self, values: dict[str, Any]) -> CheckpointWriter:
        """Of weight files that hold these tensors.

        Raises:
            CheckpointError: The disk is too small.
        """
        writer = plan(self.folder.partial, "mlx", self.source.checkpoint.shards, values)
        self.folder.check_space(writer.nbytes)
        return writer


@dataclass(frozen=True)
class Written:
    """The weights of a smaller model, written.

    Attributes:
        config: Of the smaller model.
        kept: For each of its blocks, the index in the source.
        columns: Kept columns, by linear layer of the source that lost some.
        removed: For the report.
        repair: For the report.
        layout: "source" or "mlx".
    """

    config: dict[str, Any]
    kept: list[int]
    columns: dict[str, Indices]
    removed: dict[str, Any]
    repair: dict[str, Any] | None
    layout: str
