"""The methods there are: what each is called, what it takes, how it is told of and how it is drawn.

Labels, the command line, studies, cards, tables and figures ask here and name no method themselves. A
built-in method is a file in ``mlx_prune/pruning/methods``; a package of one's own registers others by an
entry point in the group ``mlx_prune.methods``. Nothing here needs MLX, nor does importing a method's file.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from abc import ABC
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, TypeVar

from mlx_prune.errors import RecipeError, one_line

MASK, STRUCTURE, QUANTIZATION = "mask", "structure", "quantization"

# Its modules are loaded by name on first use: they lie in a room above this one.
_PLACE = "mlx_prune.pruning.methods"
# In the order of reports; files that are not named here follow, and then other packages' methods.
_FIRST = ("random", "magnitude", "wanda", "sparsegpt", "width", "depth", "experts", "quantize")
_ENTRY_POINTS = "mlx_prune.methods"


@dataclass(frozen=True)
class Option:
    """What the command line says of one field of a recipe.

    Attributes:
        help: One sentence; ``{methods}`` stands for the methods that take it.
        choices: The words there are, or what tells them when it is asked; none for any value.
        least: The smallest whole number there is.
        metavar: Stands for the value in the help.
        name: Of the option, where it is not the field's.
        nothing: The word for None, among the choices.
        order: Its place among all options; those of one place follow the methods.
        kind: Of its value, where no default tells.
        multiple: Whether it may be repeated; the field is a tuple then.
    """

    help: str
    choices: tuple[str, ...] | Callable[[], Iterable[str]] = ()
    least: int | None = None
    metavar: str | None = None
    name: str | None = None
    nothing: str | None = None
    order: int = 50
    kind: type[Any] | None = None
    multiple: bool = False


def option(default: Any = dataclasses.MISSING, /, **said: Any) -> Any:
    """A dataclass field that is an option of ``mlxprune prune``; keywords as in :class:`Option`."""
    return dataclasses.field(default=default, metadata={"option": Option(**said)})


def options_of(recipe: type[Any]) -> dict[str, tuple[dataclasses.Field[Any], Option]]:
    """The fields of a recipe's dataclass that are options, by the name of the option."""
    found = {}
    for field in dataclasses.fields(recipe):
        if "option" in field.metadata:
            said: Option = field.metadata["option"]
            found[said.name or field.name] = (field, said)
    return found


@dataclass(frozen=True)
class Modifier:
    """A word behind a method's name in a label: one field of its recipe, away from its default.

    Attributes:
        name: The word, "repair" in "width+repair".
        field: The recipe's field.
        value: What the word stands for. Two words of one field exclude each other.
        words: What a model card says of it.
    """

    name: str
    field: str
    value: Any
    words: str

    def set_in(self, recipe: Any) -> bool:
        """Whether a recipe asks for it."""
        return bool(getattr(recipe, self.field) == self.value)


@dataclass(frozen=True)
class Scope:
    """Which matrices of the blocks a recipe prunes.

    Attributes:
        words: What a model card says of it.
        left_out: Last names of projections that it leaves dense.
        refusal: Why methods that do not have it refuse it, with their name for ``{method}``.
    """

    words: str
    left_out: tuple[str, ...] = ()
    refusal: str = ""


@dataclass(frozen=True)
class Look:
    """How a method is drawn wherever it appears.

    Attributes:
        tone: A color of the palette (:mod:`mlx_prune.report.figures.style`), "blue".
        marker: Matplotlib's name of it.
        line: Matplotlib's line style of the plain method.
        fills: Which part of the marker is filled (Matplotlib's fill style), by modifiers; "left" where a
            combination is not here.
    """

    tone: str
    marker: str
    line: str = "-"
    fills: Mapping[tuple[str, ...], str] = dataclasses.field(default_factory=dict)


class Method(ABC):
    """One way to make a model smaller or sparser, and all that the package says of it.

    Attributes:
        name: Its word in labels and on the command line.
        kind: MASK (single weights are set to zero), STRUCTURE (neurons, heads or blocks are removed) or
            QUANTIZATION (the last step, which stores weights in few bits).
        title: Its name in a sentence; the label's word where that is one.
        words: What a model card says was done.
        look: In figures.
        modifiers: Words that may follow its name, in the order of a label.
        scopes: Which matrices a recipe may ask for.
        own: Options that not every method of its kind takes; they are recorded beside a result.
    """

    name: ClassVar[str]
    kind: ClassVar[str]
    words: ClassVar[str]
    look: ClassVar[Look]
    title: ClassVar[str] = ""
    modifiers: ClassVar[tuple[Modifier, ...]] = ()
    scopes: ClassVar[Mapping[str, Scope]] = {
        "blocks": Scope("all linear layers inside the transformer blocks (attention and MLP projections)")
    }
    own: ClassVar[tuple[str, ...]] = ()

    @property
    def settings(self) -> frozenset[str]:
        """What it takes of "scope", "statistics", "seed" and "calibration"."""
        return frozenset()

    def settings_with(self, modifiers: Collection[str]) -> frozenset[str]:  # noqa: ARG002
        """Which of its settings are taken where its name stands with some modifiers; all, as it stands."""
        return self.settings

    @property
    def recipe(self) -> type[Any]:
        """The dataclass that says how it is done; its options are those of the command line."""
        raise NotImplementedError

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options that it takes: its own, and those that no other method has as its own."""
        others = {name for method in methods().values() if method is not self for name in method.own}
        return tuple(name for name in options_of(self.recipe) if name in self.own or name not in others)

    @property
    def does(self) -> str:
        """What it does, for a sentence that refuses an option: "width removes neurons or heads"."""
        return f"{self.name} sets single weights to zero"

    def read(self, word: str) -> Any | None:  # noqa: ARG002
        """The recipe that a word at the end of a label stands for, or None; of quantizations alone."""
        return None

    def known_words(self) -> list[str]:
        """The words that :meth:`read` reads, for a hint."""
        return []

    def label(self, recipe: Any) -> str:
        """The label of a recipe: the name, and the modifiers that it asks for."""
        return "+".join([self.name, *(word.name for word in self.modifiers if word.set_in(recipe))])

    def __str__(self) -> str:
        """As in a sentence: "Wanda", "SparseGPT", "width"."""
        return self.title or self.name


_methods: dict[str, Method] = {}
_of_this_process: set[str] = set()
_loaded = False


def register(method: Method) -> Method:
    """Add a method, for this process.

    Raises:
        RecipeError: There is another of this name, or the name cannot stand in a label.
    """
    _load()
    added = _add(method)
    _of_this_process.add(method.name)
    return added


def forget(name: str) -> None:
    """Take a method out again."""
    _methods.pop(name, None)
    _of_this_process.discard(name)
    _changed()


def of_this_process() -> list[str]:
    """Names of methods that were added by :func:`register`: another process does not know them."""
    return sorted(_of_this_process)


def methods(*kinds: str) -> dict[str, Method]:
    """The methods by name, of some kinds or all, in the order of reports: masks come first."""
    _load()
    wanted = [kind for kind in (MASK, STRUCTURE, QUANTIZATION) if not kinds or kind in kinds]
    return {name: method for kind in wanted for name, method in _methods.items() if method.kind == kind}


def modifiers() -> dict[str, Modifier]:
    """All modifiers by name; those that methods share come where the last of these has them."""
    found: dict[str, Modifier] = {}
    for method in methods().values():
        for modifier in method.modifiers:
            found.pop(modifier.name, None)
            found[modifier.name] = modifier
    return found


def scopes() -> dict[str, Scope]:
    """All scopes by name."""
    return {name: scope for method in methods().values() for name, scope in method.scopes.items()}


def with_modifier(name: str) -> list[str]:
    """Names of the methods that a modifier goes with."""
    return [method.name for method in methods().values() if name in {word.name for word in method.modifiers}]


T = TypeVar("T")


def cached(function: Callable[[str], T]) -> Callable[[str], T]:
    """Remember what a function makes of a text until a method is added or taken out."""
    remembering = cache(function)
    _caches.append(remembering.cache_clear)
    return remembering


_caches: list[Callable[[], None]] = []


def _add(method: Method) -> Method:
    if not method.name.isidentifier() or not method.name.islower():
        raise RecipeError(f"A method cannot be called {method.name!r}; use a word in small letters.")
    if method.name in _methods or method.name == "dense":
        raise RecipeError(f"There is a method {method.name!r} already; choose another name.")
    _methods[method.name] = method
    _changed()
    return method


def _changed() -> None:
    for clear in _caches:
        clear()


def _load() -> None:
    global _loaded
    if _loaded:
        return
    _loaded = True
    from importlib.metadata import entry_points

    found = {module.name for module in pkgutil.iter_modules(importlib.import_module(_PLACE).__path__)}
    for name in (*_FIRST, *sorted(found - set(_FIRST))):
        method = getattr(importlib.import_module(f"{_PLACE}.{name}"), "METHOD", None)
        if method is not None:
            _add(method)
    for entry in entry_points(group=_ENTRY_POINTS):
        try:
            loaded = entry.load()
            _add(loaded() if isinstance(loaded, type) else loaded)
        except Exception as error:
            _loaded = False
            _methods.clear()
            raise RecipeError(
                f"The method {entry.name!r} ({entry.value}) cannot be loaded: {one_line(error)}; fix or "
                "uninstall the package that it comes from."
            ) from error
