"""What every test may use: paths to optional real data, and small random models of several architectures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import HubServer

import mlx_prune  # noqa: F401  (first: puts OpenBLAS in front of MLX's BLAS on Linux)

REPOSITORY = Path(__file__).resolve().parent.parent

# A folder with the original BBQ files, tokenizers and a trained model; tests that want it skip without it.
REAL_DATA = Path(os.environ.get("MLX_PRUNE_TEST_DATA", REPOSITORY.parent / "shared"))


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
