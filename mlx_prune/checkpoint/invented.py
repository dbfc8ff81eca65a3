"""The questions and texts that were invented for the embedded model, and who may use them unasked.

One rule holds for every command, for a study's file and in Python: the embedded model and what was pruned
from it take the embedded data by themselves; for any other model data are named, and where somebody names
the embedded ones, every surface says what they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.errors import CheckpointError, DataError, no_folder
from mlx_prune.paths import expanded, looks_like_hub_id

if TYPE_CHECKING:
    from mlx_prune.checkpoint.open import LoadedModel

DEMO = "demo"


@dataclass(frozen=True)
class Data:
    """One kind of data that a measurement needs.

    Attributes:
        what: Which, for a sentence.
        choices: What may be named.
        warning: What to say where the embedded data were named for another model.
    """

    what: str
    choices: str
    warning: str


QUESTIONS = Data(
    "questions",
    "hub for BBQ, a folder of BBQ's files, or demo for invented ones",
    "the questions are mlx-prune's demo questions, which were invented and are not BBQ: "
    "rates from them say nothing about a real model",
)
HELD_OUT_TEXT = Data(
    "text for perplexity",
    "tulu, hub:ORG/NAME for a data set, a text or JSONL file, or demo for an invented one",
    "perplexity was measured on mlx-prune's demo text, which was invented and is no sample of a language",
)
CALIBRATION_TEXT = Data(
    "calibration text",
    "c4, hub:ORG/NAME for a data set, a text or JSONL file, or demo for an invented one",
    "calibrated on mlx-prune's demo text, which was invented and is no sample of a language; "
    "calibrate a model that is to be used on c4 or a file",
)


def is_demo(model: LoadedModel | str | Path) -> bool:
    """Whether a model is the embedded one, or a checkpoint that was pruned from it."""
    if model == DEMO:
        return True
    from mlx_prune import demo

    folder = expanded(model) if isinstance(model, str | Path) else model.path
    if folder.resolve() == demo.model_path():
        return True
    try:
        record = PruningRecord.find(folder)
    except CheckpointError:
        return False  # whoever needs it says what is wrong with it
    return record is not None and record.model == DEMO


def named(data: Data, source: str | Path | None, model: LoadedModel | str | Path, where: str) -> str | Path:
    """The source of data that was named, or "demo" for the embedded model.

    Args:
        data: What is needed.
        source: What was named; None if nothing was.
        model: Whom it is for: loaded, a folder, a Hub id or "demo".
        where: What names it, in the words of the caller: ``--bbq``, ``items``.

    Raises:
        CheckpointError: The model is not there, and no name of the Hub's either.
        DataError: Nothing was named for a model other than the embedded one.
    """
    if source is not None:
        return source
    if is_demo(model):
        return DEMO
    if isinstance(model, str | Path) and not looks_like_hub_id(str(model)) and not expanded(model).exists():
        raise no_folder(model)
    name = model if isinstance(model, str | Path) else model.name
    raise DataError(f"the {data.what} for {name} must be named: give {where} as {data.choices}.")


def named_for_all(data: Data, source: str | Path | None, models: Iterable[str], where: str) -> str | None:
    """The one source that several models share; None without models and without a name.

    Raises:
        DataError: Nothing was named, and one of them is not the embedded model.
    """
    found = [str(named(data, source, model, where)) for model in models]
    return found[0] if found else None if source is None else str(source)


def warnings_for(
    model: LoadedModel | str | Path, sources: Mapping[Data, str | Path | None]
) -> tuple[str, ...]:
    """A sentence for each of the embedded data that a model other than the embedded one is measured on."""
    told = [data for data, source in sources.items() if source == DEMO]
    return tuple(_sentence(data) for data in told) if told and not is_demo(model) else ()


def calibration_warnings(model: str | Path, calibration: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The same for the calibration that a record of pruning describes."""
    return warnings_for(model, {CALIBRATION_TEXT: (calibration or {}).get("source")})


def run_warnings(configuration: Mapping[str, Any], text: str | None = None) -> tuple[str, ...]:
    """The same for a run that was made.

    Args:
        configuration: The ``configuration`` of its ``run.json``.
        text: What its perplexity was measured on.
    """
    if configuration.get("model") == DEMO:
        return ()
    sources = ((QUESTIONS, configuration.get("bbq")), (HELD_OUT_TEXT, text))
    return tuple(_sentence(data) for data, source in sources if source == DEMO)


def _sentence(data: Data) -> str:
    return f"{data.warning[0].upper()}{data.warning[1:]}."
