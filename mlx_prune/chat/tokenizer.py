"""Open a tokenizer as ``mlx_lm.load`` does, and put right what would go wrong in silence."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mlx_lm.utils import load_tokenizer

from mlx_prune.errors import CheckpointError, one_line
from mlx_prune.json_files import read_object

# Where processors of multimodal models keep the template; transformers reads it for processors alone.
_PROCESSOR_TEMPLATE = "chat_template.json"
_TEXT_PART = "text_config of config.json"


@dataclass(frozen=True)
class OpenedTokenizer:
    """A tokenizer, and what was done beyond mlx-lm's own loading.

    Attributes:
        tokenizer: mlx-lm's ``TokenizerWrapper``.
        notes: What was put right, as sentences for people.
    """

    tokenizer: Any
    notes: tuple[str, ...]


def open_tokenizer(path: Path, *, trust_remote_code: bool = False) -> OpenedTokenizer:
    """Load the tokenizer of a model folder.

    It ends answers at the tokens at which ``mlx_lm.load`` ends them: those of generation_config.json, else of
    config.json, and the tokenizer's own. Two things are added: end tokens that stand in the configuration of
    the text part alone, and the chat template in a processor's chat_template.json. Tokens that the tokenizer
    does not know, as padded vocabularies have them, decode to nothing.

    Raises:
        CheckpointError: It is absent or cannot be read, has no vocabulary, or an end token is no number.
    """
    ends, note = _end_tokens(path)
    notes = [note] if note else []
    try:
        # Named even when False: transformers would otherwise ask on the terminal.
        tokenizer = load_tokenizer(path, {"trust_remote_code": trust_remote_code}, eos_token_ids=ends)
    except Exception as error:  # transformers raises many kinds for one cause
        raise CheckpointError(f"The tokenizer in {path} cannot be loaded: {one_line(error)}.") from error
    if not len(tokenizer):
        raise CheckpointError(f"The tokenizer in {path} has no vocabulary; download its files again.")
    if not tokenizer.has_chat_template and (path / _PROCESSOR_TEMPLATE).is_file():
        tokenizer.chat_template = _processor_template(path / _PROCESSOR_TEMPLATE)
        tokenizer.has_chat_template = True
        notes.append(
            f"The chat template is that of {_PROCESSOR_TEMPLATE}; the tokenizer has none of its own."
        )
    tokenizer._detokenizer = KnownTokens(tokenizer._detokenizer, tokenizer)
    return OpenedTokenizer(tokenizer, tuple(notes))


def ending_also_at(tokenizer: Any, tokens: Iterable[int]) -> Any:
    """The tokenizer, ending answers at more tokens; the one that is given stays as it is."""
    more = set(tokens) - set(tokenizer.eos_token_ids)
    if more:
        tokenizer = copy.copy(tokenizer)
        tokenizer.eos_token_ids = tokenizer.eos_token_ids | more
    return tokenizer


def known_tokens(tokenizer: Any) -> Callable[[int], bool]:
    """A function that tells whether the tokenizer has a token of this number; it remembers its answers."""

    @cache
    def known(token: int) -> bool:
        try:
            return tokenizer.convert_ids_to_tokens(int(token)) is not None
        except (IndexError, KeyError, ValueError, OverflowError):  # as tokenizers without a Rust part say so
            return False

    return known


class KnownTokens:
    """A streaming detokenizer of mlx-lm's, for which tokens that the tokenizer does not know are no text.

    mlx-lm's own raise for them, or take each for an exclamation mark.
    """

    def __init__(self, inner: Any, tokenizer: Any) -> None:
        """Wrap a detokenizer.

        Args:
            inner: mlx-lm's.
            tokenizer: Tells which tokens there are.
        """
        self._inner = inner
        self._tokenizer = tokenizer
        self._known = known_tokens(tokenizer)

    def __copy__(self) -> KnownTokens:
        """A detokenizer with a state of its own, as ``TokenizerWrapper.detokenizer`` asks for it."""
        copied = object.__new__(KnownTokens)
        copied.__dict__.update(self.__dict__)
        copied._inner = copy.copy(self._inner)
        return copied

    def reset(self) -> None:
        """Drop all text."""
        self._inner.reset()

    def add_token(self, token: int) -> None:
        """Take one more token."""
        if self._known(int(token)):
            self._reach(int(token))
            self._inner.add_token(token)

    def finalize(self) -> None:
        """Give out what was held back."""
        self._inner.finalize()

    @property
    def text(self) -> str:
        """All text so far."""
        text: str = self._inner.text
        return text

    @property
    def tokens(self) -> list[int]:
        """The known tokens so far."""
        tokens: list[int] = self._inner.tokens
        return tokens

    @property
    def last_segment(self) -> str:
        """The text since this was last read."""
        segment: str = self._inner.last_segment
        return segment

    def _reach(self, token: int) -> None:
        # mlx-lm counts tokens where it should look for the highest: with gaps between them its map is short.
        known = getattr(self._inner, "tokenmap", None)
        if known is None or token < len(known):
            return
        names = self._tokenizer.convert_ids_to_tokens(list(range(len(known), token + 1)))
        binary = bool(known) and isinstance(known[0], bytes)
        known.extend((name or "").encode() if binary else name or "" for name in names)


def _end_tokens(path: Path) -> tuple[list[int] | None, str]:
    """End tokens as the model's files give them, or None, and a note where mlx-lm would not see them."""
    config = _json_object(path / "config.json")
    text = config.get("text_config")
    places = (
        ("generation_config.json", _json_object(path / "generation_config.json")),
        ("config.json", config),
        (_TEXT_PART, text if isinstance(text, dict) else {}),
    )
    for place, entries in places:
        found = entries.get("eos_token_id")
        if found is None or found == []:
            continue
        listed = found if isinstance(found, list) else [found]
        if any(not isinstance(token, int) or isinstance(token, bool) for token in listed):
            raise CheckpointError(
                f"eos_token_id is {found!r} in {place} of {path}; give a token's number, or a list of them."
            )
        if place != _TEXT_PART:
            return listed, ""
        return listed, f"The end-of-turn tokens are those of {place}: {', '.join(map(str, listed))}."
    return None, ""


def _processor_template(file: Path) -> str | dict[str, str]:
    template: Any = _json_object(file).get("chat_template")
    if isinstance(template, list):
        template = {t.get("name"): t.get("template") for t in template if isinstance(t, dict)}
    named = isinstance(template, dict) and all(isinstance(text, str) for text in template.values())
    if not named and not isinstance(template, str):
        raise CheckpointError(f"{file} holds no chat_template as text; download it again, or delete it.")
    found: str | dict[str, str] = template
    return found


def _json_object(file: Path) -> dict[str, Any]:
    """The JSON object in a file, nothing in one that is absent."""
    if not file.exists():
        return {}
    return read_object(file, CheckpointError, "download it again")
