"""A model and what was done to it: how records, studies, tables and sentences name a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlx_prune import words
from mlx_prune.kinds import family, method_order
from mlx_prune.labels import DENSE, NAMED, Label, known_label, parse_label

COLUMNS = ("model", "prune_method", "pattern", "sparsity")
"""The columns that name a configuration in records, tables and JSON, in their order there."""


@dataclass(frozen=True)
class Configuration:
    """A model and what was done to it.

    Attributes:
        model: Short name of the dense model.
        prune_method: "dense"; a method label (:mod:`mlx_prune.labels`) such as "wanda+q4"; or the name of
            a checkpoint that a study was given, then with a sparsity of 0. Records of other tools may name
            methods that are no labels, too.
        sparsity: Target in percent: of weights set to zero, or of neurons or blocks removed; 0 for a dense
            model.
        pattern: N:M pattern, or None.
    """

    model: str
    prune_method: str = DENSE
    sparsity: float = 0.0
    pattern: str | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Configuration:
        """From a row, a record or a JSON object with the columns :data:`COLUMNS`."""
        return cls(row["model"], row["prune_method"], float(row["sparsity"]), row.get("pattern"))

    @classmethod
    def of_folder(cls, model: str, folder: str) -> Configuration:
        """The inverse of :attr:`folder`, as far as a name tells: another tool's is a method of its own."""
        method, _, rest = folder.rpartition("-s")
        sparsity, _, pattern = rest.partition("-")
        try:
            return cls(model, method, float(sparsity), pattern.replace("of", ":") or None)
        except ValueError:
            return cls(model, folder)

    @property
    def columns(self) -> dict[str, Any]:
        """The columns :data:`COLUMNS`."""
        return {name: getattr(self, name) for name in COLUMNS}

    @property
    def is_dense(self) -> bool:
        """Whether nothing was done to the model."""
        return self.prune_method == DENSE

    @property
    def is_named(self) -> bool:
        """Whether it is a checkpoint under a name of the user's: no label, and no target."""
        return not self.sparsity and known_label(self.prune_method) is None

    @property
    def group(self) -> str:
        """What it stands together with in tables and figures: its family, or all checkpoints with names."""
        return NAMED if self.is_named else family(self.prune_method)

    @property
    def dense(self) -> Configuration:
        """The same model with nothing done to it."""
        return Configuration(self.model)

    @property
    def order(self) -> tuple[Any, ...]:
        """Sort key: by model, the dense one first, then by method, sparsity and pattern."""
        return self.model, method_order(self.prune_method), self.sparsity, self.pattern or ""

    @property
    def label(self) -> Label:
        """The method, taken apart.

        Raises:
            RecipeError: It is not a label of this package.
        """
        return parse_label(self.prune_method)

    @property
    def written(self) -> bool:
        """Whether its model has files of its own: of other shapes or format, or with trained weights."""
        label = None if self.is_named else self.label
        return label is None or label.structured or label.recovered or label.quantization is not None

    @property
    def folder(self) -> str:
        """``wanda-s50``, ``wanda-s50-2of4``, ``wanda+q4-s50``, ``q4-s0``, ``my model-s0``, ``dense-s0``."""
        suffix = f"-{self.pattern.replace(':', 'of')}" if self.pattern else ""
        return f"{self.prune_method}-s{self.sparsity:g}{suffix}"

    @property
    def name(self) -> str:
        """For people, without the model: ``wanda 50 %``, ``wanda 2:4``, ``q4``, ``dense``, ``my model``."""
        known = known_label(self.prune_method)
        if self.is_dense or (not self.sparsity and (known is None or known.base == DENSE)):
            return self.prune_method
        return f"{self.prune_method} {self.pattern or words.percentage(self.sparsity, None)}"

    @property
    def full_name(self) -> str:
        """For people, with the model: ``wanda 50 % of gemma-2-9b-it``."""
        return f"{self.name} of {self.model}"
