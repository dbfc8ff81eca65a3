"""Prompts are made once for all models that share a tokenizer, and their records stay as they were."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from agreement import make_items
from record_tables import assert_same_records
from tiny_models import save_tiny_model

from mlx_prune.chat.tokenizer import load_tokenizer
from mlx_prune.checkpoint.limits import Limits
from mlx_prune.checkpoint.open import load
from mlx_prune.errors import DataError
from mlx_prune.progress import Progress
from mlx_prune.runs.evaluate import evaluate
from mlx_prune.runs.questions import Questions, choose_items
from mlx_prune.runs.settings import Bbq, Generation


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", "llama")


def tokenized(questions: Questions, tokenizer: object, new: int = 3, limits: Limits | None = None) -> int:
    """How many questions were tokenized for one more model."""
    told: list[Progress] = []
    questions.prompts(tokenizer, "off", limits or Limits(None, None), new, told.append)
    return told[-1].done if told else 0


def test_a_copy_of_the_model_costs_no_tokenizing(folder: Path, tmp_path: Path) -> None:
    questions = choose_items(make_items(8))
    copied = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert tokenized(questions, load_tokenizer(folder)) == 8
    assert tokenized(questions, load_tokenizer(copied)) == 0
    changed = load_tokenizer(copied)
    changed._tokenizer.chat_template = "{{ messages | map(attribute='content') | join(' ') }}"
    assert tokenized(questions, changed) == 8


def test_questions_are_checked_against_every_models_limits(folder: Path) -> None:
    questions = choose_items(make_items(8))
    tokenizer = load_tokenizer(folder)
    longest = max(len(p.tokens) for p in prompts(questions, tokenizer).values())
    assert tokenized(questions, tokenizer, 3, Limits(longest + 3, None)) == 8
    with pytest.raises(DataError, match="tokens and its answer up to 4"):
        tokenized(questions, tokenizer, 4, Limits(longest + 3, None))


def prompts(questions: Questions, tokenizer: object) -> dict[str, object]:
    return dict(questions.prompts(tokenizer, "off", Limits(None, None), 3, lambda _: None).by_id)


def test_shared_questions_give_the_records_and_the_configuration_of_their_own(folder: Path) -> None:
    asked, drawn = Bbq("demo", limit=6), Generation(seeds=(1,), max_tokens=2)
    shared = choose_items(asked)
    for model in (load(folder), load(folder)):
        apart = evaluate(model, questions=asked, generation=drawn)
        together = evaluate(model, questions=shared, generation=drawn)
        assert_same_records(together.table, apart.table)
        assert together.info["configuration"] == apart.info["configuration"]
        assert together.info["prompt"] == apart.info["prompt"]
        assert together.info["items_available"] == apart.info["items_available"]


def test_questions_compare_by_what_is_asked() -> None:
    assert choose_items(make_items(3)) == choose_items(make_items(3))
    assert dataclasses.replace(choose_items(make_items(3)), source={}) != choose_items(make_items(3))
