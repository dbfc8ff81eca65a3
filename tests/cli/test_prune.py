"""`mlxprune prune` beyond zeros: quantized and structured copies, what it prints, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mlx_lm
import pytest
from command_line import Capture, done
from tiny_models import save_tiny_model

from mlx_prune.cli.main import run


@pytest.fixture(scope="module")
def even(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose sizes groups of 32 divide."""
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
    return save_tiny_model(tmp_path_factory.mktemp("models") / "even", "llama", **sizes, **heads)


def test_quantizing_alone_is_recorded_and_evaluated_as_such(
    even: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "q4"
    made = done(["prune", even, "-o", out, "-m", "quantize", "--bits", 4, "--group-size", 32], capsys)
    assert (made["method"], made["target_sparsity"], made["pattern"]) == ("q4-g32", 0.0, None)
    assert made["bytes"]["after"] < made["bytes"]["before"]
    assert made["parameters"]["after"] == made["parameters"]["before"]
    found = done(["inspect", out], capsys)
    assert found["zero_params"] == made["zero_params"]
    assert found["disagreements"] == []
    answered = done(
        ["eval", out, "-o", tmp_path / "run", "--bbq", "demo", "--limit", 5, "--seeds", "1"], capsys
    )
    assert answered["records"] == 5
    record = json.loads((tmp_path / "run" / "run.json").read_text())["configuration"]
    assert (record["prune_method"], record["sparsity"]) == ("q4-g32", 0.0)
    text = tmp_path / "text.txt"
    text.write_text("One two three four five. " * 60)
    short = ["--text", text, "--sequences", 2, "--sequence-length", 32]
    assert done(["perplexity", out, *short], capsys)["perplexity"]["value"] > 0


def test_pruning_and_quantizing_in_one_go_equals_the_two_steps(
    even: Path, tmp_path: Path, capsys: Capture
) -> None:
    quantize = ["--bits", 4, "--group-size", 32]
    together = ["prune", even, "-o", tmp_path / "once", "-m", "magnitude", "-s", 50, *quantize]
    once = done(together, capsys)
    done(["prune", even, "-o", tmp_path / "first", "-m", "magnitude", "-s", 50], capsys)
    second = done(
        ["prune", tmp_path / "first", "-o", tmp_path / "second", "-m", "quantize", *quantize], capsys
    )
    for key in ("method", "zero_params", "actual_sparsity", "model", "bytes", "parameters", "projections"):
        assert once[key] == second[key]
    assert once["method"] == "magnitude+q4-g32"
    assert once["model"] == str(even)
    left = (tmp_path / "once" / "model.safetensors").read_bytes()
    assert left == (tmp_path / "second" / "model.safetensors").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["first", "once", "second"]
    times = [file.stat().st_mtime_ns for file in sorted((tmp_path / "once").iterdir())]
    assert done(together, capsys) == once
    assert [file.stat().st_mtime_ns for file in sorted((tmp_path / "once").iterdir())] == times


def test_a_killed_second_step_leaves_nothing_and_is_taken_up(
    even: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlx_prune.pruning.job as pipeline

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    arguments = ["prune", even, "-o", tmp_path / "out", "-m", "magnitude", "-s", 50, "--mode", "mxfp4"]
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "quantize_checkpoint", killed)
        assert run([str(a) for a in arguments]) != 0
    capsys.readouterr()
    assert not (tmp_path / "out").exists()
    assert done(arguments, capsys)["method"] == "magnitude+mxfp4"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("method", ["width", "depth"])
def test_structured_copies_load_and_state_what_they_cost(
    method: str, even: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    text = ["--calibration", "demo", "--samples", 2, "--sequence-length", 32]
    made = done(["prune", even, "-o", out, "-m", method, "-s", 50, *text], capsys)
    assert made["method"] == method
    for key in ("parameters", "bytes", "flops_per_token"):
        assert made[key]["after"] < made[key]["before"]
    assert made["actual_sparsity"] > 20
    assert mlx_lm.load(str(out))[0] is not None
    assert done(["inspect", out], capsys)["disagreements"] == []
    small = done(["prune", out, "-o", tmp_path / "small", "-m", "quantize", "--mode", "nvfp4"], capsys)
    assert small["method"] == f"{method}+nvfp4"
    assert small["bytes"]["before"] == made["bytes"]["before"]
    assert small["bytes"]["after"] < made["bytes"]["after"]
    assert small["actual_sparsity"] >= made["actual_sparsity"]
    assert done(["inspect", tmp_path / "small"], capsys)["disagreements"] == []


def test_the_table_states_size_and_arithmetic_before_and_after(
    even: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert run(["prune", str(even), "-o", str(tmp_path / "a"), "-m", "magnitude", "-s", "50"]) == 0
    printed = capsys.readouterr().out
    for words in ("parameters", "size on disk", "FLOPs per token"):
        (line,) = (line for line in printed.splitlines() if line.startswith(words))
        assert "unchanged" in line
    mode = ["--mode", "mxfp8"]
    assert run(["prune", str(tmp_path / "a"), "-o", str(tmp_path / "b"), "-m", "quantize", *mode]) == 0
    printed = capsys.readouterr().out
    assert "(100.00 %)" in next(line for line in printed.splitlines() if "survive" in line)
    assert " -> " in next(line for line in printed.splitlines() if line.startswith("size on disk"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "quantize", "-s", "50"], "--sparsity would be ignored"),
        (["-m", "quantize", "--calibration", "demo"], "--calibration would be ignored"),
        (["-m", "wanda", "-s", "50", "--units", "mlp"], "--units would be ignored"),
        (["-m", "wanda", "-s", "50", "--repair"], "--repair would be ignored"),
        (["-m", "width", "-s", "50", "--pattern", "2:4"], "--pattern would be ignored"),
        (["-m", "width", "-s", "50", "--contiguous"], "--contiguous would be ignored"),
        (["-m", "depth", "-s", "50", "--multiple", "8"], "--multiple would be ignored"),
        (["-m", "depth", "-s", "50", "--allocation", "owl"], "--allocation would be ignored"),
        (["-m", "width"], "Give a sparsity (-s 50)."),
    ],
)
def test_options_of_other_methods_are_wrong_usage(
    arguments: list[str], message: str, even: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert run(["prune", str(even), "-o", str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "quantize", "--mode", "mxfp4", "--bits", "8"], "Mode mxfp4 has 4 bits"),
        (["-m", "quantize", "--mode", "nvfp4", "--group-size", "32"], "groups of 16"),
        (["-m", "random", "-s", "50", "--allocation", "owl"], "looks at none"),
        (["-m", "quantize", "--group-size", "128"], "multiple of 128"),
    ],
)
def test_values_that_do_not_go_together_are_one_sentence(
    arguments: list[str], message: str, even: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert run(["prune", str(even), "-o", str(tmp_path / "out"), *arguments]) == 1
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_quantized_model_is_neither_pruned_nor_quantized_again(
    even: Path, tmp_path: Path, capsys: Capture
) -> None:
    done(["prune", even, "-o", tmp_path / "q", "-m", "quantize", "--mode", "mxfp4"], capsys)
    for method in (["-m", "quantize"], ["-m", "magnitude", "-s", "50"], ["-m", "width", "-s", "50"]):
        assert run(["prune", str(tmp_path / "q"), "-o", str(tmp_path / "out"), *method]) == 1
        assert "quantized" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
    shutil.rmtree(tmp_path / "q")
