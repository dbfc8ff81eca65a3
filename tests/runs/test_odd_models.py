"""Answers of models whose files ask for more than the usual: ends of turns, padded rows, thinking."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx_lm
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from agreement import make_items
from tiny_models import ARCHITECTURES, CHAT_TEMPLATE, save_tiny_model

from mlx_prune.bbq.prompts import PromptBuilder
from mlx_prune.checkpoint import open as checkpoints
from mlx_prune.errors import CheckpointError
from mlx_prune.generation.interface import Prompt
from mlx_prune.generation.sequential import SequentialEngine
from mlx_prune.runs.answering import letters_found
from mlx_prune.runs.evaluate import evaluate
from mlx_prune.runs.folder import RunFolder
from mlx_prune.runs.settings import Generation

ITEMS = make_items(8)
WILD = Generation(temperature=1.0, max_tokens=5, seeds=(42, 7, 9))
ENDS = [1, *range(60, 160)]


def stock_answers(folder: Path) -> list[str]:
    """Answers by mlx-lm's own loader and ``stream_generate``, with the project's sampler."""
    model, tokenizer = mlx_lm.load(str(folder))
    builder = PromptBuilder(tokenizer)
    engine = SequentialEngine(model, tokenizer, WILD.settings)
    prompts = [Prompt(item.item_id, tuple(builder.tokens(item))) for item in ITEMS]
    return [engine.one(prompt, seed)[0].text for prompt in prompts for seed in WILD.seeds]


@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_answers_end_where_those_of_stock_mlx_lm_end(tmp_path: Path, architecture: str, file: str) -> None:
    folder = save_tiny_model(tmp_path / "model", architecture, num_hidden_layers=1)
    (folder / "generation_config.json").unlink()
    data = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
    (folder / file).write_text(json.dumps({**data, "eos_token_id": ENDS}))
    stock = stock_answers(folder)
    for engine in ("batched", "sequential"):
        found = evaluate(folder, questions=ITEMS, generation=replace(WILD, engine=engine), verify=5)
        assert found.table["raw_response"].to_pylist() == stock
        assert found.verification is not None
        assert found.verification.identical == 5
    assert found.info["configuration"]["end_tokens"] == ENDS
    lengths = found.table["generated_tokens"].to_pylist()
    assert 0 < sum(length < 5 for length in lengths) < len(lengths)


def test_answers_end_where_the_chat_template_ends_a_turn(tmp_path: Path) -> None:
    template = CHAT_TEMPLATE.replace("</s>\n", "<|user|>\n")
    folder = save_tiny_model(tmp_path / "model", num_hidden_layers=1, chat_template=template)
    loaded = checkpoints.load(folder)
    assert loaded.tokenizer.eos_token_ids == {1}
    found = evaluate(loaded, questions=ITEMS, generation=WILD)
    assert found.info["configuration"]["end_tokens"] == [1, 3]
    assert "Answers end at <|user|>" in found.info["prompt"]["note"]
    assert loaded.tokenizer.eos_token_ids == {1}
    again = evaluate(loaded, questions=ITEMS, generation=replace(WILD, engine="sequential"), verify=24)
    assert again.table["raw_response"].equals(found.table["raw_response"])
    assert again.verification is not None
    assert again.verification.identical == 24
    assert all("<|user|>" not in text for text in found.table["raw_response"].to_pylist())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rows_that_the_tokenizer_does_not_know_are_no_text_and_counted(
    tmp_path: Path, architecture: str
) -> None:
    folder = save_tiny_model(tmp_path / "model", architecture, num_hidden_layers=1, vocab_size=700)
    batched = evaluate(folder, tmp_path / "run", questions=ITEMS, generation=WILD, verify=24)
    sequential = evaluate(folder, questions=ITEMS, generation=replace(WILD, engine="sequential"))
    assert batched.table["raw_response"].equals(sequential.table["raw_response"])
    assert batched.verification is not None
    assert batched.verification.identical == 24
    counted = RunFolder(tmp_path / "run").about.entries["sessions"][0]["unknown_tokens"]
    assert counted == sequential.info["sessions"][0]["unknown_tokens"]
    assert 0 < counted < pc.sum(batched.table["generated_tokens"]).as_py()


def test_a_model_that_thinks_is_refused_and_can_be_asked_to_skip(tmp_path: Path) -> None:
    template = CHAT_TEMPLATE.replace("<|assistant|>\n", "<|assistant|>\n<think>\n")
    folder = save_tiny_model(tmp_path / "model", num_hidden_layers=1, chat_template=template)
    with pytest.raises(CheckpointError, match="--thinking skip"):
        evaluate(folder, tmp_path / "run", questions=ITEMS, generation=WILD)
    assert not (tmp_path / "run").exists()
    skipped = evaluate(folder, tmp_path / "run", questions=ITEMS, generation=replace(WILD, thinking="skip"))
    assert RunFolder(tmp_path / "run").about.entries["prompt"]["thinking"] == "skip"
    assert skipped.table.num_rows == 24


def records(mass: float, texts: list[str]) -> pa.Table:
    columns: dict[str, Any] = {f"p1_{letter}": [mass / 3] * len(texts) for letter in "abc"}
    return pa.table({**columns, "raw_response": texts})


def test_answers_that_do_not_begin_with_a_letter_are_told() -> None:
    low = letters_found(records(0.03, ["Okay, so the", "Okay, so", "Hmm", ""]))
    assert low["median_mass"] == pytest.approx(0.03)
    assert "only 3.0%" in low["note"]
    assert "50% of the answers begin with 'Okay,'" in low["note"]
    assert letters_found(records(0.9, ["A"])) == {"median_mass": pytest.approx(0.9), "note": ""}
    assert letters_found(records(0.9, [])) == {"median_mass": None, "note": ""}


def test_a_chat_template_in_a_processors_file_is_used_and_told(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model", num_hidden_layers=1, chat_template=None)
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": CHAT_TEMPLATE}))
    found = evaluate(folder, questions=ITEMS[:1], generation=WILD)
    assert found.info["prompt"]["system_placement"] == "system"
    assert any("chat_template.json" in note for note in found.info["load_notes"])


@pytest.mark.parametrize(
    ("template", "fault"),
    [(5, "is 5, not text"), ("{{ 'a' * 10**10 }}", "characters"), (["a"], "chat template|cannot be loaded")],
)
def test_a_template_that_is_no_template_is_one_sentence(tmp_path: Path, template: Any, fault: str) -> None:
    folder = save_tiny_model(tmp_path / "model", num_hidden_layers=1, chat_template=template)
    with pytest.raises(CheckpointError, match=fault):
        evaluate(folder, questions=ITEMS[:1], generation=WILD)
