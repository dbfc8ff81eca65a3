"""Collect what a model card may say from run folders and studies; reads files only, MLX not needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlx_prune.cards.base import base_model
from mlx_prune.cards.results import CardResults, Figure, figure
from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.configuration import Configuration
from mlx_prune.errors import RecordsError
from mlx_prune.labels import DENSE
from mlx_prune.runs.records import read_records
from mlx_prune.runs.run_file import RUN_FILE, read_run_file
from mlx_prune.stats.compare import comparable, compare
from mlx_prune.stats.counting import RunData, count_run
from mlx_prune.stats.outcomes import assemble
from mlx_prune.stats.rates import CategoryRates
from mlx_prune.study.results import PERPLEXITY_FILE, SIZES_FILE, read_latencies, read_results
from mlx_prune.study.settings import read_settings, table_of

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
    asked = about["configuration"]
    _require_checkpoint(record, asked, run)
    pruned, reference = count_run(read_records(run)), None
    if dense is not None:
        _require_comparable(asked, _finished_run(dense)["configuration"], dense)
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
    for file in sorted(study.glob(f"runs/*/*/{RUN_FILE}")):
        about = read_run_file(file)
        asked = about.get("configuration", {})
        if about.get("status") == "complete" and _is_of(record, asked):
            found = results_of_runs(record, file.parent, _dense_run(file.parent))
            return _with_measures(found, study, Configuration.of(asked))
    return None


def _dense_run(run: Path) -> Path | None:
    dense = run.parent / "dense-s0"
    about = read_run_file(dense / RUN_FILE) if (dense / RUN_FILE).is_file() else {}
    return dense if about.get("status") == "complete" else None


def _with_measures(results: CardResults, study: Path, name: Configuration) -> CardResults:
    perplexities, sizes = (read_results(study / file) for file in (PERPLEXITY_FILE, SIZES_FILE))
    found = _row(perplexities, name)
    if found.get("perplexity") is not None:
        before = _row(perplexities, name.dense).get("perplexity")
        results = replace(
            results,
            perplexity=figure(found["perplexity"], before),
            perplexity_text=", ".join(filter(None, (_text(study), _length(found)))),
        )
    found = _row(read_latencies(study), name)
    if found.get("ratio") is not None:
        results = replace(
            results,
            latency_ratio=figure(found["ratio"], None, found.get("low"), found.get("high")),
            latency_s=figure(found["pruned_ms"] / 1000, found["dense_ms"] / 1000),
        )
    found = _row(sizes, name)
    if found.get("size_bytes") is not None:
        before = _row(sizes, name.dense).get("size_bytes")
        results = replace(results, size_bytes=figure(found["size_bytes"], before))
    return results


def _text(study: Path) -> str:
    text = str(table_of(read_settings(study), "perplexity").get("text", ""))
    return {"demo": "mlx-prune's invented demo text", "tulu": "Tulu 3 SFT mixture"}.get(text, Path(text).name)


def _length(found: Json) -> str:
    count, tokens = found.get("sequences"), found.get("sequence_length")
    return "" if count is None or tokens is None else f"{count} x {tokens} tokens"


def _row(rows: Sequence[Json], name: Configuration) -> Json:
    return next((row for row in rows if Configuration.of(row) == name), {})


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


def _finished_run(run: Path) -> Json:
    if not (run / RUN_FILE).is_file():
        raise RecordsError(f"{run} holds no {RUN_FILE}; give a folder that `mlxprune eval` wrote.")
    about = read_run_file(run / RUN_FILE)
    if about.get("status") != "complete" or about.get("configuration") is None:
        raise RecordsError(f"the run {run} is not finished; evaluate again to complete it.")
    return about


def _is_of(record: PruningRecord, asked: Mapping[str, Any]) -> bool:
    if "prune_method" not in asked:
        return False
    names = (Path(str(record.model)).name, base_model(record).name)
    return Configuration.of(asked) in [replace(record.configuration, model=name) for name in names]


def _require_checkpoint(record: PruningRecord, asked: Mapping[str, Any], run: Path) -> None:
    # A run of a study records what its model was pruned to; equal counts of zeros are the same mask for us.
    recorded = PruningRecord.find(run) or record
    if not _is_of(record, asked) or recorded.zero_params != record.zero_params:
        other = f"{asked.get('model')} {asked.get('prune_method')} {asked.get('sparsity')} %"
        raise RecordsError(f"{run} asked another model ({other}) than this checkpoint.")


def _require_comparable(pruned: Mapping[str, Any], dense: Mapping[str, Any], run: Path) -> None:
    if dense.get("prune_method") != DENSE or dense.get("model") != pruned.get("model"):
        raise RecordsError(f"{run} is not a run of the dense model {pruned.get('model')}.")
    for key in _CONDITIONS:
        if dense.get(key) != pruned.get(key):
            raise RecordsError(f"{run} was asked differently ({key} differs); evaluate both models alike.")


def _device(about: Mapping[str, Any]) -> str:
    device = about.get("device") or {}
    return str(device.get("device_name") or device.get("machine") or "")
