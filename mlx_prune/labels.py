"""Method labels: the name of what was done to a model, in records, studies and checkpoints.

A label is a base and modifiers joined by "+", in one fixed order, so that a configuration has one name only:
``wanda``, ``wanda+owl``, ``width+heads+repair``, ``depth+contiguous``, ``q4``, ``wanda+q4``, ``width+mxfp4``.
Nothing here needs MLX.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from mlx_prune.errors import RecipeError

DENSE = "dense"
MASK_BASES = ("random", "magnitude", "wanda", "sparsegpt")
STRUCTURED_BASES = ("width", "depth")

AFFINE_BITS = (2, 3, 4, 6, 8)
AFFINE_GROUPS = (32, 64, 128)
AFFINE_GROUP = 64
# Of the other modes, the bits and the group size that the format fixes.
FIXED_MODES = {"mxfp4": (4, 32), "nvfp4": (4, 16), "mxfp8": (8, 32)}
MODES = ("affine", *FIXED_MODES)

# Modifiers in the order of a label, with the bases that they change.
_MODIFIERS: dict[str, tuple[str, ...]] = {
    "owl": ("wanda", "sparsegpt"),
    "heads": ("width",),
    "both": ("width",),
    "contiguous": ("depth",),
    "repair": STRUCTURED_BASES,
}
_AFFINE = re.compile(r"q(\d{1,2})(?:-g(\d{1,3}))?")
_KNOWN = (*MASK_BASES, *STRUCTURED_BASES, *_MODIFIERS, *(f"q{bits}" for bits in AFFINE_BITS), *FIXED_MODES)


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

    mode: str = "affine"
    bits: int | None = None
    group_size: int | None = None

    def __post_init__(self) -> None:
        """Check the values and fill in what the mode fixes."""
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


@dataclass(frozen=True)
class Label:
    """A method label, taken apart.

    Attributes:
        base: "random", "magnitude", "wanda", "sparsegpt", "width" or "depth"; "dense" where nothing was
            pruned (then either nothing at all was done, or the model was quantized).
        modifiers: Those of the base, in the order of a label.
        quantization: The last step, if any.
    """

    base: str
    modifiers: tuple[str, ...] = ()
    quantization: Quantization | None = None

    @property
    def masked(self) -> bool:
        """Whether single weights are set to zero."""
        return self.base in MASK_BASES

    @property
    def structured(self) -> bool:
        """Whether neurons, heads or blocks are removed."""
        return self.base in STRUCTURED_BASES

    @property
    def pruned(self) -> str:
        """The label without the quantization: "wanda+owl", or "dense"."""
        return "+".join((self.base, *self.modifiers))

    def __str__(self) -> str:
        """The label as it is recorded."""
        if self.quantization is None:
            return self.pruned
        if self.base == DENSE:
            return self.quantization.label
        return f"{self.pruned}+{self.quantization.label}"


def parse_label(text: str) -> Label:
    """Take a method label apart.

    Args:
        text: Such as "wanda+q4"; "dense" is a label, too.

    Raises:
        RecipeError: A word is unknown (the nearest known one is named), does not go with the base, or is not
            in its place.
    """
    if text == DENSE:
        return Label(DENSE)
    words = text.split("+")
    last = _quantization(words[-1])
    if last is not None:
        words = words[:-1]
    base = words[0] if words else DENSE
    if base not in (*MASK_BASES, *STRUCTURED_BASES) and words:
        raise RecipeError(f"Unknown method {text!r}{_hint(base)}")
    for word in words[1:]:
        if word not in _MODIFIERS:
            if _quantization(word) is not None:
                raise RecipeError(f"In {text!r} the quantization {word} must come last, and once.")
            raise RecipeError(f"Unknown method {text!r}: there is no modifier {word!r}{_hint(word)}")
        if base not in _MODIFIERS[word]:
            raise RecipeError(f"In {text!r}, {word} goes with {' and '.join(_MODIFIERS[word])} only.")
    modifiers = tuple(name for name in _MODIFIERS if name in words[1:])
    if "heads" in modifiers and "both" in modifiers:
        raise RecipeError(f"In {text!r}, heads and both exclude each other.")
    label = Label(base, modifiers, last)
    if str(label) != text:
        raise RecipeError(f"{text!r} is written {str(label)!r}, so that a configuration has one name.")
    return label


@cache
def known_label(method: str) -> Label | None:
    """A method's label taken apart, or None if it is not one of this package's."""
    try:
        return parse_label(method)
    except RecipeError:
        return None


def extend(label: str, quantization: Quantization) -> str:
    """The label of a model with this label after it was quantized.

    Raises:
        RecipeError: It is quantized already, or not a label.
    """
    found = parse_label(label)
    if found.quantization is not None:
        raise RecipeError(f"{label} is quantized already.")
    return str(Label(found.base, found.modifiers, quantization))


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown word: the nearest known one, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}."


def _quantization(word: str) -> Quantization | None:
    """The quantization a word names, or None if it names none."""
    if word in FIXED_MODES:
        return Quantization(word)
    match = _AFFINE.fullmatch(word)
    if match is None:
        return None
    bits, group = int(match[1]), int(match[2]) if match[2] else AFFINE_GROUP
    if bits not in AFFINE_BITS or group not in AFFINE_GROUPS:
        sizes = ", ".join(str(size) for size in AFFINE_GROUPS)
        raise RecipeError(f"There is no quantization {word!r}; known are 2, 3, 4, 6 and 8 bits, -g {sizes}.")
    return Quantization("affine", bits, group)


def _hint(word: str) -> str:
    return nearest(word, _KNOWN)
