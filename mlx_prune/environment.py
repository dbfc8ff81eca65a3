"""What a result was measured with: versions, device and memory, recorded beside every figure."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from functools import cache

from mlx_prune import _blas
from mlx_prune._version import __version__

_PACKAGES = ("mlx", "mlx-lm", "numpy", "transformers", "pyarrow", "huggingface-hub")


def versions() -> dict[str, str]:
    """Versions of this package, Python and the libraries results depend on; absent ones are left out."""
    found = {"mlx-prune": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def device() -> dict[str, str | int | bool]:
    """The machine and MLX's default device.

    Returns:
        ``system``, ``machine`` (processor name), ``backend`` ("metal", "cuda" or "cpu"), ``device_name``,
        ``cores``, ``memory_bytes`` (physical) and ``openblas`` (whether it answers MLX's CPU products).
    """
    import mlx.core as mx

    return {
        "system": f"{platform.system()} {platform.release()}",
        "machine": _processor_name(),
        "backend": backend(),
        "device_name": str(mx.device_info().get("device_name", "")),
        "cores": cores(),
        "memory_bytes": physical_memory(),
        "openblas": _blas.status()[0],
    }


def backend() -> str:
    """Where MLX computes by default: "metal", "cuda" or "cpu"."""
    import mlx.core as mx

    if mx.default_device() == mx.Device(mx.cpu):
        return "cpu"
    return "metal" if mx.metal.is_available() else "cuda"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def physical_memory() -> int:
    """Physical memory in bytes, as the operating system tells it."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _processor_name() -> str:
    if sys.platform == "darwin":
        told = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"],
            capture_output=True,
            text=True,
            check=False,
        )
        if told.stdout.strip():
            return told.stdout.strip()
    elif sys.platform == "linux":
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
