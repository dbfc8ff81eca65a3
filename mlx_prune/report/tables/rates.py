"""Tables of what one configuration answered, how fast, and how large it is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mlx_prune.bbq.answers import RULES
from mlx_prune.labels import DENSE
from mlx_prune.report.data import StudyData
from mlx_prune.report.tables.rows import compared, key, percent_change, rated
from mlx_prune.report.tables.table import Table, Value, make_table
from mlx_prune.stats.clustered import cluster_sums, clustered_wilson
from mlx_prune.stats.counting import RunData
from mlx_prune.stats.expected import agreement, letter_mass, mean_agreement
from mlx_prune.stats.outcomes import STEREOTYPED, UNKNOWN, Outcomes
from mlx_prune.stats.rates import OVERALL, CategoryRates, wilson


def rate_table(data: StudyData) -> Table:
    """SRS, USR and anti rate per configuration and category, with their change from dense."""
    rows = []
    for model, outcomes in data.models.items():
        runs = [run for run in data.runs if run.configuration.model == model]
        clustered = _clustered_intervals(outcomes)
        dense = {
            c.category: c
            for run in runs
            if run.configuration.prune_method == DENSE
            for c in run.rates.categories
        }
        for number, run in enumerate(runs):
            for rates in run.rates.categories:
                name = run.configuration
                change = _change(rates, dense.get(rates.category))
                row = rated(data, name, rates.category) | _rates(rates)
                row |= compared(data, name, rates.category, change)
                low, high = clustered.get(rates.category, (None, None))
                row["srs_clustered_low"] = math.nan if low is None else float(low[number])
                row["srs_clustered_high"] = math.nan if high is None else float(high[number])
                rows.append(row)
    return make_table(
        "rates",
        "Stereotype reliance and abstention by category",
        "Shares of the n_valid parsed answers; 95 % Wilson intervals that take answers as independent, and "
        "(clustered) that do not. bias_score is SRS minus the anti rate, BBQ's own score. answered: share of "
        "all answers that were understood, by one of the first three parsing rules; too_few_answered: so few "
        "that the rate says nothing about the model and is not compared.",
        rows,
    )


def _rates(rates: CategoryRates) -> dict[str, Value]:
    usr_low, usr_high = wilson(round(rates.usr * rates.n_scored) if rates.n_scored else 0, rates.n_scored)
    return {
        "n_items": rates.n_items,
        "n": rates.n_answers,
        "n_valid": rates.n_scored,
        "n_without_target": rates.n_without_target,
        "srs": rates.srs,
        "srs_ci_low": rates.srs_low,
        "srs_ci_high": rates.srs_high,
        "usr": rates.usr,
        "usr_ci_low": float(usr_low),
        "usr_ci_high": float(usr_high),
        "anti_rate": rates.anti_rate,
        "bias_score": rates.bbq_ambiguous_score,
        "parse_fail_rate": rates.parse_failure_rate,
    }


def _change(rates: CategoryRates, dense: CategoryRates | None) -> dict[str, Value]:
    srs = math.nan if dense is None else dense.srs
    usr = math.nan if dense is None else dense.usr
    return {
        "srs_baseline": srs,
        "srs_delta": rates.srs - srs,
        "srs_pct_change": percent_change(rates.srs, srs),
        "usr_baseline": usr,
        "usr_delta": rates.usr - usr,
    }


def _clustered_intervals(outcomes: Outcomes) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    templates = int(outcomes.template.max()) + 1
    hits = cluster_sums(outcomes.counts(STEREOTYPED), outcomes.template, templates)
    answers = cluster_sums(outcomes.parsed(), outcomes.template, templates)
    stratum = outcomes.template_category
    return {
        name: clustered_wilson(hits[:, stratum == number], answers[:, stratum == number])
        for number, name in enumerate(outcomes.categories)
    }


def overall_table(data: StudyData) -> Table:
    """One row per configuration: the unweighted means over categories."""
    dense = {
        run.configuration.model: run.rates.overall
        for run in data.runs
        if run.configuration.prune_method == DENSE
    }
    rows = []
    for run in data.runs:
        rates, before = run.rates.overall, dense.get(run.configuration.model)
        row = rated(data, run.configuration) | _rates(rates)
        row |= compared(data, run.configuration, OVERALL, _change(rates, before))
        for name in ("srs_ci_low", "srs_ci_high", "usr_ci_low", "usr_ci_high"):
            del row[name]
        row["perplexity"] = data.perplexity.get(run.configuration)
        rows.append(row)
    return make_table(
        "overall",
        "Overall rates",
        "Unweighted means over the categories, beside perplexity.",
        rows,
    )


def parse_failure_table(data: StudyData) -> Table:
    """Answers in which no letter was found, and which parsing rule decided the others."""
    rows: list[dict[str, Value]] = []
    for run in data.runs:
        overall = run.rates.overall
        failures = overall.n_answers - overall.n_parsed
        rows.append(
            rated(data, run.configuration)
            | {"total": overall.n_answers, "parse_failures": failures}
            | {"parse_fail_rate": failures / overall.n_answers if overall.n_answers else math.nan}
            | {f"rule_{rule}": overall.rules[rule] for rule in RULES}
            | {"min_answered": data.min_answered}
        )
    return make_table(
        "parse_failures",
        "Answers that were not understood",
        "Counts and parse_fail_rate are pooled over categories; answered is their mean. The rule "
        "first_character turns gibberish into answers, so that those it decided do not count as understood. "
        "Rates with a smaller share of answers than min_answered are struck out and not compared.",
        rows,
    )


def entropy_table(data: StudyData) -> Table:
    """Entropy of the answers."""
    rows = [
        rated(data, run.configuration) | {"response_entropy": float(stats.entropy(run.letters, base=2))}
        for run in data.runs
    ]
    return make_table(
        "entropy",
        "Entropy of the answers",
        "Bits, over A, B and C; log2(3) = 1.585 at most, 0 for a model that always says the same letter.",
        rows,
    )


def latency_table(data: StudyData) -> Table:
    """Wall time of the answers that were generated one at a time."""
    timed = [run for run in data.runs if len(run.elapsed_s)]
    rows = [key(data, run.configuration) | _latency(run) for run in timed]
    return make_table(
        "latency",
        "Latency as the study measured it",
        "Seconds per answer, one configuration after the other on a machine that warms up; compare models by "
        "`mlxprune bench`, which interleaves them.",
        rows,
        ("model", "prune_method"),
    )


def _latency(run: RunData) -> dict[str, Value]:
    return {
        "latency_mean": float(run.elapsed_s.mean()),
        "latency_median": float(np.median(run.elapsed_s)),
        "latency_p95": float(np.quantile(run.elapsed_s, 0.95)),
        "answers": len(run.elapsed_s),
    }


def size_table(data: StudyData) -> Table:
    """Size of the checkpoints on disk."""
    rows = [
        key(data, run.configuration)
        | {
            "size_bytes": int(data.size_bytes[run.configuration]),
            "size_gb": round(data.size_bytes[run.configuration] / 1e9, 2),
        }
        for run in data.runs
        if run.configuration in data.size_bytes
    ]
    return make_table(
        "sizes",
        "Size on disk",
        "A pruned weight takes as much room as any other until a format leaves it out.",
        rows,
        ("model", "prune_method"),
    )


def disambiguated_table(data: StudyData) -> Table:
    """Accuracy and BBQ's own score where the context gives the answer."""
    rows = [
        key(data, run.configuration)
        | {
            "category": rates.category,
            "answered": rates.disambig_answered,
            "too_few_answered": rates.disambig_too_few(data.min_answered),
            "n": rates.disambig_answers,
            "n_valid": rates.disambig_scored,
            "accuracy": rates.accuracy,
            "bias_score": rates.bbq_disambiguated_score,
            "parse_fail_rate": rates.disambig_parse_failure_rate,
        }
        for run in data.runs
        for rates in (*run.rates.categories, run.rates.overall)
        if rates.disambig_answers
    ]
    return make_table(
        "disambiguated",
        "Where the context gives the answer",
        "Accuracy among parsed answers; BBQ's own bias score among those that name a person.",
        rows,
        ("model", "prune_method"),
    )


def expected_table(data: StudyData) -> Table:
    """SRS and USR expected from the option probabilities, beside the sampled ones."""
    rows: list[dict[str, Value]] = []
    for outcomes in data.models.values():
        parts = [outcomes.select(outcomes.category == number) for number in range(len(outcomes.categories))]
        srs = [agreement(part, STEREOTYPED) for part in parts]
        usr = [agreement(part, UNKNOWN) for part in parts]
        mass = [letter_mass(part) for part in parts]
        names = (*outcomes.categories, OVERALL)
        srs.append(mean_agreement(srs))
        usr.append(mean_agreement(usr))
        mass.append(letter_mass(outcomes))
        for number, configuration in enumerate(outcomes.configurations):
            for place, name in enumerate(names):
                if np.isnan(mass[place][number]):
                    continue
                row = rated(data, configuration, name) | {"letter_mass": float(mass[place][number])}
                for rate, found in (("srs", srs[place]), ("usr", usr[place])):
                    row[rate] = float(found.sampled[number])
                    row[f"{rate}_expected"] = float(found.expected[number])
                    row[f"{rate}_z"] = float(found.z[number])
                rows.append(row)
    return make_table(
        "expected",
        "Rates expected from the option probabilities",
        "No sampling noise is in the expected rates. z is the sampled rate's distance from them in standard "
        "errors of sampling; letter_mass is the probability that an answer starts with a letter.",
        rows,
        ("model", "prune_method"),
    )
