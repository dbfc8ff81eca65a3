"""SparseGPT: choose weights to remove by what the others can make up for, and let them make up for it.

Frantar & Alistarh 2023 (arXiv 2301.00774), algorithm 1. A layer's output error over the calibration tokens
is a quadratic in its weights with Hessian ``H = 2 X^T X / tokens``. Going through the inputs from left to
right, removing ``w_j`` costs ``w_j^2 / U_jj^2``, and the best answer changes the weights to its right by
``-(w_j / U_jj) U_j``, where U is the upper Cholesky factor of the inverse of the damped Hessian.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlx_prune.errors import CheckpointError
from mlx_prune.pruning.counts import group_prune_count, prune_count
from mlx_prune.pruning.fields import GRAMS, MATRIX
from mlx_prune.pruning.method import Mask, Matrix
from mlx_prune.pruning.methods.owl import OWL
from mlx_prune.registry import Look

if TYPE_CHECKING:
    import mlx.core as mx

    from mlx_prune.activations.statistics import GramSums
    from mlx_prune.kernels.cpu import Floats
    from mlx_prune.kernels.cpu import Mask as Marks
    from mlx_prune.pruning.recipe import Recipe

DAMPING = 0.01  # of the mean diagonal of the Hessian, added to it
BLOCK_SIZE = 128  # inputs whose mask is decided together

_STRIP = 16  # inputs that correct each other one by one; beyond them, products of matrices do
_PIECE = 1 << 22  # weights corrected at a time: 16 MiB


class SparseGPT(Mask):
    """The weights whose loss the others make up for best, and these changed accordingly."""

    name, title, per, statistic = "sparsegpt", "SparseGPT", MATRIX, GRAMS
    changes_weights = True
    constants = {"damping": DAMPING, "block_size": BLOCK_SIZE}  # noqa: RUF012
    modifiers = (OWL,)
    words = (
        "the weights whose loss the others make up for best are zeroed, and the others changed accordingly, "
        "after the inverse Hessian of the layer on calibration text (Frantar & Alistarh, ICML 2023)"
    )
    look = Look("green", "v", "-.", {("owl",): "left"})

    def in_block(self, inputs: Mapping[str, GramSums]) -> Callable[[mx.array, Matrix], mx.array]:
        """Matrices that share their inputs share one factorization."""
        updates = BlockUpdates(inputs)

        def prune(weight: mx.array, matrix: Matrix) -> mx.array:
            return as_stored(updates.prune(weight, matrix.recipe, matrix.name), weight.dtype, matrix)

        return prune


@dataclass(frozen=True)
class InverseFactor:
    """What SparseGPT needs to know of a layer's inputs; layers that share their inputs share it.

    Attributes:
        upper: [in, in] float32, U with ``U^T U`` the inverse of the damped Hessian.
        dead: [in] booleans: inputs that were zero on every calibration token.
    """

    upper: Floats
    dead: Marks


def inverse_factor(gram: GramSums, name: str) -> InverseFactor:
    """Damp a Hessian, invert it and factor the inverse.

    Inputs that were zero on every token stand apart from the others, correcting nothing and corrected by
    nothing. The damping is a share of the mean diagonal over the other inputs.

    Args:
        gram: Sums over the calibration tokens; of no tokens at all, the result is the identity.
        name: The layer's name, for errors.

    Returns:
        The factor.

    Raises:
        CheckpointError: The inputs are too large or too close to linearly dependent to be factored.
    """
    import mlx.core as mx
    import numpy as np

    size = gram.sums.shape[0]
    if gram.count == 0:
        return InverseFactor(np.eye(size, dtype=np.float32), np.zeros(size, dtype=np.bool_))
    # Metal and CUDA have no Cholesky; MLX's runs on the CPU, in Accelerate or OpenBLAS. Measured at 3072
    # inputs on two cores: 0.55 s, scipy 1.2 s in float32 and 1.6 s in float64; NumPy has no triangular
    # inverse. The damping keeps float32 within 5e-6 of float64.
    with mx.stream(mx.cpu):
        diagonal = mx.diag(gram.sums) * (2 / gram.count)
        dead = diagonal == 0
        damping = DAMPING * mx.sum(diagonal) / mx.maximum(mx.sum(~dead), 1)
        # Both axes reversed, H = L L^T has the inverse L^-T L^-1, whose factors are U^T and U reversed: one
        # factorization and one triangular inverse, and the inverse itself is never formed.
        reverse = slice(None, None, -1)
        hessian = gram.sums[reverse, reverse] * (2 / gram.count) + mx.diag((dead + damping)[reverse])
        lower = mx.linalg.cholesky(hessian)
        del hessian
        # A failed factorization is not reported; it leaves a pivot that is not positive.
        if not (mx.diag(lower) > 0).all().item() or not mx.isfinite(lower).all().item():
            raise CheckpointError(
                f"The inputs of {name} on the calibration text are too close to linearly dependent, or too "
                "large, for SparseGPT; use more calibration samples, or Wanda."
            )
        inverse = mx.linalg.tri_inv(lower, upper=False)
        del lower
        mx.eval(inverse, dead)
    # Contiguous: NumPy's products of matrices with negative strides are not BLAS's.
    upper = np.ascontiguousarray(np.array(inverse, copy=False)[reverse, reverse])
    return InverseFactor(upper, np.array(dead))


def prune_with_updates(weight: mx.array, factor: InverseFactor, recipe: Recipe, name: str) -> mx.array:
    """Remove weights from one matrix and change those that stay.

    Masks are decided block by block of :data:`BLOCK_SIZE` inputs, on the weights as corrected so far.
    Unstructured, the cheapest of the whole block go, in whatever rows they are; after each block the zeros
    amount to ``prune_count`` of the weights seen so far, so the whole matrix loses exactly that. N:M decides
    each group of M inputs when it is reached. Dead inputs cost nothing and go first. Ties go by lowest input,
    then by lowest output.

    Args:
        weight: [out, in]; float32, bfloat16 or float16.
        factor: From the inputs of this layer.
        recipe: Its sparsity or pattern counts.
        name: The matrix's name, for errors.

    Returns:
        [out, in] float32, to be rounded to the type it is stored in.

    Raises:
        CheckpointError: The matrix holds NaN or infinity.
    """
    import mlx.core as mx
    import numpy as np

    from mlx_prune.checkpoint.matrices import not_finite
    from mlx_prune.kernels.cpu import smallest_in_rows

    # By inputs, so that what is worked on together lies together.
    columns: Floats = np.ascontiguousarray(np.array(weight.astype(mx.float32), copy=False).T)
    if not np.isfinite(columns).all():
        raise not_finite(name)
    inputs, outputs = columns.shape
    size = 1 if recipe.groups is None else recipe.groups[1]
    step = max(size, BLOCK_SIZE // size * size)
    for start in range(0, inputs, step):
        stop = min(start + step, inputs)
        block = columns[start:stop]
        upper = factor.upper[start:stop, start:stop]
        dead = factor.dead[start:stop]
        mask = np.zeros(block.shape, dtype=np.bool_)
        if recipe.groups is None:
            seen = prune_count(stop * outputs, recipe.target_sparsity)
            before = prune_count(start * outputs, recipe.target_sparsity)
            mask = smallest_in_rows(_costs(block, upper, dead).reshape(1, -1), seen - before)
            mask = mask.reshape(block.shape)
        errors = _remove(block, upper, mask, dead, recipe.groups)
        _correct(columns[stop:], factor.upper[start:stop, stop:], errors)
    return mx.array(np.ascontiguousarray(columns.T))


def _remove(block: Floats, upper: Floats, mask: Marks, dead: Marks, groups: tuple[int, int] | None) -> Floats:
    """Remove the masked weights of some inputs in place, correcting those that follow among them.

    Args:
        block: [inputs, out].
        upper: [inputs, inputs], their part of U.
        mask: [inputs, out]; with groups, filled in as they are reached.
        dead: [inputs].
        groups: N and M of a pattern.

    Returns:
        [inputs, out] errors for the correction of all other inputs: ``w / U_jj`` where removed, else 0.
    """
    import numpy as np

    from mlx_prune.kernels.cpu import smallest_in_groups

    keep, size = groups or (0, 1)
    strip = max(size, _STRIP // size * size)
    errors = np.empty_like(block)
    for start in range(0, len(block), strip):
        stop = min(start + strip, len(block))
        for at in range(start, stop):
            if groups is not None and at % size == 0:
                group = slice(at, min(at + size, stop))
                length = group.stop - at
                costs = _costs(block[group], upper[group, group], dead[group])
                counts = (length, group_prune_count(length, keep, size), 0)
                mask[group] = smallest_in_groups(costs.T, counts).T
            np.multiply(block[at], mask[at], out=errors[at])
            block[at] -= errors[at]
            errors[at] /= upper[at, at]
            block[at + 1 : stop] -= upper[at, at + 1 : stop, None] * errors[at]
        _correct(block[stop:], upper[start:stop, stop:], errors[start:stop])
    return errors


def _correct(columns: Floats, upper: Floats, errors: Floats) -> None:
    """Let later inputs make up for the errors of earlier ones, in place."""
    step = max(1, _PIECE // errors.shape[1])
    for start in range(0, len(columns), step):
        columns[start : start + step] -= upper[:, start : start + step].T @ errors


def _costs(block: Floats, upper: Floats, dead: Marks) -> Floats:
    """What removing each weight costs, up to a constant: [inputs, out]."""
    import numpy as np

    costs: Floats = np.square(block / upper.diagonal()[:, None])
    costs[dead] = 0
    return costs


class BlockUpdates:
    """SparseGPT on the layers of one block, one after the other.

    Layers that share their inputs (q, k and v; gate and up) share one factorization; a Gram matrix goes when
    its last layer is done.
    """

    def __init__(self, grams: Mapping[str, GramSums]) -> None:
        self._grams = dict(grams)
        self._factors: dict[int, InverseFactor] = {}

    def prune(self, weight: mx.array, recipe: Recipe, name: str) -> mx.array:
        """:func:`prune_with_updates` of one layer, which is not asked for again."""
        gram = self._grams.pop(name)
        factor = self._factors.pop(id(gram), None) or inverse_factor(gram, name)
        if any(other is gram for other in self._grams.values()):
            self._factors[id(gram)] = factor
        return prune_with_updates(weight, factor, recipe, name)


def as_stored(weight: mx.array, original: mx.Dtype, matrix: Matrix) -> mx.array:
    """Changed weights as the checkpoint can hold them, in the type of the original.

    Raises:
        CheckpointError: They are too large for it.
    """
    import mlx.core as mx

    kept = weight.astype(matrix.stored)
    # Back and forth once more: what the original's type cannot hold is not what would be run.
    result = kept.astype(original).astype(kept.dtype).astype(original)
    if not mx.isfinite(result).all().item():
        raise CheckpointError(
            f"The changed weights of {matrix.name} are too large for {str(kept.dtype).rpartition('.')[2]}; "
            "convert the checkpoint to bfloat16 or float32 first, or use Wanda."
        )
    return result


METHOD = SparseGPT()
