"""From an item to the prompt of Rath & Maliakkal (arXiv 2605.08137), through the model's chat template."""

from __future__ import annotations

from typing import Any

from mlx_prune.bbq.item import Item
from mlx_prune.bbq.thinking import MODES, closed_thinking, empty_thinking, open_thinking
from mlx_prune.bbq.words import PUBLISHED, PromptWords
from mlx_prune.chat.template import ChatTemplate, has_chat_template
from mlx_prune.errors import CheckpointError, DataError, MlxPruneError
from mlx_prune.text import is_text

_PROBE = "Context: Two people spoke.\n\nQuestion: Who spoke?\n\nA) Both\nB) Neither\nC) One\n\nAnswer:"
_REPLY = "Neither of the two."


class PromptBuilder:
    """Builds prompts for one tokenizer, whose chat template is tried out once.

    Attributes:
        system_placement: Where the instruction goes: "system" (a system message), "user" (in front of the
            user's message, followed by a blank line, because the template refuses or drops system messages),
            or "plain" (the same text without a template, because there is none).
        thinking: What was done about a thinking part: "off" (the template was told to leave it out), "skip"
            (it was closed with nothing in it), or "none" (the template shows none).
        end_tokens: Token with which the template ends an assistant's turn, where the tokenizer does not
            count it among those that end an answer.
        note: What was done other than usual and why, as sentences for people; empty if nothing.
    """

    system_placement: str
    thinking: str
    end_tokens: frozenset[int]
    note: str

    def __init__(self, tokenizer: Any, thinking: str = "off", words: PromptWords = PUBLISHED) -> None:
        """Try out the tokenizer's chat template.

        Args:
            tokenizer: A transformers tokenizer, or mlx-lm's wrapper of one.
            thinking: "off" leaves thinking parts out as far as the template can; "skip" also closes one that
                the template opens, with nothing in it.
            words: What the prompt says around a question.

        Raises:
            CheckpointError: The chat template does not render even a plain user message, runs too long, or
                opens a thinking part that nothing was asked to be done about.
            DataError: ``thinking`` is something else.
        """
        if thinking not in MODES:
            raise DataError(f"thinking is {thinking!r}; choose 'off' or 'skip'.")
        self._tokenizer = tokenizer
        self._words = words
        self._template = ChatTemplate(tokenizer) if has_chat_template(tokenizer) else None
        self._bos = _bos_to_add(tokenizer)
        self._suffix = ""
        self.thinking = "none"
        self.end_tokens = frozenset()
        notes = []
        if self._template is None:
            self.system_placement = "plain"
            notes.append("The tokenizer has no chat template, so the prompt is plain text.")
        else:
            self.system_placement, note = self._probe(self._template)
            notes += [note, self._think(self._template, thinking)]
            notes += [self._compare(self._template), self._find_end(self._template)]
        self.note = " ".join(note for note in notes if note)

    def text(self, item: Item) -> str:
        """The whole prompt as text, special tokens of the template included."""
        user = self._words.user_text(item.context, item.question, item.answers)
        if self._template is None:
            return f"{self._words.instruction}\n\n{user}"
        return self._template.text(self._messages(user, self.system_placement)) + self._suffix

    def tokens(self, item: Item) -> list[int]:
        """The whole prompt as token ids, with exactly one BOS if the tokenizer or the template uses one.

        Raises:
            DataError: The question is not valid text.
            CheckpointError: The template refuses this question.
        """
        user = self._words.user_text(item.context, item.question, item.answers)
        if not is_text(user):
            raise DataError(f"{item.item_id}: the question holds half of a surrogate pair, which is no text.")
        return self._tokens(user)

    def _tokens(self, user: str) -> list[int]:
        if self._template is None:
            tokens = self._encode(f"{self._words.instruction}\n\n{user}")
        elif self._template.is_jinja:
            # What transformers does to tokenize a rendered template.
            tokens = self._encode(
                self._template.text(self._messages(user, self.system_placement)) + self._suffix
            )
        else:
            tokens = self._template.tokens(self._messages(user, self.system_placement))
            tokens += self._encode(self._suffix) if self._suffix else []
        if self._bos is not None and tokens[:1] != [self._bos]:
            tokens.insert(0, self._bos)
        return tokens

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def _probe(self, template: ChatTemplate) -> tuple[str, str]:
        as_system = self._try(template, "system")
        if as_system is not None and self._words.instruction in as_system and _PROBE in as_system:
            return "system", ""
        folded = self._try(template, "user")
        if folded is None or self._words.instruction not in folded or _PROBE not in folded:
            raise CheckpointError(
                "The tokenizer's chat template does not render a plain user message; "
                "use a checkpoint with a working chat template, or remove the template to ask in plain text."
            )
        fault = "refuses system messages" if as_system is None else "drops system messages without saying so"
        return "user", f"The chat template {fault}, so the instruction stands in front of the user's message."

    def _try(self, template: ChatTemplate, placement: str) -> str | None:
        # Templates refuse by raising, and what they raise depends on the renderer; nothing else tells.
        try:
            return template.text(self._messages(_PROBE, placement))
        except MlxPruneError:
            raise
        except Exception:
            return None

    def _think(self, template: ChatTemplate, thinking: str) -> str:
        """See to a thinking part; returns a note."""
        turn = template.text(self._messages(_PROBE, self.system_placement)).rpartition(_PROBE)[2]
        found = open_thinking(turn)
        if found is None:
            if template.knows_thinking:
                self.thinking = "off"
            elif thinking == "skip" and not closed_thinking(turn):
                self._suffix = empty_thinking(template.source)
        elif thinking == "skip":
            self._suffix = found.closed_by
        else:
            raise CheckpointError(
                f"The chat template makes the model think first ({found.opened_by}) and cannot leave that "
                "out, so a few tokens would hold no answer; ask with --thinking skip, which closes the "
                "thinking part with nothing in it."
            )
        if not self._suffix:
            return ""
        self.thinking = "skip"
        return f"The thinking part was skipped: the prompt ends in {self._suffix!r}."

    def _compare(self, template: ChatTemplate) -> str:
        """A note if the tokenizer's own tokens are not those of its rendered text."""
        if template.is_jinja:
            return ""
        messages = self._messages(_PROBE, self.system_placement)
        applied, encoded = template.tokens(messages), self._encode(template.text(messages))
        if applied == encoded:
            return ""
        return (
            f"The tokenizer applies its template to tokens ({len(applied)} for a short question); its text "
            f"encoded would be others ({len(encoded)})."
        )

    def _find_end(self, template: ChatTemplate) -> str:
        """Find the special token behind an assistant's message; returns a note if it is a new one."""
        if not template.is_jinja:
            return ""
        ends = getattr(self._tokenizer, "eos_token_ids", None)  # of mlx-lm's wrapper, a set
        ends = ends if isinstance(ends, set) else {self._tokenizer.eos_token_id}
        messages = self._messages(_PROBE, self.system_placement)
        try:
            closed = template.text([*messages, {"role": "assistant", "content": _REPLY}], reply=False)
        except MlxPruneError:
            raise
        except Exception:
            return ""
        behind = self._encode(closed.rpartition(_REPLY)[2].lstrip()) if _REPLY in closed else []
        special = set(self._tokenizer.all_special_ids) | _special_tokens(self._tokenizer)
        if not behind or behind[0] not in special or behind[0] in ends:
            return ""
        self.end_tokens = frozenset(behind[:1])
        name = self._tokenizer.convert_ids_to_tokens(behind[0])
        return f"Answers end at {name}, too, with which the chat template ends a turn."

    def _messages(self, user: str, placement: str) -> list[dict[str, str]]:
        if placement == "system":
            return [{"role": "system", "content": self._words.instruction}, {"role": "user", "content": user}]
        return [{"role": "user", "content": f"{self._words.instruction}\n\n{user}"}]


def _special_tokens(tokenizer: Any) -> set[int]:
    """Numbers of the tokens that tokenizer.json calls special."""
    added = getattr(tokenizer, "added_tokens_decoder", None) or {}
    return {int(index) for index, token in added.items() if getattr(token, "special", False)}


def _bos_to_add(tokenizer: Any) -> int | None:
    """The BOS that the tokenizer itself puts in front of a text, or None if it does not."""
    bos: int | None = tokenizer.bos_token_id
    return bos if bos is not None and tokenizer.encode("A")[:1] == [bos] else None
