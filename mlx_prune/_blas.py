"""Let OpenBLAS answer in place of the reference BLAS that MLX's Linux wheel bundles.

The wheel's own BLAS multiplies fp32 matrices about twenty times slower than OpenBLAS. Two ways past it:

- The system's OpenBLAS is loaded with ``RTLD_GLOBAL`` before MLX: its symbols win over those of MLX's own
  dependency.
- Where the system has none, or MLX was imported first, the OpenBLAS in SciPy's wheel answers. Its functions
  have names with a prefix, so no library finds them by itself: once MLX is imported, the addresses by which
  ``libmlx.so`` calls BLAS and LAPACK are replaced by theirs (see :mod:`mlx_prune._elf`), all or none. MLX and
  SciPy then share its threads: one fewer than there are cores unless ``OPENBLAS_NUM_THREADS`` says otherwise.
  NumPy's wheel has another OpenBLAS, whose integers of 64 bits are not those that MLX passes.

``MLX_PRUNE_OPENBLAS`` chooses: ``0`` neither, ``system`` or ``scipy`` only that one, anything else the first
that is found. Whatever fails leaves MLX as it is. On macOS MLX uses Accelerate and nothing is done.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

_SYSTEM = ("libopenblas.so.0", "libopenblas.so")
_SCIPY = "SciPy's OpenBLAS"
_PREFIX = "scipy_"

# LAPACK's names: the type, two letters for the kind of matrix, and what is done with it.
_FUNCTIONS = re.compile(r"cblas_\w+|[sdcz][a-z]{2}[a-z0-9]{1,4}_")

_NUMBERS_OF_THREADS = {"OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"}

_loaded: str | None = None
_answering: tuple[ctypes.CDLL, str, str] | None = None
_reason = "not tried"


def preload() -> str | None:
    """Put OpenBLAS in place, once: at once where that can be, else when MLX is imported.

    Returns:
        The name of the library that answers now, or None (see :func:`status` for the reason).
    """
    global _reason
    if _loaded is not None:
        return _loaded
    wanted = os.environ.get("MLX_PRUNE_OPENBLAS", "1")
    imported = "mlx.core" in sys.modules
    if sys.platform != "linux":
        _reason = "not needed on this platform"
        return None
    if wanted == "0":
        _reason = "switched off by MLX_PRUNE_OPENBLAS=0"
        return None
    # Its threads otherwise spin for some 25 ms after each product, on cores that others could use.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
    if wanted != "scipy" and not imported:
        for name in _SYSTEM:
            try:
                library = ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
            except OSError:
                continue
            _answers(name, library, "")
            return name
    if wanted == "system":
        first = "mlx was imported before mlx_prune; import mlx_prune first"
        _reason = first if imported else f"{_SYSTEM[0]} not found"
    elif imported:
        _redirect()
    else:
        _reason = f"{_SCIPY} is put in place when MLX is imported"
        if _at_import not in sys.meta_path:
            sys.meta_path.insert(0, _at_import)
    return _loaded


class _AtImport:
    """Finds ``mlx.core`` as the other finders do, and redirects its calls as soon as it is there."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "mlx.core":
            return None
        others = [finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec")]
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        execute = getattr(spec and spec.loader, "exec_module", None)
        if spec is not None and spec.loader is not None and execute is not None:

            def exec_module(module: ModuleType) -> None:
                execute(module)
                if _loaded is None:
                    _redirect()

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


_at_import = _AtImport()


def _redirect() -> None:
    """Point the calls of the MLX that is loaded at SciPy's OpenBLAS, or say why not."""
    global _reason
    if hasattr(ctypes.CDLL(None), "cblas_sgemm"):
        _reason = "another BLAS, loaded for the whole process, answers MLX's matrix products"
        return
    try:
        library = _scipys()
        _leave_a_core(library)
        _point_mlx_at(library)
    # Whatever goes wrong, on a system or with a wheel not seen before, must not keep MLX from being imported.
    except Exception as error:
        way_out = f"MLX's own BLAS answers, far slower; install OpenBLAS ({_SYSTEM[0]})"
        _reason = f"{_SCIPY} could not be put in place ({error}); {way_out}"
    else:
        _answers(_SCIPY, library, _PREFIX)


def _scipys() -> ctypes.CDLL:
    """The OpenBLAS of SciPy's wheel, without importing SciPy."""
    from importlib.util import find_spec

    spec = find_spec("scipy")
    for package in (spec and spec.submodule_search_locations) or ():
        for path in sorted(Path(package).with_name("scipy.libs").glob("libscipy_openblas*.so")):
            library = ctypes.CDLL(str(path))
            # Those with integers of 64 bits have a suffix as well, and say so.
            if hasattr(library, f"{_PREFIX}cblas_sgemm") and not _wide_integers(library):
                return library
    raise LookupError("this SciPy brings none with integers of 32 bits; wheels since SciPy 1.14 do")


def _wide_integers(library: ctypes.CDLL) -> bool:
    configuration = getattr(library, f"{_PREFIX}openblas_get_config")
    configuration.restype = ctypes.c_char_p
    return b"USE64BITINT" in configuration()


def _point_mlx_at(library: ctypes.CDLL) -> None:
    """Replace the addresses by which ``libmlx.so`` calls BLAS and LAPACK, all or none."""
    from mlx_prune import _elf

    memory = _elf.regions()
    paths = sorted({region.path for region in memory if Path(region.path).name == "libmlx.so"})
    if len(paths) != 1:
        raise LookupError(f"{len(paths)} files named libmlx.so are loaded")
    slots = _elf.calls([region for region in memory if region.path == paths[0]], _FUNCTIONS)
    if "cblas_sgemm" not in slots:
        raise LookupError("libmlx.so calls no BLAS of another library")
    missing = [name for name in slots if not hasattr(library, _PREFIX + name)]
    if missing:
        raise LookupError(f"it lacks {', '.join(missing)}")
    addresses = {
        slot: ctypes.cast(getattr(library, _PREFIX + name), ctypes.c_void_p).value or 0
        for name, places in slots.items()
        for slot in places
    }
    _elf.redirect(addresses, memory)


def _leave_a_core(library: ctypes.CDLL) -> None:
    """One thread fewer than there are cores, unless the environment says how many.

    The wheel's threads wait for each other without yielding: while Python builds the next step on the core of
    one of them, the others spin. 600 answers of the embedded model on two busy cores took 1.7 to 2.9 s of CPU
    time with two threads, and 0.9 s with one.
    """
    if not os.environ.keys() & _NUMBERS_OF_THREADS:
        threads = int(getattr(library, f"{_PREFIX}openblas_get_num_threads")())
        getattr(library, f"{_PREFIX}openblas_set_num_threads")(max(1, threads - 1))


@contextmanager
def leaving_a_core() -> Iterator[None]:
    """While this lasts, OpenBLAS has a thread fewer than there are cores, if nobody says how many.

    For many products with other work between them, on which its threads would wait. NumPy's own OpenBLAS,
    which gets the small ones among them, has one thread.
    """
    if os.environ.keys() & _NUMBERS_OF_THREADS:
        yield
        return
    with ExitStack() as undone:
        numpys = _numpys()
        for found in filter(None, (_answering, numpys)):
            told = _threads_of(*found)
            if told and told.now == told.cores > 1:
                told.put(1 if found is numpys else told.cores - 1)
                undone.callback(told.put, told.cores)
        yield


@contextmanager
def one_thread_in_numpy() -> Iterator[int]:
    """While this lasts, NumPy's own OpenBLAS has one thread, for callers that are several threads themselves.

    Yields:
        How many it had; 1 if it cannot be told, so that there is one caller too.
    """
    found = _numpys()
    told = _threads_of(*found) if found else None
    if told is None:
        yield 1
        return
    told.put(1)
    try:
        yield told.now
    finally:
        told.put(told.now)


class _Threads(NamedTuple):
    """Threads of an OpenBLAS: what sets them, how many there are, and how many cores it sees."""

    put: Callable[[int], object]
    now: int
    cores: int


def _threads_of(library: ctypes.CDLL, prefix: str, suffix: str) -> _Threads | None:
    try:
        put = getattr(library, f"{prefix}openblas_set_num_threads{suffix}")
        now, cores = (
            int(getattr(library, f"{prefix}openblas_get_num_{name}{suffix}")())
            for name in ("threads", "procs")
        )
    except AttributeError:  # a build whose symbols have other names
        return None
    return _Threads(put, now, cores)


@cache
def _numpys() -> tuple[ctypes.CDLL, str, str] | None:
    """The OpenBLAS of NumPy's wheel on Linux, with what its functions' names begin and end in."""
    from importlib.util import find_spec

    spec = find_spec("numpy")
    for package in (spec and spec.submodule_search_locations) or ():
        for path in Path(package).with_name("numpy.libs").glob("libscipy_openblas64_*.so"):
            return ctypes.CDLL(str(path)), _PREFIX, "64_"
    return None


def _answers(name: str, library: ctypes.CDLL, prefix: str) -> None:
    global _loaded, _answering, _reason
    _answering = library, prefix, ""
    _loaded, _reason = name, f"{name}{_kernels(library, prefix)} answers MLX's matrix products"


def _kernels(library: ctypes.CDLL, prefix: str) -> str:
    """Whose kernels OpenBLAS runs (``OPENBLAS_CORETYPE`` decides) and its threads: " (Zen, 2 threads)"."""
    try:
        core = getattr(library, f"{prefix}openblas_get_corename")
        threads = int(getattr(library, f"{prefix}openblas_get_num_threads")())
    except AttributeError:  # a build whose symbols have a suffix
        return ""
    core.restype = ctypes.c_char_p
    return f" ({core().decode()}, {threads} thread{'s' * (threads != 1)})"


def status() -> tuple[bool, str]:
    """Whether OpenBLAS answers MLX's matrix products, and why or why not."""
    return _loaded is not None, _reason
