"""A model is opened once: its files, network, tokenizer and costs come from one object."""

import json

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from tiny_models import save_tiny_model

from mlx_prune.checkpoint import open as opening
from mlx_prune.checkpoint.matrices import blocks, bring_in, in_memory, let_go
from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.errors import CheckpointError


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


def test_a_block_is_in_memory_only_while_it_is_worked_on(source):
    network = source.network("float32")
    first, second = blocks(network)[:2]
    with in_memory(first):
        assert all(values.size for _, values in tree_flatten(first.parameters()))
    assert not any(values.size for _, values in tree_flatten(first.parameters()))
    bring_in(second)
    assert all(values.size for _, values in tree_flatten(second.parameters()))
    let_go(second)
    assert not any(values.size for _, values in tree_flatten(second.parameters()))
