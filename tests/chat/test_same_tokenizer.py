"""Tokenizers are compared by what they hold, and what is made of one serves its copies."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_models import save_tiny_model

from mlx_prune.chat.same_tokenizer import MadeOfTokenizer, contents
from mlx_prune.chat.tokenizer import ending_also_at, load_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", "llama")


def test_copies_in_another_folder_hold_the_same(folder: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(folder, tmp_path / "copy"))
    first, second = load_tokenizer(folder), load_tokenizer(copied)
    assert contents(first) == contents(second)
    first.encode("two words " * 3000)  # leaves a note about the length behind
    assert contents(first) == contents(second)


def chat_template(tokenizer: Any) -> Any:
    tokenizer._tokenizer.chat_template = "another"
    return tokenizer


def added_token(tokenizer: Any) -> Any:
    tokenizer._tokenizer.add_tokens(["anotherword"])
    return tokenizer


def special_token(tokenizer: Any) -> Any:
    tokenizer._tokenizer.bos_token = "another"
    return tokenizer


def end_token(tokenizer: Any) -> Any:
    return ending_also_at(tokenizer, [3])


def attribute(tokenizer: Any) -> Any:
    tokenizer._tokenizer.split_special_tokens = True
    return tokenizer


@pytest.mark.parametrize("change", [chat_template, added_token, special_token, end_token, attribute])
def test_a_change_makes_another_of_it(folder: Path, change: Any) -> None:
    assert contents(change(load_tokenizer(folder))) != contents(load_tokenizer(folder))


class InPython:
    """A tokenizer that nobody can look into."""


def test_what_cannot_be_looked_into_is_like_itself_alone() -> None:
    one, other = InPython(), InPython()
    assert contents(one) == contents(one)
    assert contents(one) != contents(other)


def test_things_are_made_anew_for_another_tokenizer_and_for_other_settings() -> None:
    kept: MadeOfTokenizer[int] = MadeOfTokenizer()
    one, other = InPython(), InPython()
    made: list[int] = []

    def make() -> int:
        made.append(len(made))
        return made[-1]

    asked = [(one, 1), (one, 1), (one, 2), (one, 2), (other, 2), (one, 2)]
    assert [kept.of(tokenizer, make, setting) for tokenizer, setting in asked] == [0, 0, 1, 1, 2, 3]


def test_nothing_is_kept_of_what_failed() -> None:
    kept: MadeOfTokenizer[int] = MadeOfTokenizer()

    def fail() -> int:
        raise ValueError

    with pytest.raises(ValueError):
        kept.of(InPython(), fail)
    assert kept.of(InPython(), lambda: 4) == 4
