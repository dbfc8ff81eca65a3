"""Calibration text to token sequences."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlx_prune.activations.calibration import Calibration
from mlx_prune.chat.same_tokenizer import MadeOfTokenizer
from mlx_prune.checkpoint.invented import CALIBRATION_TEXT, named
from mlx_prune.checkpoint.limits import limits_of
from mlx_prune.errors import DataError, one_line
from mlx_prune.paths import expanded
from mlx_prune.text import encode, leading_token, read_text

if TYPE_CHECKING:
    from mlx_prune.checkpoint.open import LoadedModel

DEFAULT_SAMPLES = 128
DEFAULT_LENGTH = 2048

_SEQUENCE = "a calibration sequence"
_C4 = "allenai/c4"
_C4_FILE = "en/c4-train.00000-of-01024.json.gz"
_C4_REVISION = "1588ec454efa1a09f29cd18ddd04fe05fc8653a2"


@dataclass(frozen=True)
class CalibrationTokens:
    """Token sequences, and where they come from.

    Attributes:
        tokens: [samples, length] int32.
        source: "demo", "c4", or the file.
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
    are drawn at random; each begins with the tokenizer's BOS token where the tokenizer puts one. From C4,
    each sequence comes from a document of its own that is long enough, at a random offset (as published
    Wanda).

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
        text, source = _read(named_source(calibration))
        digest = hashlib.sha256(text.encode()).hexdigest()

        def from_text() -> CalibrationTokens:
            return CalibrationTokens(
                _windows(tokenizer, text, source, calibration, length, seed), source, digest
            )

        found = _KEPT.of(tokenizer, from_text, calibration, length, seed, digest)
    limits.check(found.tokens, _SEQUENCE)
    return found


def _windows(
    tokenizer: Any, text: str, source: str, calibration: Calibration, length: int, seed: int
) -> np.ndarray[Any, np.dtype[np.int32]]:
    bos = leading_token(tokenizer)
    ids = np.asarray(encode(tokenizer, text), dtype=np.int32)
    if calibration.sequence_length is None:
        length = max(2, min(length, ids.size + len(bos)))
    body = length - len(bos)
    available = ids.size // body
    samples = calibration.samples or max(1, min(DEFAULT_SAMPLES, available))
    if samples > available:
        missing = samples * body - ids.size
        raise DataError(
            f"Calibration text {source} holds {ids.size:,} tokens, {missing:,} too few for {samples} "
            f"sequences of {length}; give a longer text, fewer samples or shorter sequences."
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


def _read(source: str | Path) -> tuple[str, str]:
    if source == "demo":
        from mlx_prune import demo

        return read_text(demo.calibration_text_path()), "demo"
    return read_text(source), str(expanded(source))


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
    from datasets import load_dataset

    try:
        stream = load_dataset(
            _C4, data_files={"train": _C4_FILE}, revision=_C4_REVISION, split="train", streaming=True
        )
        for row in stream:
            yield row["text"]
    except Exception as error:  # datasets passes on errors of several network libraries
        raise DataError(
            f"C4 cannot be read from the Hub ({one_line(error)}); "
            "check the connection, or calibrate on demo or a file."
        ) from error


def _with_prefix(
    windows: np.ndarray[Any, np.dtype[np.int32]], bos: list[int]
) -> np.ndarray[Any, np.dtype[np.int32]]:
    prefix = np.tile(np.asarray(bos, dtype=np.int32), (windows.shape[0], 1))
    return np.concatenate([prefix, windows], axis=1)
