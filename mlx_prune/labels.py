"""Method labels: the name of what was done to a model, in records, studies and checkpoints.

A label is a base and modifiers joined by "+", in one fixed order, so that a configuration has one name only:
``wanda``, ``wanda+owl``, ``width+heads+repair``, ``depth+contiguous``, ``q4``, ``wanda+q4``, ``width+mxfp4``;
``recover`` behind a pruning says that it was trained back, before any quantization: ``wanda+recover+q4``.
At the end, behind a quantization, it says that adapters were trained beside the bits: ``wanda+q4+recover``.
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
    """

    base: str
    modifiers: tuple[str, ...] = ()
    quantization: BitFormat | None = None
    recovered: bool = False
    adapted: bool = False

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
        """The label of what was pruned alone: "wanda+owl", or "dense"."""
        return "+".join((self.base, *self.modifiers))

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
        before = [] if self.base == DENSE else [self.unquantized]
        return "+".join([*before, self.quantization.label, *([RECOVER] if self.adapted else [])])


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
    label = Label(base, tuple(word.name for word in found), last, recovered, adapted)
    if str(label) != text:
        raise RecipeError(f"{text!r} is written {str(label)!r}, so that a configuration has one name.")
    return label


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


def families() -> tuple[str, ...]:
    """Kinds of methods in the order of a report; what is quantized and nothing else is a kind of its own."""
    return (DENSE, *methods(MASK), *methods(STRUCTURE), QUANTIZED)


def family(method: str) -> str:
    """The kind of a method: its base, "quantized" for a quantization alone, or an unknown method itself."""
    label = known_label(method)
    if label is None:
        return method
    return QUANTIZED if label.base == DENSE and label.quantization is not None else label.base


def only_quantized(method: str) -> bool:
    """Whether the model was quantized and nothing else, so that no sparsity goes with its name."""
    return family(method) == QUANTIZED


def removes_weights(method: str) -> bool:
    """Whether neurons, heads or blocks are gone, so that the target is a share of these."""
    label = known_label(method)
    return label is not None and label.structured


def keeps_form(method: str) -> bool:
    """Whether the model computes with the dense model's shapes and types, so that it cannot differ in time.

    So it is where single weights were set to zero and nothing else was done; of unknown methods nobody knows.
    """
    label = known_label(method)
    return label is not None and not label.structured and label.quantization is None


def leaves_dose(method: str) -> bool:
    """Whether the target sparsity is a share of weights set to zero, comparable between methods.

    Not so for removed neurons or blocks, nor where quantization came on top.
    """
    label = known_label(method)
    return label is None or (label.masked and label.quantization is None)


def method_order(method: str) -> tuple[int, bool, str, bool, int, str]:
    """Sort key: by family, plain before modified, unquantized before quantized, many bits before few.

    What is no label comes last, by name, numbers in names by their size.
    """
    label = known_label(method)
    if label is None:
        by_size = re.sub(r"\d+", lambda number: number[0].zfill(20), method.casefold())
        return len(families()), False, by_size, False, 0, method
    quantization = label.quantization
    bits = 0 if quantization is None else quantization.bits or 0
    return (
        families().index(family(method)),
        bool(label.modifiers),
        "+".join(label.modifiers),
        quantization is not None,
        -bits,
        method,
    )
