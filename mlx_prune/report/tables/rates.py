"""Tables of what one configuration answered, and how large it is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from mlx_prune.report.data import StudyData
from mlx_prune.report.tables.rows import (
    ByCategory,
    Configured,
    Rated,
    compared,
    configured,
    percent_change,
    rated,
)
from mlx_prune.report.tables.table import About, column
from mlx_prune.stats.clustered import cluster_sums, clustered_wilson
from mlx_prune.stats.expected import agreement, letter_mass, mean_agreement
from mlx_prune.stats.outcomes import STEREOTYPED, UNKNOWN, Outcomes
from mlx_prune.stats.rates import OVERALL, CategoryRates, wilson


@dataclass(frozen=True, kw_only=True)
class Rate(Rated, ByCategory):
    """Rates of one category, and their change from dense."""

    about = About(
        "rates",
        "Stereotype reliance and abstention by category",
        "Shares of the n_valid parsed answers; 95 % Wilson intervals that take answers as independent, and "
        "(clustered) that do not. bias_score is SRS minus the anti rate, BBQ's own score. answered: share of "
        "all answers that were understood, by one of the first three parsing rules; too_few_answered: so few "
        "that the rate says nothing about the model and is not compared.",
    )

    n_items: int
    n: int
    n_valid: int
    n_without_target: int
    srs: float | None
    srs_ci_low: float | None
    srs_ci_high: float | None
    usr: float | None
    usr_ci_low: float | None
    usr_ci_high: float | None
    anti_rate: float | None
    bias_score: float | None
    parse_fail_rate: float | None
    srs_baseline: float | None
    srs_delta: float | None
    srs_pct_change: float | None
    usr_baseline: float | None
    usr_delta: float | None
    srs_clustered_low: float | None = column(
        "lower end of srs's 95 % interval, answers to one template kept together"
    )
    srs_clustered_high: float | None = column("upper end of this interval")

    @classmethod
    def of_study(cls, data: StudyData) -> Iterator[Rate]:
        """SRS, USR and anti rate per configuration and category, with their change from dense."""
        for model, outcomes in data.models.items():
            runs = [run for run in data.runs if run.configuration.model == model]
            clustered = _clustered_intervals(outcomes)
            for number, run in enumerate(runs):
                for rates in run.rates.categories:
                    name, category = run.configuration, rates.category
                    low, high = clustered.get(category, (None, None))
                    usr_low, usr_high = wilson(
                        round(rates.usr * rates.n_scored) if rates.n_scored else 0, rates.n_scored
                    )
                    yield Rate(
                        **rated(data, name, category),
                        **_rates(rates),
                        srs_ci_low=rates.srs_low,
                        srs_ci_high=rates.srs_high,
                        usr_ci_low=float(usr_low),
                        usr_ci_high=float(usr_high),
                        **compared(data, name, category, **_change(rates, data.rates(name.dense, category))),
                        srs_clustered_low=None if low is None else low[number],
                        srs_clustered_high=None if high is None else high[number],
                    )


def _rates(rates: CategoryRates) -> dict[str, Any]:
    return {
        "n_items": rates.n_items,
        "n": rates.n_answers,
        "n_valid": rates.n_scored,
        "n_without_target": rates.n_without_target,
        "srs": rates.srs,
        "usr": rates.usr,
        "anti_rate": rates.anti_rate,
        "bias_score": rates.bbq_ambiguous_score,
        "parse_fail_rate": rates.parse_failure_rate,
    }


def _change(rates: CategoryRates, dense: CategoryRates | None) -> dict[str, float | None]:
    if dense is None:
        names = ("srs_baseline", "srs_delta", "srs_pct_change", "usr_baseline", "usr_delta")
        return dict.fromkeys(names)
    return {
        "srs_baseline": dense.srs,
        "srs_delta": rates.srs - dense.srs,
        "srs_pct_change": percent_change(rates.srs, dense.srs),
        "usr_baseline": dense.usr,
        "usr_delta": rates.usr - dense.usr,
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


@dataclass(frozen=True, kw_only=True)
class Overall(Rated):
    """Rates over all categories."""

    about = About(
        "overall",
        "Overall rates",
        "Unweighted means over the categories, beside perplexity.",
    )

    n_items: int
    n: int
    n_valid: int
    n_without_target: int
    srs: float | None
    usr: float | None
    anti_rate: float | None
    bias_score: float | None
    parse_fail_rate: float | None
    srs_baseline: float | None
    srs_delta: float | None
    srs_pct_change: float | None
    usr_baseline: float | None
    usr_delta: float | None
    perplexity: float | None

    @classmethod
    def of_study(cls, data: StudyData) -> Iterator[Overall]:
        """One row per configuration: the unweighted means over categories."""
        for run in data.runs:
            name, rates = run.configuration, run.rates.overall
            yield Overall(
                **rated(data, name),
                **_rates(rates),
                **compared(data, name, OVERALL, **_change(rates, data.rates(name.dense, OVERALL))),
                perplexity=data.perplexity.get(name),
            )


@dataclass(frozen=True, kw_only=True)
class Entropy(Rated):
    """Entropy of the answers of one configuration."""

    about = About(
        "entropy",
        "Entropy of the answers",
        "Bits, over A, B and C; log2(3) = 1.585 at most, 0 for a model that always says the same letter.",
    )

    response_entropy: float | None = column("bits, over A, B and C")

    @classmethod
    def of_study(cls, data: StudyData) -> Iterator[Entropy]:
        """Entropy of the answers."""
        for run in data.runs:
            with np.errstate(invalid="ignore"):
                shares = run.letters / run.letters.sum()
            bits = float(special.entr(shares).sum() / math.log(2))
            yield Entropy(**rated(data, run.configuration), response_entropy=bits)


@dataclass(frozen=True, kw_only=True)
class Size(Configured):
    """Size of one checkpoint."""

    about = About(
        "sizes",
        "Size on disk",
        "A pruned weight takes as much room as any other until a format leaves it out.",
    )

    size_bytes: int
    size_gb: float = column("the same in units of 10^9 bytes")

    @classmethod
    def of_study(cls, data: StudyData) -> Iterator[Size]:
        """Size of the checkpoints on disk."""
        for run in data.runs:
            size = data.size_bytes.get(run.configuration)
            if size is not None:
                size_gb = round(size / 1e9, 2)
                yield Size(**configured(data, run.configuration), size_bytes=int(size), size_gb=size_gb)


@dataclass(frozen=True, kw_only=True)
class Disambiguated(Rated, ByCategory):
    """Rates of one category where the context gives the answer."""

    about = About(
        "disambiguated",
        "Where the context gives the answer",
        "Accuracy among parsed answers; BBQ's own bias score among those that name a person.",
    )

    n: int
    n_valid: int = column("parsed answers to questions with a stereotyped option")
    accuracy: float | None = column("share of these that are right")
    bias_score: float | None = column("BBQ's own score from -1 to 1, of answers that name a person")
    parse_fail_rate: float | None

    @classmethod
    def of_study(cls, data: StudyData) -> Iterator[Disambiguated]:
        """Accuracy and BBQ's own score where the context gives the answer."""
        for run in data.runs:
            for rates in (*run.rates.categories, run.rates.overall):
                if rates.disambig_answers:
                    yield Disambiguated(
                        **configured(data, run.configuration),
                        category=rates.category,
                        answered=rates.disambig_answered,
                        too_few_answered=rates.disambig_too_few(data.min_answered),
                        n=rates.disambig_answers,
                        n_valid=rates.disambig_scored,
                        accuracy=rates.accuracy,
                        bias_score=rates.bbq_disambiguated_score,
                        parse_fail_rate=rates.disambig_parse_failure_rate,
                    )


@dataclass(frozen=True, kw_only=True)
class Expected(Rated, ByCategory):
    """Sampled rates beside those expected from the option probabilities."""

    about = About(
        "expected",
        "Rates expected from the option probabilities",
        "No sampling noise is in the expected rates. z is the sampled rate's distance from them in standard "
        "errors of sampling; letter_mass is the probability that an answer starts with a letter.",
    )

    letter_mass: float | None
    srs: float | None
    srs_expected: float | None = column("srs expected from the option probabilities")
    srs_z: float | None = column("distance of srs from it, in standard errors of sampling")
    usr: float | None
    usr_expected: float | None = column("usr expected from the option probabilities")
    usr_z: float | None = column("distance of usr from it, in standard errors of sampling")

    @classmethod
    def of_study(cls, data: StudyData) -> Iterator[Expected]:
        """SRS and USR expected from the option probabilities, beside the sampled ones."""
        for outcomes in data.models.values():
            every = range(len(outcomes.categories))
            parts = [outcomes.select(outcomes.category == number) for number in every]
            srs = [agreement(part, STEREOTYPED) for part in parts]
            usr = [agreement(part, UNKNOWN) for part in parts]
            mass = [*(letter_mass(part) for part in parts), letter_mass(outcomes)]
            srs.append(mean_agreement(srs))
            usr.append(mean_agreement(usr))
            for number, configuration in enumerate(outcomes.configurations):
                for place, category in enumerate((*outcomes.categories, OVERALL)):
                    if np.isnan(mass[place][number]):
                        continue
                    yield Expected(
                        **rated(data, configuration, category),
                        letter_mass=mass[place][number],
                        srs=srs[place].sampled[number],
                        srs_expected=srs[place].expected[number],
                        srs_z=srs[place].z[number],
                        usr=usr[place].sampled[number],
                        usr_expected=usr[place].expected[number],
                        usr_z=usr[place].z[number],
                    )
