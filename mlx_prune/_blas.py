"""Put OpenBLAS in front of the reference BLAS that MLX's Linux wheel bundles.

The wheel's own BLAS multiplies fp32 matrices about fifty times slower than OpenBLAS. Symbols of a library
loaded with ``RTLD_GLOBAL`` before MLX win over those of MLX's own dependency, so loading it first is enough.
On macOS MLX uses Accelerate and nothing is done.
"""

from __future__ import annotations

import ctypes
import os
import sys

_CANDIDATES = ("libopenblas.so.0", "libopenblas.so")
_loaded: str | None = None
_reason = "not tried"


def preload() -> str | None:
    """Load OpenBLAS globally, once, before MLX is imported.

    Set ``MLX_PRUNE_OPENBLAS=0`` to leave MLX's own BLAS in place.

    Returns:
        The name of the library that was loaded, or None (see :func:`status` for the reason).
    """
    global _loaded, _reason
    if _loaded is not None:
        return _loaded
    if sys.platform != "linux":
        _reason = "not needed on this platform"
    elif os.environ.get("MLX_PRUNE_OPENBLAS", "1") == "0":
        _reason = "switched off by MLX_PRUNE_OPENBLAS=0"
    elif "mlx.core" in sys.modules:
        _reason = "mlx was imported before mlx_prune; import mlx_prune first"
    else:
        # Its threads otherwise spin for some 25 ms after each product, on cores that others could use.
        os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
        for name in _CANDIDATES:
            try:
                library = ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
            except OSError:
                continue
            _loaded, _reason = name, f"{name}{_kernels(library)} answers MLX's matrix products"
            return _loaded
        _reason = "OpenBLAS not found; `apt install libopenblas0-pthread` makes fp32 models far faster"
    return None


def _kernels(library: ctypes.CDLL) -> str:
    """Whose kernels OpenBLAS runs (``OPENBLAS_CORETYPE`` decides) and its threads: " (Zen, 2 threads)"."""
    try:
        core, threads = library.openblas_get_corename, int(library.openblas_get_num_threads())
    except AttributeError:  # a build whose symbols have a suffix
        return ""
    core.restype = ctypes.c_char_p
    return f" ({core().decode()}, {threads} thread{'s' * (threads != 1)})"


def status() -> tuple[bool, str]:
    """Whether OpenBLAS was put in front of MLX's BLAS, and why or why not."""
    return _loaded is not None, _reason
