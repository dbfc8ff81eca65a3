"""Collect what a model card may say from run folders and studies; reads files only, MLX not needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlx_prune.cards.base import base_model
from mlx_prune.cards.results import CardResults, Figure, figure
from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.configuration import Configuration
from mlx_prune.errors import RecordsError
from mlx_prune.hub_data import source_name
from mlx_prune.runs.folder import COMPLETE, CONDITIONS, RunAbout, RunFolder
from mlx_prune.runs.records import read_records
from mlx_prune.stats.compare import comparable, compare
from mlx_prune.stats.counting import RunData, count_run
from mlx_prune.stats.outcomes import assemble
from mlx_prune.stats.rates import CategoryRates
from mlx_prune.study.folder import StudyFolder
from mlx_prune.study.results import PerplexityRow


def results_of_runs(record: PruningRecord, run: Path, dense: Path | None = None) -> CardResults:
    """The rates of one checkpoint, beside those of its dense model.

    Args:
        record: What the checkpoint's ``pruning_meta.json`` says.
        run: Run folder of the checkpoint.
        dense: Run folder of the dense model on the same items under the same seeds.

    Raises:
        RecordsError: A run is unfinished, damaged or another model's, or the two were asked differently.
    """
    folder = RunFolder(run)
    about = folder.finished()
    asked = about.asked
    _require_checkpoint(record, folder)
    pruned, reference = count_run(folder.records()), None
    if dense is not None:
        _require_comparable(asked, RunFolder(dense))
        reference = count_run(read_records(dense))
    overall = pruned.rates.overall
    before = reference.rates.overall if reference else None
    of_category: dict[str, dict[str, Figure]] = {"srs": {}, "answered": {}}
    for rates in pruned.rates.categories:
        other = reference.rates[rates.category] if reference else None
        for name, interval in (("srs", (rates.srs_low, rates.srs_high)), ("answered", (None, None))):
            if found := _rate(name, rates, other, *interval):
                of_category[name][rates.category] = found
    observed, null = _emergence(pruned, reference) if reference else (None, None)
    whole = ("srs", "usr", "anti_rate", "parse_failure_rate", "answered", "strict_srs")
    rates_of_all: dict[str, Any] = {name: _rate(name, overall, before) for name in whole}
    return CardResults(
        **rates_of_all,
        srs_by_category=of_category["srs"],
        answered_by_category=of_category["answered"],
        emergence=observed,
        emergence_null=null,
        items=overall.n_items,
        seeds=len(asked["seeds"]),
        temperature=float(asked["temperature"]),
        bbq=str(asked["bbq"]),
        device=_device(about),
    )


def results_of_study(study: Path, record: PruningRecord) -> CardResults | None:
    """What a study measured of one checkpoint, or None if the checkpoint is not in its grid.

    Args:
        study: The study folder.
        record: What the checkpoint's ``pruning_meta.json`` says.

    Raises:
        RecordsError: A file of the study is damaged.
    """
    folder = StudyFolder(study)
    for run in folder.runs():
        if run.about.status == COMPLETE and _is_of(record, run):
            dense = folder.run(run.configuration.dense)
            found = results_of_runs(record, run.path, dense.path if dense.about.status == COMPLETE else None)
            return _with_measures(found, folder, run.configuration)
    return None


def _with_measures(results: CardResults, study: StudyFolder, name: Configuration) -> CardResults:
    perplexities, sizes = study.perplexities, study.sizes
    perplexity, before = perplexities.get(name), perplexities.get(name.dense)
    if perplexity is not None and perplexity.perplexity is not None:
        results = replace(
            results,
            perplexity=figure(perplexity.perplexity, None if before is None else before.perplexity),
            perplexity_text=", ".join(filter(None, (_text(study.perplexity_text), _length(perplexity)))),
        )
    distance = study.divergences.get(name)
    if distance is not None and distance.figure is not None:
        one = distance.figure
        results = replace(
            results,
            kl=figure(one.kl, None, one.kl_low, one.kl_high),
            same_top=figure(one.same_top, None, one.same_top_low, one.same_top_high),
        )
    latency = study.latencies.get(name)
    if latency is not None and latency.ratio is not None:
        results = replace(results, latency_ratio=figure(latency.ratio, None, latency.low, latency.high))
        if latency.pruned_ms is not None and latency.dense_ms is not None:
            results = replace(results, latency_s=figure(latency.pruned_ms / 1000, latency.dense_ms / 1000))
    size, whole = sizes.get(name), sizes.get(name.dense)
    if size is not None and size.size_bytes is not None:
        results = replace(
            results, size_bytes=figure(size.size_bytes, None if whole is None else whole.size_bytes)
        )
    return results


def _text(text: str) -> str:
    return {"demo": "mlx-prune's invented demo text", "tulu": "Tulu 3 SFT mixture"}.get(
        text, source_name(text)
    )


def _length(found: PerplexityRow) -> str:
    count, tokens = found.sequences, found.sequence_length
    return "" if count is None or tokens is None else f"{count} x {tokens} tokens"


def _rate(
    name: str,
    pruned: CategoryRates,
    dense: CategoryRates | None,
    low: float | None = None,
    high: float | None = None,
) -> Figure | None:
    return figure(getattr(pruned, name), getattr(dense, name) if dense else None, low, high)


def _emergence(pruned: RunData, dense: RunData) -> tuple[float | None, float | None]:
    (comparison,) = compare(assemble([dense.outcomes, pruned.outcomes]))
    emergence = comparison.emergence
    if not emergence.unbiased_items:
        return None, None
    known = emergence.fresh if comparable((dense.rates.overall, pruned.rates.overall)) else None
    return emergence.observed, None if known is None else known.null


def _is_of(record: PruningRecord, run: RunFolder) -> bool:
    asked, pruned = run.configuration, run.pruned
    if pruned is not None and pruned.checkpoint is not None:  # under a name of its own, which no recipe tells
        return pruned.configuration == replace(record.configuration, model=asked.model)
    names = (Path(str(record.model)).name, base_model(record).name)
    return asked in [replace(record.configuration, model=name) for name in names]


def _require_checkpoint(record: PruningRecord, run: RunFolder) -> None:
    # A run of a study records what its model was pruned to; equal counts of zeros are the same mask for us.
    recorded = run.pruned or record
    if not _is_of(record, run) or recorded.zero_params != record.zero_params:
        name = run.configuration
        other = f"{name.model} {name.prune_method} {name.sparsity} %"
        raise RecordsError(f"{run.path} asked another model ({other}) than this checkpoint.")


def _require_comparable(pruned: Mapping[str, Any], run: RunFolder) -> None:
    dense = run.finished().asked
    if not run.configuration.is_dense or dense.get("model") != pruned.get("model"):
        raise RecordsError(f"{run.path} is not a run of the dense model {pruned.get('model')}.")
    for key in CONDITIONS:
        if dense.get(key) != pruned.get(key):
            raise RecordsError(
                f"{run.path} was asked differently ({key} differs); evaluate both models alike."
            )


def _device(about: RunAbout) -> str:
    return str(about.device.get("device_name") or about.device.get("machine") or "")
