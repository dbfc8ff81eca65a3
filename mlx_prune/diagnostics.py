"""What ``mlxprune doctor`` looks at: is this machine ready, and do the kernels compute what they should?"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlx_prune import _blas
from mlx_prune.environment import backend, device, versions
from mlx_prune.errors import MlxPruneError

OK, WARNING, FAILURE = "ok", "warning", "failure"


@dataclass(frozen=True)
class Check:
    """The outcome of one check.

    Attributes:
        name: What was looked at.
        status: "ok", "warning" (works, but slowly or in part) or "failure".
        detail: One sentence: what was found, and what to do about it.
        text: More, as another program said it: a compiler's whole output.
    """

    name: str
    status: str
    detail: str
    text: str = ""


def diagnose() -> list[Check]:
    """Run every check; none of them raises, and none needs the network.

    Returns:
        One :class:`Check` per subject, in the order they are worth reading.
    """
    subjects: tuple[tuple[str, Callable[[], tuple[str, ...]]], ...] = (
        ("versions", _versions),
        ("device", _device),
        ("matrix products", _matrix_products),
        ("kernels", _kernels),
        ("disk", _disk),
        ("embedded model", _embedded_model),
    )
    checks = []
    for name, look in subjects:
        try:
            found = look()
        except (MlxPruneError, OSError, ImportError, ValueError, RuntimeError) as error:
            found = FAILURE, f"{type(error).__name__}: {error}"
        checks.append(Check(name, *found))
    return checks


def _versions() -> tuple[str, str]:
    return OK, ", ".join(f"{name} {version}" for name, version in versions().items())


def _device() -> tuple[str, str]:
    found = device()
    memory = int(found["memory_bytes"]) / 1e9
    detail = f"{found['machine']}, {found['cores']} cores, {memory:.0f} GB, MLX runs on {found['backend']}"
    if backend() == "cpu":
        return WARNING, f"{detail}; a Mac with Apple silicon runs models many times faster"
    return OK, detail


def _matrix_products() -> tuple[str, str]:
    speed = matmul_gflops(1024)
    if backend() != "cpu":
        return OK, f"float32 matrix products at {speed:,.0f} GFLOP/s"
    preloaded, reason = _blas.status()
    status = OK if preloaded or speed > 40 else WARNING
    return status, f"float32 matrix products at {speed:,.0f} GFLOP/s on the CPU; {reason}"


def matmul_gflops(size: int, dtype: str = "float32") -> float:
    """Best of three square matrix products, in 1e9 multiply-adds x 2 per second."""
    import mlx.core as mx

    a = mx.random.normal((size, size), key=mx.random.key(0)).astype(getattr(mx, dtype))
    mx.eval(a @ a)
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        mx.eval(a @ a)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


def _kernels() -> tuple[str, ...]:
    if backend() == "cpu":
        return WARNING, "GPU kernels are not checked: MLX runs on the CPU here, where they are not used"
    from mlx_prune.kernels import check, choice

    if choice.switched_off():
        return WARNING, f"GPU kernels are switched off by {choice.SWITCHED_OFF}; portable operations answer"
    found = check.compare(shapes=check.THOROUGH_SHAPES)
    wrong = [one for one in found if not one.agrees]
    if wrong:
        named = "; ".join(f"{one.name} of {one.dtype} ({one.detail})" for one in wrong)
        text = "\n\n".join(f"{one.name} of {one.dtype}:\n{one.text or one.detail}" for one in wrong)
        return FAILURE, f"{named}: portable operations take their place; please report this", text
    return OK, f"{len(check.FUNCTIONS)} {backend()} kernels agree with the portable operations in every type"


def _disk() -> tuple[str, str]:
    from huggingface_hub.constants import HF_HUB_CACHE

    places = {
        "here": Path.cwd(),
        "in the Hub cache": Path(HF_HUB_CACHE),
        "for temporary files": Path(tempfile.gettempdir()),
    }
    free = {}
    for name, path in places.items():
        existing = next(p for p in (path, *path.parents) if p.exists())
        free[name] = shutil.disk_usage(existing).free / 1e9
    detail = f"free: {', '.join(f'{amount:.0f} GB {name}' for name, amount in free.items())}"
    if min(free.values()) < 5:
        return WARNING, f"{detail}; a pruned 7-billion-weight model takes about 15 GB"
    return OK, detail


def _embedded_model() -> tuple[str, str]:
    from mlx_prune.bbq.items import load_items
    from mlx_prune.checkpoint import open as checkpoints
    from mlx_prune.runs.evaluate import evaluate

    items = load_items("demo", condition="disambig", limit=10)
    loaded = checkpoints.load("demo")
    start = time.perf_counter()
    result = evaluate(loaded, questions=items)
    seconds = time.perf_counter() - start
    parsed = sum(answer is not None for answer in result.table["parsed_answer"].to_pylist())
    records = result.table.num_rows
    status = OK if parsed >= 0.8 * records else FAILURE
    return status, f"{parsed} of {records} answers parsed, {records / seconds:,.0f} answers/s"
