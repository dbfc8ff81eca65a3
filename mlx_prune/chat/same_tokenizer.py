"""Tokenizers that are the same by value, so that what is made of one serves the models that share it.

Pruned copies of a model bring copies of its tokenizer along, each of which is opened as an object of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from mlx_lm.tokenizer_utils import TokenizerWrapper
from tokenizers import Tokenizer

Made = TypeVar("Made")

CHAT_TEMPLATE = "chat template"
# Sections of a tokenizer.json that decide which tokens a text is; padding and truncation do not.
_CUTTING = ("normalizer", "pre_tokenizer", "post_processor", "model", "added_tokens")
# Attributes that are compared by other means, or tell of a place or a past.
_APART = frozenset(
    {"_tokenizer", "_detokenizer", "name_or_path", "init_kwargs", "files_loaded", "deprecation_warnings"}
)


def contents(tokenizer: Any) -> Hashable:
    """What a tokenizer holds: its Rust part, its chat template, its special tokens and its settings.

    Args:
        tokenizer: A transformers tokenizer, or mlx-lm's wrapper of one.

    Returns:
        Equal values for tokenizers that turn every text into the same tokens and back. Of a tokenizer that
        cannot be looked into (Python code that came with a model, mistral-common's) it is the object itself.
    """
    inner = tokenizer._tokenizer if isinstance(tokenizer, TokenizerWrapper) else tokenizer
    rust = getattr(inner, "_tokenizer", None)
    if not isinstance(rust, Tokenizer):
        return (tokenizer,)
    try:
        text = rust.to_str()
    except Exception:  # parts written in Python have no text; the library raises nothing more exact
        return (tokenizer,)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return type(tokenizer), type(inner), digest, _told(vars(tokenizer)), _told(vars(inner))


def _told(values: dict[str, Any]) -> str:
    ordered = {name: sorted(value) if isinstance(value, set) else value for name, value in values.items()}
    return repr(sorted((name, repr(value)) for name, value in ordered.items() if name not in _APART))


def differences(tokenizer: Any, other: Any) -> list[str]:
    """In what two tokenizers differ that changes what a model is asked, as nouns for a sentence.

    Args:
        tokenizer: A transformers tokenizer, or mlx-lm's wrapper of one.
        other: The one it is compared with.
    """
    one, two = (
        each._tokenizer if isinstance(each, TokenizerWrapper) else each for each in (tokenizer, other)
    )
    found = []
    if one.get_vocab() != two.get_vocab():
        found.append("vocabulary")
    elif _cutting(one) != _cutting(two):
        found.append("way of cutting text into tokens")
    if getattr(one, "chat_template", None) != getattr(two, "chat_template", None):
        found.append(CHAT_TEMPLATE)
    return found


def _cutting(tokenizer: Any) -> Any:
    rust = getattr(tokenizer, "_tokenizer", None)
    if not isinstance(rust, Tokenizer):
        return None  # it cannot be looked into
    try:
        sections = json.loads(rust.to_str())
    except Exception:  # as in contents
        return None
    return [sections.get(name) for name in _CUTTING]


class MadeOfTokenizer(Generic[Made]):
    """What was made of a tokenizer last, handed out again for one of the same contents."""

    def __init__(self) -> None:
        self._key: Hashable = None
        self._made: Made | None = None

    def of(self, tokenizer: Any, make: Callable[[], Made], *also: Hashable) -> Made:
        """The thing, made only if the last one was made of something else.

        Args:
            tokenizer: What it is made of.
            make: Makes it.
            also: What else it depends on.
        """
        key = (contents(tokenizer), also)
        if self._made is None or key != self._key:
            self._made, self._key = make(), key
        return self._made
