"""The commands on a real instruction-tuned model, in a folder that MLX_PRUNE_TEST_MODEL names.

``MLX_PRUNE_TEST_MODEL=FOLDER pytest -m real``; a small one such as SmolLM2-135M-Instruct is meant, which
takes six minutes of CPU time. Questions and text are the real data of the other tests.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlx_prune.cli.main import run
from tests.support.command_line import Capture, done

pytestmark = pytest.mark.real

CALIBRATION = ["--samples", "16", "--sequence-length", "256"]
METHODS = ("random", "magnitude", "wanda", "sparsegpt")


@pytest.fixture(scope="module")
def model() -> Path:
    folder = os.environ.get("MLX_PRUNE_TEST_MODEL")
    if not folder:
        pytest.skip("no real model; set MLX_PRUNE_TEST_MODEL to its folder")
    return Path(folder)


@pytest.fixture(scope="module")
def texts(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Text to calibrate on, and held-out text of the same kind."""
    whole = (real_data / "text" / "shakespeare.txt").read_text(encoding="utf-8")
    folder = tmp_path_factory.mktemp("texts")
    cut = int(0.8 * len(whole))
    (folder / "calibration.txt").write_text(whole[:cut], encoding="utf-8")
    (folder / "held-out.txt").write_text(whole[cut:], encoding="utf-8")
    return folder / "calibration.txt", folder / "held-out.txt"


@pytest.fixture(scope="module")
def pruned(
    model: Path, texts: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Half of the weights removed by every method, and a pattern of Wanda's."""
    folder = tmp_path_factory.mktemp("pruned")
    asked = {name: ["-m", name, "-s", "50"] for name in METHODS} | {
        "wanda 2:4": ["-m", "wanda", "--pattern", "2:4"]
    }
    for name, words in asked.items():
        calibrated = words[1] in ("wanda", "sparsegpt")
        text = ["--calibration", str(texts[0]), *CALIBRATION] if calibrated else []
        assert run(["prune", str(model), "-o", str(folder / name), *words, *text]) == 0
    return {name: folder / name for name in asked}


def perplexity(folder: Path, text: Path, capsys: Capture) -> float:
    words = ["perplexity", folder, "--text", text, "--sequences", "8", "--sequence-length", "256"]
    return float(done(words, capsys)["perplexity"]["value"])


@pytest.mark.timeout(3600)
def test_perplexity_orders_methods_as_the_literature_does(
    model: Path, texts: tuple[Path, Path], pruned: dict[str, Path], capsys: Capture
) -> None:
    found = {name: perplexity(folder, texts[1], capsys) for name, folder in pruned.items()}
    dense = perplexity(model, texts[1], capsys)
    assert found["random"] > found["magnitude"] > found["wanda"] >= found["sparsegpt"] > dense
    assert found["wanda 2:4"] > found["wanda"]


@pytest.mark.timeout(3600)
def test_fewer_bits_lie_farther_from_the_dense_model(
    model: Path, texts: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    bits = {count: tmp_path / f"q{count}" for count in (8, 4)}
    for count, folder in bits.items():
        assert run(["prune", str(model), "-o", str(folder), "-m", "quantize", "--bits", str(count)]) == 0
    text = ["--text", texts[1], "--sequences", "4", "--sequence-length", "128"]
    rows = done(["divergence", model, model, bits[8], bits[4], *text], capsys)["models"]
    itself, eight, four = (row["divergence"]["kl"] for row in rows)
    assert 0 <= itself < 1e-6 < eight < four


@pytest.mark.timeout(3600)
def test_answers_of_real_questions_end_in_a_page(
    model: Path, real_data: Path, pruned: dict[str, Path], tmp_path: Path, capsys: Capture
) -> None:
    asked = ["--bbq", real_data / "bbq", "--condition", "all", "--limit", "40", "--verify", "5"]
    dense = done(["eval", model, "-o", tmp_path / "dense", *asked], capsys)
    half = done(["eval", pruned["wanda"], "-o", tmp_path / "wanda", *asked], capsys)
    assert dense["records"] == half["records"] == 200
    assert dense["verification"]["identical"] == half["verification"]["identical"] == 5
    assert done(["inspect", pruned["wanda"]], capsys)["actual_sparsity"] == pytest.approx(50, abs=0.01)
    done(["compare", tmp_path / "dense", tmp_path / "wanda", "-o", tmp_path / "compared"], capsys)
    assert "wanda 50 %" in (tmp_path / "compared" / "report.html").read_text(encoding="utf-8")
