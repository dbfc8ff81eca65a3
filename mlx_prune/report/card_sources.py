"""Collect what a model card may say from run folders and studies; reads files only, MLX not needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlx_prune.cards.base import base_model
from mlx_prune.cards.results import CardResults, Figure, figure
from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.errors import RecordsError
from mlx_prune.labels import DENSE
from mlx_prune.report.about import read_settings, table_of
from mlx_prune.report.data import PERPLEXITY_FILE, SIZES_FILE
from mlx_prune.runs.records import read_records
from mlx_prune.runs.run_file import RUN_FILE, read_run_file
from mlx_prune.stats.compare import comparable, compare
from mlx_prune.stats.counting import RunData, count_run
from mlx_prune.stats.outcomes import assemble
from mlx_prune.stats.rates import CategoryRates
from mlx_prune.study.results import read_latencies, read_results

# Fields of a run's configuration that must agree before its rates are set beside a dense run's.
_CONDITIONS = ("items", "prompts", "temperature", "max_tokens", "seeds", "noise")

Json = dict[str, Any]


def results_of_runs(record: PruningRecord, run: Path, dense: Path | None = None) -> CardResults:
    """The rates of one checkpoint, beside those of its dense model.

    Args:
        record: What the checkpoint's ``pruning_meta.json`` says.
        run: Run folder of the checkpoint.
        dense: Run folder of the dense model on the same items under the same seeds.

    Raises:
        RecordsError: A run is unfinished, damaged or another model's, or the two were asked differently.
    """
    about = _finished_run(run)
    configuration = about["configuration"]
    _require_checkpoint(record, configuration, run)
    pruned, reference = _count(run), None
    if dense is not None:
        _require_comparable(configuration, _finished_run(dense)["configuration"], dense)
        reference = _count(dense)
    overall = pruned.rates.overall
    before = reference.rates.overall if reference else None
    by_category = {
        rates.category: _beside(rates, reference.rates[rates.category] if reference else None)
        for rates in pruned.rates.categories
    }
    observed, null = _emergence(pruned, reference) if reference else (None, None)
    return CardResults(
        srs=_rate("srs", overall, before),
        srs_by_category={name: found for name, found in by_category.items() if found is not None},
        usr=_rate("usr", overall, before),
        anti_rate=_rate("anti_rate", overall, before),
        parse_failure_rate=_rate("parse_failure_rate", overall, before),
        answered=_rate("answered", overall, before),
        answered_by_category={
            rates.category: found
            for rates in pruned.rates.categories
            if (found := _rate("answered", rates, reference.rates[rates.category] if reference else None))
        },
        strict_srs=_rate("strict_srs", overall, before),
        emergence=observed,
        emergence_null=null,
        items=overall.n_items,
        seeds=len(configuration["seeds"]),
        temperature=float(configuration["temperature"]),
        bbq=str(configuration["bbq"]),
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
    for file in sorted(study.glob(f"runs/*/*/{RUN_FILE}")):
        about = read_run_file(file)
        configuration = about.get("configuration", {})
        if about.get("status") == "complete" and _is_of(record, configuration):
            found = results_of_runs(record, file.parent, _dense_run(file.parent))
            return _with_measures(found, study, configuration)
    return None


def _dense_run(run: Path) -> Path | None:
    dense = run.parent / "dense-s0"
    about = read_run_file(dense / RUN_FILE) if (dense / RUN_FILE).is_file() else {}
    return dense if about.get("status") == "complete" else None


def _with_measures(results: CardResults, study: Path, configuration: Json) -> CardResults:
    dense = {**configuration, "prune_method": DENSE, "sparsity": 0.0, "pattern": None}
    perplexities, sizes = (read_results(study / file) for file in (PERPLEXITY_FILE, SIZES_FILE))
    found = _row(perplexities, configuration)
    if found.get("perplexity") is not None:
        before = _row(perplexities, dense).get("perplexity")
        results = replace(
            results,
            perplexity=figure(found["perplexity"], before),
            perplexity_text=", ".join(filter(None, (_text(study), _length(found)))),
        )
    found = _row(read_latencies(study), configuration)
    if found.get("ratio") is not None:
        results = replace(
            results,
            latency_ratio=figure(found["ratio"], None, found.get("low"), found.get("high")),
            latency_s=figure(found["pruned_ms"] / 1000, found["dense_ms"] / 1000),
        )
    found = _row(sizes, configuration)
    if found.get("size_bytes") is not None:
        before = _row(sizes, dense).get("size_bytes")
        results = replace(results, size_bytes=figure(found["size_bytes"], before))
    return results


def _text(study: Path) -> str:
    text = str(table_of(read_settings(study), "perplexity").get("text", ""))
    return {"demo": "mlx-prune's invented demo text", "tulu": "Tulu 3 SFT mixture"}.get(text, Path(text).name)


def _length(found: Json) -> str:
    count, tokens = found.get("sequences"), found.get("sequence_length")
    return "" if count is None or tokens is None else f"{count} x {tokens} tokens"


def _row(rows: Sequence[Json], configuration: Mapping[str, Any]) -> Json:
    keys = ("model", "prune_method", "sparsity", "pattern")
    return next((row for row in rows if all(row.get(k) == configuration.get(k) for k in keys)), {})


def _count(run: Path) -> RunData:
    return count_run(read_records(run))


def _rate(name: str, pruned: CategoryRates, dense: CategoryRates | None) -> Figure | None:
    return figure(getattr(pruned, name), getattr(dense, name) if dense else None)


def _beside(pruned: CategoryRates, dense: CategoryRates | None) -> Figure | None:
    return figure(pruned.srs, dense.srs if dense else None, pruned.srs_low, pruned.srs_high)


def _emergence(pruned: RunData, dense: RunData) -> tuple[float | None, float | None]:
    (comparison,) = compare(assemble([dense.outcomes, pruned.outcomes]))
    emergence = comparison.emergence
    if not emergence.unbiased_items:
        return None, None
    known = emergence.fresh if comparable((dense.rates.overall, pruned.rates.overall)) else None
    return emergence.observed, None if known is None else known.null


def _finished_run(run: Path) -> Json:
    if not (run / RUN_FILE).is_file():
        raise RecordsError(f"{run} holds no {RUN_FILE}; give a folder that `mlxprune eval` wrote.")
    about = read_run_file(run / RUN_FILE)
    if about.get("status") != "complete" or about.get("configuration") is None:
        raise RecordsError(f"the run {run} is not finished; evaluate again to complete it.")
    return about


def _is_of(record: PruningRecord, configuration: Mapping[str, Any]) -> bool:
    names = {Path(str(record.model)).name, base_model(record).name}
    return (
        configuration.get("model") in names
        and configuration.get("prune_method") == record.method
        and configuration.get("sparsity") == record.target_sparsity
        and configuration.get("pattern") == record.pattern
    )


def _require_checkpoint(record: PruningRecord, configuration: Mapping[str, Any], run: Path) -> None:
    # A run of a study records what its model was pruned to; equal counts of zeros are the same mask for us.
    recorded = PruningRecord.find(run) or record
    if not _is_of(record, configuration) or recorded.zero_params != record.zero_params:
        asked = f"{configuration.get('model')} {configuration.get('prune_method')}"
        raise RecordsError(
            f"{run} asked another model ({asked} {configuration.get('sparsity')} %) than this checkpoint."
        )


def _require_comparable(pruned: Mapping[str, Any], dense: Mapping[str, Any], run: Path) -> None:
    if dense.get("prune_method") != DENSE or dense.get("model") != pruned.get("model"):
        raise RecordsError(f"{run} is not a run of the dense model {pruned.get('model')}.")
    for key in _CONDITIONS:
        if dense.get(key) != pruned.get(key):
            raise RecordsError(f"{run} was asked differently ({key} differs); evaluate both models alike.")


def _device(about: Mapping[str, Any]) -> str:
    device = about.get("device") or {}
    return str(device.get("device_name") or device.get("machine") or "")
