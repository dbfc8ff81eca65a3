"""Which questions and texts a study uses: named in its file, or the embedded ones for the embedded model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from mlx_prune.invented import CALIBRATION_TEXT, HELD_OUT_TEXT, QUESTIONS, Data, named_for_all, warnings_for
from mlx_prune.study.config import StudyConfig
from mlx_prune.study.recipes import recipe_of


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
