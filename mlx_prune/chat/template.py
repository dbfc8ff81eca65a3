"""A tokenizer's chat template: from messages to text, and to tokens as the tokenizer itself makes them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from mlx_prune.chat.rendering import DATE, TemplateRefusedError, render
from mlx_prune.errors import CheckpointError

Messages = Sequence[dict[str, str]]


def has_chat_template(tokenizer: Any) -> bool:
    """Whether a tokenizer (transformers', or mlx-lm's wrapper) has a chat template."""
    # mlx-lm's wrapper also knows models whose template is code instead of text.
    known = getattr(tokenizer, "has_chat_template", None)
    return bool(known) if known is not None else getattr(tokenizer, "chat_template", None) is not None


class ChatTemplate:
    """The chat template of one tokenizer, without thinking and on a fixed date.

    Attributes:
        is_jinja: Whether it is Jinja source, which is rendered with limits. Otherwise it is code that came
            with mlx-lm, with transformers (mistral-common's tokenizers) or with a trusted checkpoint.
        source: The Jinja source; empty for code.
        knows_thinking: Whether it can be told to leave thinking out.
    """

    def __init__(self, tokenizer: Any) -> None:
        """Find the template of a tokenizer that has one.

        Raises:
            CheckpointError: It is no text.
        """
        self._tokenizer = tokenizer
        self.is_jinja = _is_jinja(tokenizer)
        self.source = _source(tokenizer)
        code = not self.is_jinja and bool(getattr(tokenizer, "has_thinking", False))
        self.knows_thinking = "enable_thinking" in self.source or code
        self._variables = self._known_variables()

    def text(self, messages: Messages, *, reply: bool = True) -> str:
        """The messages as text, special tokens included.

        Args:
            messages: Role and content of each.
            reply: End with what opens the assistant's turn.

        Raises:
            CheckpointError: The template takes too long, too much memory, or too many characters.
            Exception: Whatever a template raises that refuses the messages.
        """
        if not self.is_jinja:
            rendered: str = self._apply(messages, reply, tokenize=False)
            return rendered
        variables = {**self._special_tokens(), **self._variables, "add_generation_prompt": reply}
        return render(self.source, messages, {"tools": None, "documents": None, **variables})

    def tokens(self, messages: Messages, *, reply: bool = True) -> list[int]:
        """The messages as the tokenizer's own tokens, with what opens the assistant's turn or without."""
        return [int(token) for token in self._apply(messages, reply, tokenize=True)]

    def _apply(self, messages: Messages, reply: bool, *, tokenize: bool) -> Any:
        return self._tokenizer.apply_chat_template(
            list(messages), tokenize=tokenize, add_generation_prompt=reply, **self._variables
        )

    def _known_variables(self) -> dict[str, Any]:
        """Variables for the template, only where it asks for them: some renderers refuse unknown ones."""
        variables: dict[str, Any] = {}
        if "date_string" in self.source:
            variables["date_string"] = DATE.strftime("%d %b %Y")
        # A handful of tokens hold no reasoning: a thinking model would never come to its answer.
        if "enable_thinking" in self.source or getattr(self._tokenizer, "has_thinking", False):
            variables["enable_thinking"] = False
        return variables

    def _special_tokens(self) -> dict[str, str]:
        return {name: str(token) for name, token in self._tokenizer.special_tokens_map.items()}


def try_out(tokenizer: Any) -> None:
    """Render a short conversation with limits, before a library renders whole data sets without.

    Raises:
        CheckpointError: The template takes too long, too much memory, or too many characters, or is no text.
    """
    turns = [{"role": "user", "content": "Who spoke?"}, {"role": "assistant", "content": "Nobody."}]
    if has_chat_template(tokenizer):
        with contextlib.suppress(TemplateRefusedError):
            template = ChatTemplate(tokenizer)
            if template.is_jinja:
                template.text(turns, reply=False)


def _is_jinja(tokenizer: Any) -> bool:
    from transformers import PreTrainedTokenizerBase

    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        # mlx-lm's wrapper, in which its own templates stand that are code.
        if getattr(tokenizer, "_chat_template", None) is not None:
            return False
        tokenizer = getattr(tokenizer, "_tokenizer", None)
    applied = getattr(type(tokenizer), "apply_chat_template", None)
    return applied is PreTrainedTokenizerBase.apply_chat_template


def _source(tokenizer: Any) -> str:
    template = getattr(tokenizer, "chat_template", None)
    if isinstance(template, dict):
        template = template.get("default", "")
    if template is not None and not isinstance(template, str):
        raise CheckpointError(
            f"The tokenizer's chat template is {template!r:.40}, not text; download the tokenizer again."
        )
    return template or ""
