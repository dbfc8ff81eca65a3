"""What a quantization did, as recorded in pruning_meta.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_prune import words
from mlx_prune.checkpoint.costs import CONTEXT, Costs
from mlx_prune.checkpoint.invented import calibration_warnings
from mlx_prune.checkpoint.record import PruningRecord, Quantized
from mlx_prune.checkpoint.zeros import zeros_by
from mlx_prune.environment import device, versions
from mlx_prune.labels import BitFormat
from mlx_prune.pruning.command import bare_command
from mlx_prune.pruning.mask_report import shares
from mlx_prune.pruning.methods.quantize import METHOD
from mlx_prune.pruning.zero_survival import Survival

# Longer lists of layers are cut.
_NAMED = 4
_TEXT_OPTIONS = (("calibration", "source"), ("samples", "samples"), ("sequence-length", "sequence_length"))
# Of a pruned source's record, what describes its own files or measurements of it.
_NOT_CARRIED = ("results", "matrix_zeros", "fingerprint", "layout", "quantization")


@dataclass(frozen=True)
class Conversion:
    """What quantizing a checkpoint found and did.

    Attributes:
        quantization: The format.
        layers: How many layers were quantized.
        left: Names of those that could have been and were not.
        indivisible: Those of them whose input size the group size does not divide.
        survivals: Zeros of every prunable matrix in the blocks.
        left_out: Projections that are never pruned (routers of experts) and not counted.
        costs: Of the model before; quantization changes its bytes alone.
        bytes_after: Of the weight files now.
        seconds: How long it took.
        text: What the quantizer looked at, as recorded; None where it rounded.
        bits_used: Of the layers, ascending.
        notes: What else a user should see.
    """

    quantization: BitFormat
    layers: int
    left: tuple[str, ...]
    indivisible: tuple[str, ...]
    survivals: Sequence[Survival]
    left_out: Sequence[str]
    costs: Costs
    bytes_after: int
    seconds: float
    text: dict[str, Any] | None = None
    bits_used: Sequence[int] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class QuantizationReport:
    """What a quantization did.

    Attributes:
        record: The checkpoint's pruning_meta.json.
    """

    record: PruningRecord

    @property
    def quantized(self) -> Quantized:
        """What was quantized, and how."""
        assert self.record.quantization is not None
        return self.record.quantization

    @property
    def label(self) -> str:
        """The method label, the quantization last."""
        return str(self.record.method)

    @property
    def actual_sparsity(self) -> float:
        """Fraction of the blocks' weights that are zero as dequantized, or removed."""
        return (self.record.actual_sparsity or 0.0) / 100

    @property
    def zeros_before(self) -> int:
        """Exact zeros in the blocks of the model that was quantized."""
        return self.quantized.zeros_before

    @property
    def zeros_kept(self) -> int:
        """Those of them that dequantize to zero."""
        return self.quantized.zeros_kept

    @property
    def zeros_after(self) -> int:
        """All weights that dequantize to zero, those that quantization rounded to it included."""
        return self.record.zero_params or 0

    @property
    def bits_per_weight(self) -> float:
        """Bits on disk over parameters, of the whole model."""
        return self.quantized.bits_per_weight

    @property
    def left(self) -> tuple[str, ...]:
        """Layers that were not quantized."""
        return tuple(self.quantized.left)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences a user should see."""
        return tuple(self.record.warnings or ())

    def to_json(self) -> dict[str, Any]:
        """The content of pruning_meta.json."""
        return self.record.entries

    def rows(self) -> list[tuple[str, str]]:
        """What a person should read of it, as names and values."""
        record, done = self.record, self.quantized
        used = words.names([str(bits) for bits in done.bits_used or (done.bits,)])
        bits = f"{done.mode}, {used} bits, groups of {done.group_size}"
        found = [("method", self.label)]
        if record.target_sparsity:
            pattern = f" ({record.pattern})" if record.pattern else ""
            found.append(("target sparsity", f"{words.percentage(record.target_sparsity, None)}{pattern}"))
        bits_per_weight = words.fixed(self.bits_per_weight, 2)
        found += [
            ("quantization", f"{bits}, {done.layers:,} layers"),
            ("bits per weight", f"{bits_per_weight}, scales and what stays in float included"),
        ]
        if self.left:
            found.append(
                ("not quantized", f"{len(self.left):,} layers: {words.names(self.left, most=_NAMED)}")
            )
        if self.zeros_before:
            share = words.percent(self.zeros_kept / self.zeros_before, 2)
            found.append(("zeros that survive", f"{self.zeros_kept:,} of {self.zeros_before:,} ({share})"))
        found.append(("zeros as dequantized", f"{self.zeros_after:,}"))
        gone = "removed or zero" if record.smaller else "zero"
        actual = words.percent(self.actual_sparsity, 2)
        found.append(("actual sparsity", f"{actual} of the blocks' weights {gone}"))
        return found


def quantization_record(
    source: PruningRecord | None, done: Conversion, *, model: str, label: str, fingerprint: str
) -> PruningRecord:
    """Compose the record of a quantized checkpoint.

    Args:
        source: That of the checkpoint which was quantized, if it was pruned.
        done: What was found and done.
        model: What the user called that checkpoint.
        label: Method label of the result.
        fingerprint: Of source and format.
    """
    quantization, costs = done.quantization, done.costs
    matrices = [survival.after for survival in done.survivals]
    zeros, weights = sum(m.zeros for m in matrices), sum(m.params for m in matrices)
    carried = {} if source is None else source.without(*_NOT_CARRIED).entries
    made = source.command if source is not None else bare_command(model, METHOD.name)
    command = {} if made is None else {"command": f"{made} {quantization.arguments}"}
    if done.text is not None:
        about = {**done.text, "source": Path(str(done.text["source"])).name}
        chosen = [f"--{name} {about[key]}" for name, key in _TEXT_OPTIONS]
        command["command"] = " ".join([command["command"], *chosen])
    # Of a smaller model, sparsity counts what the dense one had.
    dense = source.total_prunable_params if source is not None and source.smaller else None
    total = weights if dense is None else dense
    warnings = [*(carried.get("warnings") or ()), *done.notes]
    if done.text is not None:
        warnings += calibration_warnings(model, done.text)
    if done.indivisible:
        warnings.append(
            f"{len(done.indivisible):,} layers are not quantized, because groups of "
            f"{quantization.group_size} do not divide their input size: "
            f"{words.names(done.indivisible, most=_NAMED)}."
        )
    # Of a smaller model, "before" is the dense one.
    changes = {
        key: {"before": carried.get(key, {}).get("before", before), "after": after}
        for key, before, after in (
            ("parameters", costs.parameters, costs.parameters),
            ("bytes", costs.bytes, done.bytes_after),
            ("flops_per_token", costs.flops_per_token, costs.flops_per_token),
        )
    }
    changes["flops_per_token"]["context"] = CONTEXT
    content = {
        "model": model,
        "target_sparsity": 0.0,
        "prune_time_s": done.seconds,
        "pattern": None,
        "seed": None,
        "calibration": None,
        **carried,
        **(
            {}
            if done.text is None
            else {"calibration": done.text, "seed": getattr(quantization, "seed", None)}
        ),
        "method": label,
        **command,
        "actual_sparsity": round(100 * (total - weights + zeros) / total, 6),
        "total_prunable_params": total,
        "zero_params": zeros,
        "projections": shares(zeros_by(matrices, "projection")),
        "blocks": shares(zeros_by(matrices, "block")),
        **changes,
        "quantization": {
            "label": quantization.label,
            "mode": quantization.mode,
            "bits": quantization.bits,
            "group_size": quantization.group_size,
            "quantizer": getattr(quantization, "quantizer", None),
            "bits_used": list(done.bits_used),
            "layers": done.layers,
            "left": list(done.left),
            "bits_per_weight": round(8 * done.bytes_after / costs.parameters, 4),
            "zeros_before": sum(survival.before for survival in done.survivals),
            "zeros_kept": sum(survival.kept for survival in done.survivals),
            "seconds": done.seconds,
        },
        "left_out": list(done.left_out),
        "warnings": warnings,
        "versions": versions(),
        "device": dict(device()),
        "fingerprint": fingerprint,
    }
    return PruningRecord.of(content)
