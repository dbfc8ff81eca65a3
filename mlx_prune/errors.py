"""What goes wrong, as one sentence for the person who asked.

Every error a user can cause or meet derives from :class:`MlxPruneError`; the command line prints its message
and exits with code 1. Messages say what is wrong and what to do about it, in one sentence.
"""

from __future__ import annotations

from pathlib import Path


class MlxPruneError(Exception):
    """Base class of every error this package raises on purpose."""


class CheckpointError(MlxPruneError):
    """A model folder or Hub id that cannot be read, or is not what the operation needs."""


class DataError(MlxPruneError):
    """Items, calibration text or other data that are missing, malformed or too short."""


class RecipeError(MlxPruneError):
    """A pruning recipe that makes no sense, or does not fit the model."""


class RecordsError(MlxPruneError):
    """A run folder that belongs to something else, is in use, or is damaged."""


class PublishError(MlxPruneError):
    """The Hub refused or could not be reached, or a name or repository there does not fit."""


_LONGEST_REASON = 600


def one_line(error: BaseException) -> str:
    """What an error of another library says, whole, on one line and without its last full stop.

    Names often stand on the lines that follow the first; only what is much longer than a sentence is cut off.
    """
    text = " ".join(str(error).split()).rstrip(".: ") or type(error).__name__
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON].rstrip(',;: ')} ..."


def no_folder(model: str | Path) -> CheckpointError:
    """What to raise where a model is neither there nor a name of the Hub's."""
    return CheckpointError(f"There is no model folder {model}; give a folder, a Hub id (org/name) or demo.")
