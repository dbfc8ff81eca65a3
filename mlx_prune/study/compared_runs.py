"""A study made of runs that were made apart: nothing is asked again, and MLX is not needed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import tomli_w

from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.configuration import Configuration
from mlx_prune.errors import RecordsError
from mlx_prune.labels import free_name, known_label, require_free_name
from mlx_prune.runs.folder import CONDITIONS, RUN_FILE, RunAbout, RunFolder
from mlx_prune.runs.records import SCHEMA, part_files, write_part
from mlx_prune.store import locked, write_atomically
from mlx_prune.study.folder import RUNS_FOLDER, StudyFolder
from mlx_prune.study.results import perplexities

_COMPARED = "compared_runs"
_WORDS = {"items": "questions", "max_tokens": "length of an answer"}
# How the questions were chosen, which says more than a hash of them.
_CHOICE = ("bbq", "categories", "condition", "limit", "exclude_label_faults")


def study_of_runs(runs: Sequence[tuple[str | None, Path]], out: Path) -> None:
    """Copy runs into the folder of a study, with what was measured beside them.

    Args:
        runs: A name, or None for the run's own, and its folder; the dense model's first.
        out: The study folder; one that an earlier call made is made anew.

    Raises:
        RecordsError: A run is unfinished or damaged, two were asked differently, or the folder holds
            something else.
        RecipeError: A name cannot be one.
    """
    for name, _ in runs:
        if name is not None:
            require_free_name(name)
    folders = [RunFolder(path) for _, path in runs]
    about = [folder.finished() for folder in folders]
    for folder, found in zip(folders[1:], about[1:], strict=True):
        _require_alike(folders[0].path, about[0], folder.path, found)
    configurations = _configurations([name for name, _ in runs], folders)
    study = StudyFolder(out)
    _require_own(study)
    with locked(out):
        shutil.rmtree(out / RUNS_FOLDER, ignore_errors=True)
        for file in ("perplexity.json", "latency.json", "sizes.json"):
            (out / file).unlink(missing_ok=True)
        content = {
            "name": f"comparison of {configurations[0].model}",
            _COMPARED: [str(folder.path) for folder in folders],
        }
        write_atomically(study.file, tomli_w.dumps(content).encode())
        for folder, configuration in zip(folders, configurations, strict=True):
            _copy(folder, study.run(configuration).path, configuration)
            _copy_measures(folder, study, configuration)
            if not configuration.is_dense:
                _record(folder, study.run(configuration).path, configuration, about[0])


def _require_alike(dense: Path, before: RunAbout, run: Path, after: RunAbout) -> None:
    """Refuse runs whose answers do not compare; prompts may differ with the tokenizer."""
    one, two = before.asked, after.asked
    differing = [key for key in CONDITIONS if key != "prompts" and one.get(key) != two.get(key)]
    if "items" in differing:
        chosen = [key for key in _CHOICE if one.get(key) != two.get(key)]
        differing = [*chosen, *(key for key in differing if key != "items" or not chosen)]
    if differing:
        told = ", ".join(
            f"{_WORDS.get(key, key.replace('_', ' '))} ({_brief(one, key)} there, {_brief(two, key)} here)"
            for key in differing
        )
        raise RecordsError(
            f"{run} was asked differently than {dense}: {told}; run `mlxprune eval` alike for both."
        )


def _brief(asked: Mapping[str, Any], key: str) -> str:
    value = asked.get(key)
    return "none" if value is None else json.dumps(value, ensure_ascii=False)


def _configurations(names: Sequence[str | None], runs: Sequence[RunFolder]) -> list[Configuration]:
    """What each run is called in the study: as it was, where that tells it apart from the others."""
    dense, *others = (run.configuration for run in runs)
    model = names[0] or dense.model
    found = [Configuration(model)]
    for name, own in zip(names[1:], others, strict=True):
        if name is not None:
            found.append(Configuration(model, name))
        elif own.model == dense.model and not own.is_dense and known_label(own.prune_method) is not None:
            found.append(replace(own, model=model))
        elif own.model == dense.model and not own.is_dense:
            found.append(Configuration(model, free_name(own.name)))
        else:
            found.append(Configuration(model, free_name(own.model if own.is_dense else own.full_name)))
    twice = next((one for one in found if found.count(one) > 1), None)
    if twice is not None:
        raise RecordsError(f"two of the runs are called {twice.name!r}; give them names: NAME=RUN.")
    return found


def _require_own(study: StudyFolder) -> None:
    if _COMPARED in study.settings or not study.path.exists() or not any(study.path.iterdir()):
        return
    raise RecordsError(f"{study.path} holds something else already; choose another folder.")


def _copy(run: RunFolder, target: Path, configuration: Configuration) -> None:
    """Copy a run; records name their configuration, so they are written anew where that changed."""
    ignored = shutil.ignore_patterns(".*", "perplexity.json")
    shutil.copytree(run.path, target, ignore=ignored)
    if run.configuration == configuration:
        return
    table = run.records()
    for name, value in configuration.columns.items():
        column = pa.array([value] * table.num_rows, SCHEMA.field(name).type)
        table = table.set_column(table.schema.get_field_index(name), name, column)
    for file in part_files(target):
        file.unlink()
    write_part(target, "part-0", table)
    content = {**run.about.entries, "configuration": {**run.about.asked, **configuration.columns}}
    content.pop("configuration_hash", None)  # of the configuration that it had
    write_atomically(target / RUN_FILE, f"{json.dumps(content, indent=2, ensure_ascii=False)}\n".encode())


def _record(run: RunFolder, target: Path, configuration: Configuration, dense: RunAbout) -> None:
    """What is known of how the model was made, and whether it was asked in other tokens."""
    place = Path(str(run.about.entries.get("model_path", "")))
    record = run.pruned or (PruningRecord.find(place) if place.is_dir() else None) or PruningRecord.of({})
    warnings = [] if record.checkpoint is None else list(record.checkpoint.warnings)
    prompts = [about.asked.get("prompts") for about in (dense, run.about)]
    if None not in prompts and prompts[0] != prompts[1]:
        warnings.append(
            f"{configuration.name} was asked the same questions in other tokens than {configuration.model}: "
            "its tokenizer, its chat template or --thinking differs."
        )
    given = {"path": str(place), "hash": str(run.about.asked.get("weights")), "warnings": warnings}
    record.without("results").with_entries(model=configuration.model, checkpoint=given).write(target)


def _copy_measures(run: RunFolder, study: StudyFolder, configuration: Configuration) -> None:
    """What a study or a gate measured beside the run."""
    own, around = run.configuration, StudyFolder.around(run.path)
    perplexity = perplexities(run.path).get(own) or (around and around.perplexities.get(own))
    if perplexity:
        study.perplexities.put(configuration, perplexity)
    if around is None:
        return
    if (size := around.sizes.get(own)) is not None:
        study.sizes.put(configuration, size)
    if (latency := around.latencies.get(own)) is not None:
        study.latencies.put(configuration, latency)
