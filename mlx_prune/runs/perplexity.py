"""Perplexity of a model on a text, as mlx-lm defines it."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx_lm.perplexity
import numpy as np
from numpy.typing import NDArray

from mlx_prune import words
from mlx_prune.chat.documents import Document, digest, documents, enough_of, joined_tokens
from mlx_prune.chat.same_tokenizer import MadeOfTokenizer
from mlx_prune.chat.template import try_out
from mlx_prune.checkpoint.invented import HELD_OUT_TEXT, named
from mlx_prune.checkpoint.limits import limits_of
from mlx_prune.checkpoint.open import LoadedModel
from mlx_prune.errors import DataError, one_line
from mlx_prune.generation.dequantized import dequantized
from mlx_prune.generation.finite import not_finite
from mlx_prune.generation.quick import quick_functions
from mlx_prune.generation.slices import LogitsOf, SlicedLogits
from mlx_prune.hub_data import is_hub
from mlx_prune.progress import Progress, ProgressCallback, silent
from mlx_prune.stats.perplexity import Perplexity, sequence_hash
from mlx_prune.text import leading_token

DEFAULT_SEQUENCES = 256
DEFAULT_LENGTH = 512
# The study's text, read through mlx-lm's own loader with the study's NumPy seed.
TULU = "allenai/tulu-3-sft-mixture"
_TULU_SEED = 123
# The sequences that were cut last: a study measures all its models on the same.
_TOKENS: MadeOfTokenizer[NDArray[np.int32]] = MadeOfTokenizer()


def perplexity(
    model: LoadedModel,
    *,
    text: str | Path | None = None,
    sequences: int | None = None,
    sequence_length: int | None = None,
    batch_size: int = 8,
    progress: ProgressCallback = silent,
) -> Perplexity:
    """Measure the perplexity of a model on a text.

    A text is tokenized as a whole and cut into consecutive sequences, of which the first are used; each
    begins with the tokenizer's BOS token where the tokenizer puts one.

    Args:
        model: A loaded model.
        text: "tulu" for the study's (downloaded once), a text or JSONL file, a data set of the Hub
            (:data:`~mlx_prune.hub_data.FORM`), or "demo" for the held-out text that was invented for the
            embedded model. None is "demo" for that model; any other needs a name.
        sequences: How many; None takes what the text holds, at most 256.
        sequence_length: Tokens of each; None takes 512, or what the model allows.
        batch_size: Sequences per forward pass.
        progress: Called once per batch.

    Returns:
        The perplexity and its standard error.

    Raises:
        DataError: The text is not named, cannot be read or is too short, a sequence is longer than the model
            takes, or the model's losses are not numbers.
    """
    tokens = held_out_tokens(model, text=text, sequences=sequences, sequence_length=sequence_length)
    with dequantized(model.model):
        logits_of = SlicedLogits(model.model)
        return perplexity_of_tokens(logits_of, tokens, batch_size=batch_size, progress=progress)


def held_out_tokens(
    model: LoadedModel,
    *,
    text: str | Path | None = None,
    sequences: int | None = None,
    sequence_length: int | None = None,
) -> NDArray[np.int32]:
    """The sequences of a text that a model is measured on; see :func:`perplexity`.

    Returns:
        Token ids (sequences, length).

    Raises:
        DataError: The text is not named, cannot be read or is too short, or a sequence is longer than the
            model takes.
    """
    text = named(HELD_OUT_TEXT, text, model, "the text")
    limits = limits_of(model.config)
    longest = limits.positions
    if longest is not None and (sequence_length or 0) > longest:
        raise DataError(
            f"the model takes at most {longest} tokens; choose a --sequence-length below {sequence_length}."
        )
    length = sequence_length or min(DEFAULT_LENGTH, longest or DEFAULT_LENGTH)
    if text == "tulu":
        count = sequences or DEFAULT_SEQUENCES
        tokens = _TOKENS.of(
            model.tokenizer, lambda: _tulu(model.tokenizer, count, length), TULU, count, length
        )
    else:
        enough = (sequences or DEFAULT_SEQUENCES) * length if is_hub(text) else None
        taken = enough_of(documents(_place(text), model.tokenizer), enough)
        tokens = _TOKENS.of(
            model.tokenizer,
            lambda: _sequences(model.tokenizer, text, taken, sequences, length),
            digest(taken),
            sequences,
            length,
        )
    limits.check(tokens, "a sequence of the text")
    return tokens


def _place(source: str | Path) -> str | Path:
    if source == "demo":
        from mlx_prune import demo

        return demo.heldout_text_path()
    return source


def _sequences(
    tokenizer: Any, source: str | Path, taken: Sequence[Document], count: int | None, length: int
) -> NDArray[np.int32]:
    ids = joined_tokens(taken, tokenizer)
    bos = leading_token(tokenizer)
    body = length - len(bos)
    available = len(ids) // body
    wanted = count or max(1, min(DEFAULT_SEQUENCES, available))
    if wanted > available:
        raise DataError(
            f"the text {source} holds {len(ids):,} tokens, {wanted * body - len(ids):,} too few for "
            f"{words.counted(wanted, 'sequence')} of {length}; give a longer text, fewer sequences or "
            "shorter ones."
        )
    cut = np.asarray(ids[: wanted * body], np.int32).reshape(wanted, body)
    return np.concatenate([np.tile(np.asarray(bos, np.int32), (wanted, 1)), cut], axis=1)


def _tulu(tokenizer: Any, count: int, length: int) -> NDArray[np.int32]:
    try_out(tokenizer)  # the loader renders conversations
    # mlx-lm's loader draws from NumPy's global generator; leave that as it was found.
    state = np.random.get_state()
    np.random.seed(_TULU_SEED)
    try:
        data = mlx_lm.perplexity.load_data(tokenizer, TULU, count, length)
    except Exception as error:  # datasets passes on errors of several network libraries
        raise DataError(
            f"{TULU} cannot be read from the Hub ({one_line(error)}); check the connection, or give a file."
        ) from error
    finally:
        np.random.set_state(state)
    return np.asarray(data, np.int32)


def perplexity_of_tokens(
    logits_of: LogitsOf,
    tokens: NDArray[np.int32],
    *,
    batch_size: int = 8,
    progress: ProgressCallback = silent,
) -> Perplexity:
    """Measure perplexity as ``mlx_lm.perplexity.eval_ppl`` does, quietly, with progress, and by sequence.

    Args:
        logits_of: A model, asked for few logits at a time: those of a batch may be a gigabyte.
        tokens: int32 token ids, shape ``(sequences, sequence_length)``.
        batch_size: Sequences per forward pass.
        progress: Called once per batch.

    Returns:
        The perplexity and its standard error.

    Raises:
        DataError: If there is no sequence of at least two tokens, or the model's losses are not numbers.
    """
    if tokens.ndim != 2 or tokens.shape[0] == 0 or tokens.shape[1] < 2:
        raise DataError("perplexity needs at least one sequence of two tokens.")
    batches = math.ceil(len(tokens) / batch_size)
    every = np.empty((tokens.shape[0], tokens.shape[1] - 1))
    with quick_functions():
        for number in range(batches):
            progress(Progress("perplexity", number, batches))
            rows = slice(number * batch_size, (number + 1) * batch_size)
            right, losses = tokens[rows, 1:].reshape(-1), every[rows].reshape(-1)  # a view
            for part, logits in logits_of(tokens[rows, :-1]):
                told = nn.losses.cross_entropy(logits, mx.array(right[part]), reduction="none")
                losses[part] = np.array(told)
    progress(Progress("perplexity", batches, batches))
    if math.isnan(float(every.mean())):
        raise DataError(not_finite(logits_of.model, "on the text", "losses"))
    return perplexity_of_losses(every, tokens)


def perplexity_of_losses(losses: NDArray[np.float64], tokens: NDArray[np.int32]) -> Perplexity:
    """The perplexity that losses add up to.

    Args:
        losses: Nats of each predicted token (sequences, sequence_length - 1), no NaN among them.
        tokens: Token ids (sequences, sequence_length).
    """
    mean = float(losses.mean())
    value = error = math.inf
    if mean < math.log(sys.float_info.max):
        value = math.exp(mean)
        error = value * float(losses.std(ddof=1)) / math.sqrt(losses.size) if losses.size > 1 else math.nan
    sequences, length = (int(n) for n in tokens.shape)
    return Perplexity(
        value,
        error,
        sequences,
        length,
        sequences * (length - 1),
        tuple(losses.sum(axis=1).tolist()),
        tuple(sequence_hash(ids) for ids in tokens),
    )
