"""Tokenizers: where answers end, where templates are found, and tokens that stand for nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import mlx_lm
import pytest
from tiny_models import ARCHITECTURES, CHAT_TEMPLATE, save_tiny_model

from mlx_prune.chat.tokenizer import ending_also_at, known_tokens, open_tokenizer
from mlx_prune.checkpoint import open as checkpoints
from mlx_prune.errors import CheckpointError


def edit(file: Path, **entries: Any) -> None:
    """Replace entries of a JSON file; None removes one."""
    data = json.loads(file.read_text()) if file.exists() else {}
    data.update(entries)
    file.write_text(json.dumps({key: value for key, value in data.items() if value is not None}))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        name: save_tiny_model(tmp_path_factory.mktemp("m") / name, name, num_hidden_layers=1)
        for name in ARCHITECTURES
    }


# What config.json and generation_config.json say; "no file" is a folder without the latter.
WAYS: dict[str, tuple[Any, Any]] = {
    "config": (4, "no file"),
    "config, list": ([1, 4], "no file"),
    "generation wins": (1, [3, 4]),
    "generation alone": (None, 4),
    "generation, number": (1, 4),
    "empty list falls back": ([4], []),
    "nothing but the tokenizer's own": (None, "no file"),
    "generation without the entry": ([1, 3], None),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_answers_end_where_stock_mlx_lm_ends_them(
    folders: dict[str, Path], tmp_path: Path, architecture: str, way: str
) -> None:
    folder = Path(shutil.copytree(folders[architecture], tmp_path / "model"))
    config, generation = WAYS[way]
    edit(folder / "config.json", eos_token_id=config)
    if generation == "no file":
        (folder / "generation_config.json").unlink()
    else:
        edit(folder / "generation_config.json", eos_token_id=generation)
    opened = open_tokenizer(folder)
    _, stock = mlx_lm.load(str(folder))
    assert opened.tokenizer.eos_token_ids == stock.eos_token_ids
    assert opened.notes == ()


def test_end_tokens_of_the_text_part_count_where_nothing_else_is_said(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(folders["llama"], tmp_path / "model"))
    edit(folder / "config.json", eos_token_id=None, text_config={"eos_token_id": [4]})
    edit(folder / "generation_config.json", eos_token_id=None)
    opened = open_tokenizer(folder)
    assert opened.tokenizer.eos_token_ids == {1, 4}
    assert "text_config of config.json: 4" in opened.notes[0]
    edit(folder / "config.json", eos_token_id=3)
    assert open_tokenizer(folder).tokenizer.eos_token_ids == {1, 3}


@pytest.mark.parametrize("written", ["</s>", 1.5, [1, "</s>"], True, {"a": 1}, [None]])
def test_an_end_token_that_is_no_number_is_one_sentence(
    folders: dict[str, Path], tmp_path: Path, written: Any
) -> None:
    folder = Path(shutil.copytree(folders["llama"], tmp_path / "model"))
    edit(folder / "generation_config.json", eos_token_id=written)
    with pytest.raises(CheckpointError, match=r"eos_token_id is .* give a token's number"):
        open_tokenizer(folder)


def test_more_end_tokens_leave_the_given_tokenizer_alone(folders: dict[str, Path]) -> None:
    tokenizer = open_tokenizer(folders["llama"]).tokenizer
    more = ending_also_at(tokenizer, [7])
    assert (more.eos_token_ids, tokenizer.eos_token_ids) == ({1, 7}, {1})
    assert more.encode("Who was late?") == tokenizer.encode("Who was late?")
    assert ending_also_at(tokenizer, [1]) is tokenizer


def test_a_processors_chat_template_is_read_where_the_tokenizer_has_none(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model", chat_template=None)
    assert not open_tokenizer(folder).tokenizer.has_chat_template
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": CHAT_TEMPLATE}))
    loaded = checkpoints.load(folder)
    assert loaded.tokenizer.has_chat_template
    assert loaded.tokenizer.chat_template == CHAT_TEMPLATE
    assert any("chat_template.json" in note for note in loaded.notes)
    messages = [{"role": "user", "content": "Who?"}]
    text = loaded.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<s><|user|>\nWho?</s>\n<|assistant|>\n"
    # The tokenizer's own comes first.
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert open_tokenizer(folder).tokenizer.chat_template == "{{ messages }}"


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"chat_template": 5}', '{"chat_template": {"a": 1}}'])
def test_a_processors_chat_template_that_is_no_text_is_one_sentence(tmp_path: Path, content: str) -> None:
    folder = save_tiny_model(tmp_path / "model", chat_template=None)
    (folder / "chat_template.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"chat_template\.json .*download it again"):
        open_tokenizer(folder)


def test_a_tokenizer_without_vocabulary_is_one_sentence(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"].update(vocab={}, merges=[])
    content["added_tokens"] = []
    (folder / "tokenizer.json").write_text(json.dumps(content))
    edit(folder / "tokenizer_config.json", bos_token=None, eos_token=None)
    with pytest.raises(CheckpointError, match=r"has no vocabulary|cannot be loaded"):
        open_tokenizer(folder)


def streamed(tokenizer: Any, tokens: list[int]) -> str:
    detokenizer = tokenizer.detokenizer
    text = ""
    for token in tokens:
        detokenizer.add_token(token)
        text += detokenizer.last_segment
    detokenizer.finalize()
    return text + str(detokenizer.last_segment)


def test_tokens_that_the_tokenizer_does_not_know_are_no_text(folders: dict[str, Path]) -> None:
    tokenizer = open_tokenizer(folders["llama"]).tokenizer
    tokens = tokenizer.encode("the teacher was late", add_special_tokens=False)
    beyond = len(tokenizer)
    known = known_tokens(tokenizer)
    assert all(known(token) for token in tokens)
    assert not known(beyond)
    mixed = [beyond, *tokens[:2], beyond + 40, *tokens[2:], 10**6]
    assert streamed(tokenizer, mixed) == streamed(tokenizer, tokens) == "the teacher was late"
    # As mlx-lm's own detokenizer, where all tokens are known.
    assert streamed(mlx_lm.utils.load_tokenizer(folders["llama"]), tokens) == streamed(tokenizer, tokens)


@pytest.mark.parametrize("name", ["phi-3", "phi-3-mini"])
def test_real_tokenizers_stream_their_padded_rows_as_nothing(real_data: Path, name: str) -> None:
    folder = real_data / "tokenizers" / name
    ours, stock = open_tokenizer(folder).tokenizer, mlx_lm.utils.load_tokenizer(folder)
    tokens = ours.encode("The answer is B, über naïve 東京.", add_special_tokens=False)
    assert streamed(ours, tokens) == streamed(stock, tokens)
    assert streamed(ours, [32063, *tokens, 32011]) == streamed(stock, tokens)


def test_tokens_behind_a_gap_of_the_vocabulary_are_text(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    content = json.loads((folder / "tokenizer.json").read_text())
    far = {"id": 900, "content": "<far>", "special": True}
    content["added_tokens"].append({**content["added_tokens"][0], **far})
    content["model"]["vocab"]["<far>"] = 900
    (folder / "tokenizer.json").write_text(json.dumps(content))
    tokenizer = open_tokenizer(folder).tokenizer
    assert tokenizer.convert_tokens_to_ids("<far>") == 900
    assert streamed(tokenizer, [899, 900, 901]) == "<far>"
