"""Quantizers that look at a text: mlx-lm's own results, records, refusals, and a study of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.quant import awq, gptq
from tiny_models import save_tiny_model
from watched_study import states

from mlx_prune.activations.calibration import Calibration
from mlx_prune.activations.text import calibration_tokens
from mlx_prune.checkpoint.open import Checkpoint, load
from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.cli.main import run
from mlx_prune.errors import CheckpointError, RecipeError
from mlx_prune.kinds import method_order
from mlx_prune.labels import known_label, parse_label
from mlx_prune.pruning.methods.quantize import Quantization
from mlx_prune.pruning.quantizing import quantize_checkpoint
from mlx_prune.report.write import write_report
from mlx_prune.study.config import config_from_dict

SIZES = {
    **{"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "head_dim": 16},
    **{"num_attention_heads": 4, "num_key_value_heads": 2},
}
TEXT = Calibration("demo", samples=8, sequence_length=48)
FORMS = {
    form.label: form
    for form in (
        Quantization(bits=4, quantizer="gptq", calibration=TEXT),
        Quantization(bits=4, group_size=32, quantizer="awq", calibration=TEXT),
        Quantization(bits=3, quantizer="dwq", calibration=TEXT),
        Quantization(quantizer="dynamic", bits_per_weight=4.5, calibration=TEXT),
    )
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "even", dtype="bfloat16", **SIZES)


def test_labels_name_quantizers_and_sort_behind_plain_bits() -> None:
    assert list(FORMS) == ["q4+gptq", "q4-g32+awq", "q3+dwq", "dynamic4.5"]
    for label in FORMS:
        found = parse_label(label)
        assert str(found) == label
        assert found.quantization is not None
        assert found.quantization.learned
    in_order = ["q8", "q4", "q4+awq", "q4+gptq", "q3+dwq"]
    assert sorted(set(in_order), key=method_order) == in_order
    assert known_label("q4+omniquant") is None


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("wanda+q4+gptq", "does not follow pruning"),
        ("q3+gptq", "takes 2, 4, 8 bits"),
        ("q8+dwq", "takes 2, 3, 4, 6 bits"),
        ("dynamic1", "from 2 to 10"),
        ("dynamic4.50", "is written 'dynamic4.5'"),
    ],
)
def test_labels_of_what_there_is_not_are_refused(label: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_label(label)


@pytest.mark.parametrize("label", FORMS)
def test_what_is_written_runs_in_stock_mlx_lm_near_the_dense_model(
    model: Path, tmp_path: Path, label: str
) -> None:
    report = quantize_checkpoint(model, tmp_path / "out", FORMS[label])
    record = PruningRecord.read(tmp_path / "out")
    assert (record.method, record.quantization and record.quantization.quantizer) == (
        label,
        FORMS[label].quantizer,
    )
    assert record.calibration is not None
    assert record.calibration.samples == 8
    bits = (
        8
        * (tmp_path / "out" / "model.safetensors").stat().st_size
        / sum(value.size for _, value in tree_flatten(Checkpoint(model).network().parameters()))
    )
    assert report.bits_per_weight == pytest.approx(bits, rel=1e-3)
    stock, _ = mlx_lm.load(str(tmp_path / "out"))
    tokens = mx.array(np.random.default_rng(1).integers(5, 300, (3, 40)))
    dense, ours = (
        np.array(load(path, dtype="float32").model(tokens), np.float64) for path in (model, tmp_path / "out")
    )
    stock.set_dtype(mx.float32)
    np.testing.assert_allclose(np.array(stock(tokens)), ours, rtol=1e-3, atol=1e-3 * np.abs(ours).max())
    # Another model's logits have a correlation near 0 with these.
    assert np.corrcoef(dense.ravel(), ours.ravel())[0, 1] > 0.7
    before = (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns
    assert quantize_checkpoint(model, tmp_path / "out", FORMS[label]).label == label
    assert (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns == before
    other = dataclasses.replace(FORMS[label], calibration=Calibration("demo", samples=4, sequence_length=48))
    with pytest.raises(CheckpointError):
        quantize_checkpoint(model, tmp_path / "out", other)


@pytest.mark.parametrize("label", ["q4+gptq", "q4-g32+awq"])
def test_weights_are_those_of_mlx_lms_own_function(model: Path, tmp_path: Path, label: str) -> None:
    form = FORMS[label]
    quantize_checkpoint(model, tmp_path / "out", form)
    loaded = load(model)
    tokens = mx.array(calibration_tokens(TEXT, loaded.tokenizer, loaded.config, 0).tokens)
    network = loaded.model
    if form.quantizer == "gptq":
        network, _ = gptq.gptq_quantize(network, tokens, 4, 64, 6, 64)
    else:
        awq.awq_quantize(network, tokens, awq.llama_awq, group_size=32, bits=4)
    ours, theirs = (
        {
            name: np.array(module.scales.astype(mx.float32))
            for name, module in net.named_modules()
            if "scales" in module
        }
        for net in (load(tmp_path / "out").model, network)
    )
    assert ours.keys() == theirs.keys()
    for name, scales in ours.items():
        np.testing.assert_allclose(scales, theirs[name], rtol=2**-7, atol=1e-6, err_msg=name)


def test_mixed_bits_stay_below_their_target_and_take_more_where_it_is_higher(
    model: Path, tmp_path: Path
) -> None:
    sizes = {}
    for target in (3.2, 4.0, 5.0):
        form = Quantization(quantizer="dynamic", bits_per_weight=target, calibration=TEXT)
        report = quantize_checkpoint(model, tmp_path / form.label, form)
        sizes[target] = report.bits_per_weight
        assert 1 <= len(report.quantized.bits_used) <= 2
    assert sizes[3.2] < sizes[4.0] < sizes[5.0]


def test_models_that_a_quantizer_does_not_know_are_refused_in_a_sentence(model: Path, tmp_path: Path) -> None:
    sizes = {**SIZES, "num_key_value_heads": 4}
    phi = save_tiny_model(tmp_path / "phi", "phi3", **sizes)
    with pytest.raises(RecipeError, match="AWQ does not know phi3 models"):
        quantize_checkpoint(phi, tmp_path / "out", FORMS["q4-g32+awq"])
    odd = save_tiny_model(tmp_path / "odd")
    with pytest.raises(RecipeError, match="multiples of 64"):
        quantize_checkpoint(odd, tmp_path / "out", FORMS["q4+gptq"])
    with pytest.raises(RecipeError, match="cannot be mixed"):
        quantize_checkpoint(
            model, tmp_path / "out", Quantization(quantizer="dynamic", bits_per_weight=9.5, calibration=TEXT)
        )
    assert not (tmp_path / "out").exists()


def test_the_command_takes_a_quantizer_with_its_text_and_refuses_what_it_would_ignore(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = ["prune", str(model), "-m", "quantize", "-o", str(tmp_path / "out")]
    text = ["--calibration", "demo", "--samples", "8", "--sequence-length", "48"]
    assert run([*alone, "--bits", "4", "--quantizer", "gptq", *text, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["method"] == "q4+gptq"
    assert "--quantizer gptq --calibration demo --samples 8" in made["command"]
    assert any("no sample of a language" in warning for warning in made["warnings"])
    assert run(["inspect", str(tmp_path / "out")]) == 0
    assert "bits per weight" in capsys.readouterr().out
    for words, code, message in (
        ([*alone, "--bits", "4", *text], 2, "would be ignored"),
        ([*alone, "--quantizer", "dynamic", *text], 1, "such as 4.5"),
        ([*alone, "--quantizer", "gptq", "--mode", "mxfp4", *text], 1, "is of mode affine"),
        (
            [*alone[:3], "magnitude", "-s", "50", "--quantizer", "gptq", *alone[4:]],
            2,
            "goes with -m quantize",
        ),
    ):
        assert run(words) == code
        assert message in capsys.readouterr().err


def test_a_study_compares_them_with_rounding(model: Path, tmp_path: Path) -> None:
    config = config_from_dict(
        {
            "models": [str(model)],
            "grid": {"methods": ["q4", "q4+gptq", "dynamic4"]},
            "calibration": {"source": "demo", "samples": 4, "sequence_length": 32},
            "bbq": {"source": "demo", "limit": 20},
            "generation": {"seeds": [1]},
            "perplexity": {"text": "demo", "sequences": 2, "sequence_length": 32},
            "latency": {"enabled": False},
        }
    )
    found = [(f"{name}-s0", "done") for name in ("dense", "q4", "q4+gptq", "dynamic4")]
    assert states(config, tmp_path) == found
    rows = {row.configuration.prune_method: row for row in write_report(tmp_path).frontier.rows}
    bits = {name: row.bits_per_weight for name, row in rows.items()}
    assert all(bits.values())
    assert bits["dynamic4"] < bits["q4"] < bits["q4+gptq"] < bits["dense"]
    assert bits["dense"] == pytest.approx(16, abs=1)
    assert bits["dynamic4"] == pytest.approx(4, abs=1)
