"""Which questions and texts a study uses: named in its file, or the embedded ones for the embedded model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from mlx_prune.activations.calibration import Calibration
from mlx_prune.bbq.wording import Wording, read_wording, wording_of
from mlx_prune.checkpoint.invented import (
    CALIBRATION_TEXT,
    DEMO,
    HELD_OUT_TEXT,
    QUESTIONS,
    Data,
    named_for_all,
    warnings_for,
)
from mlx_prune.errors import DataError
from mlx_prune.hub_data import is_hub, parse_hub
from mlx_prune.paths import expanded
from mlx_prune.study.config import StudyConfig
from mlx_prune.study.recipes import recipe_of

_FROM_THE_HUB = ("hub", "tulu", "c4")
_WHERE = {
    QUESTIONS: "source in [bbq]",
    HELD_OUT_TEXT: "text in [perplexity]",
    CALIBRATION_TEXT: "source in [calibration",
}


def with_named_data(config: StudyConfig) -> StudyConfig:
    """The same study with every source of data named.

    Raises:
        DataError: A model other than the embedded one lacks one that the study needs; nothing is loaded yet.
    """
    needed, texts = _needed(config), _texts(config)

    def source(data: Data, said: str | Path | None) -> str | None:
        if data in needed:
            return named_for_all(data, said, config.paths, _WHERE[data])
        return None if said is None else str(said)

    def text(name: str | None, said: Calibration) -> Calibration:
        found = None if said.source is None else str(said.source)
        if name in texts:
            where = _WHERE[CALIBRATION_TEXT] + (f".{name}]" if name else "]")
            models = [model.path for model in config.models]
            found = named_for_all(CALIBRATION_TEXT, said.source, models, where)
        return dataclasses.replace(said, source=found)

    bbq, perplexity = config.bbq, config.perplexity
    return dataclasses.replace(
        config,
        bbq=dataclasses.replace(bbq, source=source(QUESTIONS, bbq.source)),
        perplexity=dataclasses.replace(perplexity, text=source(HELD_OUT_TEXT, perplexity.text)),
        calibration=text(None, config.calibration),
        calibrations={name: text(name, said) for name, said in config.calibrations.items()},
    )


def require_sources(config: StudyConfig) -> None:
    """Refuse files and folders of data that are not there, before the first model is loaded.

    Raises:
        DataError: One is absent, or the wording of the questions cannot be read.
    """
    if config.bbq.wording is not None:
        read_wording(config.bbq.wording)
    sources = list(_needed(config).items())
    sources += [(CALIBRATION_TEXT, text.source) for text in _texts(config).values()]
    if config.recovers:
        sources.append((CALIBRATION_TEXT, config.recover.data))
    for data, source in sources:
        if source is None or source in (DEMO, *_FROM_THE_HUB):
            continue
        if is_hub(source) and data is not QUESTIONS:
            parse_hub(str(source))
            continue
        path = expanded(source)
        what, there = (
            ("folder of questions", path.is_dir()) if data is QUESTIONS else ("text file", path.is_file())
        )
        if not there:
            raise DataError(f"There is no {what} {source}; correct its name in the study file.")


def wording(config: StudyConfig) -> Wording:
    """The words of a study's prompts and the columns of its questions: [prompt] before the wording's own.

    Raises:
        DataError: The file of the wording cannot be read.
    """
    assert config.bbq.source is not None
    found = wording_of(config.bbq.source, config.bbq.wording)
    return found if config.prompt is None else dataclasses.replace(found, prompt=config.prompt)


def from_the_hub(config: StudyConfig) -> tuple[str, ...]:
    """The data that come from the Hub, as the study names them."""
    used = [*_needed(config).values(), *(text.source for text in _texts(config).values())]
    sources = dict.fromkeys(str(source) for source in used if source is not None)
    return tuple(source for source in sources if source in _FROM_THE_HUB or is_hub(source))


def data_warnings(config: StudyConfig) -> tuple[str, ...]:
    """Sentences about embedded data that a model other than the embedded one is measured on."""
    config = with_named_data(config)
    of_checkpoints = _needed(config)
    invented = [text.source for text in _texts(config).values() if text.source == DEMO]
    sources = of_checkpoints | ({CALIBRATION_TEXT: DEMO} if invented else {})
    found = [sentence for model in config.models for sentence in warnings_for(model.path, sources)]
    found += [sentence for row in config.checkpoints for sentence in warnings_for(row.path, of_checkpoints)]
    return tuple(dict.fromkeys(found))


def _needed(config: StudyConfig) -> dict[Data, str | Path | None]:
    """The questions and the text of perplexity, as far as they are used, and what the file names for each."""
    needed: dict[Data, str | Path | None] = {QUESTIONS: config.bbq.source}
    if config.perplexity.enabled:
        needed[HELD_OUT_TEXT] = config.perplexity.text
    return needed


def _texts(config: StudyConfig) -> dict[str | None, Calibration]:
    """The calibration texts that are used, by name; the first one has none."""
    used: dict[str | None, Calibration] = {}
    for name in config.configurations(config.models[0].label):
        if name.is_named:
            continue
        recipe, label = recipe_of(config, name), name.label
        learned = label.quantization is not None and label.quantization.learned
        trained = label.trained and config.recover.data is None
        if learned or trained or (recipe is not None and recipe.calibration is not None):
            used[label.calibration] = config.calibration_of(label)
    return used
