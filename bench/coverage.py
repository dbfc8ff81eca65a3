"""Do the intervals over question templates hold what they promise, where real models are?

    python bench/coverage.py                        # the whole grid, 1,000 repetitions of each cell
    python bench/coverage.py --repetitions 4000 --jobs 2

Each cell of the grid is a made-up benchmark: templates lean by a normal amount on the logit scale, items of
one template by another, and pruning moves every template and every item by some amount; each item is
answered under five seeds. The truth is known by quadrature. Counted are the 95 % intervals that miss it,
comparisons without an effect whose p-value is below 0.05, and comparisons with one that find it. The peers
are Student's t over templates and the bootstrap-t over templates (Cameron, Gelbach & Miller 2008), for single
rates Wilson's interval with a design effect and Student's quantile for the number of templates (Korn &
Graubard 1998).
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from mlx_prune.measures.clustered import clustered_wilson, paired_difference
from mlx_prune.measures.intervals import wilson

Floats = NDArray[np.float64]
Intervals = tuple[Floats, Floats, Floats]
SEEDS = 5
REPLICATES = 399
# Standard deviations of templates and of items on the logit scale.
LEAN = math.sqrt(2)

KINDS = ("answers", "fresh answers", "probabilities")
NONE, BALANCED, RISE, LARGE, FALL = "none", "balanced", "rise", "large rise", "fall"
SHIFTS = {RISE: 0.5, LARGE: 1.5, FALL: -1.0}


@dataclass(frozen=True)
class Cell:
    """One made-up benchmark.

    Attributes:
        kind: "answers" (dense and pruned share their noise), "fresh answers" (they do not), or
            "probabilities" (expected rates, without any noise).
        templates: Of each category.
        items: Of each template, on average.
        rate: Of the dense model.
        effect: "none" (dense and pruned exchangeable), "balanced" (templates move, skewed, with a mean of
            zero), "rise", "large rise" or "fall".
        spread: How differently pruning moves templates, and items: standard deviation, logit scale.
        uneven: Templates of very different size.
        categories: Strata whose rates are averaged.
    """

    kind: str
    templates: int
    items: int
    rate: float
    effect: str
    spread: float = 0.5
    uneven: bool = False
    categories: int = 1


@dataclass(frozen=True, eq=False)
class Drawn:
    """Per-template sums (repetitions, templates) before and after, and the true change."""

    before: Floats
    after: Floats
    answers: Floats
    category: NDArray[np.intp]
    truth: float


def grid() -> Iterator[Cell]:
    """The cells; templates from 6 to 100, rates from 0.01 to 0.6, effects from none to large."""
    shapes = ((6, 20), (8, 30), (12, 20), (25, 8), (25, 20), (25, 40), (50, 20), (100, 10))
    rates, effects = (0.01, 0.03, 0.1, 0.3, 0.6), (NONE, BALANCED, *SHIFTS)
    for kind, (templates, items), rate, effect in itertools.product(KINDS, shapes, rates, effects):
        yield Cell(kind, templates, items, rate, effect)
    for kind, rate, effect in itertools.product(KINDS[::2], rates[:2], effects):
        for templates in (12, 25, 50):
            yield Cell(kind, templates, 20, rate, effect, uneven=True)
            yield Cell(kind, templates, 20, rate, effect, spread=1.0)
    for kind, rate, effect in itertools.product(KINDS[::2], rates[:4], effects):
        for templates, items in ((6, 24), (25, 20), (40, 10)):
            yield Cell(kind, templates, items, rate, effect, uneven=templates > 6, categories=5)


def draw(cell: Cell, repetitions: int, seed: int) -> Drawn:
    """Made-up sums of one cell."""
    rng = np.random.default_rng(seed)
    templates = cell.templates * cell.categories
    sizes = np.full(templates, cell.items)
    if cell.uneven:
        sizes = np.maximum(2, np.round(cell.items * rng.lognormal(-0.32, 0.8, templates))).astype(int)
    template = np.repeat(np.arange(templates), sizes)

    def normal() -> Floats:
        """A number of each template plus one of each item."""
        shared = rng.normal(size=(repetitions, templates))[:, template]
        return np.asarray(shared + rng.normal(size=(repetitions, len(template))))

    level = _level(cell.rate, LEAN)
    lean, moved = level + normal(), cell.spread * normal()
    if cell.effect == NONE:
        logits, truth = (lean - moved / 2, lean + moved / 2), 0.0
    else:
        wide = math.hypot(LEAN, cell.spread * math.sqrt(2))
        shift = _level(cell.rate, wide) - level if cell.effect == BALANCED else SHIFTS[cell.effect]
        logits, truth = (lean, lean + shift + moved), _mean_rate(level + shift, wide) - cell.rate
    before, after = _answers(cell.kind, rng, special.expit(logits[0]), special.expit(logits[1]))
    starts = np.cumsum(sizes) - sizes
    sums = [np.add.reduceat(np.asarray(part, float), starts, axis=1) for part in (before, after)]
    answers = np.broadcast_to(SEEDS * sizes.astype(float), sums[0].shape)
    return Drawn(sums[0], sums[1], answers, np.arange(templates) // cell.templates, truth)


def _answers(kind: str, rng: np.random.Generator, before: Floats, after: Floats) -> tuple[Floats, Floats]:
    """Stereotyped answers of each item."""
    if kind == "probabilities":
        return SEEDS * before, SEEDS * after
    if kind == "fresh answers":
        return rng.binomial(SEEDS, before), rng.binomial(SEEDS, after)
    # Under one noise only what lies between the two probabilities is answered differently.
    less, more = np.minimum(before, after), np.maximum(before, after)
    first = rng.binomial(SEEDS, less)
    second = first + rng.binomial(SEEDS - first, (more - less) / (1 - less))
    rises = after >= before
    return np.where(rises, first, second), np.where(rises, second, first)


@cache
def _level(rate: float, deviation: float) -> float:
    """Mean of the logits at which the mean rate is this."""
    return float(optimize.brentq(lambda level: _mean_rate(level, deviation) - rate, -30, 30))


def _mean_rate(level: float, deviation: float) -> float:
    points, weights = np.polynomial.hermite_e.hermegauss(80)
    return float(weights @ special.expit(level + deviation * points) / weights.sum())


def ours(drawn: Drawn) -> Intervals:
    """This project's intervals and p-values."""
    n = drawn.answers
    found = paired_difference(drawn.before, n, drawn.after, n, drawn.category)
    return found.low, found.high, found.p_value


def student(drawn: Drawn) -> Intervals:
    """Student's t over templates, one degree of freedom less than templates per category."""
    value, error = _estimate(np.ones((1, drawn.before.shape[1])), drawn)
    freedom = drawn.before.shape[1] - drawn.category[-1] - 1
    reach = stats.t.ppf(0.975, freedom) * error[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stats.t.sf(np.abs(value[0]) / error[0], freedom)
    return value[0] - reach, value[0] + reach, p


def bootstrap_t(drawn: Drawn) -> Intervals:
    """Templates resampled within their category, each resample judged by its own standard error."""
    rng = np.random.default_rng(0)
    parts = []
    for number in range(drawn.category[-1] + 1):
        templates = int((drawn.category == number).sum())
        taken = rng.integers(0, templates, (REPLICATES, templates))
        parts.append((taken[..., None] == np.arange(templates)).sum(axis=1))
    value, error = (part[0] for part in _estimate(np.ones((1, drawn.before.shape[1])), drawn))
    values, errors = _estimate(np.concatenate(parts, axis=1).astype(float), drawn)
    with np.errstate(divide="ignore", invalid="ignore"):
        t, observed = (values - value) / errors, value / error
    t = np.where(np.isnan(t) | ((errors == 0) & np.isclose(values, value)), 0.0, t)
    most = np.where(np.isfinite(t), np.abs(t), 0.0).max(axis=0)
    low, high = np.quantile(np.clip(t, -most, most), [0.025, 0.975], axis=0, method="nearest")
    less = np.minimum((t >= observed).sum(axis=0), (t <= observed).sum(axis=0))
    p = np.minimum(2 * (1 + less) / (REPLICATES + 1), 1)
    return value - high * error, value - low * error, np.where(error == 0, 1.0, p)


def _estimate(weights: Floats, drawn: Drawn) -> tuple[Floats, Floats]:
    """Change and its standard error (resamples, repetitions), templates weighted (resamples, templates)."""
    values, variances = [], []
    for number in range(drawn.category[-1] + 1):
        mine = drawn.category == number
        weight, change, n = weights[:, mine], (drawn.after - drawn.before)[:, mine], drawn.answers[0, mine]
        total = (weight @ n)[:, None]
        value = weight @ change.T / total
        squares = weight @ (change**2).T - 2 * value * (weight @ (change * n).T)
        squares += value**2 * (weight @ n**2)[:, None]
        many = mine.sum()
        values.append(value)
        variances.append(np.maximum(squares, 0) / total**2 * many / (many - 1))
    return np.mean(values, axis=0), np.sqrt(np.sum(variances, axis=0)) / len(values)


METHODS: dict[str, Callable[[Drawn], Intervals]] = {
    "ours": ours,
    "Student's t": student,
    "bootstrap-t": bootstrap_t,
}


def wilson_with_design_effect(hits: Floats, answers: Floats) -> tuple[Floats, Floats]:
    """The effective sample size of Korn and Graubard in Wilson's interval."""
    templates, total = hits.shape[1], answers.sum(axis=1)
    rate = hits.sum(axis=1) / total
    variance = ((hits - rate[:, None] * answers) ** 2).sum(axis=1) / total**2 * templates / (templates - 1)
    shrink = (stats.norm.ppf(0.975) / stats.t.ppf(0.975, templates - 1)) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.minimum(rate * (1 - rate) / variance * shrink, total)
    size = np.where(variance > 0, size, templates)
    return wilson(rate * size, size)


RATES = {"ours": clustered_wilson, "Wilson with a design effect": wilson_with_design_effect}


def count(cell: Cell, repetitions: int, seed: int) -> dict[str, tuple[float, float]]:
    """Per method, the share of intervals that miss the truth and of p-values below 0.05."""
    drawn = draw(cell, repetitions, seed)
    found = {}
    for name, method in METHODS.items():
        low, high, p = method(drawn)
        slack = 1e-12
        missed = (low > drawn.truth + slack) | (high < drawn.truth - slack)
        found[name] = (float(missed.mean()), float((p < 0.05).mean()))
    if cell.categories == 1 and cell.effect == RISE and cell.kind == KINDS[0]:
        for name, rate in RATES.items():
            low, high = rate(drawn.before, drawn.answers)
            found[f"rate: {name}"] = (float(((low > cell.rate) | (high < cell.rate)).mean()), math.nan)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    cells = list(grid())
    many = itertools.repeat(options.repetitions)
    with ProcessPoolExecutor(options.jobs) as pool:
        found = list(pool.map(count, cells, many, range(len(cells)), chunksize=8))
    report(cells, found, options.repetitions)


def report(cells: list[Cell], found: list[dict[str, tuple[float, float]]], repetitions: int) -> None:
    """Print the tables of bench/README.md."""
    noise = math.sqrt(0.05 * 0.95 / repetitions)
    print(
        f"{len(cells)} cells, {repetitions} repetitions; one standard error of 5 % is {100 * noise:.2f} %\n"
    )
    groups = {
        "6 and 8 templates": lambda c: c.categories == 1 and c.templates < 10,
        "12 templates": lambda c: c.categories == 1 and c.templates == 12,
        "25 to 100 templates": lambda c: c.categories == 1 and c.templates > 12,
        "five categories of 6": lambda c: c.categories == 5 and c.templates == 6,
        "five categories of 25 or 40": lambda c: c.categories == 5 and c.templates > 6,
    }
    print("| | method | coverage, worst cell | cells below 94 % | p < 0.05 without effect: worst | power |")
    print("|---|---|---:|---:|---:|---:|")
    for title, belongs in groups.items():
        mine = [(cell, one) for cell, one in zip(cells, found, strict=True) if belongs(cell)]
        for name in METHODS:
            missed = [one[name][0] for _, one in mine]
            false = [one[name][1] for cell, one in mine if cell.effect in (NONE, BALANCED)]
            power = [one[name][1] for cell, one in mine if cell.effect in SHIFTS]
            below = sum(share > 0.06 for share in missed)
            print(
                f"| {title} | {name} | {100 * (1 - max(missed)):.1f} % | {below} of {len(missed)} "
                f"| {100 * max(false):.1f} % | {100 * np.mean(power):.0f} % |"
            )
    print("\n| single rates | coverage, worst cell | cells below 94 % |\n|---|---:|---:|")
    for name in RATES:
        missed = [one[f"rate: {name}"][0] for one in found if f"rate: {name}" in one]
        below = sum(share > 0.06 for share in missed)
        print(f"| {name} | {100 * (1 - max(missed)):.1f} % | {below} of {len(missed)} |")
    print("\nThe cells that ours covers least:")
    worst = sorted(zip(found, cells, strict=True), key=lambda pair: -pair[0]["ours"][0])[:12]
    for one, cell in worst:
        print(f"  {100 * (1 - one['ours'][0]):.1f} %  {cell}")


if __name__ == "__main__":
    main()
