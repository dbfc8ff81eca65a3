"""What a structured prune did, as recorded in pruning_meta.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

from mlx_prune import words
from mlx_prune.checkpoint.costs import CONTEXT
from mlx_prune.checkpoint.invented import calibration_warnings
from mlx_prune.checkpoint.record import Change, PruningRecord
from mlx_prune.kernels import choice
from mlx_prune.pruning.command import command_of
from mlx_prune.pruning.report import Report

if TYPE_CHECKING:
    from mlx_prune.pruning.structured_recipe import StructuredRecipe

_SHORTFALL = 0.05


@dataclass(frozen=True, kw_only=True)
class StructuredReport(Report):
    """What removing neurons, heads, blocks or experts did.

    Attributes:
        recipe: What was asked for.
        prunable: Weights of all linears in the blocks.
        parameters: All parameters of the model.
        bytes: Of the weight files.
        flops_per_token: Of one new token after a context of :data:`sizes.CONTEXT` tokens.
        removed: What is gone: under "blocks", "neurons", "groups" or "experts", how many there were and are
            ("before", "after"), and which went (not of neurons); for blocks and experts also the score each
            had.
        repair: Relative errors with and without: of the corrected projection of each block under "neurons"
            and "groups", of the hidden states after each gap under "blocks"; None if not asked for.
    """

    recipe: StructuredRecipe
    prunable: Change
    parameters: Change
    bytes: Change
    flops_per_token: Change
    removed: Mapping[str, Any]
    repair: Mapping[str, Any] | None

    @property
    def target_sparsity(self) -> float:
        """The fraction of units asked for."""
        return self.recipe.sparsity

    @property
    def actual_sparsity(self) -> float:
        """The fraction of the block linears' weights that is gone."""
        return self.prunable.saved

    @property
    def total_prunable_params(self) -> int:
        """Weights of all linears in the blocks of the dense model."""
        return self.prunable.before

    @property
    def zero_params(self) -> int:
        """Zeros that were added: none."""
        return 0

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences a user should see."""
        found = list(calibration_warnings(self.model, self.calibration))
        for unit, entry in self.removed.items():
            share = 1 - entry["after"] / entry["before"]
            if abs(share - self.recipe.sparsity) > _SHORTFALL:
                found.append(
                    f"{entry['before'] - entry['after']} of {entry['before']} {_NAMES[unit]} is "
                    f"{words.percent(share)}, not {words.percent(self.recipe.sparsity, None)}: the count was "
                    "rounded."
                )
        gone = self.removed.get("blocks", {}).get("removed", [])
        if self.recipe.repair and 0 in gone:
            found.append("No block comes before the first that is gone, so repair could not make up for it.")
        found += self.recipe.structure.remarks(self.removed)
        return (*found, *choice.sentences(self.kernels))

    def rows(self) -> list[tuple[str, str]]:
        """What was removed and what it saves, for a table of two columns."""
        found = [
            (
                _NAMES[unit][0].upper() + _NAMES[unit][1:],
                f"{entry['before']:,} -> {entry['after']:,}"
                + (f" (without {words.ranges(entry['removed'])})" if unit == "blocks" else ""),
            )
            for unit, entry in self.removed.items()
        ]
        found += self.recipe.structure.rows(self.removed)
        found += [
            ("Block weights", _change(self.prunable)),
            ("Parameters", _change(self.parameters)),
            ("Weight files", _change(self.bytes, words.size)),
            (f"FLOPs per token (at {CONTEXT} tokens)", _change(self.flops_per_token)),
        ]
        for kind, entries in (self.repair or {}).items():
            if not entries:
                continue
            without, repaired = (
                sum(e[key] for e in entries) / len(entries) for key in ("without", "repaired")
            )
            found.append((f"{_ERRORS[kind]}", f"{without:.3f} -> {repaired:.3f} by repair (mean)"))
        return found

    @property
    def record(self) -> PruningRecord:
        """For pruning_meta.json."""
        recipe = self.recipe
        content = {
            "model": self.model,
            "method": recipe.label,
            "command": command_of(recipe, self.model, self.calibration),
            "target_sparsity": round(100 * recipe.sparsity, 6),
            "actual_sparsity": round(100 * self.actual_sparsity, 6),
            "total_prunable_params": self.total_prunable_params,
            "remaining_prunable_params": self.prunable.after,
            "zero_params": self.zero_params,
            "prune_time_s": self.prune_time_s,
            "calibration_time_s": self.calibration_time_s,
            "pattern": None,
            **recipe.structure.recorded(recipe),
            "statistics": recipe.statistics,
            "seed": recipe.seed,
            "calibration": self.calibration,
            "parameters": asdict(self.parameters),
            "bytes": asdict(self.bytes),
            "flops_per_token": {**asdict(self.flops_per_token), "context": CONTEXT},
            "removed": dict(self.removed),
            "repair": None if self.repair is None else dict(self.repair),
            "peak_memory_bytes": self.peak_memory_bytes,
            "peak_rss_bytes": self.peak_rss_bytes,
            "dtype": self.dtype,
            "layout": self.layout,
            "warnings": list(self.warnings),
            "versions": self.versions,
            "device": self.device,
            "fingerprint": self.fingerprint,
            "kernels": self.kernels,
        }
        return PruningRecord.of(content)


def report_from_record(record: PruningRecord, recipe: StructuredRecipe) -> StructuredReport:
    """The report of a finished prune, from its record and the recipe."""
    meta = record.entries
    parameters, nbytes, flops = (
        Change(meta[key]["before"], meta[key]["after"]) for key in ("parameters", "bytes", "flops_per_token")
    )
    return StructuredReport.finished(
        record,
        recipe=recipe,
        prunable=Change(meta["total_prunable_params"], meta["remaining_prunable_params"]),
        parameters=parameters,
        bytes=nbytes,
        flops_per_token=flops,
        removed=meta["removed"],
        repair=meta["repair"],
    )


_NAMES = {
    "blocks": "blocks",
    "neurons": "MLP neurons per block",
    "groups": "key-value groups per block",
    "experts": "experts per block",
}
_ERRORS = {
    "blocks": "Hidden-state error after the gaps",
    "neurons": "MLP output error",
    "groups": "Attention output error",
}


def _change(change: Change, write: words.Write = words.count) -> str:
    return words.before_after(change.before, change.after, write)
