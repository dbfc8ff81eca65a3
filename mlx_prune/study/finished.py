"""What of a study is finished, and what it keeps. Needs no MLX."""

from __future__ import annotations

from mlx_prune.configuration import Configuration
from mlx_prune.runs.folder import COMPLETE
from mlx_prune.study.config import StudyConfig
from mlx_prune.study.folder import StudyFolder
from mlx_prune.study.results import DivergenceRow, PerplexityRow, ResultsFile


def is_finished(config: StudyConfig, study: StudyFolder, name: Configuration) -> bool:
    """Whether a study folder holds everything that is wanted of one configuration.

    Raises:
        RecordsError: A file in the folder is damaged.
    """
    run = study.run(name)
    if not run.exists or run.resumed().status != COMPLETE:
        return False
    if lacks_text(config, study.perplexities, study.divergences, name):
        return False
    if name.written and study.sizes.get(name) is None:
        return False
    if name.is_dense:
        return True
    if is_kept(config, name) and not study.checkpoint(name).is_dir():
        return False
    return not config.latency.enabled or study.latencies.get(name) is not None


def is_kept(config: StudyConfig, name: Configuration) -> bool:
    """Whether a configuration's checkpoint is written to stay; one that was there before lies elsewhere."""
    return config.save_checkpoints and not name.is_dense and not name.is_named


def lacks_text(
    config: StudyConfig,
    perplexities: ResultsFile[PerplexityRow],
    divergences: ResultsFile[DivergenceRow],
    name: Configuration,
) -> bool:
    """Whether something that is measured on a text is wanted of a configuration and not there."""
    return config.perplexity.enabled and (
        perplexities.get(name) is None or lacks_distance(config, divergences, name)
    )


def lacks_distance(config: StudyConfig, divergences: ResultsFile[DivergenceRow], name: Configuration) -> bool:
    """Whether the distance of a configuration from its dense model is wanted and not there."""
    if not config.divergence.enabled or name.is_dense:
        return False
    row = divergences.get(name)
    return row is None or row.top != config.divergence.top
