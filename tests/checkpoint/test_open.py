"""A model is opened once for all that is asked of it; every failure of a folder is one sentence."""

from __future__ import annotations

import json
import struct
import sys

import mlx.core as mx
import numpy as np
import pytest
from tiny_models import ARCHITECTURES, save_tiny_model

from mlx_prune.checkpoint import open as opening
from mlx_prune.checkpoint.matrices import prunable_linears
from mlx_prune.checkpoint.open import Checkpoint, load
from mlx_prune.checkpoint.shards import open_shards
from mlx_prune.environment import backend
from mlx_prune.errors import CheckpointError, one_line


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_loads_what_was_saved(tmp_path, architecture, dtype):
    folder = save_tiny_model(tmp_path / "m", architecture, dtype=dtype, shards=2)
    model = load(folder)
    assert model.path == folder
    assert model.name == str(folder)
    assert model.dtype == ("float32" if backend() == "cpu" else dtype)
    assert model.config["model_type"] == architecture
    assert not model.model.training
    assert model.tokenizer.decode(model.tokenizer.encode("Who was late?")) == "Who was late?"
    shards = open_shards(folder)
    linear = prunable_linears(model.model)[4]
    stored = shards.load([f"{linear.name}.weight"])[f"{linear.name}.weight"]
    assert mx.array_equal(linear.module.weight, stored.astype(linear.module.weight.dtype))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_compute_type_can_be_chosen(tmp_path, dtype):
    model = load(save_tiny_model(tmp_path / "m", "llama", dtype="bfloat16"), dtype=dtype)
    assert model.dtype == dtype
    assert prunable_linears(model.model)[0].module.weight.dtype == getattr(mx, dtype)


@pytest.mark.parametrize("name", ["no-such-model", "./no/such/model", "/no/such/model", "a b/c", ""])
def test_a_missing_folder_is_one_sentence(name):
    with pytest.raises(CheckpointError, match=r"There is no model folder|holds no config\.json"):
        Checkpoint.open(name)


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="give the folder"):
        Checkpoint.open(tmp_path / "model.safetensors")


def test_a_hub_model_that_cannot_be_reached_is_one_sentence(monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(*_, **__):
        raise LocalEntryNotFoundError("outgoing traffic has been disabled")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(CheckpointError, match="the Hub cannot be reached"):
        Checkpoint.open("somebody/some-model")


def test_only_safetensors_are_fetched_from_the_hub(tmp_path, monkeypatch):
    import fnmatch

    import huggingface_hub

    folder, asked = save_tiny_model(tmp_path / "m", "llama"), {}
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda repo, **kwargs: asked.update(kwargs) or str(folder)
    )
    assert Checkpoint.open("somebody/some-model").path == folder
    wanted = [
        name
        for name in ("model.safetensors", "config.json", "pytorch_model.bin", "x.pt", "modeling.py", "a.pkl")
        if any(fnmatch.fnmatch(name, pattern) for pattern in asked["allow_patterns"])
    ]
    assert wanted == ["model.safetensors", "config.json"]


def damage(folder, what):
    weights, config = folder / "model.safetensors", folder / "config.json"
    data = weights.read_bytes()
    if what == "truncated":
        weights.write_bytes(data[:-1000])
    elif what == "header cut":
        weights.write_bytes(data[:50])
    elif what == "empty":
        weights.write_bytes(b"")
    elif what == "garbage":
        weights.write_bytes(np.random.default_rng(0).bytes(5000))
    elif what == "lfs":
        weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    elif what == "header not json":
        weights.write_bytes(struct.pack("<Q", 16) + b"{not really json" + data[16:])
    elif what == "header odd":
        header = json.dumps({"a": {"dtype": "F32", "shape": [7], "data_offsets": [0, 8]}}).encode()
        weights.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    elif what == "pickle":
        weights.rename(folder / "pytorch_model.bin")
    elif what == "none":
        weights.unlink()
    elif what == "config not json":
        config.write_text("{")
    elif what == "config a list":
        config.write_text("[]")
    elif what == "no model type":
        config.write_text("{}")
    elif what == "unknown model":
        config.write_text(json.dumps({**json.loads(config.read_text()), "model_type": "perceptron"}))
    elif what == "other shapes":
        config.write_text(json.dumps({**json.loads(config.read_text()), "hidden_size": 84}))
    elif what == "missing tensors":
        config.write_text(json.dumps({**json.loads(config.read_text()), "num_hidden_layers": 4}))
    elif what == "own code":
        config.write_text(json.dumps({**json.loads(config.read_text()), "model_file": "model.py"}))
    elif what == "no tokenizer":
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer_config.json").unlink()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("truncated", r"is truncated: it holds [\d,]+ of [\d,]+ bytes"),
        ("header cut", "is truncated"),
        ("empty", "is not a safetensors file"),
        ("garbage", "is not a safetensors file"),
        ("lfs", "Git LFS pointer"),
        ("header not json", "header .* is damaged"),
        ("header odd", "a wrong length"),
        ("pickle", "is a pickle, which is never read"),
        ("none", r"No model\*\.safetensors file"),
        ("config not json", "is not valid JSON"),
        ("config a list", "is not a JSON object"),
        ("no model type", "names no model_type"),
        ("unknown model", "perceptron not supported"),
        ("other shapes", "mlx-lm cannot load"),
        ("missing tensors", "mlx-lm cannot load"),
        ("own code", "only if you trust it"),
        ("no tokenizer", "tokenizer in .* cannot be loaded"),
    ],
)
def test_a_damaged_folder_is_one_sentence(tmp_path, what, message):
    folder = save_tiny_model(tmp_path / "m", "llama")
    damage(folder, what)
    with pytest.raises(CheckpointError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_a_half_downloaded_model_names_the_absent_shard(tmp_path):
    folder = save_tiny_model(tmp_path / "m", "llama", shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"1 of 3 weight files are absent, first model-00002-of-00003"):
        load(folder)


def test_a_tensor_in_two_files_is_refused(tmp_path):
    folder = save_tiny_model(tmp_path / "m", "llama", shards=2)
    (folder / "model-copy.safetensors").write_bytes(
        (folder / "model-00001-of-00002.safetensors").read_bytes()
    )
    with pytest.raises(CheckpointError, match="is in both"):
        load(folder)


def test_tensors_that_the_model_does_not_have_are_named(tmp_path):
    folder = save_tiny_model(tmp_path / "m", "llama")
    extra = {f"model.layers.0.extra_{n}.weight": mx.zeros((2, 2)) for n in range(3)}
    mx.save_safetensors(str(folder / "model-more.safetensors"), extra)
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    assert all(name in str(caught.value) for name in extra)
    assert "\n" not in str(caught.value)


def test_an_architecture_that_leaves_the_process_is_one_sentence(tmp_path, monkeypatch, capsys):
    def leaves(*_, **__):
        sys.stdout.write("To run this model install something.\n")
        raise SystemExit(1)

    monkeypatch.setattr("mlx_prune.checkpoint.open._mlx_lm_load_model", leaves)
    with pytest.raises(CheckpointError, match=r"install something\.$"):
        load(save_tiny_model(tmp_path / "m", "llama"))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("first:\n  second,\n  third.\n", "first: second, third"),
        ("", "ValueError"),
        ("x" * 5000, "x" * 600 + " ..."),
    ],
)
def test_errors_of_other_libraries_are_one_whole_line(said, line):
    assert one_line(ValueError(said)) == line


def test_unknown_dtype_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="Unknown dtype 'int8'"):
        load(save_tiny_model(tmp_path / "m", "llama"), dtype="int8")


def test_lazy_loading_reads_no_weights(tmp_path):
    folder = save_tiny_model(tmp_path / "m", "llama", hidden_size=420, head_dim=140, intermediate_size=1000)
    before = mx.get_active_memory()
    model = load(folder, lazy=True)
    assert mx.get_active_memory() - before < 1 << 20
    assert sum(linear.size for linear in prunable_linears(model.model)) > 1 << 20


@pytest.fixture
def source(tmp_path):
    return Checkpoint(save_tiny_model(tmp_path / "m", "llama"))


def test_headers_and_configuration_are_read_once(source, monkeypatch):
    shards, config = source.shards, source.config
    for name in ("open_shards", "read_config"):
        monkeypatch.setattr(opening, name, lambda *_: pytest.fail("read again"))
    assert source.shards is shards
    assert source.config is config
    source.network()
    source.costs()


def test_nothing_is_looked_for_before_it_is_asked_for(tmp_path):
    absent = Checkpoint(tmp_path / "absent")
    assert absent.name == str(tmp_path / "absent")
    with pytest.raises(CheckpointError, match="There is no model folder"):
        _ = absent.path
    with pytest.raises(CheckpointError, match="There is no model folder"):
        Checkpoint.open(tmp_path / "absent")


def test_what_is_open_is_handed_on(source):
    assert Checkpoint.open(source) is source


def test_code_runs_only_where_it_is_trusted(source):
    config = json.loads((source.path / "config.json").read_text())
    (source.path / "config.json").write_text(json.dumps({**config, "model_file": "own.py"}))
    (source.path / "own.py").write_text("from mlx_lm.models.llama import Model, ModelArgs\n")
    with pytest.raises(CheckpointError, match=r"brings its own Python code \(own.py\)"):
        Checkpoint(source.path).network()
    trusted = Checkpoint(source.path, trust_remote_code=True)
    assert len(trusted.matrices()) == len(trusted.on_disk("float32").linears) > 0


def test_weights_are_as_stored_unless_a_compute_type_is_asked_for(tmp_path):
    source = Checkpoint(save_tiny_model(tmp_path / "m", "llama", dtype="bfloat16"))
    assert source.stored_dtype == source.compute_dtype("stored") == "bfloat16"
    assert {values.dtype for values in source.weights().values()} == {mx.bfloat16}
    opened = source.on_disk("float32")
    assert opened.compute == "float32"
    assert {linear.dtype for linear in opened.linears} == {mx.float32}


def test_costs_are_those_of_the_network_and_its_files(source):
    costs = source.costs()
    assert costs == source.costs(source.network("float32"))
    assert costs.parameters == sum(values.size for values in source.weights().values())
    assert costs.bytes == (source.path / "model.safetensors").stat().st_size
