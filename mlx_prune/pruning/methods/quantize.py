"""Quantize: weights in few bits, alone or after pruning, in the formats of MLX.

Rounded to nearest, unless one of mlx-lm's quantizers is named that look at activations: GPTQ (Frantar et al.
2022, arXiv 2210.17323), AWQ (Lin et al. 2023, arXiv 2306.00978), DWQ (scales and offsets distilled from the
dense model) or mixed bits by sensitivity ("dynamic").
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mlx_prune.activations.calibration import Calibration
from mlx_prune.errors import RecipeError
from mlx_prune.labels import nearest
from mlx_prune.registry import QUANTIZATION, Look, Method, option

AFFINE_BITS = (2, 3, 4, 6, 8)
AFFINE_GROUPS = (32, 64, 128)
AFFINE_GROUP = 64
# Of the other modes, the bits and the group size that the format fixes.
FIXED_MODES = {"mxfp4": (4, 32), "nvfp4": (4, 16), "mxfp8": (8, 32)}
MODES = ("affine", *FIXED_MODES)

DYNAMIC = "dynamic"
# Which bits the quantizers take that choose the bits of no layer.
QUANTIZERS = {"dwq": (2, 3, 4, 6), "awq": AFFINE_BITS, "gptq": (2, 4, 8)}

_AFFINE = re.compile(rf"q(\d{{1,2}})(?:-g(\d{{1,3}}))?(?:\+({'|'.join(QUANTIZERS)}))?")
_DYNAMIC = re.compile(rf"{DYNAMIC}(\d(?:\.\d{{1,2}})?)")


@dataclass(frozen=True)
class Quantization:
    """How weights are stored in few bits, in a format of MLX.

    Attributes:
        mode: "affine" (integers with a scale and an offset per group), or "mxfp4", "nvfp4", "mxfp8" (small
            floats with a shared scale per group, no offset).
        bits: Per weight: 2, 3, 4, 6 or 8 in mode affine, where None means 4; fixed in the other modes.
        group_size: Weights that share a scale: 32, 64 or 128 in mode affine, where None means 64; fixed in
            the other modes.
        quantizer: "dwq", "awq", "gptq" or "dynamic" of mlx-lm, in mode affine and of a dense model; None
            rounds to nearest.
        bits_per_weight: What "dynamic" mixes layers of fewer and more bits to, scales included; ``bits`` is
            then the whole number of it.
        calibration: What the quantizer looks at; None where it rounds.
        seed: Of the choice of text, and of the quantizer.

    Raises:
        RecipeError: A value is out of range, not the one that the mode fixes, or would be ignored.
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
    quantizer: str | None = option(
        None,
        nothing="round",
        choices=(*QUANTIZERS, DYNAMIC),
        order=93,
        help="Of a dense model: round, or mlx-lm's quantizers that look at the calibration text.",
    )
    bits_per_weight: float | None = option(
        None,
        kind=float,
        order=94,
        metavar="BITS",
        help="What --quantizer dynamic mixes layers to, such as 4.5.",
    )
    calibration: Calibration | None = None
    seed: int | None = None

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
        self._check_quantizer()

    def _check_quantizer(self) -> None:
        if self.quantizer is None:
            for name in ("bits_per_weight", "calibration", "seed"):
                if getattr(self, name) is not None:
                    raise RecipeError(
                        f"Rounding takes no {name.replace('_', ' ')}; name a quantizer that does."
                    )
            return
        if self.quantizer not in (*QUANTIZERS, DYNAMIC):
            raise RecipeError(
                f"Unknown quantizer {self.quantizer!r}{nearest(self.quantizer, (*QUANTIZERS, DYNAMIC))}"
            )
        if self.mode != "affine":
            raise RecipeError(f"The quantizer {self.quantizer} is of mode affine, not {self.mode}.")
        if self.quantizer != DYNAMIC:
            if self.bits not in QUANTIZERS[self.quantizer]:
                known = ", ".join(map(str, QUANTIZERS[self.quantizer]))
                raise RecipeError(f"The quantizer {self.quantizer} takes {known} bits, not {self.bits}.")
            if self.bits_per_weight is not None:
                raise RecipeError(f"bits per weight are for {DYNAMIC}; {self.quantizer} takes bits.")
        elif self.bits_per_weight is None or not 2 < self.bits_per_weight < 10:
            raise RecipeError(
                f"{DYNAMIC} mixes layers to some bits per weight from 2 to 10, such as 4.5; name them."
            )
        else:
            object.__setattr__(self, "bits", int(self.bits_per_weight))
        if self.calibration is None:
            object.__setattr__(self, "calibration", Calibration())
        if self.seed is None:
            object.__setattr__(self, "seed", 0)

    @property
    def learned(self) -> bool:
        """Whether it looks at a calibration text."""
        return self.quantizer is not None

    @property
    def label(self) -> str:
        """Its token in a method label: "q4", "q4-g32", "mxfp4", "q4+gptq", "dynamic4.5"."""
        if self.mode != "affine":
            return self.mode
        if self.quantizer == DYNAMIC:
            return f"{DYNAMIC}{self.bits_per_weight:g}"
        rounded = f"q{self.bits}" + ("" if self.group_size == AFFINE_GROUP else f"-g{self.group_size}")
        return f"{rounded}+{self.quantizer}" if self.quantizer else rounded

    @property
    def arguments(self) -> str:
        """As given to ``mlxprune prune``."""
        if self.mode != "affine":
            return f"--mode {self.mode}"
        if self.quantizer == DYNAMIC:
            return f"--quantizer {DYNAMIC} --bits-per-weight {self.bits_per_weight:g}"
        quantizer = f" --quantizer {self.quantizer}" if self.quantizer else ""
        return f"--bits {self.bits} --group-size {self.group_size}{quantizer}"


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
        learned = [f"q4+{name}" for name in QUANTIZERS]
        return [*(f"q{bits}" for bits in AFFINE_BITS), *FIXED_MODES, *learned, f"{DYNAMIC}4.5"]

    def read(self, word: str) -> Quantization | None:
        """The format that a word of a label names, or None if it names none.

        Raises:
            RecipeError: It has the form of one, and there is none such.
        """
        if word in FIXED_MODES:
            return Quantization(word)
        mixed = _DYNAMIC.fullmatch(word)
        if mixed is not None:
            return Quantization(quantizer=DYNAMIC, bits_per_weight=float(mixed[1]))
        match = _AFFINE.fullmatch(word)
        if match is None:
            return None
        bits, group = int(match[1]), int(match[2]) if match[2] else AFFINE_GROUP
        if bits not in AFFINE_BITS or group not in AFFINE_GROUPS:
            sizes = ", ".join(str(size) for size in AFFINE_GROUPS)
            raise RecipeError(
                f"There is no quantization {word!r}; known are 2, 3, 4, 6 and 8 bits, -g {sizes}."
            )
        return Quantization("affine", bits, group, match[3])


METHOD = Quantize()
