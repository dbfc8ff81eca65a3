"""Inputs past the end of a table are refused before anything runs, on every path."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from agreement import make_items
from bbq_rows import bbq_row
from tiny_models import ARCHITECTURES, save_tiny_model, save_tokenizer, tiny_tokenizer_json

from mlx_prune.activations.calibration import Calibration
from mlx_prune.activations.text import calibration_tokens
from mlx_prune.bbq.item import Item
from mlx_prune.checkpoint import open as checkpoints
from mlx_prune.checkpoint.limits import Limits, limits_of
from mlx_prune.errors import CheckpointError, DataError
from mlx_prune.latency.run import bench
from mlx_prune.latency.settings import BenchSettings
from mlx_prune.runs.evaluate import evaluate
from mlx_prune.runs.perplexity import perplexity
from mlx_prune.runs.settings import Bbq, Generation

SETTINGS = Generation(seeds=(1,))
TEXT = "The teacher and the student were at the market. Who was late? " * 400


def learned_positions(folder: Path, model_type: str, positions: int) -> Path:
    """GPT-2 or StarCoder with random weights: a table of positions, named as they name it."""
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.utils import _get_classes

    folder.mkdir()
    vocabulary = len(json.loads(tiny_tokenizer_json())["model"]["vocab"])
    config: dict[str, Any] = {
        "model_type": model_type,
        "n_embd": 32,
        "n_head": 2,
        "n_layer": 2,
        "n_inner": 48,
        "n_positions": positions,
        "n_ctx": positions,
        "layer_norm_epsilon": 1e-5,
        "vocab_size": vocabulary,
    }
    (folder / "config.json").write_text(json.dumps(config))
    model_class, args_class = _get_classes(config)
    model = model_class(args_class.from_dict(config))
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())))
    save_tokenizer(folder, None)
    return folder


def long_item(words: int) -> Item:
    context = "the teacher and the student " * words
    return replace(make_items(1)[0], context=context, where="Age.jsonl, line 13")


@pytest.fixture(scope="module", params=["gpt2", "gpt_bigcode", *ARCHITECTURES])
def loaded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> checkpoints.LoadedModel:
    folder = tmp_path_factory.mktemp("m") / request.param
    if request.param.startswith("gpt"):
        return checkpoints.load(learned_positions(folder, request.param, 256))
    return checkpoints.load(
        save_tiny_model(folder, request.param, num_hidden_layers=1, max_position_embeddings=256)
    )


def test_the_longest_input_is_found_whatever_it_is_called(loaded: checkpoints.LoadedModel) -> None:
    limits = limits_of(loaded.config)
    assert limits.positions == 256
    assert limits.rows == len(loaded.tokenizer)


def test_a_question_that_is_too_long_is_refused_by_file_and_line(
    loaded: checkpoints.LoadedModel, tmp_path: Path
) -> None:
    items = [make_items(1, ("Religion",))[0], long_item(200)]
    for engine in ("batched", "sequential"):
        with pytest.raises(
            DataError, match=r"Age\.jsonl, line 13: the question has [\d,]+ tokens and its answer"
        ):
            evaluate(
                loaded,
                tmp_path / "run",
                questions=items,
                generation=replace(SETTINGS, engine=engine),
            )
    assert not (tmp_path / "run").exists()


def test_perplexity_calibration_and_clock_keep_to_the_table(
    loaded: checkpoints.LoadedModel, tmp_path: Path
) -> None:
    file = tmp_path / "text.txt"
    file.write_text(TEXT)
    with pytest.raises(DataError, match="at most 256 tokens"):
        perplexity(loaded, text=file, sequence_length=257)
    assert perplexity(loaded, text=file, sequences=1).sequence_length == 256
    calibration = Calibration(str(file), samples=1, sequence_length=257)
    with pytest.raises(DataError, match="at most 256 tokens"):
        calibration_tokens(calibration, loaded.tokenizer, loaded.config, 0)
    whole = replace(calibration, sequence_length=None)
    assert calibration_tokens(whole, loaded.tokenizer, loaded.config, 0).tokens.shape == (1, 256)
    with pytest.raises(DataError, match="takes at most 256 tokens"):
        bench([loaded, loaded], BenchSettings(prompt_lengths=(250,), items=1, rounds=1, new_tokens=7))


def test_questions_read_from_files_know_their_line(tmp_path: Path) -> None:
    rows = [bbq_row(example_id=0), bbq_row(example_id=1, context="the teacher and the student " * 9000)]
    (tmp_path / "Age.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = checkpoints.load(save_tiny_model(tmp_path / "model", num_hidden_layers=1))
    with pytest.raises(DataError, match=r"Age\.jsonl, line 2: the question has .* takes at most 512"):
        evaluate(loaded, questions=Bbq(str(tmp_path), categories=["Age"]), generation=SETTINGS)


def test_tokens_beyond_the_embedding_are_refused_on_every_path(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text(TEXT)
    loaded = checkpoints.load(save_tiny_model(tmp_path / "model", num_hidden_layers=1, vocab_size=200))
    assert len(loaded.tokenizer) > 200
    with pytest.raises(CheckpointError, match=r"Age:0: the question holds token \d+, .* has 200 rows"):
        evaluate(loaded, questions=make_items(1), generation=SETTINGS)
    with pytest.raises(CheckpointError, match="a sequence of the text holds token"):
        perplexity(loaded, text=file)
    with pytest.raises(CheckpointError, match="a calibration sequence holds token"):
        calibration_tokens(Calibration(str(file)), loaded.tokenizer, loaded.config, 0)
    with pytest.raises(CheckpointError, match="prompt 1 of model holds token"):
        bench([loaded, loaded], BenchSettings(bbq="demo", items=1, rounds=1))


def test_limits_of_every_spelling() -> None:
    assert limits_of({"n_positions": 8, "max_position_embeddings": 16}) == Limits(8, None)
    assert limits_of({"vocab_size": 5, "embedding_size": 7}).rows == 7
    assert limits_of({"vocab_size": 5, "text_config": {"vocab_size": 9, "n_ctx": 3}}) == Limits(3, 9)
    assert limits_of({"max_position_embeddings": None, "vocab_size": "5", "n_ctx": True}) == Limits(
        None, None
    )
    Limits(None, None).check([10**6] * 10, "anything")
    Limits(4, 5).check(np.array([[1, 2, 4]]), "a row", new=1)
    with pytest.raises(DataError, match="has no tokens"):
        Limits(4, 5).check([], "an empty prompt")
