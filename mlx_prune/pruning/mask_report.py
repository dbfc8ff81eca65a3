"""What a prune did, as recorded in pruning_meta.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlx_prune import words
from mlx_prune.checkpoint.invented import calibration_warnings
from mlx_prune.checkpoint.matrices import PrunableLinear
from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.checkpoint.zeros import MatrixZeros, ZerosOfMatrices
from mlx_prune.kernels import choice
from mlx_prune.pruning.command import command_of
from mlx_prune.pruning.method import Mask
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.report import Report
from mlx_prune.registry import MASK, methods

_SHORTFALL = 0.01
_NAMED = 4  # experts in a warning


@dataclass(frozen=True, kw_only=True)
class PruneReport(ZerosOfMatrices, Report):
    """What setting single weights to zero did.

    Attributes:
        recipe: What was asked for.
        matrices: Every prunable matrix with its zeros, also those the recipe left alone.
        left_out: Projections of the blocks that are never pruned: routers of experts, and matrices that are
            no linear layers. They are not counted.
        allocation: How the sparsity was spread over the blocks; None where it is the same in all.
    """

    recipe: Recipe
    matrices: tuple[MatrixZeros, ...]
    left_out: tuple[str, ...] = ()
    allocation: dict[str, Any] | None = None

    @property
    def target_sparsity(self) -> float:
        """The fraction asked for in each pruned matrix."""
        return self.recipe.target_sparsity

    @property
    def unseen(self) -> tuple[str, ...]:
        """Matrices of experts that no token of the calibration text was routed to."""
        return tuple(matrix.name for matrix in self.matrices if matrix.unseen)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences a user should see."""
        found = list(calibration_warnings(self.model, self.calibration))
        if self.actual_sparsity < self.target_sparsity - _SHORTFALL:
            left = [p for p in self.projections if not self.recipe.prunes(p)]
            why = f": scope {self.recipe.scope} leaves {words.names(left)} dense" if left else ""
            if layers := self._layers:
                asked = f"of single layers another was asked for ({words.layers(layers)})"
                why += f"{' and' if why else ':'} {asked}"
            found.append(
                f"Actual sparsity is {words.percent(self.actual_sparsity, 2)}, short of the target of "
                f"{words.percent(self.target_sparsity, None)}{why}."
            )
        if self.layout == "mlx":
            found.append(
                "The source's files hold other matrices than the model runs with, so the weights are written "
                "under mlx-lm's names and shapes: mlx-lm loads them, transformers does not."
            )
        if self.unseen:
            experts = list(dict.fromkeys(_expert(name) for name in self.unseen))
            names = ", ".join(experts[:_NAMED])
            more = f" and {len(experts) - _NAMED:,} more" if len(experts) > _NAMED else ""
            found.append(
                f"No token of the calibration text was routed to {len(experts):,} experts ({names}{more}), "
                "which are pruned by their weights alone; a longer text may reach them."
            )
        if self.left_out:
            found.append(
                f"Left dense and not counted, as routers or other matrices than linear layers: "
                f"{', '.join(self.left_out)}."
            )
        return (*found, *choice.sentences(self.kernels))

    @property
    def _layers(self) -> dict[str, float]:
        """Sparsities of their own by pattern, in percent, as recorded; the last that matches decides."""
        found: dict[str, float] = {}
        for glob, sparsity in self.recipe.rules:
            found.pop(glob, None)
            found[glob] = _percent(sparsity)
        return found

    @property
    def record(self) -> PruningRecord:
        """For pruning_meta.json."""
        recipe = self.recipe
        content = {
            "model": self.model,
            "method": recipe.label,
            "command": command_of(recipe, self.model, self.calibration),
            "target_sparsity": _percent(self.target_sparsity),
            "actual_sparsity": _percent(self.actual_sparsity),
            "total_prunable_params": self.total_prunable_params,
            "zero_params": self.zero_params,
            "prune_time_s": self.prune_time_s,
            "calibration_time_s": self.calibration_time_s,
            "pattern": recipe.pattern,
            "scope": recipe.scope,
            "statistics": recipe.statistics,
            "seed": recipe.seed,
            "calibration": self.calibration,
            "allocation": self.allocation,
            **({"layers": self._layers} if recipe.rules else {}),
            **_constants(recipe),
            **{name: getattr(recipe, name) for name in recipe.mask.own},
            "projections": shares(self.projections),
            "blocks": shares(self.blocks),
            "matrix_zeros": {matrix.name: matrix.zeros for matrix in self.matrices},
            "peak_memory_bytes": self.peak_memory_bytes,
            "peak_rss_bytes": self.peak_rss_bytes,
            "dtype": self.dtype,
            "layout": self.layout,
            "warnings": list(self.warnings),
            "versions": self.versions,
            "device": self.device,
            "fingerprint": self.fingerprint,
            "left_out": list(self.left_out),
            "unseen_experts": list(self.unseen),
            "kernels": self.kernels,
        }
        return PruningRecord.of(content)


def _constants(recipe: Recipe) -> dict[str, Any]:
    """Numbers of the method's own under its name; null under the names of others that have some."""
    found = {name: method.constants for name, method in methods(MASK).items() if isinstance(method, Mask)}
    return {
        name: dict(constants) if name == recipe.method else None
        for name, constants in found.items()
        if constants
    }


def report_from_record(
    record: PruningRecord, recipe: Recipe, linears: Sequence[PrunableLinear]
) -> PruneReport:
    """The report of a finished prune, from its record, the recipe and the model's linears."""
    meta = record.entries
    zeros, unseen = meta["matrix_zeros"], set(meta.get("unseen_experts", ()))
    matrices = (
        MatrixZeros.of(linear, zeros[linear.name], unseen=linear.name in unseen) for linear in linears
    )
    return PruneReport.finished(
        record,
        recipe=recipe,
        matrices=tuple(matrices),
        left_out=tuple(meta["left_out"]),
        allocation=meta.get("allocation"),
    )


def _expert(matrix: str) -> str:
    """The expert of one of its matrices: "switch_mlp[3]" of "switch_mlp.up_proj[3]"."""
    layer, _, index = matrix.rpartition("[")
    return f"{layer.rpartition('.')[0]}[{index}"


def shares(zeros: dict[str, dict[str, int]]) -> dict[str, dict[str, float]]:
    """The same with sparsities in percent, as recorded."""
    return {
        key: {**entry, "sparsity": _percent(entry["zeros"] / entry["params"])} for key, entry in zeros.items()
    }


def _percent(fraction: float) -> float:
    return round(100 * fraction, 6)
