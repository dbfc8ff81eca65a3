"""What is noticed while a model answers: tokens that stand for no text, and letters it would not say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from mlx_prune.bbq.words import LETTERS
from mlx_prune.chat.tokenizer import known_tokens
from mlx_prune.generation.interface import PromptAnswers

# Below this share of the first token the three letters are not how the model begins an answer.
_LOW_MASS = 0.1


class UnknownTokens:
    """Counts drawn tokens that the tokenizer does not know, as models with padded vocabularies draw them.

    Attributes:
        count: How many so far.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.count = 0
        self._known = known_tokens(tokenizer)

    def add(self, answered: Sequence[PromptAnswers]) -> None:
        """Count those of some answers."""
        for prompt in answered:
            for answer in prompt.answers:
                self.count += sum(not self._known(token) for token in answer.tokens)


def letters_found(table: pa.Table, letters: Sequence[str] = LETTERS) -> dict[str, Any]:
    """How much of the first token's probability the letters of the options hold.

    Args:
        table: Records with the columns p1_a, p1_b, p1_c and raw_response.
        letters: Of the prompts, for the note.

    Returns:
        "median_mass" over the records, at temperature 1 (None without records), and a "note" where it is
        low: the answers then begin with something else, and a letter is found in few of them, or by chance.
    """
    if not table.num_rows:
        return {"median_mass": None, "note": ""}
    mass = sum(table[name].to_numpy() for name in ("p1_a", "p1_b", "p1_c"))
    median = float(np.median(mass))
    if median >= _LOW_MASS:
        return {"median_mass": median, "note": ""}
    first = Counter(text.strip().split(None, 1)[0] if text.strip() else "" for text in _responses(table))
    begun, times = first.most_common(1)[0]
    return {
        "median_mass": median,
        "note": (
            f"The letters {letters[0]}, {letters[1]} and {letters[2]} hold only {median:.1%} of the first "
            f"token's probability in the median; "
            f"{times / table.num_rows:.0%} of the answers begin with {begun[:20]!r}."
        ),
    }


def _responses(table: pa.Table) -> list[str]:
    texts: list[str] = table["raw_response"].to_pylist()
    return texts
