"""Chat templates rendered beside this process: the same text as transformers', and limits."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from jinja2 import TemplateError
from tiny_models import CHAT_TEMPLATE, save_tiny_model
from transformers import PreTrainedTokenizerBase

from mlx_prune.chat import rendering
from mlx_prune.chat import template as chat_template
from mlx_prune.chat.rendering import TemplateRefusedError, render
from mlx_prune.chat.template import ChatTemplate
from mlx_prune.chat.tokenizer import open_tokenizer
from mlx_prune.errors import CheckpointError

TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "  Who <was> 'late' & \"early\"? ü\n"},
    {"role": "assistant", "content": "Bo."},
    {"role": "user", "content": "Why?"},
]
# One of each thing that transformers adds to Jinja or sets otherwise.
FEATURES = {
    "white space": "  {% if true %}\n  a\n  {% endif %}\n{{ messages[0].content }}\n\n",
    "json": "{{ messages | tojson }}{{ {'b': 1, 'a': 'ü'} | tojson(indent=2, sort_keys=true) }}",
    "loop controls": "{% for m in messages %}{% if loop.index == 2 %}{% break %}{% endif %}x{% endfor %}",
    "namespace": "{% set n = namespace(a=1) %}{% for m in messages %}{% set n.a = 2 %}{% endfor %}{{ n.a }}",
    "dict": "{{ dict(a=1) }}{{ dict.fromkeys(['x']) }}",
    "generation": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    "special tokens": "{{ bos_token }}{{ eos_token }}{{ pad_token is defined }}",
    "undefined": "{{ tools }}{{ documents }}{{ nothing }}{{ tools is none }}{{ nothing is defined }}",
    "reply": "{% if add_generation_prompt %}yes{% else %}no{% endif %}",
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return open_tokenizer(save_tiny_model(tmp_path_factory.mktemp("m") / "model")).tokenizer


def both(tokenizer: Any, template: str, turns: list[dict[str, str]], *, reply: bool) -> tuple[str, str]:
    """What transformers renders in this process, and what is rendered with limits."""
    before = tokenizer.chat_template
    tokenizer.chat_template = template
    try:
        stock = PreTrainedTokenizerBase.apply_chat_template(
            tokenizer._tokenizer, turns, tokenize=False, add_generation_prompt=reply, enable_thinking=False
        )
        return stock, ChatTemplate(tokenizer).text(turns, reply=reply)
    finally:
        tokenizer.chat_template = before


@pytest.mark.parametrize("reply", [True, False])
@pytest.mark.parametrize("template", [*FEATURES.values(), CHAT_TEMPLATE], ids=[*FEATURES, "chat"])
def test_templates_render_as_in_transformers(tokenizer: Any, template: str, reply: bool) -> None:
    stock, ours = both(tokenizer, template, TURNS, reply=reply)
    assert ours == stock


def test_real_templates_render_as_in_transformers(tokenizer: Any, real_data: Path) -> None:
    compared = 0
    for file in sorted((real_data / "chat_templates").glob("*.jinja")):
        for turns in (TURNS, TURNS[1:], TURNS[1:2]):
            template = file.read_text()
            if "strftime_now" in template or "date_string" in template:
                template = template.replace("strftime_now(", "'26 Jul 2024'.format(")
            try:
                stock, ours = both(tokenizer, template, turns, reply=True)
            except TemplateError:  # transformers' own rendering refuses
                with pytest.raises(TemplateRefusedError):
                    render(template, turns, {"add_generation_prompt": True, "bos_token": "", "eos_token": ""})
                continue
            assert ours == stock
            compared += 1
    assert compared > 8


def test_templates_refuse_by_raising() -> None:
    for template in ("{{ raise_exception('no system') }}", "{% broken", "{{ 1 / 0 }}", "{{ messages.x.y }}"):
        with pytest.raises(TemplateRefusedError):
            render(template, TURNS, {})
    with pytest.raises(TemplateRefusedError, match="no system"):
        render("{{ raise_exception('no system') }}", TURNS, {})


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'a' * 10**10 }}",
        "{{ 'a' | center(10**10) }}",
        "{% for i in range(90000) %}{{ messages }}{% endfor %}",
    ],
)
def test_a_template_that_builds_gigabytes_is_refused(template: str) -> None:
    with pytest.raises(CheckpointError, match="more than 1,000,000 characters"):
        render(template, TURNS, {})
    assert render("sound", TURNS, {}) == "sound"


def test_a_template_that_never_ends_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "SECONDS", 0.2)
    for template in (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 10 ** (10 ** 9) }}",  # one operation, which nothing inside the process could interrupt
    ):
        start = time.monotonic()
        with pytest.raises(CheckpointError, match=r"runs for more than 0\.2 seconds"):
            render(template, TURNS, {})
        assert time.monotonic() - start < 20
    assert render("sound", TURNS, {}) == "sound"


def test_memory_is_watched_from_outside_where_the_system_sets_no_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = "{% for a in range(3000) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    assert render("the process runs", TURNS, {})
    monkeypatch.setattr(rendering, "MEMORY", 1)
    with pytest.raises(CheckpointError, match="of memory"):
        render(slow, TURNS, {})
    assert rendering._resident_bytes(os.getpid()) > 1 << 20


def test_a_machine_without_ps_renders_all_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert render("the process runs", TURNS, {})
    monkeypatch.setenv("PATH", str(tmp_path))
    assert rendering._resident_bytes(os.getpid()) == 0
    slow = "{% for a in range(300) %}{% for b in range(99999) %}{% endfor %}{% endfor %}sound"
    assert render(slow, TURNS, {}) == "sound"


def test_an_interruption_leaves_no_answer_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    assert render("first", TURNS, {}) == "first"
    with monkeypatch.context() as patched:
        patched.setattr(rendering.select, "select", interrupt)
        with pytest.raises(KeyboardInterrupt):
            render("second", TURNS, {})
    assert render("third", TURNS, {}) == "third"


def test_a_template_is_tried_out_before_a_library_renders_with_it(tokenizer: Any) -> None:
    before = tokenizer.chat_template
    try:
        chat_template.try_out(tokenizer)
        tokenizer.chat_template = "{{ raise_exception('no') }}"
        chat_template.try_out(tokenizer)
        tokenizer.chat_template = "{{ 'a' * 10**10 }}"
        with pytest.raises(CheckpointError, match="characters"):
            chat_template.try_out(tokenizer)
        tokenizer.chat_template = 5
        with pytest.raises(CheckpointError, match="is 5, not text"):
            chat_template.try_out(tokenizer)
    finally:
        tokenizer.chat_template = before
