"""`mlxprune recover` as it is typed: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json

import pytest
from command_line import done
from recovering import pruned_copy, write_text
from tiny_models import save_tiny_model

from mlx_prune.checkpoint.record import META_FILE, PruningRecord
from mlx_prune.cli.main import run

QUICK = ["--steps", 6, "--batch-size", 2, "--sequence-length", 16, "--rank", 2]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    dense = save_tiny_model(folder / "dense", "llama", seed=5)
    return dense, pruned_copy(dense, folder / "pruned"), write_text(folder / "text.txt")


def refused(arguments, capsys, code=1):
    capsys.readouterr()
    assert run([str(word) for word in arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


def test_recovers_towards_the_model_on_record(models, tmp_path, capsys):
    dense, pruned, text = models
    out = tmp_path / "out"
    found = done(["recover", pruned, "-o", out, "--data", text, *QUICK], capsys)
    recovery = found["recovery"]
    assert found["output"] == str(out)
    assert recovery["teacher"] == str(dense)
    assert recovery["data"]["source"] == str(text)
    assert set(recovery["held_out"]) == {"teacher", "pruned", "recovered"}
    assert found["zero_params"] == PruningRecord.read(pruned).zero_params
    assert recovery["command"] == (
        "mlxprune recover pruned -o OUT --teacher dense --data text.txt --steps 6 --rank 2 --batch-size 2 "
        "--sequence-length 16"
    )
    card = (out / "README.md").read_text()
    assert f"**Recovery**: {PruningRecord.read(out).recovery.did}; no zero was filled" in card
    assert "Learned from: text.txt, 180 tokens over all steps (SHA-256 of the text " in card
    assert recovery["peak_memory_bytes"] > 0
    assert recovery["command"] in card
    capsys.readouterr()
    assert run(["inspect", str(out)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "Recovered on " in printed
    assert "The weights agree with the record." in printed


def test_what_is_recovered_already_is_left_as_it_is_and_other_settings_are_refused(models, tmp_path, capsys):
    _, pruned, text = models
    command = ["recover", pruned, "-o", tmp_path / "out", "--data", text, *QUICK]
    first = done(command, capsys)
    meta = (tmp_path / "out" / META_FILE).stat().st_mtime_ns
    assert done(command, capsys)["recovery"] == first["recovery"]
    assert (tmp_path / "out" / META_FILE).stat().st_mtime_ns == meta
    assert "holds something else" in refused([*command, "--seed", 1], capsys)
    assert done([*command, "--seed", 1, "--force"], capsys)["recovery"]["seed"] == 1


def test_a_person_reads_what_was_gained(models, tmp_path, capsys):
    _, pruned, text = models
    words = ["recover", pruned, "-o", tmp_path / "out", "--data", text, *QUICK]
    assert "--rank would be ignored" in refused([*words, "--full"], capsys, code=2)
    assert run([str(word) for word in words]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for said in (
        "magnitude+recover 50 %",
        "perplexity, dense",
        "perplexity, recovered",
        "the same as",
    ):
        assert said in printed
    assert f"written to {tmp_path / 'out'}" in printed


def test_what_cannot_be_recovered_is_refused_in_a_sentence(models, tmp_path, capsys):
    dense, pruned, text = models
    out = tmp_path / "out"

    def told(model, *words):
        return refused(["recover", model, "-o", out, "--data", text, *QUICK, *words], capsys)

    assert f"holds no {META_FILE}" in told(dense)
    assert "is the model to recover itself" in told(pruned, "--teacher", pruned)
    assert "would be ignored with --loss text" in told(pruned, "--loss", "text", "--teacher", dense)
    assert "There is no model folder" in told(pruned, "--teacher", tmp_path / "nowhere")
    other = save_tiny_model(tmp_path / "other", "llama", vocab_size=400)
    assert "different vocabularies" in told(pruned, "--teacher", other)
    assert "A learning rate is between 0 and 1" in told(pruned, "--learning-rate", 3)
    assert "must be named: give --data" in refused(["recover", pruned, "-o", out], capsys)
    assert "There is no text file" in refused(["recover", pruned, "-o", out, "--data", "no.txt"], capsys)
    assert not out.exists()


def test_a_recorded_teacher_that_is_gone_is_asked_for(models, tmp_path, capsys):
    text = models[2]
    copy = pruned_copy(save_tiny_model(tmp_path / "dense", "llama"), tmp_path / "pruned")
    meta = json.loads((copy / META_FILE).read_text())
    (copy / META_FILE).write_text(json.dumps(meta | {"model": str(tmp_path / "gone")}))
    told = refused(["recover", copy, "-o", tmp_path / "out", "--data", text, *QUICK], capsys)
    assert "give it with --teacher" in told


def test_a_recovered_model_is_quantized_but_not_recovered_again(tmp_path, capsys):
    text = write_text(tmp_path / "text.txt")
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 4, "head_dim": 16}
    pruned = pruned_copy(save_tiny_model(tmp_path / "dense", "llama", **sizes), tmp_path / "pruned")
    done(["recover", pruned, "-o", tmp_path / "out", "--data", text, *QUICK], capsys)
    again = ["recover", tmp_path / "out", "-o", tmp_path / "again", "--data", text, *QUICK]
    assert "was recovered already" in refused(again, capsys)
    done(["prune", tmp_path / "out", "-m", "quantize", "-o", tmp_path / "q4"], capsys)
    assert PruningRecord.read(tmp_path / "q4").recovery is not None
    again[1] = tmp_path / "q4"
    assert "was recovered already" in refused(again, capsys)


def test_of_a_quantized_model_the_adapters_are_told_of(tmp_path, capsys):
    text = write_text(tmp_path / "text.txt")
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 4, "head_dim": 16}
    dense = save_tiny_model(tmp_path / "dense", "llama", **sizes)
    done(["prune", dense, "-m", "quantize", "--bits", 2, "-o", tmp_path / "q2"], capsys)
    words = ["recover", tmp_path / "q2", "-o", tmp_path / "out", "--data", text, *QUICK]
    assert run([str(word) for word in words]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "method q2+recover" in printed
    assert "beside the quantized weights, whose bits are the same" in printed
    assert "mlx_lm.load(FOLDER, adapter_path=FOLDER)" in printed
