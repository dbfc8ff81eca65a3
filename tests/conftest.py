"""What every test may use: paths to optional real data, and small random models of several architectures."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import HubServer

import mlx_prune  # noqa: F401  (first: puts OpenBLAS in front of MLX's BLAS on Linux)
from mlx_prune import environment

# Apple's newest GPUs and NVIDIA's round the factors of float32 products to ten bits unless told not to; the
# tests expect float32's own precision. MLX reads this at its first product, as do processes that tests start.
os.environ.setdefault("MLX_ENABLE_TF32", "0")

REPOSITORY = Path(__file__).resolve().parent.parent

# A folder with the original BBQ files, tokenizers and a trained model; tests that want it skip without it.
REAL_DATA = Path(os.environ.get("MLX_PRUNE_TEST_DATA", REPOSITORY.parent / "shared"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pretend-metal",
        action="store_true",
        help="let the package believe that MLX runs on Metal: models stay in the type they are stored in, as "
        "on a Mac, and the kernels, which cannot start here, give way to the portable operations",
    )


def pytest_configure(config: pytest.Config) -> None:
    """All that depends on the backend asks ``environment.backend``, which says "metal" under --pretend-metal.

    MLX itself goes on computing on this machine's CPU. Processes that a test starts are not pretended to.
    """
    if config.getoption("--pretend-metal"):
        # The modules take the function's name over when they are imported.
        early = [name for name, module in sys.modules.items() if hasattr(module, "backend")]
        early = [name for name in early if name.startswith("mlx_prune.") and name != environment.__name__]
        assert not early, f"{early} asked for the backend before the pretence began"
        environment.backend = lambda: "metal"
        _multiply_experts_in_any_type()


def _multiply_experts_in_any_type() -> None:
    """MLX's CPU multiplies stacks of experts in float32 alone: do so, and round to the type of the inputs."""
    import mlx.core as mx

    in_float32 = mx.gather_mm

    def gather_mm(a: mx.array, b: mx.array, /, *args: Any, **kwargs: Any) -> mx.array:
        return in_float32(a.astype(mx.float32), b.astype(mx.float32), *args, **kwargs).astype(a.dtype)

    mx.gather_mm = gather_mm


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data, or a skip."""
    if not (REAL_DATA / "bbq").is_dir():
        pytest.skip("real data not present; set MLX_PRUNE_TEST_DATA")
    return REAL_DATA


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """A Hub of one's own on loopback, empty."""
    with HubServer() as server:
        yield server


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Statistics of test models do not go to the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLX_PRUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
