"""Matrices that are left alone or have a sparsity of their own, chosen by the names of layers and blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from mlx_prune.errors import RecipeError
from mlx_prune.labels import nearest


def own_sparsity(rules: Sequence[tuple[str, float]], name: str) -> float | None:
    """What the last rule that matches a matrix asks of it; None where none does."""
    return next((sparsity for glob, sparsity in reversed(rules) if matches(glob, name)), None)


def matches(glob: str, name: str) -> bool:
    """Whether a pattern names a matrix, or a block or layer that it lies in.

    Args:
        glob: As in a shell: ``*.down_proj``, ``model.layers.0``, ``model.layers.[01].*``.
        name: Of the matrix, ``model.layers.0.mlp.down_proj``; of an expert's, with its number in brackets.
    """
    plain = name.partition("[")[0]
    return any(fnmatchcase(one, pattern) for one in {name, plain} for pattern in (glob, f"{glob}.*"))


def check_rules(rules: Sequence[tuple[str, float]], names: Iterable[str]) -> None:
    """Refuse patterns that name nothing, and rules that leave nothing to prune.

    Raises:
        RecipeError: As said.
    """
    names = list(names)
    for glob, _ in rules:
        if not any(matches(glob, name) for name in names):
            raise RecipeError(f"No matrix of this model matches {glob!r}{nearest(glob, _examples(names))}")
    if rules and all(own_sparsity(rules, name) == 0 for name in names):
        raise RecipeError("Every matrix of this model is to be left alone, so nothing would be pruned.")


def _examples(names: Sequence[str]) -> list[str]:
    """Patterns that would match."""
    return [
        f"*.{part}" for part in dict.fromkeys(name.partition("[")[0].rpartition(".")[2] for name in names)
    ]
