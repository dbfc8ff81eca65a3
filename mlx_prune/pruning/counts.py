"""How many weights a sparsity or an N:M pattern removes, exactly, and how people write the two."""

from __future__ import annotations

import math
import re
from fractions import Fraction

from mlx_prune import words
from mlx_prune.errors import RecipeError

_PATTERN = re.compile(r"(\d{1,4}):(\d{1,4})")
_LARGEST_GROUP = 256


def parse_pattern(pattern: str) -> tuple[int, int]:
    """Read "N:M": keep N of every M consecutive input weights.

    Raises:
        RecipeError: It is not of that form, or not 0 < N < M <= 256.
    """
    match = _PATTERN.fullmatch(pattern.strip())
    keep, size = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 0 < keep < size <= _LARGEST_GROUP:
        raise RecipeError(
            f"Pattern {pattern!r} is not N:M with 0 < N < M <= {_LARGEST_GROUP}; "
            "2:4 keeps two of every four weights."
        )
    return keep, size


def fraction_from_percent(percent: float) -> float:
    """Turn a percentage into a fraction, exactly as written in decimal.

    Raises:
        RecipeError: It is not in [0, 100), or looks like a fraction given by mistake.
    """
    if 0 < percent < 1:
        raise RecipeError(
            f"Sparsity is a percentage here, and {words.percentage(percent, None)} is next to nothing; "
            f"for {words.percent(percent, None)} write {100 * percent:g}."
        )
    if not 0 <= percent < 100:
        raise RecipeError(f"Sparsity is a percentage of at least 0 and below 100, not {percent:g}.")
    return float(Fraction(repr(percent)) / 100)


def prune_count(n: int, sparsity: float) -> int:
    """How many of n weights a sparsity removes: int(n * sparsity), free of the float's rounding.

    A product within rounding error of an integer counts as that integer: 70 % of 90 is 63 although
    ``int(90 * 0.7)`` is 62, and a third of 9 is 3.
    """
    return math.floor(n * Fraction(sparsity) + Fraction(n, 2**53))


def group_prune_count(length: int, keep: int, size: int) -> int:
    """How many weights of a group of ``length`` an N:M pattern removes; the last group may be incomplete."""
    return length * (size - keep) // size
