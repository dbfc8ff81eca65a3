"""The commands as a user meets them: on small random models, end to end, with their JSON and their errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pyarrow.parquet as pq
import pytest
from command_line import Capture, done
from tiny_models import save_tiny_model

from mlx_prune import words
from mlx_prune.cli.main import run


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", "llama")


def refused(arguments: list[Any], capsys: Capture) -> str:
    """Run a command that must fail; the one sentence it says."""
    code = run([str(a) for a in arguments])
    captured = capsys.readouterr()
    assert code == 1, captured
    assert captured.out == ""
    assert captured.err.startswith("Error: ")
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


DEMO = ["--bbq", "demo"]


def test_prune_inspect_and_eval_agree(tiny: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "pruned"
    calibration = ["--calibration", "demo", "--samples", 4, "--sequence-length", 32]
    pruned = done(["prune", tiny, "-o", out, "-m", "wanda", "-s", 50, *calibration], capsys)
    assert pruned["method"] == "wanda"
    assert pruned["target_sparsity"] == 50
    assert pruned["calibration"]["samples"] == 4

    found = done(["inspect", out], capsys)
    assert found["zero_params"] == pruned["zero_params"]
    assert found["disagreements"] == []
    assert found["left_dense"] == []

    answered = done(["eval", out, "-o", tmp_path / "run", *DEMO, "--limit", 10, "--seeds", "1,2"], capsys)
    assert answered["records"] == answered["new_records"] == 20
    table = pq.read_table(tmp_path / "run" / "records")
    assert set(table["prune_method"].to_pylist()) == {"wanda"}
    assert set(table["sparsity"].to_pylist()) == {50.0}
    assert answered["rates"]["overall"]["n_answers"] == 20

    again = done(["eval", out, "-o", tmp_path / "run", *DEMO, "--limit", 10, "--seeds", "1,2"], capsys)
    assert again["new_records"] == 0
    assert again["rates"] == answered["rates"]

    exported = done(["records", tmp_path / "run", "--jsonl", tmp_path / "records.jsonl"], capsys)
    lines = (tmp_path / "records.jsonl").read_text().splitlines()
    assert len(lines) == exported["records"] == 20
    assert json.loads(lines[0])["prune_method"] == "wanda"
    assert "exists" in refused(["records", tmp_path / "run", "--jsonl", tmp_path / "records.jsonl"], capsys)


def test_perplexity_prints_a_figure_and_json(tiny: Path, tmp_path: Path, capsys: Capture) -> None:
    text = tmp_path / "text.txt"
    text.write_text("One two three four five. " * 60)
    arguments = ["perplexity", tiny, "--text", text, "--sequences", 2, "--sequence-length", 32]
    payload = done(arguments, capsys)
    assert payload["perplexity"]["tokens"] == 62
    assert run([str(a) for a in arguments]) == 0
    printed = capsys.readouterr().out
    assert f": {words.magnitude(payload['perplexity']['value'])} ±" in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize("columns", [80, 120])
def test_human_output_fits_the_terminal_and_nothing_is_cut(
    columns: int, tiny: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    asked = ["eval", str(tiny), "-o", str(tmp_path / "run"), *DEMO, "--limit", "10", "--condition", "all"]
    assert run(asked) == 0
    printed = capsys.readouterr().out
    assert run(["inspect", str(tiny)]) == 0
    inspected = capsys.readouterr().out
    pruned = ["prune", str(tiny), "-o", str(tmp_path / "out"), "-m", "magnitude", "-s", "50"]
    assert run(pruned) == 0
    text = printed + inspected + capsys.readouterr().out
    assert "…" not in text
    for heading in ("category", "items", "answered", "95 % CI", "SRS-anti", "accuracy", "BBQ score"):
        assert heading in printed
    for heading in ("projection", "weights", "zeros", "sparsity"):
        assert heading in inspected
    # A sentence that ends in a path is one line however long that is, so that it can be copied.
    lines = [line.rstrip() for line in text.splitlines() if str(tmp_path) not in line]
    assert max(map(len, lines)) <= columns


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "magnitude", "-s", "50", "--calibration", "demo"], "looks at no activations"),
        (["-m", "random", "-s", "50", "--statistics", "dense"], "looks at no activations"),
        (["-m", "magnitude", "-s", "50", "--seed", "3"], "draws nothing"),
        (["-m", "wanda", "-s", "30", "--pattern", "2:4"], "means a sparsity of 50 %"),
        (["-m", "wanda", "--pattern", "4:2"], "is not N:M"),
        (["-m", "magnitude", "-s", "50", "--scope", "paper"], "the study's Wanda"),
    ],
)
def test_options_that_would_be_ignored_are_refused(
    arguments: list[str], message: str, tiny: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert message in refused(["prune", tiny, "-o", tmp_path / "out", *arguments], capsys)
    assert not (tmp_path / "out").exists()


def test_a_prune_needs_a_sparsity_or_a_pattern(tiny: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(["prune", str(tiny), "-o", str(tmp_path / "out"), "-m", "wanda"]) == 2
    assert "Give a sparsity" in capsys.readouterr().err


def test_damaged_models_are_one_sentence(tiny: Path, tmp_path: Path, capsys: Capture) -> None:
    whole = (tiny / "model.safetensors").read_bytes()
    broken = save_tiny_model(tmp_path / "broken", "llama")
    (broken / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    for command in (["inspect", broken], ["eval", broken, "-o", tmp_path / "run", *DEMO]):
        assert "safetensors" in refused(command, capsys)
    (broken / "model.safetensors").unlink()
    refused(["perplexity", broken, "--text", "demo"], capsys)
    poisoned = save_tiny_model(tmp_path / "poisoned", "llama")
    weights = mx.load(str(poisoned / "model.safetensors"))
    name = "model.layers.1.mlp.up_proj.weight"
    values = np.array(weights[name])
    values[0, 0] = np.nan
    weights[name] = mx.array(values)
    mx.save_safetensors(str(tmp_path / "new.safetensors"), weights, {"format": "pt"})
    (tmp_path / "new.safetensors").replace(poisoned / "model.safetensors")
    arguments = ["prune", poisoned, "-o", tmp_path / "out", "-m", "magnitude", "-s", "50"]
    assert "up_proj" in refused(arguments, capsys)
    assert not (tmp_path / "out").exists()


def test_another_configurations_folder_is_refused_by_name(
    tiny: Path, tmp_path: Path, capsys: Capture
) -> None:
    done(["eval", tiny, "-o", tmp_path / "run", *DEMO, "--limit", 5, "--seeds", "1"], capsys)
    message = refused(["eval", tiny, "-o", tmp_path / "run", *DEMO, "--limit", 5, "--seeds", "2"], capsys)
    assert "seeds" in message
    assert "--force" in message
    redone = ["eval", tiny, "-o", tmp_path / "run", *DEMO, "--limit", 5, "--seeds", "2", "--force"]
    assert done(redone, capsys)["new_records"] == 5


def test_unknown_categories_and_sources_are_named(tiny: Path, tmp_path: Path, capsys: Capture) -> None:
    assert "Religion" in refused(["eval", tiny, "-o", tmp_path / "r", *DEMO, "--category", "Weather"], capsys)
    refused(["eval", tiny, "-o", tmp_path / "r", "--bbq", tmp_path / "nowhere"], capsys)
