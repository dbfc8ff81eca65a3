"""Run a study: every configuration of a grid pruned, questioned, and measured; what is finished is kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from mlx_prune.configuration import Configuration
from mlx_prune.errors import DataError, RecordsError
from mlx_prune.progress import ProgressCallback, silent
from mlx_prune.recovery.files import is_carried_on
from mlx_prune.store import locked, write_atomically
from mlx_prune.study.config import StudyConfig, config_to_dict
from mlx_prune.study.data import require_sources, with_named_data
from mlx_prune.study.finished import is_finished
from mlx_prune.study.folder import StudyFolder
from mlx_prune.study.recipes import recipe_of
from mlx_prune.study.results import SizeRow
from mlx_prune.study.rows import StudyModel
from mlx_prune.study.side_by_side import Task, at_once, run_side_by_side

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
    jobs: int | None = 1,
    trust_remote_code: bool = False,
    progress: ProgressCallback = silent,
    watch: Callable[[StudyEvent], None] | None = None,
    begin: Callable[[], None] | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> Path:
    """Run what of a study is not finished yet.

    Args:
        config: The grid and the measures.
        out: The study folder. A study that lies there may have a smaller grid; its other settings must agree.
        jobs: Configurations to run at once, each in a process of its own, on a CPU and without the clock;
            None takes what cores and memory allow. A script that asks for several must do so under
            ``if __name__ == "__main__":``, as multiprocessing demands.
        trust_remote_code: Run Python code that comes with the models.
        progress: Told about the step at hand.
        watch: Told when a configuration starts and ends.
        begin: Called first in each of these processes: a function of a module, such as one that sets up
            logging.
        meanwhile: Called once in this process, when the first of these processes has nothing left to do and
            its core is free.

    Returns:
        The study folder, with ``study.toml``, ``runs/``, ``perplexity.json``, ``divergence.json``,
        ``latency.json`` and ``sizes.json``, and ``checkpoints/`` if they are kept.

    Raises:
        RecordsError: The folder holds a study with other settings, is in use, or cannot be written; or a
            process was ended from outside.
        DataError: The questions or a text are not named, and a model is not the embedded one; or several jobs
            are asked for where only one can be.
        MlxPruneError: A model, a text or the items cannot be read, or a recipe does not fit.
    """
    folder = Path(out)
    if config.checkpoints:
        from mlx_prune.study.candidates import require_there

        require_there(row.path for row in config.checkpoints)
    config = with_named_data(config)
    names = [model.label for model in config.models]
    if len(set(names)) != len(names):
        raise DataError(f"two models share the name {_repeated(names)}; rename one of the folders.")
    # What no model could be pruned by or measured on is said before the first hour.
    for configuration in config.configurations(names[0]):
        recipe_of(config, configuration)
    require_sources(config)
    jobs = at_once(config, jobs)

    def tell(name: Configuration, state: str) -> None:
        if watch is not None:
            watch(StudyEvent(name, state))

    with locked(folder):
        study = StudyFolder(folder)
        _write_config(study, config)
        left: list[Task] = []
        for model in config.models:
            left += _left(config, study, model, trust_remote_code, tell)
        _remove_work(study)
        try:
            if min(jobs, len(left)) > 1:
                run_side_by_side(
                    config,
                    folder,
                    left,
                    min(jobs, len(left)),
                    trust_remote_code=trust_remote_code,
                    progress=progress,
                    tell=tell,
                    begin=begin,
                    meanwhile=meanwhile,
                )
            elif left:
                from mlx_prune.study.work import Work

                work = Work(config, study, trust_remote_code, progress)
                for task in left:
                    tell(task.name, "running")
                    work.run(task.model, task.name)
                    tell(task.name, "done")
        finally:
            _remove_work(study)
    return folder


def _left(
    config: StudyConfig,
    study: StudyFolder,
    model: StudyModel,
    trust_remote_code: bool,
    tell: Callable[[Configuration, str], None],
) -> list[Task]:
    """What is to be run of one model."""
    left, unsized, sizes = [], [], study.sizes
    for name in config.configurations(model.label):
        if not is_finished(config, study, name):
            left.append(Task(model, name))
            continue
        if name.is_named:
            from mlx_prune.study.candidates import require_unchanged

            require_unchanged(study, config, name, trust=trust_remote_code)
        elif not name.written and sizes.get(name) is None:
            unsized.append(name)
        tell(name, "there")
    if unsized:
        # Sizes that were not recorded are those of the dense files.
        from mlx_prune.checkpoint.open import Checkpoint

        dense = Checkpoint(model.path, trust_remote_code)
        for name in unsized:
            sizes.put(name, SizeRow(dense.shards.nbytes, dense.costs().parameters))
    return left


def _remove_work(study: StudyFolder) -> None:
    """Remove checkpoints that nobody asked to keep, but what a training that was stopped carries on from."""
    if not study.work.is_dir():
        return
    for left in study.work.iterdir():
        if left.is_file():
            left.unlink()
        elif not is_carried_on(left):
            shutil.rmtree(left)
    if not any(study.work.iterdir()):
        study.work.rmdir()


def _write_config(study: StudyFolder, config: StudyConfig) -> None:
    differing = differences(study.settings, config) if study.settings else []
    if differing:
        raise RecordsError(
            f"{study.path} holds a study with other settings ({', '.join(differing)}); choose another folder."
        )
    content = config_to_dict(config)
    # What was calibrated on a text stays so: its section is kept, too, while no method asks for it.
    texts = study.settings.get("calibration", {}).items()
    earlier = {name: own for name, own in texts if isinstance(own, dict)}
    content["calibration"] = earlier | content["calibration"]
    write_atomically(study.file, tomli_w.dumps(content).encode())


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
        if key == "calibration":
            left, right = _same_texts(left, right), _same_texts(right, left)
        if key == "recover" and not (left and right):
            continue  # nothing was trained back, or is to be
        for inner in sorted({*left, *right}):
            if key == "grid" and inner in _GRID_MAY_GROW:
                continue
            if key == "calibration" and inner.endswith("source") and left.get(inner) is None:
                continue  # nothing was calibrated so far
            if left.get(inner) != right.get(inner):
                differing.append(f"{key}.{inner}: there {left.get(inner)!r}, now {right.get(inner)!r}")
    return differing


def _same_texts(texts: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a section of texts, without those that only it names: a study may gain texts."""
    keys = {name: value for name, value in texts.items() if not isinstance(value, dict)}
    for name in sorted(texts.keys() & others.keys() - keys.keys()):
        keys |= {f"{name}.{key}": value for key, value in texts[name].items()}
    return keys


def _repeated(names: list[str]) -> str:
    return next(name for name in names if names.count(name) > 1)
