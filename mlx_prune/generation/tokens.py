"""Between tokens and answers: the text of an answer, and which tokens are the letters of the options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_prune.bbq.words import LETTERS
from mlx_prune.chat.same_tokenizer import MadeOfTokenizer

# How tokenizers write a space, a tab or a line break inside a token, and the parenthesis of "(A".
_WITHOUT_MARKS = dict.fromkeys(map(ord, "\u2581\u0120\u010a\u0109\u010d(" + " \t\r\n"))
# Of the last tokenizer: whole vocabularies are read to find them.
_LETTERS: MadeOfTokenizer[tuple[tuple[int, ...], ...]] = MadeOfTokenizer()


class AnswerText:
    """Turns drawn tokens into the text that ``mlx_lm.stream_generate`` streams for them."""

    def __init__(self, tokenizer: Any, max_tokens: int) -> None:
        """Text of answers of at most ``max_tokens`` tokens, under an mlx-lm ``TokenizerWrapper``."""
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._end = frozenset(tokenizer.eos_token_ids)
        self._known: dict[tuple[int, ...], str] = {}

    def __call__(self, tokens: tuple[int, ...]) -> str:
        """The text of one answer; the end-of-sequence token, if drawn, adds nothing."""
        text = self._known.get(tokens)
        if text is None:
            text = self._known[tokens] = self._stream(tokens)
        return text

    def _stream(self, tokens: tuple[int, ...]) -> str:
        # Some detokenizers change what they hold when the segment is read, so it is read exactly when
        # stream_generate reads it: after every token but the last.
        detokenizer = self._tokenizer.detokenizer
        segments = []
        for count, token in enumerate(tokens, start=1):
            if token in self._end:
                break
            detokenizer.add_token(token)
            if count == self._max_tokens:
                break
            segments.append(detokenizer.last_segment)
        detokenizer.finalize()
        segments.append(detokenizer.last_segment)
        return "".join(segments)


def letter_tokens(tokenizer: Any, letters: Sequence[str] = LETTERS) -> tuple[tuple[int, ...], ...]:
    """Token ids that stand for each of the letters of the options.

    A token counts if its decoded text, without surrounding white space and one opening parenthesis, is
    exactly the letter, in upper or lower case.

    Returns:
        Three tuples of ids, possibly empty.
    """
    return _LETTERS.of(tokenizer, lambda: _find_letters(tokenizer, letters), tuple(letters))


def _find_letters(tokenizer: Any, letters: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    found: dict[str, list[int]] = {letter.lower(): [] for letter in letters}
    # Byte-level vocabularies write a letter beyond ASCII as one character for each of its bytes.
    longest = max(len(letter.encode()) for letter in letters)
    for name, index in sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1]):
        bare = name.translate(_WITHOUT_MARKS)
        if not 1 <= len(bare) <= longest and not bare.startswith("<0x"):
            continue
        text = tokenizer.decode([index]).strip().removeprefix("(").strip().lower()
        if text in found:
            found[text].append(index)
    return tuple(tuple(found[letter.lower()]) for letter in letters)


class LetterProbabilities:
    """First-token probabilities of the letters: the softmax summed over each letter's tokens."""

    def __init__(self, tokenizer: Any, temperature: float, letters: Sequence[str] = LETTERS) -> None:
        """Probabilities at a temperature, and at 1, under an mlx-lm ``TokenizerWrapper``."""
        self._letters = letter_tokens(tokenizer, letters)
        self._temperature = temperature

    def __call__(self, logprobs: mx.array) -> tuple[mx.array, mx.array]:
        """Probabilities of the three letters.

        Args:
            logprobs: (n, vocabulary) float32 log-probabilities of the first answer token.

        Returns:
            Two (n, 3) float32 arrays: at the run's temperature (at 0, all on the best token) and at 1.
        """
        if self._temperature > 0:
            sharp = mx.softmax(logprobs * (1.0 / self._temperature), axis=-1)
        else:
            best = mx.argmax(logprobs, axis=-1, keepdims=True)
            sharp = (mx.arange(logprobs.shape[-1]) == best).astype(mx.float32)
        return self._sum(sharp), self._sum(mx.softmax(logprobs, axis=-1))

    def _sum(self, probabilities: mx.array) -> mx.array:
        columns = []
        for ids in self._letters:
            # A tokenizer can have letters that the model has no row for.
            drawn = [index for index in ids if index < probabilities.shape[-1]]
            columns.append(
                probabilities[:, mx.array(drawn, mx.uint32)].sum(axis=-1)
                if drawn
                else mx.zeros(probabilities.shape[:1])
            )
        return mx.stack(columns, axis=-1)


def as_triples(array: mx.array) -> list[tuple[float, float, float]]:
    """An (n, 3) array as Python tuples."""
    return [(float(a), float(b), float(c)) for a, b, c in np.array(array)]
