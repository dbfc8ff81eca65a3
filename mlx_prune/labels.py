"""Method labels: the name of what was done to a model, in records, studies and checkpoints.

A label is a base and modifiers joined by "+", in one fixed order, so that a configuration has one name only:
``wanda``, ``wanda+owl``, ``width+heads+repair``, ``depth+contiguous``, ``q4``, ``wanda+q4``, ``width+mxfp4``;
``recover`` behind a pruning says that it was trained back, before any quantization: ``wanda+recover+q4``.
At the end, behind a quantization, it says that adapters were trained beside the bits: ``wanda+q4+recover``.
``@`` behind what looks at a calibration text names another than a study's first: ``wanda+owl@chat+recover``,
``wanda@chat+q4``, ``q4+gptq@chat``.
Records may come from other tools: what is asked of a method by its name takes an unknown one as a method of
its own. Nothing here needs MLX.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from mlx_prune.errors import RecipeError
from mlx_prune.registry import MASK, QUANTIZATION, STRUCTURE, cached, methods, modifiers, with_modifier

DENSE = "dense"
QUANTIZED = "quantized"
RECOVER = "recover"
NAMED = "named"

# What is a folder's name everywhere, and stands in a sentence, a list and a legend without quotes.
_FREE_NAME = re.compile(r"[^\W_](?:[\w .+-]{0,58}[\w+-])?")
# Part of a folder's name, on file systems that do not tell large letters from small ones, too.
_TEXT_NAME = re.compile(r"[a-z][a-z0-9_-]{0,29}")
_UNFIT = re.compile(r"[^\w.+-]+")


class BitFormat(Protocol):
    """How weights are stored in few bits, :class:`~mlx_prune.pruning.methods.quantize.Quantization` for one.

    Attributes:
        label: Its token in a method label: "q4", "q4-g32", "mxfp4", "q4+gptq".
        mode: A format of MLX.
        bits: Per weight.
        group_size: Weights that share a scale.
        arguments: As given to ``mlxprune prune``.
        learned: Whether it looks at a calibration text, of a dense model only.
    """

    @property
    def label(self) -> str: ...  # noqa: D102

    @property
    def mode(self) -> str: ...  # noqa: D102

    @property
    def bits(self) -> int | None: ...  # noqa: D102

    @property
    def group_size(self) -> int | None: ...  # noqa: D102

    @property
    def arguments(self) -> str: ...  # noqa: D102

    @property
    def learned(self) -> bool: ...  # noqa: D102


@dataclass(frozen=True)
class Label:
    """A method label, taken apart.

    Attributes:
        base: The method, "wanda" or "width" for two; "dense" where nothing was pruned (then either nothing at
            all was done, or the model was quantized).
        modifiers: Those of the base, in the order of a label.
        quantization: The last step, if any.
        recovered: Whether it was trained back after pruning.
        adapted: Whether it was trained back after quantization, by adapters beside the bits.
        calibration: The name of the calibration text; None for a study's first.
    """

    base: str
    modifiers: tuple[str, ...] = ()
    quantization: BitFormat | None = None
    recovered: bool = False
    adapted: bool = False
    calibration: str | None = None

    @property
    def calibrated(self) -> bool:
        """Whether pruning, or the quantizer, looks at a calibration text."""
        if self.base == DENSE:
            return self.quantization is not None and self.quantization.learned
        return "calibration" in methods()[self.base].settings_with(self.modifiers)

    @property
    def masked(self) -> bool:
        """Whether single weights are set to zero."""
        return self.base in methods(MASK)

    @property
    def allocated(self) -> bool:
        """Whether each block has a sparsity of its own."""
        known = modifiers()
        return any(known[name].field == "allocation" for name in self.modifiers)

    @property
    def structured(self) -> bool:
        """Whether neurons, heads or blocks are removed."""
        return self.base in methods(STRUCTURE)

    @property
    def pruned(self) -> str:
        """The label of what was pruned alone: "wanda+owl@chat", or "dense"."""
        text = f"@{self.calibration}" if self.calibration and self.base != DENSE else ""
        return "+".join((self.base, *self.modifiers)) + text

    @property
    def trained(self) -> bool:
        """Whether it was trained back at all."""
        return self.recovered or self.adapted

    @property
    def untrained(self) -> Label:
        """What was trained back: the label of the model before that step."""
        if self.adapted:
            return replace(self, adapted=False)
        return replace(self, recovered=False, quantization=None)

    @property
    def unquantized(self) -> str:
        """The label without the quantization: "wanda+owl+recover"."""
        return f"{self.pruned}+{RECOVER}" if self.recovered else self.pruned

    def __str__(self) -> str:
        """The label as it is recorded."""
        if self.quantization is None:
            return self.unquantized
        bits, before = self.quantization.label, [self.unquantized]
        if self.base == DENSE:
            bits, before = bits + (f"@{self.calibration}" if self.calibration else ""), []
        return "+".join([*before, bits, *([RECOVER] if self.adapted else [])])


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
    words, calibration = _without_text(text)
    trained = words[-1:] == [RECOVER]
    words = words[:-1] if trained else words
    # How bits were chosen is a second word: "q4+gptq".
    last, taken = _quantization("+".join(words[-2:])), 2
    if last is None or len(words) < 2:
        last, taken = _quantization("+".join(words[-1:])), 1
    if last is not None:
        words = words[:-taken]
        if words and last.learned:
            raise RecipeError(f"In {text!r}, {last.label} is of a dense model; it does not follow pruning.")
    adapted, recovered = trained and last is not None, trained and last is None
    if words[-1:] == [RECOVER] and not trained:
        words, recovered = words[:-1], True
    if RECOVER in words or (recovered and not words):
        raise RecipeError(
            f"In {text!r}, {RECOVER} comes once, behind a method and its modifiers, or behind a quantization."
        )
    base = words[0] if words else DENSE
    method = methods(MASK, STRUCTURE).get(base)
    if method is None and words:
        raise RecipeError(f"Unknown method {text!r}{_hint(base)}")
    known = modifiers()
    own = {word.name: word for word in method.modifiers} if method else {}
    for word in words[1:]:
        if word not in known:
            if _quantization(word) is not None:
                raise RecipeError(f"In {text!r} the quantization {word} must come last, and once.")
            raise RecipeError(f"Unknown method {text!r}: there is no modifier {word!r}{_hint(word)}")
        if word not in own:
            raise RecipeError(f"In {text!r}, {word} goes with {' and '.join(with_modifier(word))} only.")
    found = [word for name, word in own.items() if name in words[1:]]
    for first, second in itertools.pairwise(found):
        if first.field == second.field:
            raise RecipeError(f"In {text!r}, {first.name} and {second.name} exclude each other.")
    label = Label(base, tuple(word.name for word in found), last, recovered, adapted, calibration)
    if calibration is not None and not label.calibrated:
        what = replace(label, recovered=False, adapted=False, calibration=None)
        raise RecipeError(
            f"In {text!r}, {what} looks at no calibration text, so @{calibration} would be ignored; leave it "
            "out."
        )
    if str(label) != text:
        raise RecipeError(f"{text!r} is written {str(label)!r}, so that a configuration has one name.")
    return label


def _without_text(text: str) -> tuple[list[str], str | None]:
    """The words of a label without the name of a calibration text, and that name."""
    words, found = [], []
    for word in text.split("+"):
        bare, at, name = word.partition("@")
        words.append(bare)
        found += [name] if at else []
    if len(found) > 1:
        raise RecipeError(f"In {text!r}, a calibration text is named twice; name one.")
    if found:
        require_text_name(found[0])
    return words, found[0] if found else None


def require_text_name(name: str) -> None:
    """Refuse a name for a calibration text that cannot stand in a label and in a folder's name.

    Raises:
        RecipeError: It has other characters.
    """
    if _TEXT_NAME.fullmatch(name) is None:
        raise RecipeError(
            f"{name!r} cannot be the name of a calibration text: it has at most 30 small letters, digits, _ "
            "and -, and begins with a letter."
        )


@cached
def known_label(method: str) -> Label | None:
    """A method's label taken apart, or None if it is not one of this package's."""
    try:
        return parse_label(method)
    except RecipeError:
        return None


def require_free_name(name: str) -> None:
    """Refuse a name for a model or a checkpoint that means something else, or that no folder can have.

    Raises:
        RecipeError: It is a label of this package, or has characters that a name cannot have.
    """
    if known_label(name.casefold()) is not None:
        raise RecipeError(f"{name!r} is a method label of this package; choose another name.")
    if _FREE_NAME.fullmatch(name) is None:
        raise RecipeError(
            f"{name!r} cannot be a name: it has at most 60 letters, digits, spaces and . _ + -, and begins "
            "with a letter or digit."
        )


def free_name(text: str) -> str:
    """A name that :func:`require_free_name` accepts, as near to a text as that allows."""
    name = _UNFIT.sub("-", text).strip("._+- ")[:50].rstrip("._+- ") or "model"
    return f"{name}-model" if known_label(name.casefold()) is not None else name


def extend(label: str, quantization: BitFormat) -> str:
    """The label of a model with this label after it was quantized.

    Raises:
        RecipeError: It is quantized already, or not a label.
    """
    found = parse_label(label)
    if found.quantization is not None:
        raise RecipeError(f"{label} is quantized already.")
    if quantization.learned and found.base != DENSE:
        raise RecipeError(f"{quantization.label} is of a dense model, and does not follow {label}.")
    return str(replace(found, quantization=quantization))


def recovered_label(label: str) -> str:
    """The label of a model with this label after it was trained back; that of another tool stays."""
    found = known_label(label)
    if found is None or found == Label(DENSE):
        return label
    if found.quantization is not None:
        return str(replace(found, adapted=True))
    return str(replace(found, recovered=True))


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown word: the nearest known one, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}."


def _quantization(word: str) -> BitFormat | None:
    """The quantization a word names, or None if it names none."""
    found = (method.read(word) for method in methods(QUANTIZATION).values())
    return next((quantization for quantization in found if quantization is not None), None)


def _hint(word: str) -> str:
    formats = [word for method in methods(QUANTIZATION).values() for word in method.known_words()]
    return nearest(word, [*methods(MASK, STRUCTURE), *modifiers(), RECOVER, *formats])
