"""The text a model is trained back on: sequences to learn from, and a last part that is held out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlx_prune.activations.calibration import Calibration
from mlx_prune.activations.text import calibration_tokens
from mlx_prune.chat.documents import (
    Document,
    completion_marks,
    digest,
    documents,
    enough_of,
    joined_tokens,
)
from mlx_prune.checkpoint.limits import limits_of
from mlx_prune.errors import DataError
from mlx_prune.hub_data import is_hub
from mlx_prune.paths import expanded
from mlx_prune.recovery.settings import Recovery
from mlx_prune.text import leading_token

LONGEST = 512
# A tenth of the text is held out at most, and no more than tells a loss to about a percent. Losses before
# and after are of the same sequences, so fewer do where training is short: all evaluations together take some
# tenth of the time of the steps.
HELD_OUT, MOST_HELD_OUT, LEAST_HELD_OUT_TOKENS = 0.1, 32, 1024
HELD_OUT_PER_LEARNED = 1 / 40


@dataclass(frozen=True)
class TrainingData:
    """Token sequences of one length.

    Attributes:
        train: [sequences, length] int32, to learn from.
        held_out: The same, of the end of the text, on which nothing is learned.
        source: "demo", "c4", the file, or the data set of the Hub as it was named.
        sha256: Of the text that was read, UTF-8.
        train_marks: [sequences, length], which tokens of ``train`` are to be learned; None for all.
        held_out_marks: The same of ``held_out``.
    """

    train: NDArray[np.int32]
    held_out: NDArray[np.int32]
    source: str
    sha256: str
    train_marks: NDArray[np.bool_] | None = None
    held_out_marks: NDArray[np.bool_] | None = None

    @property
    def tokens_sha256(self) -> str:
        """Of all token ids, so of tokenizer, lengths and parting, too; and of what is learned of them."""
        found = hashlib.sha256(repr((self.train.shape, self.held_out.shape)).encode())
        for part in (self.train, self.held_out):
            found.update(np.ascontiguousarray(part, "<i4").tobytes())
        for marks in (self.train_marks, self.held_out_marks):
            found.update(b"" if marks is None else np.packbits(marks).tobytes())
        return found.hexdigest()

    def describe(self) -> dict[str, Any]:
        """What is recorded beside a result."""
        learned = (
            {} if self.train_marks is None else {"completion_tokens": int(self.train_marks[:, 1:].sum())}
        )
        return {
            "source": self.source,
            "sequences": len(self.train),
            "held_out_sequences": len(self.held_out),
            "sequence_length": self.train.shape[1],
            "sha256": self.sha256,
            "tokens_sha256": self.tokens_sha256,
            **learned,
        }


def training_data(
    source: str | Path, tokenizer: Any, config: dict[str, Any], settings: Recovery
) -> TrainingData:
    """Read documents and cut them into sequences.

    Conversations are written by the chat template. All is tokenized as a whole and cut into consecutive
    stretches, each behind the tokenizer's BOS token where it puts one; the last ones are held out. From C4
    each sequence is of a document of its own. Where prompts are masked, stretches of prompts alone are left
    out.

    Args:
        source: "demo", "c4", a file of text or JSON lines, or a data set of the Hub (``hub:ORG/NAME``).
        tokenizer: The model's.
        config: The model's config.json, for the longest sequence it takes.
        settings: How many sequences are needed, and how long they are.

    Raises:
        DataError: The text cannot be read or is too short, or has no prompts to mask; a sequence is longer
            than the model takes.
        CheckpointError: The tokenizer has tokens that the model has no embedding for.
    """
    limits = limits_of(config)
    longest = limits.positions
    length = settings.sequence_length or min(LONGEST, longest or LONGEST)
    if longest is not None and length > longest:
        raise DataError(
            f"The model takes at most {longest} tokens; choose a --sequence-length below {length}."
        )
    learned = settings.steps * settings.batch_size
    least = -(-LEAST_HELD_OUT_TOKENS // length)
    kept_back = min(MOST_HELD_OUT, max(least, round(HELD_OUT_PER_LEARNED * learned)))
    needed = max(1, learned) + kept_back
    marks = None
    if source == "c4":
        if settings.mask_prompt:
            raise DataError("C4 is plain text, which has no prompt to mask; leave --mask-prompt out.")
        drawn = calibration_tokens(Calibration("c4", needed, length), tokenizer, config, settings.seed)
        sequences, name, sha256 = drawn.tokens, "c4", drawn.sha256
    else:
        taken, name = _documents(source, tokenizer, needed * length)
        sha256 = digest(taken)
        sequences = _cut(tokenizer, taken, length, settings.sequence_length is None, name)
        if settings.mask_prompt:
            sequences, marks = _with_replies(
                sequences, completion_marks(taken), len(leading_token(tokenizer)), name
            )
    limits.check(sequences, "a sequence of the text")
    held_out = min(kept_back, max(1, round(HELD_OUT * len(sequences))))
    parts = slice(None, -held_out), slice(-held_out, None)
    own = (None, None) if marks is None else (marks[parts[0]], marks[parts[1]])
    return TrainingData(sequences[parts[0]], sequences[parts[1]], name, sha256, *own)


def _documents(source: str | Path, tokenizer: Any, tokens: int) -> tuple[list[Document], str]:
    """Documents, and what they are called; of a data set on the Hub no more than are needed."""
    if source == "demo":
        from mlx_prune import demo

        return list(documents(demo.calibration_text_path(), tokenizer)), "demo"
    if is_hub(source):
        return enough_of(documents(source, tokenizer), tokens), str(source)
    return list(documents(source, tokenizer)), str(expanded(source))


def _cut(
    tokenizer: Any, taken: Sequence[Document], length: int, shorter: bool, source: str
) -> NDArray[np.int32]:
    ids = np.asarray(joined_tokens(taken, tokenizer), np.int32)
    bos = leading_token(tokenizer)
    if shorter:
        # Some sequences to part are worth more than their length.
        length = max(8, min(length, len(bos) + ids.size // 20))
    body = length - len(bos)
    count = ids.size // body
    if count < 2:
        raise DataError(
            f"The text {source} holds {ids.size:,} tokens, too few for two sequences of {length}: one to "
            "learn from and one that is held out; give a longer text or shorter sequences."
        )
    cut = ids[: count * body].reshape(count, body)
    return np.concatenate([np.tile(np.asarray(bos, np.int32), (count, 1)), cut], axis=1)


def _with_replies(
    sequences: NDArray[np.int32], marks: Sequence[bool], leading: int, source: str
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """The sequences in which a token of a reply is predicted, and which of their tokens are of replies."""
    count, body = len(sequences), sequences.shape[1] - leading
    cut = np.asarray(marks[: count * body], bool).reshape(count, body)
    whole = np.concatenate([np.zeros((count, leading), bool), cut], axis=1)
    learned = whole[:, 1:].any(axis=1)
    if learned.sum() < 2:
        raise DataError(
            f"The replies of {source} fill too few sequences of {sequences.shape[1]} tokens: one to learn "
            "from and one that is held out; give more conversations or shorter sequences."
        )
    return sequences[learned], whole[learned]
