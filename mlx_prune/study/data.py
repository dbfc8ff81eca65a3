"""Which questions and texts a study uses: named in its file, or the embedded ones for the embedded model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from mlx_prune.errors import DataError
from mlx_prune.invented import (
    CALIBRATION_TEXT,
    DEMO,
    HELD_OUT_TEXT,
    QUESTIONS,
    Data,
    named_for_all,
    warnings_for,
)
from mlx_prune.paths import expanded
from mlx_prune.study.config import StudyConfig
from mlx_prune.study.recipes import recipe_of

_FROM_THE_HUB = ("hub", "tulu", "c4")


def with_named_data(config: StudyConfig) -> StudyConfig:
    """The same study with every source of data named.

    Raises:
        DataError: A model other than the embedded one lacks one that the study needs; nothing is loaded yet.
    """
    return dataclasses.replace(
        config,
        bbq=dataclasses.replace(
            config.bbq, source=_source(config, QUESTIONS, config.bbq.source, "source in [bbq]")
        ),
        perplexity=dataclasses.replace(
            config.perplexity,
            text=_source(
                config,
                HELD_OUT_TEXT,
                config.perplexity.text,
                "text in [perplexity]",
                needed=config.perplexity.enabled,
            ),
        ),
        calibration=dataclasses.replace(
            config.calibration,
            source=_source(
                config,
                CALIBRATION_TEXT,
                config.calibration.source,
                "source in [calibration]",
                needed=_calibrates(config),
            ),
        ),
    )


def require_sources(config: StudyConfig) -> None:
    """Refuse files and folders of data that are not there, before the first model is loaded.

    Raises:
        DataError: One is absent.
    """
    named: list[tuple[str | Path | None, str, Callable[[Path], bool]]] = [
        (config.bbq.source, "folder of questions", Path.is_dir)
    ]
    if config.perplexity.enabled:
        named.append((config.perplexity.text, "text file", Path.is_file))
    if _calibrates(config):
        named.append((config.calibration.source, "text file", Path.is_file))
    for source, what, is_there in named:
        if source is not None and source not in (DEMO, *_FROM_THE_HUB) and not is_there(expanded(source)):
            raise DataError(f"There is no {what} {source}; correct its name in the study file.")


def data_warnings(config: StudyConfig) -> tuple[str, ...]:
    """Sentences about embedded data that a model other than the embedded one is measured on."""
    config = with_named_data(config)
    sources: dict[Data, str | Path | None] = {
        QUESTIONS: config.bbq.source,
        HELD_OUT_TEXT: config.perplexity.text if config.perplexity.enabled else None,
        CALIBRATION_TEXT: config.calibration.source if _calibrates(config) else None,
    }
    found = [sentence for model in config.models for sentence in warnings_for(model, sources)]
    return tuple(dict.fromkeys(found))


def _source(
    config: StudyConfig, data: Data, source: str | Path | None, where: str, *, needed: bool = True
) -> str | None:
    """What all models of the study use; None where it is not named and nothing needs it."""
    if source is None and not needed:
        return None
    return named_for_all(data, source, config.models, where)


def _calibrates(config: StudyConfig) -> bool:
    recipes = (recipe_of(config, name) for name in config.configurations())
    return any(recipe is not None and recipe.calibration is not None for recipe in recipes)
