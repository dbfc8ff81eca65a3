"""How many weights of a matrix are exactly zero."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from mlx_prune.checkpoint.matrices import PrunableLinear


@dataclass(frozen=True)
class MatrixZeros:
    """Zeros of one matrix.

    Attributes:
        name: Its path in the model.
        block: Index of its block.
        projection: Its path inside the block.
        params: Its weights.
        zeros: How many of them are exactly zero.
        unseen: It is an expert's, and no token of the calibration text was routed to that expert.
    """

    name: str
    block: int
    projection: str
    params: int
    zeros: int
    unseen: bool = field(default=False, compare=False)

    @classmethod
    def of(cls, linear: PrunableLinear, zeros: int, *, unseen: bool = False) -> MatrixZeros:
        """For a prunable matrix of a model."""
        return cls(linear.name, linear.block, linear.projection, linear.size, zeros, unseen)

    @property
    def sparsity(self) -> float:
        """Fraction of zeros."""
        return self.zeros / self.params


class ZerosOfMatrices:
    """What the zeros of a model's matrices add up to, for a class that holds them."""

    matrices: tuple[MatrixZeros, ...]

    @property
    def total_prunable_params(self) -> int:
        """Weights of all prunable matrices."""
        return sum(matrix.params for matrix in self.matrices)

    @property
    def zero_params(self) -> int:
        """How many of them are exactly zero."""
        return sum(matrix.zeros for matrix in self.matrices)

    @property
    def actual_sparsity(self) -> float:
        """Their fraction, computed from the zeros."""
        return self.zero_params / self.total_prunable_params

    @property
    def projections(self) -> dict[str, dict[str, int]]:
        """Params and zeros by projection, over all blocks."""
        return zeros_by(self.matrices, "projection")

    @property
    def blocks(self) -> dict[str, dict[str, int]]:
        """Params and zeros by block."""
        return zeros_by(self.matrices, "block")


def zeros_by(matrices: Iterable[MatrixZeros], key: str) -> dict[str, dict[str, int]]:
    """Params and zeros of matrices added up by one of their attributes, in order of appearance."""
    found: dict[str, dict[str, int]] = {}
    for matrix in matrices:
        entry = found.setdefault(str(getattr(matrix, key)), {"params": 0, "zeros": 0})
        entry["params"] += matrix.params
        entry["zeros"] += matrix.zeros
    return found
