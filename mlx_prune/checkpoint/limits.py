"""How long a model's input may be and which tokens it knows, checked before anything runs.

Past the end of a table (learned positions, embeddings) MLX reads whatever lies in memory there: figures come
out wrong in silence. Past the longest input of a rotary model they are those of an untrained range.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlx_prune.errors import CheckpointError, DataError

# What configurations call the longest input; where several stand in one, the first is the table's length.
_POSITIONS = (
    "n_positions",
    "max_position_embeddings",
    "max_sequence_length",
    "max_context_length",
    "max_seq_len",
    "seq_length",
    "n_ctx",
)
# Rows of the embedding; OLMo's table is longer than its vocabulary.
_ROWS = ("embedding_size", "vocab_size")


@dataclass(frozen=True)
class Limits:
    """What a model takes.

    Attributes:
        positions: Longest input in tokens, or None if the configuration does not tell.
        rows: Rows of the embedding, or None likewise.
    """

    positions: int | None
    rows: int | None

    def check(self, tokens: Sequence[int] | np.ndarray[Any, Any], what: str, *, new: int = 0) -> None:
        """Refuse an input that the model cannot look up.

        Args:
            tokens: Token ids, of one input or of rows of inputs of one length.
            what: Names the input in the sentence.
            new: Tokens that are generated after it.

        Raises:
            DataError: It is empty, or longer than the model takes.
            CheckpointError: A token is beyond the embedding.
        """
        ids = np.asarray(tokens)
        if not ids.size:
            raise DataError(f"{what} has no tokens; the tokenizer may be another model's.")
        length = ids.shape[-1]
        if self.positions is not None and length + new > self.positions:
            answer = f" and its answer up to {new}" if new else ""
            raise DataError(
                f"{what} has {length:,} tokens{answer}, and the model takes at most {self.positions:,}; "
                "shorten it, or leave it out."
            )
        highest = int(ids.max())
        if self.rows is not None and highest >= self.rows:
            raise CheckpointError(
                f"{what} holds token {highest:,}, and the model's embedding has {self.rows:,} rows; "
                "the tokenizer is another model's, or the embedding was not enlarged for its added tokens."
            )


def limits_of(config: Mapping[str, Any]) -> Limits:
    """The limits in a config.json, those of the text part first."""
    text = config.get("text_config")
    parts = [part for part in (text, config) if isinstance(part, Mapping)]
    return Limits(_first(parts, _POSITIONS), _first(parts, _ROWS))


def _first(parts: Sequence[Mapping[str, Any]], names: Sequence[str]) -> int | None:
    for part in parts:
        for name in names:
            found = part.get(name)
            if isinstance(found, int) and not isinstance(found, bool) and found > 0:
                return found
    return None
