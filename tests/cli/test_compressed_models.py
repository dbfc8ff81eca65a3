"""Smaller and quantized checkpoints through every command that takes a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Capture, done
from tiny_models import save_tiny_model

from mlx_prune.cli.main import run

SHORT = ["--calibration", "demo", "--samples", "2", "--sequence-length", "32"]
METHODS = {
    "width": ["-m", "width", "-s", "50", *SHORT],
    "depth+repair": ["-m", "depth", "-s", "50", "--repair", *SHORT],
    "sparsegpt+owl+mxfp8": ["-m", "sparsegpt", "-s", "50", "--allocation", "owl", "--mode", "mxfp8", *SHORT],
    "q4-g32": ["-m", "quantize", "--bits", "4", "--group-size", "32"],
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The dense model under "dense", and one checkpoint per method label."""
    root = tmp_path_factory.mktemp("models")
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
    found = {"dense": save_tiny_model(root / "dense", "llama", **sizes, **heads)}
    for label, options in METHODS.items():
        found[label] = root / label
        assert run(["prune", str(found["dense"]), "-o", str(found[label]), *options]) == 0
    return found


@pytest.mark.parametrize("label", METHODS)
def test_a_compressed_model_is_asked_and_recorded_under_its_label(
    label: str, models: dict[str, Path], tmp_path: Path, capsys: Capture
) -> None:
    answered = done(
        ["eval", models[label], "-o", tmp_path / "run", "--bbq", "demo", "--limit", 4, "--seeds", "1"], capsys
    )
    assert answered["records"] == 4
    record = json.loads((tmp_path / "run" / "run.json").read_text())["configuration"]
    assert record["prune_method"] == label
    assert record["model"] == "dense"
    assert done(["inspect", models[label]], capsys)["disagreements"] == []
    planned = done(["publish", models[label], "jane", "--dry-run"], capsys)["would_publish"]
    (plan,) = planned
    words = label.replace("+", "-") + ("" if label.startswith("q") else "-s50")
    assert plan["repo_id"] == f"jane/dense-{words}-pia"


def test_bench_names_what_was_done_and_how_small_it_is(
    models: dict[str, Path], tmp_path: Path, capsys: Capture
) -> None:
    timed = [models["dense"], *(models[label] for label in METHODS)]
    short = ["--rounds", 1, "--items", 2, "--cooldown", 0, "--generate", 2]
    result = done(["bench", *timed, "-o", tmp_path / "out", *short], capsys)
    facts = result["models"]
    assert [entry["recipe"].split(" ")[0] for entry in facts] == ["", *METHODS]
    assert "50.0 %" in facts[1]["recipe"]
    assert facts[4]["recipe"] == "q4-g32"
    size = {entry["recipe"].split(" ")[0]: entry["disk_bytes"] for entry in facts}
    assert all(size[label] < size[""] for label in METHODS)
    for label in METHODS:
        meta = json.loads((models[label] / "pruning_meta.json").read_text())
        assert size[label] == meta["bytes"]["after"]


def test_the_gate_holds_compressed_models_to_its_limits(
    models: dict[str, Path], tmp_path: Path, capsys: Capture
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("One two three four five. " * 60)
    asked = [
        "--bbq",
        "demo",
        "--limit",
        "4",
        "--seeds",
        "1",
        "--text",
        str(text),
        "--allow-undecided",
        "--json",
    ]
    subjects = [models["dense"], models["depth+repair"], models["q4-g32"], models["dense"]]
    capsys.readouterr()
    code = run(["gate", *(str(subject) for subject in subjects), *asked])
    values = json.loads(capsys.readouterr().out)
    found = values["candidates"]
    assert len(found) == 3
    assert code == (0 if all(entry["outcome"] != "fail" for entry in found) else 3)
    perplexities = [
        check["value"]
        for entry in found
        for check in entry["checks"]
        if check["measure"] == "perplexity_rise"
    ]
    # The dense model against itself has not risen; the others are other models.
    assert perplexities[2] == 0
    assert 0 not in perplexities[:2]
