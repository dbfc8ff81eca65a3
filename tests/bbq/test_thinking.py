"""Templates that make a model reason first: found, closed, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bbq_rows import bbq_row
from mlx_lm.tokenizer_utils import TokenizerWrapper
from tiny_models import save_tiny_model
from transformers import PreTrainedTokenizerBase

from mlx_prune.bbq.prompts import PromptBuilder
from mlx_prune.bbq.rows import item_from_bbq
from mlx_prune.bbq.thinking import closed_thinking, empty_thinking, open_thinking
from mlx_prune.chat.tokenizer import open_tokenizer
from mlx_prune.errors import CheckpointError, DataError

ITEM = item_from_bbq(bbq_row(), "Age", "here")
TURNS = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}</s>\n{% endfor %}"
REPLY = TURNS + "{% if add_generation_prompt %}<|assistant|>\n"
OPENS = REPLY + "<think>\n{% endif %}"
OPENS_BARE = REPLY + "<think>{% endif %}"
SWITCH = REPLY + "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
SWITCH_OPENS = REPLY + "{% if enable_thinking %}<think>\n{% endif %}{% endif %}"
SPLITS = TURNS.replace("{{ m.content }}", "{{ m.content.split('</think>')[-1] }}")
SPLITS += "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
CHANNELS = (
    "{% for m in messages %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
ANALYSIS = CHANNELS.replace("<|start|>assistant{%", "<|start|>assistant<|channel|>analysis<|message|>{%")
PLAIN = REPLY + "{% endif %}"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return open_tokenizer(save_tiny_model(tmp_path_factory.mktemp("m") / "model")).tokenizer


def builder(tokenizer: Any, template: str, thinking: str) -> PromptBuilder:
    tokenizer.chat_template = template
    return PromptBuilder(tokenizer, thinking)


@pytest.mark.parametrize("template", [OPENS, OPENS_BARE, CHANNELS, ANALYSIS])
def test_a_template_that_makes_the_model_think_is_refused_with_what_to_do(
    tokenizer: Any, template: str
) -> None:
    with pytest.raises(CheckpointError, match=r"makes the model think first \(.*--thinking skip"):
        builder(tokenizer, template, "off")


@pytest.mark.parametrize(
    ("template", "ending"),
    [
        (OPENS, "<|assistant|>\n<think>\n\n</think>\n\n"),
        (OPENS_BARE, "<|assistant|>\n<think>\n\n</think>\n\n"),
        (SPLITS, "<|assistant|>\n<think>\n\n</think>\n\n"),
        (CHANNELS, "<|end|><|start|>assistant<|channel|>final<|message|>"),
        (ANALYSIS, "analysis<|message|><|end|><|start|>assistant<|channel|>final<|message|>"),
    ],
)
def test_skipping_closes_the_thinking_part_with_nothing_in_it(
    tokenizer: Any, template: str, ending: str
) -> None:
    made = builder(tokenizer, template, "skip")
    assert made.thinking == "skip"
    assert made.text(ITEM).endswith(ending)
    assert "skipped" in made.note
    assert tokenizer.decode(made.tokens(ITEM)) == made.text(ITEM)
    turn = made.text(ITEM).rpartition("Answer:")[2]
    assert open_thinking(turn) is None


@pytest.mark.parametrize("thinking", ["off", "skip"])
@pytest.mark.parametrize(
    ("template", "done", "ending"),
    [
        (SWITCH, "off", "<think>\n\n</think>\n\n"),
        (SWITCH_OPENS, "off", "<|assistant|>\n"),
        (PLAIN, "none", "<|assistant|>\n"),
    ],
)
def test_what_the_template_can_leave_out_needs_no_skipping(
    tokenizer: Any, template: str, done: str, ending: str, thinking: str
) -> None:
    made = builder(tokenizer, template, thinking)
    assert made.thinking == done
    assert made.text(ITEM).endswith(ending)
    assert made.text(ITEM).count("</think>") == ending.count("</think>")
    assert made.note == ""


def test_a_model_that_opens_its_thinking_itself_is_asked_as_it_is_unless_told_to_skip(tokenizer: Any) -> None:
    made = builder(tokenizer, SPLITS, "off")
    assert (made.thinking, made.note) == ("none", "")
    assert made.text(ITEM).endswith("<|assistant|>\n")


def test_a_question_about_thinking_is_no_thinking_part(tokenizer: Any) -> None:
    template = PLAIN.replace("<|{{ m.role }}|>", "<think> before you speak, {{ m.role }}: ", 1)
    assert builder(tokenizer, template, "off").thinking == "none"


def test_an_unknown_wish_is_refused(tokenizer: Any) -> None:
    with pytest.raises(DataError, match="'off' or 'skip'"):
        builder(tokenizer, PLAIN, "on")


@pytest.mark.parametrize("name", ["think", "channels"])
def test_templates_that_went_wrong_are_refused_and_can_be_skipped(
    tokenizer: Any, real_data: Path, name: str
) -> None:
    template = (real_data / "cases" / f"{name}.jinja").read_text()
    with pytest.raises(CheckpointError, match="--thinking skip"):
        builder(tokenizer, template, "off")
    ending = "</think>\n\n" if name == "think" else "<|channel|>final<|message|>"
    assert builder(tokenizer, template, "skip").text(ITEM).endswith(ending)


def test_open_and_closed_parts_are_told_apart() -> None:
    assert open_thinking("<think></think>") is None
    assert closed_thinking("<think></think>")
    assert not closed_thinking("<think>")
    assert open_thinking("<think></think><think>") is not None
    assert open_thinking("[THINK]") is not None
    assert open_thinking("<|channel|>final<|message|>") is None
    assert empty_thinking("no tags") == ""


class OwnTemplate(PreTrainedTokenizerBase):
    """As mistral-common's: the template is code, and makes tokens that no text encodes to."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["inner"], name)

    def apply_chat_template(self, messages: Any, tokenize: bool = True, **_: Any) -> Any:  # type: ignore[override]
        text = "<s>[INST] " + "\n\n".join(m["content"] for m in messages) + "[/INST]"
        if not tokenize:
            return text
        body = self.inner.encode(text[len("<s>[INST] ") : -len("[/INST]")], add_special_tokens=False)
        return [0, 3, *body, 4]

    def encode(self, text: str, **options: Any) -> Any:  # type: ignore[override]
        return self.inner.encode(text.replace("<s>", "< s >"), **options)

    def get_vocab(self) -> Any:
        return self.inner.get_vocab()

    def decode(self, *arguments: Any, **options: Any) -> Any:  # type: ignore[override]
        return self.inner.decode(*arguments, **options)

    def __len__(self) -> int:
        return len(self.inner)


def test_a_tokenizer_applies_its_own_template_to_tokens_and_the_difference_is_told(tokenizer: Any) -> None:
    tokenizer.chat_template = None
    own = TokenizerWrapper(OwnTemplate(tokenizer._tokenizer))
    made = PromptBuilder(own)
    tokens = made.tokens(ITEM)
    assert tokens[:2] == [0, 3]
    assert tokens[-1] == 4
    assert tokens.count(0) == 1
    assert "applies its template to tokens" in made.note
    assert tokens != own.encode(made.text(ITEM), add_special_tokens=False)
