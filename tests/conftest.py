"""What every test may use: paths to optional real data, and small random models of several architectures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pretended_metal
import pytest
from hub_server import HubServer

import mlx_prune  # noqa: F401  (first: puts OpenBLAS in front of MLX's BLAS on Linux)
from mlx_prune.activations.calibration import Calibration

# Apple's newest GPUs and NVIDIA's round the factors of float32 products to ten bits unless told not to; the
# tests expect float32's own precision. MLX reads this at its first product, as do processes that tests start.
os.environ.setdefault("MLX_ENABLE_TF32", "0")

REPOSITORY = Path(__file__).resolve().parent.parent

# A folder with the original BBQ files, tokenizers and a trained model; tests that want it skip without it.
REAL_DATA = Path(os.environ.get("MLX_PRUNE_TEST_DATA", REPOSITORY.parent / "shared"))


# Tests of kernels that put none in their place, so that they hold under the pretence, too.
UNPRETENDED = {"test_metal_sources.py", "test_zeroing.py"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pretend-metal",
        action="store_true",
        help="let the package believe that MLX runs on Metal: see tests/support/pretended_metal.py",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--pretend-metal"):
        pretended_metal.begin()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--pretend-metal"):
        other = pytest.mark.skip(reason="the kernels' own tests put others in their place themselves")
        for item in items:
            if item.path.parent.name == "kernels" and item.path.name not in UNPRETENDED:
                item.add_marker(other)


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


@pytest.fixture(scope="session")
def calibration_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "calibration.txt"
    people = ("teacher", "student", "doctor", "nurse", "old man", "young woman", "banker")
    places = ("market", "river", "school", "office", "station")
    lines = [
        f"The {a} met the {b} at the {p} on day {i}." for i, (a, b, p) in enumerate(_triples(people, places))
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _triples(people, places):
    return [(a, b, p) for a in people for b in people for p in places if a != b]


@pytest.fixture
def calibration(calibration_file: Path) -> Calibration:
    return Calibration(calibration_file, samples=7, sequence_length=29)
