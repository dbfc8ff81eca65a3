"""Which exact zeros of a pruned model are still zero after it was quantized."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from mlx_prune.checkpoint.matrices import block_modules, dense_matrix, let_go, weight_matrix
from mlx_prune.checkpoint.zeros import MatrixZeros
from mlx_prune.kernels.zeroing import is_zero
from mlx_prune.progress import Progress, ProgressCallback


@dataclass(frozen=True)
class Survival:
    """Zeros of one matrix before and after quantization, the latter as the matrix dequantizes.

    Attributes:
        after: The matrix with its zeros after quantization, those that quantization itself made included.
        before: Zeros of the matrix that was quantized.
        kept: Those of them that are zero after it, too.
    """

    after: MatrixZeros
    before: int
    kept: int


def compare_zeros(source: nn.Module, quantized: nn.Module, progress: ProgressCallback) -> list[Survival]:
    """Compare the weight matrices in the blocks of a model with those of its quantized copy.

    Args:
        source: The model before, its weights lazy; they are let go as they are read.
        quantized: The same network after, likewise.
        progress: Told after each block, stage "count zeros".

    Returns:
        One entry per matrix, in the order of the model; stacks of experts count as one.
    """
    before = {name: module for _, name, _, module in block_modules(source)}
    modules = [entry for entry in block_modules(quantized) if weight_matrix(entry[3]) is not None]
    total = max((block for block, *_ in modules), default=-1) + 1
    found = []
    for number, (block, name, projection, module) in enumerate(modules):
        old, new = dense_matrix(before[name]), dense_matrix(module)
        assert old is not None
        assert new is not None
        was, is_now = is_zero(old), is_zero(new)
        counts = [int(mx.sum(flags).item()) for flags in (was, is_now, was & is_now)]  # type: ignore[arg-type]
        after = MatrixZeros(name, block, projection, new.size, counts[1])
        found.append(Survival(after, counts[0], counts[2]))
        del old, new, was, is_now
        let_go(before[name], module)
        if number + 1 == len(modules) or modules[number + 1][0] != block:
            progress(Progress("count zeros", block + 1, total, f"block {block}"))
    return found
