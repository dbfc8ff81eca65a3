"""What a dense model predicts of a text, in a small file, so that many models are compared with one pass.

Of every position the ``top`` likeliest tokens are kept with their log-probabilities, and the mass of the
others in one number: some ``6 * top + 12`` bytes a token (``8 * top + 14`` with a vocabulary beyond 65,536)
in place of four times the vocabulary. How much a divergence lacks for it is estimated with every comparison
(:mod:`mlx_prune.stats.divergence`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_prune.caches import DISTRIBUTIONS, cache_folder
from mlx_prune.checkpoint.open import LoadedModel
from mlx_prune.environment import backend, versions
from mlx_prune.errors import DataError
from mlx_prune.generation.dequantized import dequantized
from mlx_prune.generation.finite import not_finite
from mlx_prune.generation.quick import quick_functions
from mlx_prune.generation.slices import SlicedLogits
from mlx_prune.json_files import fingerprint
from mlx_prune.progress import Progress, ProgressCallback, silent
from mlx_prune.runs.fingerprint import model_fingerprint
from mlx_prune.runs.settings import DEFAULT_TOP
from mlx_prune.store import complete_file, taking_turns

BATCH = 8
"""Sequences per forward pass."""
DRAWN_EVERY = 4
"""Positions from one that a token of the rest is drawn at to the next."""

_VERSION = 1  # of what the arrays mean
_DRAW_SEED = 20_260_515


@dataclass(frozen=True, eq=False)
class DenseDistributions:
    """A dense model's next-token distributions; arrays begin with (sequences, positions).

    Attributes:
        top_ids: The likeliest tokens (..., top), in no order; unsigned.
        top_log: ln of their probabilities, float32.
        rest_log: ln of the mass of all others (...), float32; minus infinity where there are none.
        right_log: ln of the probability of the token that stands there, float32.
        first: The likeliest token (...), the lowest of equals; unsigned.
        drawn_ids: A token of the rest, drawn from the distribution (sequences, ceil(positions / 4)): at every
            fourth position.
        drawn_log: ln of its probability, float32.
        vocabulary: Number of tokens that the model tells apart.
        file: Where they are kept, named after all that they follow from; None if they are in memory alone.
    """

    top_ids: NDArray[np.unsignedinteger[Any]]
    top_log: NDArray[np.float32]
    rest_log: NDArray[np.float32]
    right_log: NDArray[np.float32]
    first: NDArray[np.unsignedinteger[Any]]
    drawn_ids: NDArray[np.unsignedinteger[Any]]
    drawn_log: NDArray[np.float32]
    vocabulary: int
    file: Path | None = None

    @property
    def cached_bytes(self) -> int:
        """Size of the file that holds them; 0 if they are in memory alone."""
        return 0 if self.file is None else self.file.stat().st_size

    @property
    def top(self) -> int:
        """How many tokens are kept of each position."""
        return int(self.top_ids.shape[-1])

    @property
    def losses(self) -> NDArray[np.float64]:
        """Negative log-likelihood of each token in nats (sequences, positions)."""
        return -self.right_log.astype(np.float64)

    @property
    def mean_rest(self) -> float:
        """Mean probability of what is in the bucket."""
        return float(np.exp(self.rest_log.astype(np.float64)).mean())


_ARRAYS = tuple(f.name for f in fields(DenseDistributions) if f.name not in ("vocabulary", "file"))


def dense_distributions(
    model: LoadedModel,
    tokens: NDArray[np.int32],
    *,
    top: int = DEFAULT_TOP,
    progress: ProgressCallback = silent,
) -> DenseDistributions:
    """A dense model's distributions on a text: from the cache, or measured and kept there.

    They are found again by every weight of the model as it is in memory, its configuration, the token ids and
    ``top``.

    Args:
        model: The dense model.
        tokens: Token ids (sequences, length).
        top: Tokens to keep of each position, at most the vocabulary, with which nothing is lost.
        progress: Called once per batch.

    Raises:
        DataError: The model's logits are not numbers.
        RecordsError: The cache cannot be written.
    """
    file = _file(model, tokens, top)
    # Processes that work side by side wait for the first one's pass.
    with taking_turns(file):
        found = _read(file)
        if found is None:
            with dequantized(model.model):
                made = measure_distributions(model, tokens, top, progress)
            arrays = {name: mx.array(getattr(made, name)) for name in _ARRAYS}
            with complete_file(file, shared=True) as opened:
                mx.save_safetensors(opened, arrays, metadata={"vocabulary": json.dumps(made.vocabulary)})
            found = _read(file)
            assert found is not None
    return found


def _file(model: LoadedModel, tokens: NDArray[np.int32], top: int) -> Path:
    installed = versions()
    ids = np.ascontiguousarray(tokens, "<i4")
    key = {
        "version": _VERSION,
        "model": identity(model),
        "tokens": [list(ids.shape), hashlib.sha256(ids.tobytes()).hexdigest()],
        "top": top,
        "dtype": model.dtype,
        "backend": backend(),
        "mlx": installed["mlx"],
        "mlx-lm": installed["mlx-lm"],
    }
    return cache_folder() / DISTRIBUTIONS / f"{fingerprint(key)}.safetensors"


def identity(model: LoadedModel) -> str:
    """A hash of all weights of a model as they are in memory, and of its configuration."""
    return fingerprint({"weights": model_fingerprint(model.model), "config": model.config})[:16]


def _read(file: Path) -> DenseDistributions | None:
    if not file.is_file():
        return None
    try:
        loaded: Any = mx.load(str(file), return_metadata=True)
        arrays = {name: np.array(loaded[0][name]) for name in _ARRAYS}
        return DenseDistributions(**arrays, vocabulary=json.loads(loaded[1]["vocabulary"]), file=file)
    except (RuntimeError, ValueError, KeyError):
        return None  # truncated or of another content: it is made anew


def measure_distributions(
    model: LoadedModel, tokens: NDArray[np.int32], top: int, progress: ProgressCallback = silent
) -> DenseDistributions:
    """The same, measured in any case and kept in memory alone."""
    logits_of = SlicedLogits(model.model)
    vocabulary = logits_of.vocabulary
    top = min(top, vocabulary)
    ids = np.uint16 if vocabulary <= 1 << 16 else np.uint32
    sequences, positions = tokens.shape[0], tokens.shape[1] - 1
    made = DenseDistributions(
        top_ids=np.empty((sequences, positions, top), ids),
        top_log=np.empty((sequences, positions, top), np.float32),
        rest_log=np.empty((sequences, positions), np.float32),
        right_log=np.empty((sequences, positions), np.float32),
        first=np.empty((sequences, positions), ids),
        drawn_ids=np.zeros((sequences, -(-positions // DRAWN_EVERY)), ids),
        drawn_log=np.full((sequences, -(-positions // DRAWN_EVERY)), -np.inf, np.float32),
        vocabulary=vocabulary,
    )
    drawn = np.arange(positions) % DRAWN_EVERY == 0
    starts = range(0, sequences, BATCH)
    key = mx.random.key(_DRAW_SEED)
    for number, start in enumerate(starts):
        progress(Progress("dense predictions", number, len(starts)))
        rows = slice(start, min(start + BATCH, sequences))
        batch = tokens[rows]
        at = {name: getattr(made, name)[rows].reshape(-1, *getattr(made, name).shape[2:]) for name in _ARRAYS}
        right, marked = batch[:, 1:].reshape(-1), np.tile(drawn, len(batch))
        place = 0
        for part, logits in logits_of(batch[:, :-1]):
            log, first = log_probabilities(model.model, logits)
            likeliest = mx.argpartition(log, vocabulary - top, axis=-1)[:, vocabulary - top :]
            rest = mx.put_along_axis(log, likeliest, mx.array(-mx.inf), axis=-1)
            at["top_ids"][part] = np.array(likeliest).astype(ids)
            at["top_log"][part] = np.array(mx.take_along_axis(log, likeliest, axis=-1))
            at["right_log"][part] = log_probability_of(log, right[part])
            at["first"][part] = first
            with quick_functions():
                at["rest_log"][part] = np.array(mx.logsumexp(rest, axis=-1))
            here = np.flatnonzero(marked[part])
            if top < vocabulary and here.size:
                key, noise = mx.random.split(key)
                some = rest[mx.array(here)]
                token = np.array(mx.argmax(some + mx.random.gumbel(some.shape, key=noise), axis=-1))
                at["drawn_ids"][place : place + len(here)] = token.astype(ids)
                at["drawn_log"][place : place + len(here)] = log_probability_of(some, token)
            place += len(here)
        mx.clear_cache()
    progress(Progress("dense predictions", len(starts), len(starts)))
    return made


def log_probabilities(model: Any, logits: mx.array) -> tuple[mx.array, NDArray[Any]]:
    """Log-probabilities of float32 logits (positions, vocabulary), and the likeliest token of each position.

    Raises:
        DataError: The logits are not numbers.
    """
    first = mx.argmax(logits, axis=-1)
    with quick_functions():
        log = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        mx.eval(log, first)
    if mx.any(mx.isnan(log)).item():
        raise DataError(not_finite(model, "on the text"))
    return log, np.array(first)


def log_probability_of(log: mx.array, tokens: NDArray[Any]) -> NDArray[np.float32]:
    """The log-probability of one token of each position."""
    index = mx.array(tokens.astype(np.int32))[:, None]
    return np.array(mx.take_along_axis(log, index, axis=-1)[:, 0])
