"""Look into any checkpoint: how many zeros, where, and whether that is what was recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_prune.checkpoint.matrices import (
    block_modules,
    dense_matrix,
    is_stack,
    let_go,
    not_finite,
    other_projections,
    weight_matrix,
)
from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.checkpoint.record import META_FILE, PruningRecord
from mlx_prune.checkpoint.zeros import MatrixZeros, ZerosOfMatrices, zeros_by
from mlx_prune.kernels.zeroing import all_finite, count_zeros
from mlx_prune.progress import Progress, ProgressCallback, silent

if TYPE_CHECKING:
    import mlx.core as mx

_DENSE = 0.001  # below this fraction of zeros a projection counts as left dense


@dataclass(frozen=True)
class Inspection(ZerosOfMatrices):
    """Zeros of a checkpoint's blocks.

    Attributes:
        model: What the user called the model.
        path: Its folder.
        matrices: Every prunable matrix of the blocks; of a stack of experts, each expert's.
        others: Matrices of the blocks that are never pruned, routers of experts for one; not counted.
        record: What was done to it, or None where nothing is recorded.
        bits_per_weight: Bits on disk over parameters, of the whole model.
        experts: Experts of each block that holds any, by its index.
    """

    model: str
    path: Path
    matrices: tuple[MatrixZeros, ...]
    others: tuple[MatrixZeros, ...]
    record: PruningRecord | None
    bits_per_weight: float
    experts: Mapping[int, int] = field(default_factory=dict)

    @property
    def kept_experts(self) -> dict[int, list[int]]:
        """Indices in the dense model of each block's experts, where it is recorded that some went."""
        removed = (None if self.record is None else self.record.entries.get("removed")) or {}
        entry = removed.get("experts")
        if entry is None:
            return {}
        return {
            block: [expert for expert in range(entry["before"]) if expert not in gone]
            for block, gone in zip(entry["blocks"], entry["removed"], strict=True)
        }

    @property
    def left_dense(self) -> tuple[str, ...]:
        """Projections without zeros, in a model that has some elsewhere."""
        found = tuple(name for name, z in self.projections.items() if z["zeros"] < _DENSE * z["params"])
        return found if len(found) < len(self.projections) else ()

    @property
    def disagreements(self) -> tuple[str, ...]:
        """Where the weights differ from pruning_meta.json, one sentence each."""
        record, found = self.record, []
        if record is None:
            return ()
        # What was removed is no longer here, and a smaller model's own zeros are nobody's doing.
        recorded, zeros = record.zero_params, sum(m.zeros for m in self.matrices)
        if recorded is not None and recorded != zeros and (recorded or not record.smaller):
            found.append(f"{META_FILE} records {recorded:,} zeros, the weights hold {zeros:,}.")
        expected = record.remaining_prunable_params if record.smaller else record.total_prunable_params
        total = sum(m.params for m in self.matrices)
        if expected is not None and expected != total:
            found.append(f"{META_FILE} records {expected:,} prunable weights, the blocks hold {total:,}.")
        for block, kept in self.kept_experts.items():
            if len(kept) != self.experts.get(block, 0):
                found.append(
                    f"Block {block}: {len(kept)} experts recorded, {self.experts.get(block, 0)} found."
                )
        for name, entry in (record.projections or {}).items():
            here = self.projections.get(name)
            if here is not None and here["zeros"] != entry.zeros:
                found.append(f"{name}: {entry.zeros:,} zeros recorded, {here['zeros']:,} found.")
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """For programs; sparsities in percent."""
        return {
            "model": self.model,
            "path": str(self.path),
            "actual_sparsity": round(100 * self.actual_sparsity, 6),
            "total_prunable_params": sum(m.params for m in self.matrices),
            "zero_params": sum(m.zeros for m in self.matrices),
            "bits_per_weight": self.bits_per_weight,
            "projections": self.projections,
            "blocks": self.blocks,
            "left_dense": list(self.left_dense),
            "experts": {
                block: {"count": count, "kept": self.kept_experts.get(block)}
                for block, count in self.experts.items()
            },
            "not_counted": zeros_by(self.others, "projection"),
            "recorded": None if self.record is None else self.record.entries,
            "disagreements": list(self.disagreements),
        }


def inspect(
    model: str | Path, *, trust_remote_code: bool = False, progress: ProgressCallback | None = None
) -> Inspection:
    """Count the zeros in the blocks of a checkpoint, reading one matrix at a time.

    Quantized matrices are counted as they dequantize.

    Args:
        model: A folder, a Hub id, or "demo".
        trust_remote_code: Run Python files of the checkpoint.
        progress: Told after each block, stage "inspect".

    Returns:
        Zeros of every matrix in the blocks, with what is recorded where there is a record.

    Raises:
        CheckpointError: The model is missing, incomplete or damaged.
    """
    checkpoint = Checkpoint.open(model, trust_remote_code=trust_remote_code)
    network = checkpoint.network()
    report = progress or silent
    bits = 8 * checkpoint.shards.nbytes / checkpoint.costs(network).parameters
    modules = [entry for entry in block_modules(network) if weight_matrix(entry[3]) is not None]
    total = max((block for block, *_ in modules), default=-1) + 1
    left_out = other_projections(network)
    experts = {block: module.num_experts for block, _, _, module in modules if is_stack(module)}
    found: list[MatrixZeros] = []
    others: list[MatrixZeros] = []
    for number, (block, name, projection, module) in enumerate(modules):
        weight = dense_matrix(module)
        assert weight is not None
        if projection in left_out:
            others.append(MatrixZeros(name, block, projection, weight.size, _zeros(weight, name)))
        elif weight.ndim == 2:
            found.append(MatrixZeros(name, block, projection, weight.size, _zeros(weight, name)))
        else:
            for expert, matrix in enumerate(weight):
                one = f"{name}[{expert}]"
                found.append(MatrixZeros(one, block, projection, matrix.size, _zeros(matrix, one)))
        del weight
        let_go(module)
        if number + 1 == len(modules) or modules[number + 1][0] != block:
            report(Progress("inspect", block + 1, total, f"block {block}"))
    record = PruningRecord.find(checkpoint.path)
    matrices, left = tuple(found), tuple(others)
    return Inspection(str(model), checkpoint.path, matrices, left, record, bits, experts)


def _zeros(weight: mx.array, name: str) -> int:
    if not all_finite(weight):
        raise not_finite(name)
    return count_zeros(weight)
