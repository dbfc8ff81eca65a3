"""Sizes on disk, compressed and as GGUF."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import mlx.nn
import numpy as np
import pyarrow as pa
import pytest
from stored_bits import read_bits
from tiny_experts import save_tiny_experts
from tiny_models import save_tiny_model

from mlx_prune.checkpoint.costs import bitmask_bytes, zstd_bytes
from mlx_prune.checkpoint.gguf import gguf_size
from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.checkpoint.shards import Shards, open_shards


def test_zstd_compresses_what_repeats_and_not_what_is_random(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise, half = tmp_path / "noise", tmp_path / "half"
    values = rng.standard_normal(3_000_000).astype(np.float32)
    noise.write_bytes(values.tobytes())
    values[rng.random(values.size) < 0.5] = 0
    half.write_bytes(values.tobytes())
    seen: list[int] = []
    assert zstd_bytes([noise], progress=seen.append) > 0.85 * 12e6
    assert seen == [8 << 20, 12_000_000]
    assert zstd_bytes([half]) < 0.75 * zstd_bytes([noise])
    assert zstd_bytes([half, noise]) == zstd_bytes([half]) + zstd_bytes([noise])
    assert Shards(tmp_path, (half, noise), {}).nbytes == 24_000_000


def test_zstd_of_one_piece_is_what_the_codec_makes_of_it(tmp_path: Path) -> None:
    data = b"abc" * 1000
    (tmp_path / "f").write_bytes(data)
    packed = pa.Codec("zstd", compression_level=19).compress(data)
    assert zstd_bytes([tmp_path / "f"], level=19) == len(packed)
    assert pa.Codec("zstd").decompress(packed, decompressed_size=len(data)).to_pybytes() == data


@pytest.mark.parametrize(("dtype", "width"), [("float32", 4), ("bfloat16", 2)])
@pytest.mark.parametrize("zeros", [0.0, 0.5])
def test_the_bitmask_size_is_that_of_a_packed_file(
    tmp_path: Path, dtype: str, width: int, zeros: float
) -> None:
    rng = np.random.default_rng(1)
    folder = save_tiny_model(tmp_path / "m", "llama", dtype=dtype)
    (file,) = open_shards(folder).files
    weights = mx.load(str(file))
    for name, weight in weights.items():
        if weight.ndim == 2:
            kept = mx.array(rng.random(weight.shape) >= zeros)
            weights[name] = mx.where(kept, weight, mx.array(-0.0, weight.dtype))
    mx.save_safetensors(str(file), weights)
    shards = open_shards(folder)
    packed = file.stat().st_size
    for name in shards.tensors:
        bits = read_bits(shards, name).ravel()
        kept_values = bits[(bits << 1) != 0]
        parts = tmp_path / "packed"
        parts.write_bytes(np.packbits(bits << 1 != 0).tobytes() + kept_values.tobytes())
        raw = tmp_path / "raw"
        raw.write_bytes(bits.tobytes())
        packed += min(parts.stat().st_size, raw.stat().st_size) - raw.stat().st_size
    seen: list[int] = []
    assert bitmask_bytes(shards, progress=seen.append) == packed
    assert seen[-1] == sum(info.nbytes for info in shards.tensors.values())
    assert (packed < shards.nbytes) == (zeros > 0)
    # As many zeros as weights that stay: half of the bits, and one more for each weight.
    matrix = next(info for info in shards.tensors.values() if len(info.shape) == 2)
    count, found = shards.count_zeros(matrix.name)
    assert found / count == pytest.approx(zeros, abs=0.05)
    assert count == matrix.nbytes // width


def test_half_zeros_in_16_bits_make_a_file_1_78_times_smaller(tmp_path: Path) -> None:
    half = mx.where(mx.arange(1 << 20).reshape(1024, 1024) % 2, mx.array(1.5, mx.bfloat16), 0)
    mx.save_safetensors(str(tmp_path / "model.safetensors"), {"w": half.astype(mx.bfloat16)})
    shards = open_shards(tmp_path)
    assert shards.nbytes / bitmask_bytes(shards) == pytest.approx(1 / (1 / 2 + 1 / 16), rel=1e-3)


def test_an_empty_file_takes_nothing(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    assert zstd_bytes([tmp_path / "f"]) == 0


@pytest.mark.parametrize(("dtype", "width"), [("float32", 4), ("bfloat16", 2)])
@pytest.mark.parametrize("architecture", ["llama", "mistral"])
def test_gguf_holds_every_weight(
    tmp_path: Path, architecture: str, dtype: str, width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save_tiny_model(tmp_path / "m", architecture, dtype=dtype)
    weights = mx.load(str(open_shards(folder).files[0]))
    size = gguf_size(Checkpoint(folder))
    assert size.n_bytes is not None
    data = sum(a.size * (4 if a.ndim == 1 else width) for a in weights.values())
    # Beyond the weights: the vocabulary and padding.
    assert data < size.n_bytes < data + 40_000
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("architecture", ["gemma2", "phi3", "qwen3"])
def test_other_architectures_are_not_exported(tmp_path: Path, architecture: str) -> None:
    size = gguf_size(Checkpoint(save_tiny_model(tmp_path / "m", architecture)))
    assert size.n_bytes is None
    assert size.note == f"mlx-lm does not export {architecture} to GGUF"


def test_why_there_is_no_gguf_is_said(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", "llama")
    (folder / "tokenizer.json").unlink()
    assert gguf_size(Checkpoint(folder)).note.startswith(
        "mlx-lm could not export to GGUF: ValueError: Tokenizer json"
    )
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization": {"bits": 4, "group_size": 64}}))
    assert gguf_size(Checkpoint(folder)).note == "mlx-lm does not export quantized models to GGUF"


@pytest.mark.parametrize("architecture", ["llama", "mixtral"])
def test_quantized_weights_are_multiplied_as_often_as_others(tmp_path: Path, architecture: str) -> None:
    sizes = {"hidden_size": 64, "intermediate_size": 96, "head_dim": 16, "num_attention_heads": 4}
    save = save_tiny_experts if architecture == "mixtral" else save_tiny_model
    dense = save(tmp_path / "m", architecture, **sizes, num_key_value_heads=2)
    network = Checkpoint.open(dense).network()
    whole = Checkpoint.open(dense).costs(network)
    mlx.nn.quantize(network, group_size=32, bits=4)
    assert any(isinstance(module, mlx.nn.QuantizedEmbedding) for module in network.modules())
    found = Checkpoint.open(dense).costs(network)
    assert found.flops_per_token == whole.flops_per_token
    assert found.parameters == whole.parameters
