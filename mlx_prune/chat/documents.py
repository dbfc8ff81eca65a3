"""Documents of a text file, of JSON lines or of a data set on the Hub, and the tokens a model reads of them.

A conversation, or a prompt and its answer, is written by the model's own chat template.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mlx_prune.chat.rendering import TemplateRefusedError
from mlx_prune.chat.template import ChatTemplate, has_chat_template
from mlx_prune.errors import CheckpointError, DataError, MlxPruneError, one_line
from mlx_prune.hub_data import is_hub, parse_hub
from mlx_prune.paths import expanded
from mlx_prune.text import encode, is_text, read_rows

TEXT, MESSAGES, PROMPT, COMPLETION = "text", "messages", "prompt", "completion"
_FIELDS = 'a string "text", a list "messages", or "prompt" and "completion"'
_BETWEEN = "\n\n"


@dataclass(frozen=True)
class Document:
    """One document of a source.

    Attributes:
        text: What the model reads; of a conversation what the chat template writes, special tokens included.
        where: File and line, or data set and row.
        rendered: Whether the chat template wrote it.
    """

    text: str
    where: str
    rendered: bool
    _tokenizer: Any
    _template: ChatTemplate | None = None
    _messages: tuple[dict[str, str], ...] = ()

    @cached_property
    def tokens(self) -> list[int]:
        """Its token ids, without a BOS other than the chat template's own."""
        if self._template is not None and not self._template.is_jinja:
            return self._template.tokens(self._messages, reply=False)
        return encode(self._tokenizer, self.text)

    @cached_property
    def prompt_length(self) -> int:
        """How many of its tokens are in front of the assistant's last message, its opening words included.

        Counted by comparing tokens: some templates open a reply that is asked for otherwise than one that is
        there, by an empty stretch of thinking for instance.

        Raises:
            DataError: It is plain text, or does not end with a reply to something.
        """
        if self._template is None:
            raise DataError(
                f"{self.where} is plain text, which has no prompt to mask; give conversations (JSON lines of "
                '"messages", or of "prompt" and "completion"), or leave --mask-prompt out.'
            )
        if len(self._messages) < 2 or self._messages[-1]["role"] != "assistant":
            raise DataError(
                f"{self.where}: the conversation does not end with a reply of the assistant, so "
                "--mask-prompt would leave nothing of it; correct or drop it."
            )
        prompt = self._messages[:-1]
        text = _rendered(self._template, prompt, self.where, reply=True)
        if self._template.is_jinja:
            opening = encode(self._tokenizer, text)
        else:
            opening = self._template.tokens(prompt, reply=True)
        pairs = enumerate(zip(self.tokens, opening, strict=False))
        shorter = min(len(self.tokens), len(opening))
        return next((place for place, (one, other) in pairs if one != other), shorter)


def documents(source: str | Path, tokenizer: Any) -> Iterator[Document]:
    """The documents of a source, one after the other.

    Args:
        source: A text file (one document), a file of JSON lines, or ``hub:ORG/NAME[@REVISION][:CONFIG]
            [/SPLIT][#COLUMN]``. Rows hold a string ``text``, a list ``messages`` of objects with ``role`` and
            ``content``, or ``prompt`` and ``completion``, which are strings or lists of messages. A named
            column takes the place of the first two, ``#PROMPT+ANSWER`` that of the last.
        tokenizer: The model's, whose chat template writes conversations.

    Yields:
        Documents; those of the Hub are read as they are asked for.

    Raises:
        DataError: The source cannot be read, or a row is malformed; with file and line, or data set and row.
        CheckpointError: The chat template runs too long, or takes too much memory.
    """
    columns: tuple[str, ...] = ()
    if is_hub(source):
        data = parse_hub(str(source))
        rows, columns = data.rows(), data.columns
    else:
        read = read_rows(source)
        if isinstance(read, str):
            yield Document(read, str(expanded(source)), False, tokenizer)
            return
        rows = read
    template = ChatTemplate(tokenizer) if has_chat_template(tokenizer) else None
    for where, row in rows:
        content = _content(row, columns, where)
        if isinstance(content, str):
            if not is_text(content):
                raise DataError(f"{where} holds half of a surrogate pair, which is no character.")
            yield Document(content, where, False, tokenizer)
        else:
            text = _rendered(template, content, where)
            yield Document(text, where, True, tokenizer, template, tuple(content))


def enough_of(found: Iterator[Document], tokens: int | None) -> list[Document]:
    """The first documents that together hold a number of tokens; all for None, or where they hold less.

    A token of each is not counted: where two are joined, what meets there can melt into fewer.
    """
    taken: list[Document] = []
    total = 0
    for document in found:
        taken.append(document)
        if tokens is not None:
            total += len(document.tokens) - 1
            if total >= tokens:
                break
    return taken


def joined_text(taken: Sequence[Document]) -> str:
    """Documents as one text: blank lines between plain ones, nothing around those a template wrote."""
    parts: list[str] = []
    for before, document in zip((None, *taken), taken, strict=False):
        if before is not None and not (before.rendered or document.rendered):
            parts.append(_BETWEEN)
        parts.append(document.text)
    return "".join(parts)


def joined_tokens(taken: Sequence[Document], tokenizer: Any) -> list[int]:
    """The tokens of documents one behind the other; plain neighbours are tokenized as one text."""
    ids: list[int] = []
    plain: list[Document] = []
    for document in taken:
        if not document.rendered:
            plain.append(document)
            continue
        ids += encode(tokenizer, joined_text(plain)) if plain else []
        plain = []
        ids += document.tokens
    return ids + (encode(tokenizer, joined_text(plain)) if plain else [])


def completion_marks(taken: Sequence[Document]) -> list[bool]:
    """Of each of :func:`joined_tokens` of conversations, whether it is of a reply rather than of a prompt.

    Raises:
        DataError: A document is no conversation that ends with a reply.
    """
    return [place >= document.prompt_length for document in taken for place in range(len(document.tokens))]


def digest(taken: Sequence[Document]) -> str:
    """SHA-256 of documents as one text, UTF-8."""
    return hashlib.sha256(joined_text(taken).encode()).hexdigest()


def _content(row: Mapping[str, Any], columns: tuple[str, ...], where: str) -> str | list[dict[str, str]]:
    """The text of a row, or its messages."""
    for column in columns:
        if column not in row:
            raise DataError(f"{where} has no column {column!r}; it has {', '.join(map(str, row))}.")
    if len(columns) == 2:
        return _pair(row, columns[0], columns[1], where)
    if columns:
        found = row[columns[0]]
        if isinstance(found, str):
            return found
        return _messages(found, columns[0], where)
    if isinstance(row.get(TEXT), str):
        return str(row[TEXT])
    if row.get(MESSAGES) is not None:
        return _messages(row[MESSAGES], MESSAGES, where)
    if row.get(PROMPT) is not None and row.get(COMPLETION) is not None:
        return _pair(row, PROMPT, COMPLETION, where)
    raise DataError(f"{where} has no string field {TEXT!r}; give {_FIELDS}.".replace("'", '"'))


def _pair(row: Mapping[str, Any], prompt: str, completion: str, where: str) -> list[dict[str, str]]:
    turns: list[dict[str, str]] = []
    for field, role in ((prompt, "user"), (completion, "assistant")):
        said = row[field]
        turns += [{"role": role, "content": said}] if isinstance(said, str) else _messages(said, field, where)
    return turns


def _messages(found: Any, field: str, where: str) -> list[dict[str, str]]:
    if not isinstance(found, list) or not found:
        raise DataError(f"{where}: field {field!r} must be a text or a list of messages, not {found!r:.40}.")
    messages = []
    for number, message in enumerate(found, start=1):
        for key in ("role", "content"):
            if not isinstance(message, Mapping) or not isinstance(message.get(key), str):
                raise DataError(f"{where}: message {number} of {field!r} has no string {key!r}.")
            if not is_text(message[key]):
                raise DataError(f"{where} holds half of a surrogate pair, which is no character.")
        messages.append({"role": message["role"], "content": message["content"]})
    return messages


def _rendered(
    template: ChatTemplate | None, messages: Sequence[dict[str, str]], where: str, *, reply: bool = False
) -> str:
    if template is None:
        raise DataError(
            f"{where} holds a conversation, and the tokenizer has no chat template to write it with; "
            'give documents with a string field "text".'
        )
    try:
        return template.text(messages, reply=reply)
    except CheckpointError as error:
        raise CheckpointError(f"{where}: {error}") from error
    except MlxPruneError:
        raise
    except Exception as error:  # a template refuses with whatever its renderer raises
        said = "" if isinstance(error, TemplateRefusedError) and not str(error) else f" ({one_line(error)})"
        raise DataError(
            f"{where}: the chat template refuses the conversation{said}; correct or drop it."
        ) from error
