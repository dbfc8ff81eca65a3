"""Run a study: every configuration of a grid pruned, questioned, and measured; what is finished is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import mlx.core as mx
import tomli_w

from mlx_prune.bbq.items import Item, load_items
from mlx_prune.cards.card import write_card
from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.configuration import Configuration
from mlx_prune.errors import DataError, RecordsError
from mlx_prune.latency.family import LatencyRow
from mlx_prune.latency.run import bench
from mlx_prune.latency.settings import BenchSettings
from mlx_prune.progress import Progress, ProgressCallback, silent
from mlx_prune.pruning.saving import save
from mlx_prune.runs.evaluate import evaluate
from mlx_prune.runs.folder import COMPLETE
from mlx_prune.runs.questions import Questions, choose_items
from mlx_prune.store import locked, write_atomically
from mlx_prune.study.candidates import require_there, require_unchanged
from mlx_prune.study.card_results import results_of_study
from mlx_prune.study.config import StudyConfig, config_to_dict
from mlx_prune.study.data import require_sources, with_named_data, wording
from mlx_prune.study.folder import StudyFolder
from mlx_prune.study.models import DenseModel, Made, ModelMaker
from mlx_prune.study.recipes import recipe_of
from mlx_prune.study.results import SizeRow
from mlx_prune.study.texts import TextMeasures

# What a study may gain when it is run again with a longer grid; everything else must stay as it was.
_MAY_GROW = ("models", "name", "save_checkpoints", "checkpoints", "divergence")
_GRID_MAY_GROW = ("methods", "sparsities", "patterns")


@dataclass(frozen=True)
class StudyEvent:
    """A step of the grid, for whoever shows it.

    Attributes:
        name: The configuration.
        state: "running", "done" (now) or "there" (finished by an earlier call).
    """

    name: Configuration
    state: str


def run_study(
    config: StudyConfig,
    out: str | Path,
    *,
    trust_remote_code: bool = False,
    progress: ProgressCallback = silent,
    watch: Callable[[StudyEvent], None] | None = None,
) -> Path:
    """Run what of a study is not finished yet.

    Args:
        config: The grid and the measures.
        out: The study folder. A study that lies there may have a smaller grid; its other settings must agree.
        trust_remote_code: Run Python code that comes with the models.
        progress: Told about the step at hand.
        watch: Told when a configuration starts and ends.

    Returns:
        The study folder, with ``study.toml``, ``runs/``, ``perplexity.json``, ``divergence.json``,
        ``latency.json`` and ``sizes.json``, and ``checkpoints/`` if they are kept.

    Raises:
        RecordsError: The folder holds a study with other settings, is in use, or cannot be written.
        DataError: The questions or a text are not named, and a model is not the embedded one.
        MlxPruneError: A model, a text or the items cannot be read, or a recipe does not fit.
    """
    folder = Path(out)
    require_there(row.path for row in config.checkpoints)
    config = with_named_data(config)
    names = [model.label for model in config.models]
    if len(set(names)) != len(names):
        raise DataError(f"two models share the name {_repeated(names)}; rename one of the folders.")
    # What no model could be pruned by or measured on is said before the first hour.
    for configuration in config.configurations(names[0]):
        recipe_of(config, configuration)
    require_sources(config)
    with locked(folder):
        _write_config(StudyFolder(folder), config)
        study = _Study(config, StudyFolder(folder), trust_remote_code, progress, watch or (lambda _: None))
        for model in config.models:
            study.run_model(model.path, model.label)
    return folder


class _Study:
    """The loop, and what it keeps between configurations."""

    def __init__(
        self,
        config: StudyConfig,
        folder: StudyFolder,
        trust_remote_code: bool,
        progress: ProgressCallback,
        watch: Callable[[StudyEvent], None],
    ) -> None:
        self.config = config
        self.folder = folder
        self.trust_remote_code = trust_remote_code
        self.progress = progress
        self.watch = watch
        self.texts = TextMeasures(config, folder)
        self.latencies = folder.latencies
        self.sizes = folder.sizes

    @cached_property
    def questions(self) -> Questions:
        """Asked of every configuration."""
        return choose_items(self.config.bbq, self.config.prompt)

    @cached_property
    def timed(self) -> list[Item]:
        """The questions that the clock runs over."""
        assert self.config.bbq.source is not None
        return load_items(
            self.config.bbq.source, limit=self.config.latency.items, wording=wording(self.config)
        )

    def run_model(self, model: str, label: str) -> None:
        """Run every configuration of one model that is not finished."""
        names = self.config.configurations(label)
        missing = []
        for name in names:
            if is_finished(self.config, self.folder, name):
                require_unchanged(self.folder, self.config, name, trust=self.trust_remote_code)
                self.watch(StudyEvent(name, "there"))
            else:
                missing.append(name)
        checkpoint = Checkpoint(model, self.trust_remote_code)
        self._complete_sizes(checkpoint, [name for name in names if name not in missing])
        if not missing:
            return
        dense = DenseModel(checkpoint, self.config.generation.dtype)
        maker = ModelMaker(self.config, self.folder, dense)
        for name in missing:
            self.watch(StudyEvent(name, "running"))
            # The dense model may have to leave the memory to the other one.
            self.texts.prepare(name, dense.loaded, self._named(name.dense))
            with maker.made(name, self._named(name)) as made:
                self._measure(made, name)
                if _is_kept(self.config, name):
                    self._keep(made, name)
            # The model must be gone before the next one is made.
            del made
            mx.clear_cache()
            self.watch(StudyEvent(name, "done"))
        maker.clean()

    def _complete_sizes(self, model: Checkpoint, names: list[Configuration]) -> None:
        """Sizes that are not recorded, where they are those of the dense files."""
        unsized = [name for name in names if not name.written and self.sizes.get(name) is None]
        if unsized:
            for name in unsized:
                self.sizes.put(name, SizeRow(model.shards.nbytes))

    def _keep(self, made: Made, name: Configuration) -> None:
        """Keep the checkpoint, with a card that shows what was measured."""
        target = self.folder.checkpoint(name)
        if made.report is not None and not target.exists():
            save(made.loaded, target, made.report)
        write_card(target, results_of_study(self.folder.path, PruningRecord.read(target)))

    def _measure(self, made: Made, name: Configuration) -> None:
        """Questions first, then perplexity, then the clock; each is kept as soon as it is there."""
        config, run, named = self.config, self.folder.run(name).path, self._named(name)
        if made.record is not None:
            # Results that a kept checkpoint already shows are another measurement's.
            made.record.without("results").with_entries(model=name.model).write(run)
        self.sizes.put(name, SizeRow(made.size_bytes))
        evaluate(
            made.loaded,
            run,
            questions=self.questions,
            generation=config.generation,
            stamp=name,
            progress=named,
        )
        self.texts.measure(name, made.loaded, named)
        if config.latency.enabled and made.record is not None and self.latencies.get(name) is None:
            self._time(made, name, named)

    def _time(self, made: Made, name: Configuration, progress: ProgressCallback) -> None:
        if made.dense is None:
            reason = "dense and pruned do not fit in memory together; compare saved checkpoints with bench"
            self.latencies.put(name, LatencyRow(ratio=None, note=reason))
            return
        latency = self.config.latency
        result = bench(
            [made.dense, dataclasses.replace(made.loaded, name=f"{name.model}-{name.folder}")],
            BenchSettings(
                rounds=latency.rounds,
                items=latency.items,
                cooldown_s=0.0,
                bbq=self.config.bbq.source,
                wording=wording(self.config),
                sizes=False,
            ),
            questions=self.timed,
            progress=progress,
        )
        if result.interrupted:
            raise KeyboardInterrupt
        self.latencies.put(name, LatencyRow.of(result))

    def _named(self, name: Configuration) -> ProgressCallback:
        def report(step: Progress) -> None:
            self.progress(dataclasses.replace(step, stage=f"{name.folder}: {step.stage}"))

        return report


def is_finished(config: StudyConfig, study: StudyFolder, name: Configuration) -> bool:
    """Whether a study folder holds everything that is wanted of one configuration.

    Raises:
        RecordsError: A file in the folder is damaged.
    """
    run = study.run(name)
    if not run.exists or run.resumed().status != COMPLETE:
        return False
    if TextMeasures(config, study).lacking(name):
        return False
    if name.written and study.sizes.get(name) is None:
        return False
    if name.is_dense:
        return True
    if _is_kept(config, name) and not study.checkpoint(name).is_dir():
        return False
    return not config.latency.enabled or study.latencies.get(name) is not None


def _is_kept(config: StudyConfig, name: Configuration) -> bool:
    """Whether a configuration's checkpoint is written to stay; one that was there before lies elsewhere."""
    return config.save_checkpoints and not name.is_dense and not name.is_named


def _write_config(study: StudyFolder, config: StudyConfig) -> None:
    differing = differences(study.settings, config) if study.settings else []
    if differing:
        raise RecordsError(
            f"{study.path} holds a study with other settings ({', '.join(differing)}); choose another folder."
        )
    write_atomically(study.file, tomli_w.dumps(config_to_dict(config)).encode())


def differences(found: Mapping[str, Any], config: StudyConfig) -> list[str]:
    """Settings of a study that lies there and of one to run, where they differ and may not; for people.

    Args:
        found: What its ``study.toml`` says.
        config: The study to run.
    """
    wanted = config_to_dict(config)
    differing = []
    for key in sorted({*found, *wanted} - set(_MAY_GROW)):
        left, right = found.get(key, {}), wanted.get(key, {})
        for inner in sorted({*left, *right}):
            if key == "grid" and inner in _GRID_MAY_GROW:
                continue
            if (key, inner) == ("calibration", "source") and left.get(inner) is None:
                continue  # nothing was calibrated so far
            if left.get(inner) != right.get(inner):
                differing.append(f"{key}.{inner}: there {left.get(inner)!r}, now {right.get(inner)!r}")
    return differing


def _repeated(names: list[str]) -> str:
    return next(name for name in names if names.count(name) > 1)
