"""Zero the least important weights on a CPU: exact counts, ties by lowest index, no full sort.

Everything works on the raw bits of a matrix, in place, in pieces that fit the cache, on all cores (NumPy
releases the interpreter lock). Non-negative floats order as unsigned integers do.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np

from mlx_prune.dtypes import INFINITY, MAGNITUDE

Bits = np.ndarray[Any, np.dtype[Any]]
Floats = np.ndarray[Any, np.dtype[np.float32]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

_PIECE = 1 << 18  # weights worked on at a time: 1 MiB of scores
_RANDOM_PIECE = 1 << 20  # weights per random stream; part of what a seed means
_SAMPLE = 1 << 16
_LARGEST_PAIRWISE = 16


def all_finite(bits: Bits, dtype: str) -> bool:
    """Whether a matrix given by its bits holds neither NaN nor infinity.

    Args:
        bits: Any shape, uint16 or uint32.
        dtype: What the bits mean: "bfloat16", "float16" or "float32".
    """
    flat = bits.reshape(-1)
    sign, infinity = MAGNITUDE[dtype], INFINITY[dtype]
    largest = _in_pieces(flat.size, _PIECE, lambda a, b: int((flat[a:b] & sign).max()))
    return max(largest, default=0) < infinity


def prune_rows(bits: Bits, dtype: str, scale: Floats | None, k: int) -> None:
    """Zero, in each row, the k weights of smallest ``|w| * scale``, in place.

    Args:
        bits: [out, in], uint16 or uint32, finite as floats; contiguous.
        dtype: What the bits mean.
        scale: [in] non-negative factors, or None for ``|w|`` alone. Products are rounded to float32.
        k: Weights to zero per row, 0 <= k <= in.
    """
    if k == 0:
        return

    def work(start: int, stop: int) -> None:
        rows = bits[start:stop]
        _zero(rows, smallest_in_rows(_scores(rows, dtype, scale), k))

    _in_pieces(bits.shape[0], max(1, _PIECE // bits.shape[1]), work)


def prune_matrix(bits: Bits, dtype: str, k: int) -> None:
    """Zero the k weights of smallest magnitude in the whole matrix, in place.

    The k-th magnitude is bracketed from a sample, so two passes over the bits suffice; where the bracket
    misses, an exact selection takes its place.

    Args:
        bits: [out, in], uint16 or uint32, finite as floats; contiguous.
        dtype: What the bits mean.
        k: Weights to zero, 0 <= k <= out * in.
    """
    if k == 0:
        return
    flat, sign = bits.reshape(-1), MAGNITUDE[dtype]
    threshold, below, equal = _kth_smallest(flat, sign, k)
    # How many of the equal ones each piece may take: the first ones of the matrix go first.
    before = np.concatenate([[0], np.cumsum(equal)])
    wanted = k - below

    def work(start: int, stop: int) -> None:
        piece = flat[start:stop]
        magnitude = piece & sign
        take = int(min(max(wanted - before[start // _PIECE], 0), equal[start // _PIECE]))
        if take == equal[start // _PIECE]:
            _zero(piece, magnitude <= threshold)
            return
        ties = np.flatnonzero(magnitude == threshold)[:take]
        _zero(piece, magnitude < threshold)
        piece[ties] = 0

    _in_pieces(flat.size, _PIECE, work)


def prune_groups(bits: Bits, dtype: str, scale: Floats | None, counts: tuple[int, int, int]) -> None:
    """Zero the least important weights of every group of consecutive inputs, in place.

    Args:
        bits: [out, in], as in :func:`prune_rows`.
        dtype: What the bits mean.
        scale: As in :func:`prune_rows`.
        counts: Group size; weights to zero in a whole group; and in a last, incomplete one.
    """

    def work(start: int, stop: int) -> None:
        rows = bits[start:stop]
        _zero(rows, smallest_in_groups(_scores(rows, dtype, scale), counts))

    _in_pieces(bits.shape[0], max(1, _PIECE // bits.shape[1]), work)


def prune_random(bits: Bits, sparsity: float, seed: int, name: str) -> None:
    """Zero each weight with probability ``sparsity``, in place.

    The draws depend on the seed, the name and the position alone: not on the order of layers, the number of
    threads or the machine.

    Args:
        bits: [out, in], contiguous.
        sparsity: Probability, resolved to 2**-32.
        seed: A non-negative integer.
        name: The matrix's name.
    """
    flat, limit = bits.reshape(-1), math.floor(sparsity * 2**32)

    def work(start: int, stop: int) -> None:
        draws = _draws(seed, name, start // _RANDOM_PIECE, stop - start)
        _zero(flat[start:stop], draws < limit)

    _in_pieces(flat.size, _RANDOM_PIECE, work)


def prune_random_groups(bits: Bits, counts: tuple[int, int, int], seed: int, name: str) -> None:
    """Zero a uniformly drawn choice of weights in every group of consecutive inputs, in place.

    Args:
        bits: [out, in], contiguous.
        counts: As in :func:`prune_groups`.
        seed: A non-negative integer.
        name: The matrix's name.
    """
    columns = bits.shape[1]
    rows_per_piece = max(1, _RANDOM_PIECE // columns)

    def work(start: int, stop: int) -> None:
        draws = _draws(seed, name, start // rows_per_piece, (stop - start) * columns)
        _zero(bits[start:stop], smallest_in_groups(draws.reshape(-1, columns), counts))

    _in_pieces(bits.shape[0], rows_per_piece, work)


def smallest_in_rows(scores: np.ndarray[Any, Any], k: int) -> Mask:
    """Mark the k smallest of each row, ties by lowest index (as a stable sort would).

    Args:
        scores: [rows, columns] without NaN.
        k: 0 <= k <= columns.

    Returns:
        [rows, columns] booleans with exactly k true per row.
    """
    if k == 0:
        return np.zeros(scores.shape, dtype=np.bool_)
    threshold = np.partition(scores, k - 1, axis=-1)[:, k - 1 : k]
    mask: Mask = scores <= threshold
    tied = np.flatnonzero(np.count_nonzero(mask, axis=-1) > k)
    if tied.size:
        rows, limit = scores[tied], threshold[tied]
        below, equal = rows < limit, rows == limit
        wanted = k - np.count_nonzero(below, axis=-1)[:, None]
        mask[tied] = below | (equal & (np.cumsum(equal, axis=-1, dtype=np.int32) <= wanted))
    return mask


def smallest_in_groups(scores: np.ndarray[Any, Any], counts: tuple[int, int, int]) -> Mask:
    """Mark the smallest of each group of consecutive columns, ties by lowest index.

    Args:
        scores: [rows, columns] without NaN.
        counts: Group size; how many to mark in a whole group; and in a last, incomplete one.

    Returns:
        [rows, columns] booleans.
    """
    size, marked, marked_last = counts
    rows, columns = scores.shape
    whole = columns // size * size
    mask = np.empty(scores.shape, dtype=np.bool_)
    mask[:, whole:] = smallest_in_rows(scores[:, whole:], marked_last)
    grouped = scores[:, :whole].reshape(-1, size)
    if size > _LARGEST_PAIRWISE:
        mask[:, :whole] = smallest_in_rows(grouped, marked).reshape(rows, whole)
        return mask
    members = np.ascontiguousarray(grouped.T)
    rank = np.zeros(members.shape, dtype=np.uint8)
    for later in range(1, size):
        for earlier in range(later):
            first = members[earlier] <= members[later]
            rank[later] += first
            rank[earlier] += ~first
    mask[:, :whole] = (rank < marked).T.reshape(rows, whole)
    return mask


def _zero(bits: Bits, mask: Mask) -> None:
    """Zero where the mask is true; vectorized, which a masked copy is not."""
    keep = mask.astype(bits.dtype)
    keep -= 1
    bits &= keep


def _scores(bits: Bits, dtype: str, scale: Floats | None) -> Floats:
    """``|w| * scale`` in float32; widening is exact."""
    magnitude = bits & MAGNITUDE[dtype]
    if dtype == "bfloat16":
        values = magnitude.astype(np.uint32)
        values <<= 16
        scores: Floats = values.view(np.float32)
    elif dtype == "float16":
        scores = magnitude.view(np.float16).astype(np.float32)
    else:
        scores = magnitude.view(np.float32)
    if scale is not None:
        with np.errstate(over="ignore"):
            scores *= scale
    return scores


def _kth_smallest(flat: Bits, sign: int, k: int) -> tuple[int, int, list[int]]:
    """The k-th smallest magnitude, as bits; how many are smaller; and how many equal it in each piece."""
    low, high = 0, sign
    if flat.size > 4 * _SAMPLE:
        # An odd step walks over all columns of a matrix of even width.
        sample = np.sort(flat[:: (flat.size // _SAMPLE) | 1] & sign)
        share = k / flat.size
        at, margin = share * sample.size, 6 * math.sqrt(share * (1 - share) * sample.size) + 2
        if at - margin > 0:
            low = int(sample[int(at - margin)])
        if at + margin < sample.size:
            high = int(sample[int(at + margin)])
    below, inside = _count_and_collect(flat, sign, low, high)
    candidates = np.concatenate(inside)
    if not below < k <= below + candidates.size:
        below, inside = _count_and_collect(flat, sign, 0, sign)
        candidates = np.concatenate(inside)
    at = k - below - 1
    threshold = int(np.partition(candidates, at)[at])
    smaller = below + int(np.count_nonzero(candidates < threshold))
    return threshold, smaller, [int(np.count_nonzero(piece == threshold)) for piece in inside]


def _count_and_collect(flat: Bits, sign: int, low: int, high: int) -> tuple[int, list[Bits]]:
    """How many magnitudes lie below ``low``, and those from ``low`` to ``high``, piece by piece."""

    def work(start: int, stop: int) -> tuple[int, Bits]:
        magnitude = flat[start:stop] & sign
        below = magnitude < low
        inside = magnitude[(magnitude <= high) ^ below]
        return int(np.count_nonzero(below)), inside

    pieces = _in_pieces(flat.size, _PIECE, work)
    return sum(count for count, _ in pieces), [inside for _, inside in pieces]


def _draws(seed: int, name: str, piece: int, count: int) -> np.ndarray[Any, np.dtype[np.uint32]]:
    words = np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype="<u4")
    stream = np.random.SFC64(np.random.SeedSequence([seed, *words.tolist(), piece]))
    return stream.random_raw((count + 1) // 2).view(np.uint32)[:count]


def _in_pieces(total: int, step: int, work: Callable[[int, int], Any]) -> list[Any]:
    """Call ``work(start, stop)`` on consecutive pieces, on all cores; results in order."""
    starts = range(0, total, step)
    if len(starts) <= 1:
        return [work(start, min(start + step, total)) for start in starts]
    return list(_pool().map(lambda start: work(start, min(start + step, total)), starts))


@cache
def _pool() -> ThreadPoolExecutor:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ThreadPoolExecutor(min(cores, 16), thread_name_prefix="mlx-prune")
