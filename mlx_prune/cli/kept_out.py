"""Keep torch and pandas out of the ``mlxprune`` process, which needs neither.

transformers imports torch wherever it is installed (2 s and 230 MB), pyarrow imports pandas with the first
array that it makes (0.4 s). Each asks once whether there is such a package and remembers the answer, so it is
told no while it asks; before and after, both can be imported as always. Other people's processes are left
alone: nothing happens unless :func:`keep_out` is called.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import ModuleType

SWITCH = "MLX_PRUNE_TORCH"


def keep_out() -> None:
    """From now on, transformers and pyarrow do without torch and pandas, unless these are imported already.

    Set ``MLX_PRUNE_TORCH=1`` to let them have both.
    """
    if os.environ.get(SWITCH, "0") != "1" and not any(isinstance(f, _Asking) for f in sys.meta_path):
        sys.meta_path.insert(0, _Asking())


class _Asking(importlib.abc.MetaPathFinder):
    """Finds the packages that ask, and has them loaded while what they ask for is hidden."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The package with a loader around its own; nothing for any other module."""
        if fullname not in _ASKING or _ASKING[fullname][0] in sys.modules:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, own: importlib.abc.Loader) -> None:
        self._own = own

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """The module, as its own loader makes it."""
        return self._own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Load the package, and have it ask."""
        # Whoever looks at the module later finds its own loader.
        assert module.__spec__ is not None
        module.__loader__ = module.__spec__.loader = self._own
        name, hidden, ask = _ASKING[module.__name__]
        with hidden(name):
            self._own.exec_module(module)
            ask()


@contextmanager
def _not_found(name: str) -> Iterator[None]:
    """Whoever looks for the package finds nothing, and importing it fails."""
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    modules[name] = None
    try:
        yield
    finally:
        del modules[name]


@contextmanager
def _refused(name: str) -> Iterator[None]:
    """Importing the package fails; compiled code, as pyarrow has, would take a None for the module."""

    class Refusing(importlib.abc.MetaPathFinder):
        def find_spec(self, fullname: str, *_: object) -> None:
            if fullname == name:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    refusing = Refusing()
    sys.meta_path.insert(0, refusing)
    try:
        yield
    finally:
        sys.meta_path.remove(refusing)


def _ask_transformers() -> None:
    from transformers.utils.import_utils import is_torch_available

    is_torch_available()


def _ask_pyarrow() -> None:
    import pyarrow

    pyarrow.array([])


_Hidden = Callable[[str], AbstractContextManager[None]]
# Who asks: for what, how that is hidden, and what makes it ask.
_ASKING: dict[str, tuple[str, _Hidden, Callable[[], None]]] = {
    "transformers": ("torch", _not_found, _ask_transformers),
    "pyarrow": ("pandas", _refused, _ask_pyarrow),
}
