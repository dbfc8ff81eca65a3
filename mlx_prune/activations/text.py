"""Calibration text to token sequences."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlx_prune import words
from mlx_prune.activations.calibration import Calibration
from mlx_prune.chat.documents import Document, digest, documents, enough_of, joined_tokens
from mlx_prune.chat.same_tokenizer import MadeOfTokenizer
from mlx_prune.checkpoint.invented import CALIBRATION_TEXT, named
from mlx_prune.checkpoint.limits import limits_of
from mlx_prune.errors import DataError
from mlx_prune.hub_data import HubData, is_hub
from mlx_prune.paths import expanded
from mlx_prune.text import encode, leading_token

if TYPE_CHECKING:
    from mlx_prune.checkpoint.open import LoadedModel

DEFAULT_SAMPLES = 128
DEFAULT_LENGTH = 2048

_SEQUENCE = "a calibration sequence"
_C4 = HubData("allenai/c4", revision="1588ec454efa1a09f29cd18ddd04fe05fc8653a2")
_C4_FILE = "en/c4-train.00000-of-01024.json.gz"
# Of a stream the sequences are drawn out of this many times as many.
_DRAWN_FROM = 4


@dataclass(frozen=True)
class CalibrationTokens:
    """Token sequences, and where they come from.

    Attributes:
        tokens: [samples, length] int32.
        source: "demo", "c4", the file, or the data set of the Hub as it was named.
        sha256: Of the text that was read, UTF-8.
    """

    tokens: np.ndarray[Any, np.dtype[np.int32]]
    source: str
    sha256: str

    @property
    def tokens_sha256(self) -> str:
        """Of the token ids themselves (with their shape): equal only if tokenizer and choice agree too."""
        digest = hashlib.sha256(repr(self.tokens.shape).encode())
        digest.update(np.ascontiguousarray(self.tokens, dtype="<i4").tobytes())
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """What is recorded beside a result."""
        samples, length = self.tokens.shape
        return {
            "source": self.source,
            "samples": samples,
            "sequence_length": length,
            "sha256": self.sha256,
            "tokens_sha256": self.tokens_sha256,
        }


# What was cut last: the methods of a study that calibrate, one after the other, do so on the same sequences.
_KEPT: MadeOfTokenizer[CalibrationTokens] = MadeOfTokenizer()


def calibration_tokens(
    calibration: Calibration, tokenizer: Any, config: dict[str, Any], seed: int
) -> CalibrationTokens:
    """Read a text and cut it into sequences.

    The text is tokenized as a whole and cut into consecutive stretches of equal length, of which ``samples``
    are drawn at random; each begins with the tokenizer's BOS token where the tokenizer puts one. Of a data
    set on the Hub the first documents are the text, as many as hold four times what is drawn. From C4, each
    sequence comes from a document of its own that is long enough, at a random offset (as published Wanda).

    Args:
        calibration: Source and sizes.
        tokenizer: The model's.
        config: The model's config.json, for the longest sequence it takes.
        seed: Of the choice of sequences.

    Returns:
        The sequences.

    Raises:
        DataError: The text cannot be read or is too short, or a sequence is longer than the model takes.
        CheckpointError: The tokenizer has tokens that the model has no embedding for.
    """
    limits = limits_of(config)
    longest = limits.positions
    if (
        longest is not None
        and calibration.sequence_length is not None
        and calibration.sequence_length > longest
    ):
        raise DataError(
            f"The model takes at most {longest} tokens, so calibration sequences cannot have "
            f"{calibration.sequence_length}; choose a shorter sequence length."
        )
    length = calibration.sequence_length or min(DEFAULT_LENGTH, longest or DEFAULT_LENGTH)

    if calibration.source == "c4":

        def from_c4() -> CalibrationTokens:
            return _from_c4(tokenizer, calibration.samples or DEFAULT_SAMPLES, length, seed)

        found = _KEPT.of(tokenizer, from_c4, calibration, length, seed, _c4_documents)
    else:
        found = _from_documents(calibration, tokenizer, length, seed)
    limits.check(found.tokens, _SEQUENCE)
    return found


def _from_documents(calibration: Calibration, tokenizer: Any, length: int, seed: int) -> CalibrationTokens:
    source, enough = named_source(calibration), None
    if is_hub(source):
        enough = _DRAWN_FROM * (calibration.samples or DEFAULT_SAMPLES) * length
    name, place = str(source), source
    if source == "demo":
        from mlx_prune import demo

        place = demo.calibration_text_path()
    elif enough is None:
        name = str(expanded(source))
    taken = enough_of(documents(place, tokenizer), enough)
    sha256 = digest(taken)

    def cut() -> CalibrationTokens:
        return CalibrationTokens(_windows(tokenizer, taken, name, calibration, length, seed), name, sha256)

    return _KEPT.of(tokenizer, cut, calibration, length, seed, sha256)


def _windows(
    tokenizer: Any, taken: Sequence[Document], source: str, calibration: Calibration, length: int, seed: int
) -> np.ndarray[Any, np.dtype[np.int32]]:
    bos = leading_token(tokenizer)
    ids = np.asarray(joined_tokens(taken, tokenizer), dtype=np.int32)
    if calibration.sequence_length is None:
        length = max(2, min(length, ids.size + len(bos)))
    body = length - len(bos)
    available = ids.size // body
    samples = calibration.samples or max(1, min(DEFAULT_SAMPLES, available))
    if samples > available:
        missing = samples * body - ids.size
        raise DataError(
            f"Calibration text {source} holds {ids.size:,} tokens, {missing:,} too few for "
            f"{words.counted(samples, 'sequence')} of {length}; give a longer text, fewer samples or "
            "shorter sequences."
        )
    rng = np.random.Generator(np.random.PCG64(seed))
    chosen = np.sort(rng.choice(available, size=samples, replace=False))
    return _with_prefix(ids[: available * body].reshape(available, body)[chosen], bos)


def named_source(calibration: Calibration) -> str | Path:
    """The source of a calibration that was named for its model (:func:`for_model`)."""
    if calibration.source is None:
        raise DataError(f"the calibration text must be named: {CALIBRATION_TEXT.choices}.")
    return calibration.source


def for_model(calibration: Calibration, model: LoadedModel | str | Path) -> Calibration:
    """The same calibration with a source: what was named, or the embedded text for the embedded model.

    Raises:
        DataError: Nothing was named for another model.
    """
    source = named(CALIBRATION_TEXT, calibration.source, model, "--calibration (in Python, Calibration)")
    return dataclasses.replace(calibration, source=source)


def _from_c4(tokenizer: Any, samples: int, length: int, seed: int) -> CalibrationTokens:
    bos = leading_token(tokenizer)
    rng = np.random.Generator(np.random.PCG64(seed))
    body, digest, windows = length - len(bos), hashlib.sha256(), []
    for text in _c4_documents():
        ids = encode(tokenizer, text)
        if len(ids) < body:
            continue
        digest.update(text.encode())
        start = int(rng.integers(0, len(ids) - body + 1))
        windows.append(np.asarray(ids[start : start + body], dtype=np.int32))
        if len(windows) == samples:
            return CalibrationTokens(_with_prefix(np.stack(windows), bos), "c4", digest.hexdigest())
    raise DataError(
        f"C4's first file holds only {len(windows)} documents of {body} tokens; use fewer or shorter samples."
    )


def _c4_documents() -> Iterator[str]:
    for _, row in _C4.rows(data_files={"train": _C4_FILE}):
        yield row["text"]


def _with_prefix(
    windows: np.ndarray[Any, np.dtype[np.int32]], bos: list[int]
) -> np.ndarray[Any, np.dtype[np.int32]]:
    prefix = np.tile(np.asarray(bos, dtype=np.int32), (windows.shape[0], 1))
    return np.concatenate([prefix, windows], axis=1)
