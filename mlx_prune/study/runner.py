"""Run a study: every configuration of a grid pruned, questioned, and measured; what is finished is kept."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import tomli_w

from mlx_prune import checkpoints
from mlx_prune.checkpoints import LoadedModel, prunable_linears
from mlx_prune.environment import physical_memory
from mlx_prune.errors import DataError, RecordsError
from mlx_prune.generation.interface import GenerationSettings
from mlx_prune.measures.latency import memory_bytes
from mlx_prune.measures.perplexity import perplexity
from mlx_prune.progress import Progress, ProgressCallback, silent
from mlx_prune.pruning.calibration import ActivationStatistics, calibrate
from mlx_prune.pruning.in_memory import prune
from mlx_prune.pruning.recipe import Recipe, fraction_from_percent
from mlx_prune.pruning.report import META_FILE, PruneReport
from mlx_prune.pruning.saving import save
from mlx_prune.study.config import ConfigurationName, StudyConfig, config_to_dict
from mlx_prune.study.evaluation import evaluate
from mlx_prune.study.files import locked, write_atomically
from mlx_prune.study.job import short_name
from mlx_prune.study.latency_run import bench
from mlx_prune.study.records import ModelStamp
from mlx_prune.study.results import LATENCY_FILE, PERPLEXITY_FILE, ResultsFile
from mlx_prune.study.run_folder import RUN_FILE, read_run

STUDY_FILE = "study.toml"

# What a study may gain when it is run again with a longer grid; everything else must stay as it was.
_MAY_GROW = ("models", "name", "save_checkpoints")
_GRID_MAY_GROW = ("methods", "sparsities", "patterns")


@dataclass(frozen=True)
class StudyEvent:
    """A step of the grid, for whoever shows it.

    Attributes:
        model: Short name of the dense model.
        name: The configuration.
        state: "running", "done" (now) or "there" (finished by an earlier call).
    """

    model: str
    name: ConfigurationName
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
        The study folder, with ``study.toml``, ``runs/``, ``perplexity.json`` and ``latency.json``.

    Raises:
        RecordsError: The folder holds a study with other settings, is in use, or cannot be written.
        MlxPruneError: A model, a text or the items cannot be read, or a recipe does not fit.
    """
    folder = Path(out)
    names = [short_name(model, Path(model)) for model in config.models]
    if len(set(names)) != len(names):
        raise DataError(f"two models share the name {_repeated(names)}; rename one of the folders.")
    with locked(folder):
        _write_config(folder, config)
        study = _Study(config, folder, trust_remote_code, progress, watch or (lambda _: None))
        for model, name in zip(config.models, names, strict=True):
            study.run_model(model, name)
    return folder


class _Study:
    """The loop, and what it keeps between configurations of one model."""

    def __init__(
        self,
        config: StudyConfig,
        folder: Path,
        trust_remote_code: bool,
        progress: ProgressCallback,
        watch: Callable[[StudyEvent], None],
    ) -> None:
        self.config = config
        self.folder = folder
        self.trust_remote_code = trust_remote_code
        self.progress = progress
        self.watch = watch
        self.perplexities = ResultsFile(folder / PERPLEXITY_FILE)
        self.latencies = ResultsFile(folder / LATENCY_FILE)

    def run_model(self, model: str, label: str) -> None:
        """Run every configuration of one model that is not finished."""
        names = self.config.configurations()
        missing = []
        for name in names:
            if is_finished(self.config, self.folder, label, name):
                self.watch(StudyEvent(label, name, "there"))
            else:
                missing.append(name)
        if not missing:
            return
        dense = self._load(model)
        weights = {linear.name: linear.module.weight for linear in prunable_linears(dense.model)}
        twice = 2 * memory_bytes(dense.model) < 0.7 * physical_memory()
        statistics: ActivationStatistics | None = None
        for name in missing:
            self.watch(StudyEvent(label, name, "running"))
            if name.method == "dense":
                self._measure(dense, None, label, name, report=None)
            else:
                recipe = self._recipe(name)
                if recipe.statistics == "dense" and statistics is None:
                    statistics = calibrate(
                        dense, recipe.calibration, seed=recipe.seed or 0, progress=self._named(name)
                    )
                # A second network shares every array with the dense one until pruning replaces its own.
                pruned = self._second(dense, weights) if twice else self._load(model)
                report = prune(
                    pruned,
                    recipe,
                    statistics=statistics if recipe.statistics == "dense" else None,
                    progress=self._named(name),
                )
                self._measure(pruned, dense if twice else None, label, name, report)
                if self.config.save_checkpoints:
                    target = checkpoint_folder(self.folder, label, name)
                    if not target.exists():
                        save(pruned, target, report)
                del pruned
                mx.clear_cache()
            self.watch(StudyEvent(label, name, "done"))

    def _load(self, model: str) -> LoadedModel:
        return checkpoints.load(
            model, dtype=self.config.generation.dtype, trust_remote_code=self.trust_remote_code
        )

    def _second(self, dense: LoadedModel, weights: dict[str, mx.array]) -> LoadedModel:
        """A model like the dense one that can be pruned without touching it."""
        other = checkpoints.load(
            dense.path, dtype=dense.dtype, lazy=True, trust_remote_code=self.trust_remote_code
        )
        for linear in prunable_linears(other.model):
            linear.module.weight = weights[linear.name]
        mx.eval(other.model.parameters())
        return dataclasses.replace(other, name=dense.name)

    def _recipe(self, name: ConfigurationName) -> Recipe:
        grid = self.config.grid
        wanda = name.method == "wanda"
        return Recipe(
            method=name.method,
            sparsity=None if name.pattern else fraction_from_percent(name.sparsity),
            pattern=name.pattern,
            scope=grid.scope if wanda else "blocks",
            statistics=grid.statistics if wanda else None,
            seed=None if name.method == "magnitude" else grid.seed,
            calibration=self.config.calibration if wanda else None,
        )

    def _measure(
        self,
        model: LoadedModel,
        dense: LoadedModel | None,
        label: str,
        name: ConfigurationName,
        report: PruneReport | None,
    ) -> None:
        """Questions first, then perplexity, then the clock; each is kept as soon as it is there."""
        config, run, named = self.config, run_folder(self.folder, label, name), self._named(name)
        if report is not None:
            text = json.dumps({**report.to_json(), "model": label}, indent=2)
            write_atomically(run / META_FILE, f"{text}\n".encode())
        evaluate(
            model,
            run,
            items=config.bbq.source,
            categories=config.bbq.categories,
            condition=config.bbq.condition,
            limit=config.bbq.limit,
            exclude_label_faults=config.bbq.exclude_label_faults,
            settings=GenerationSettings(
                temperature=config.generation.temperature,
                max_tokens=config.generation.max_tokens,
                seeds=config.generation.seeds,
                noise=config.generation.noise,
            ),
            engine=config.generation.engine,
            batch_size=config.generation.batch_size,
            stamp=ModelStamp(label, name.method, name.pattern, name.sparsity),
            progress=named,
        )
        if config.perplexity.enabled and self.perplexities.get(label, name) is None:
            found = perplexity(
                model,
                text=config.perplexity.text,
                sequences=config.perplexity.sequences,
                sequence_length=config.perplexity.sequence_length,
                progress=named,
            )
            figures = {k: v for k, v in dataclasses.asdict(found).items() if k != "value"}
            self.perplexities.put(label, name, perplexity=found.value, **figures)
        if config.latency.enabled and report is not None and self.latencies.get(label, name) is None:
            self._time(model, dense, label, name, named)

    def _time(
        self,
        model: LoadedModel,
        dense: LoadedModel | None,
        label: str,
        name: ConfigurationName,
        progress: ProgressCallback,
    ) -> None:
        if dense is None:
            reason = "dense and pruned do not fit in memory together; compare saved checkpoints with bench"
            self.latencies.put(label, name, ratio=None, note=reason)
            return
        latency = self.config.latency
        result = bench(
            [dense, dataclasses.replace(model, name=f"{label}-{name.folder}")],
            rounds=latency.rounds,
            items=latency.items,
            cooldown_s=0.0,
            bbq=self.config.bbq.source,
            sizes=False,
            progress=progress,
        )
        if result.interrupted:
            raise KeyboardInterrupt
        before, after = result.rows
        total = after.comparisons["total"]
        self.latencies.put(
            label,
            name,
            ratio=total.ratio.ratio,
            low=total.ratio.low,
            high=total.ratio.high,
            verdict=total.verdict.word,
            dense_ms=before.times["total"].median_ms,
            pruned_ms=after.times["total"].median_ms,
            items=total.ratio.items,
            rounds=total.ratio.rounds,
            warnings=list(result.warnings),
        )

    def _named(self, name: ConfigurationName) -> ProgressCallback:
        def report(step: Progress) -> None:
            self.progress(dataclasses.replace(step, stage=f"{name.folder}: {step.stage}"))

        return report


def run_folder(study: Path, label: str, name: ConfigurationName) -> Path:
    """Where the records of one configuration lie."""
    return study / "runs" / label / name.folder


def checkpoint_folder(study: Path, label: str, name: ConfigurationName) -> Path:
    """Where a pruned model lies, if the study saves checkpoints."""
    return study / "checkpoints" / f"{label}-{name.folder}"


def is_finished(config: StudyConfig, study: Path, label: str, name: ConfigurationName) -> bool:
    """Whether a study folder holds everything that is wanted of one configuration.

    Raises:
        RecordsError: A file in the folder is damaged.
    """
    run = run_folder(study, label, name)
    if not (run / RUN_FILE).is_file() or read_run(run).get("status") != "complete":
        return False
    if config.perplexity.enabled and ResultsFile(study / PERPLEXITY_FILE).get(label, name) is None:
        return False
    if name.method == "dense":
        return True
    if config.save_checkpoints and not checkpoint_folder(study, label, name).is_dir():
        return False
    return not config.latency.enabled or ResultsFile(study / LATENCY_FILE).get(label, name) is not None


def _write_config(folder: Path, config: StudyConfig) -> None:
    path = folder / STUDY_FILE
    if path.is_file():
        try:
            found = tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise RecordsError(f"{path} is damaged ({error}); choose another folder.") from error
        differing = _differences(found, config_to_dict(config))
        if differing:
            raise RecordsError(
                f"{folder} holds a study with other settings ({', '.join(differing)}); choose another folder."
            )
    write_atomically(path, tomli_w.dumps(config_to_dict(config)).encode())


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    differing = []
    for key in sorted({*found, *wanted} - set(_MAY_GROW)):
        left, right = found.get(key, {}), wanted.get(key, {})
        for inner in sorted({*left, *right}):
            if key == "grid" and inner in _GRID_MAY_GROW:
                continue
            if left.get(inner) != right.get(inner):
                differing.append(f"{key}.{inner}: there {left.get(inner)!r}, now {right.get(inner)!r}")
    return differing


def _repeated(names: list[str]) -> str:
    return next(name for name in names if names.count(name) > 1)
