"""Quantize: weights in few bits, alone or after pruning, in the formats of MLX."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mlx_prune.errors import RecipeError
from mlx_prune.labels import nearest
from mlx_prune.registry import QUANTIZATION, Look, Method, option

AFFINE_BITS = (2, 3, 4, 6, 8)
AFFINE_GROUPS = (32, 64, 128)
AFFINE_GROUP = 64
# Of the other modes, the bits and the group size that the format fixes.
FIXED_MODES = {"mxfp4": (4, 32), "nvfp4": (4, 16), "mxfp8": (8, 32)}
MODES = ("affine", *FIXED_MODES)

_AFFINE = re.compile(r"q(\d{1,2})(?:-g(\d{1,3}))?")


@dataclass(frozen=True)
class Quantization:
    """How weights are stored in few bits, in a format of MLX.

    Attributes:
        mode: "affine" (integers with a scale and an offset per group), or "mxfp4", "nvfp4", "mxfp8" (small
            floats with a shared scale per group, no offset).
        bits: Per weight: 2, 3, 4, 6 or 8 in mode affine, where None means 4; fixed in the other modes.
        group_size: Weights that share a scale: 32, 64 or 128 in mode affine, where None means 64; fixed in
            the other modes.

    Raises:
        RecipeError: A value is out of range, or not the one that the mode fixes.
    """

    mode: str = option("affine", choices=MODES, order=91, help="Format of the quantized weights.")
    bits: int | None = option(
        None,
        choices=tuple(map(str, AFFINE_BITS)),
        order=90,
        help="Quantize, after pruning if any. [default: 4, or what the mode fixes]",
    )
    group_size: int | None = option(
        None,
        choices=tuple(map(str, AFFINE_GROUPS)),
        order=92,
        help="Weights that share a scale. [default: 64, or what the mode fixes]",
    )

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise RecipeError(f"Unknown quantization mode {self.mode!r}{nearest(self.mode, MODES)}")
        fixed_bits, fixed_group = FIXED_MODES.get(self.mode, (4, AFFINE_GROUP))
        bits = fixed_bits if self.bits is None else self.bits
        group = fixed_group if self.group_size is None else self.group_size
        if self.mode == "affine":
            if bits not in AFFINE_BITS:
                raise RecipeError(f"Mode affine has 2, 3, 4, 6 or 8 bits, not {bits}.")
            if group not in AFFINE_GROUPS:
                raise RecipeError(f"Mode affine has groups of 32, 64 or 128 weights, not {group}.")
        elif (bits, group) != (fixed_bits, fixed_group):
            raise RecipeError(
                f"Mode {self.mode} has {fixed_bits} bits in groups of {fixed_group}; "
                "leave out bits and group size."
            )
        object.__setattr__(self, "bits", bits)
        object.__setattr__(self, "group_size", group)

    @property
    def label(self) -> str:
        """Its token in a method label: "q4", "q4-g32", "mxfp4"."""
        if self.mode != "affine":
            return self.mode
        return f"q{self.bits}" + ("" if self.group_size == AFFINE_GROUP else f"-g{self.group_size}")

    @property
    def arguments(self) -> str:
        """As given to ``mlxprune prune``."""
        if self.mode != "affine":
            return f"--mode {self.mode}"
        return f"--bits {self.bits} --group-size {self.group_size}"


class Quantize(Method):
    """The last step of a configuration, or its only one; its word in a label is the format's."""

    name, kind = "quantize", QUANTIZATION
    words = "weights are stored in few bits"
    look = Look("cyan", "*", "-")

    @property
    def recipe(self) -> type[Quantization]:
        """The format."""
        return Quantization

    @property
    def does(self) -> str:
        """For a sentence that refuses an option of pruning."""
        return "quantizing alone prunes nothing"

    def known_words(self) -> list[str]:
        """Words of a label, for a hint; group sizes left out."""
        return [*(f"q{bits}" for bits in AFFINE_BITS), *FIXED_MODES]

    def read(self, word: str) -> Quantization | None:
        """The format that a word of a label names, or None if it names none.

        Raises:
            RecipeError: It has the form of one, and there is none such.
        """
        if word in FIXED_MODES:
            return Quantization(word)
        match = _AFFINE.fullmatch(word)
        if match is None:
            return None
        bits, group = int(match[1]), int(match[2]) if match[2] else AFFINE_GROUP
        if bits not in AFFINE_BITS or group not in AFFINE_GROUPS:
            sizes = ", ".join(str(size) for size in AFFINE_GROUPS)
            raise RecipeError(
                f"There is no quantization {word!r}; known are 2, 3, 4, 6 and 8 bits, -g {sizes}."
            )
        return Quantization("affine", bits, group)


METHOD = Quantize()
