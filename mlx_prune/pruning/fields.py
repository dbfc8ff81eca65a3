"""Words and fields that the recipes of several methods share."""

from __future__ import annotations

from typing import Any

from mlx_prune.registry import option

SQUARE_SUMS, GRAMS = "square sums", "grams"
ROW, MATRIX, CHANCE = "row", "matrix", "chance"

STATISTICS = ("sequential", "dense")
MEASURED = frozenset({"statistics", "seed", "calibration"})


def sparsity_option(**default: Any) -> Any:
    """The field ``sparsity`` of a recipe: a fraction there, percent on the command line."""
    return option(
        *default.values(),
        metavar="PERCENT",
        order=0,
        help="Share of weights set to zero, or of neurons or blocks removed, 1-99.",
    )


def statistics_option() -> Any:
    """The field ``statistics`` of a recipe."""
    return option(
        None,
        choices=STATISTICS,
        order=80,
        help="Measure each block behind the pruned ones, or on the dense model. [default: sequential]",
    )


def seed_option() -> Any:
    """The field ``seed`` of a recipe."""
    return option(None, least=0, order=84, help="Of random masks or of the choice of text. [default: 0]")
