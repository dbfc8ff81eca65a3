"""Do the intervals over question templates hold what they promise, where real models are?

    python bench/coverage.py                        # every cell, 1,000 repetitions of each
    python bench/coverage.py --repetitions 4000 --jobs 2

Each cell is a made-up benchmark: templates lean by some amount on the logit scale, items of one template by
another, and pruning moves every template and every item by some amount; each item is answered under five
seeds. The truth is known by quadrature. Counted are the 95 % intervals that miss it, comparisons without an
effect whose p-value is below 0.05, and comparisons with one that find it. The peers are Student's t over
templates and the bootstrap-t over templates (Cameron, Gelbach & Miller 2008), for single rates Wilson's
interval with a design effect and Student's quantile for the number of templates (Korn & Graubard 1998).

Two generators make the cells. On the first (normal leans and effects) the constants of
``mlx_prune.stats.clustered`` were chosen, so it says how well they fit and no more. The second is held out
and is no ground to change a constant: leans and effects of templates follow Student's t with three degrees of
freedom, templates have as unequal numbers of items as BBQ's, and half of the items answer alike under all
five seeds. Cells of a third table are those whose effect no interval can show: it is confined to a few
templates, which a sample may lack.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from mlx_prune.stats.clustered import clustered_wilson, paired_difference
from mlx_prune.stats.rates import wilson

Floats = NDArray[np.float64]
Intervals = tuple[Floats, Floats, Floats]
SEEDS = 5
REPLICATES = 399
# Share of the templates that an effect is confined to, where it is.
CONFINED = 0.15
# The held-out generator: deviation of the logarithm of a template's number of items (the median over BBQ's
# nine categories is 0.68), and the share of items that answer alike under all seeds.
UNEQUAL, ALIKE = 0.7, 0.5

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
        confined: The effect strikes each template with probability ``CONFINED`` only; all still move by
            ``spread`` (0: the others do not move at all).
        held_out: Made by the generator on which nothing was chosen.
    """

    kind: str
    templates: int
    items: int
    rate: float
    effect: str
    spread: float = 0.5
    uneven: bool = False
    categories: int = 1
    confined: bool = False
    held_out: bool = False


@dataclass(frozen=True, eq=False)
class Drawn:
    """Per-template sums (repetitions, templates) before and after, and the true change."""

    before: Floats
    after: Floats
    answers: Floats
    category: NDArray[np.intp]
    truth: float


SHAPES = ((6, 20), (8, 30), (12, 20), (25, 8), (25, 20), (25, 40), (50, 20), (100, 10))
RATES_OF_DENSE = (0.01, 0.03, 0.1, 0.3, 0.6)
EFFECTS = (NONE, BALANCED, *SHIFTS)


def grid() -> Iterator[Cell]:
    """The cells; templates from 6 to 100, rates from 0.01 to 0.6, effects from none to large."""
    yield from _one_category(EFFECTS)
    for kind, rate, effect in itertools.product(KINDS[::2], RATES_OF_DENSE[:2], EFFECTS):
        for templates in (12, 25, 50):
            yield Cell(kind, templates, 20, rate, effect, uneven=True)
            yield Cell(kind, templates, 20, rate, effect, spread=1.0)
    yield from _five_categories()


def held_out_grid() -> Iterator[Cell]:
    """The same numbers of templates and items, rates and effects, by the other generator."""
    for cell in (*_one_category(EFFECTS), *_five_categories()):
        yield replace(cell, uneven=False, held_out=True)


def hopeless_grid() -> Iterator[Cell]:
    """Effects that a sample of templates may lack, by either generator, and very uneven categories of 6."""
    for held_out, spread, cell in itertools.product(
        (False, True), (0.0, 0.1, 0.5), _one_category(tuple(SHIFTS))
    ):
        if cell.items == 20 and cell.rate < 0.6:
            yield replace(cell, spread=spread, confined=True, held_out=held_out)
    for cell in _five_categories():
        if cell.templates == 6:
            yield replace(cell, uneven=True)


def _one_category(effects: tuple[str, ...]) -> Iterator[Cell]:
    for kind, (templates, items), rate, effect in itertools.product(KINDS, SHAPES, RATES_OF_DENSE, effects):
        yield Cell(kind, templates, items, rate, effect)


def _five_categories() -> Iterator[Cell]:
    for kind, rate, effect in itertools.product(KINDS[::2], RATES_OF_DENSE[:4], EFFECTS):
        for templates, items in ((6, 24), (25, 20), (40, 10)):
            yield Cell(kind, templates, items, rate, effect, uneven=templates > 6, categories=5)


def draw(cell: Cell, repetitions: int, seed: int) -> Drawn:
    """Made-up sums of one cell."""
    rng = np.random.default_rng(seed)
    templates = cell.templates * cell.categories
    sizes = _sizes(cell, rng, (repetitions, templates))
    template = np.repeat(np.arange(sizes.size), sizes.ravel())

    def amounts() -> Floats:
        """A number of each template plus one of each item, each of unit variance."""
        if cell.held_out:
            shared = rng.standard_t(3, sizes.size) / math.sqrt(3)
        else:
            shared = rng.normal(size=sizes.size)
        return np.asarray(shared[template] + rng.normal(size=len(template)))

    level = _level(cell.rate, cell.held_out, 0)
    lean, moved = level + amounts(), cell.spread * amounts()
    if cell.effect == NONE:
        logits, truth = (lean - moved / 2, lean + moved / 2), 0.0
    else:
        shift = SHIFTS.get(cell.effect, _level(cell.rate, cell.held_out, cell.spread) - level)
        struck = np.where(rng.random(sizes.size) < CONFINED, shift, 0.0)[template] if cell.confined else shift
        logits = (lean, lean + struck + moved)
        part = CONFINED if cell.confined else 1.0
        rates = (_mean_rate(level + by, cell.held_out, cell.spread) for by in (shift, 0.0))
        truth = float(np.dot((part, 1 - part), tuple(rates))) - cell.rate
    # Within 30, so that what is left to certainty can be divided by.
    before, after = (special.expit(np.clip(part, -30, 30)) for part in logits)
    hits = _answers(cell.kind, rng, before, after, SEEDS)
    if cell.held_out:
        alike = rng.random(len(template)) < ALIKE
        same = _answers(cell.kind, rng, before, after, 1)
        hits = np.where(alike, SEEDS * same[0], hits[0]), np.where(alike, SEEDS * same[1], hits[1])
    starts = np.cumsum(sizes.ravel()) - sizes.ravel()
    sums = [np.add.reduceat(np.asarray(part, float), starts).reshape(sizes.shape) for part in hits]
    return Drawn(sums[0], sums[1], SEEDS * sizes, np.arange(templates) // cell.templates, truth)


def _sizes(cell: Cell, rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.intp]:
    """Items of each template: held out, they differ from repetition to repetition."""
    if cell.held_out:
        sizes = cell.items * rng.lognormal(-(UNEQUAL**2) / 2, UNEQUAL, shape)
    elif cell.uneven:
        sizes = cell.items * rng.lognormal(-0.32, 0.8, shape[1])
    else:
        sizes = np.full(shape[1], float(cell.items))
    return np.broadcast_to(np.maximum(2, np.round(sizes)).astype(np.intp), shape)


def _answers(
    kind: str, rng: np.random.Generator, before: Floats, after: Floats, seeds: int
) -> tuple[Floats, Floats]:
    """Stereotyped answers of each item."""
    if kind == "probabilities":
        return seeds * before, seeds * after
    if kind == "fresh answers":
        return rng.binomial(seeds, before), rng.binomial(seeds, after)
    # Under one noise only what lies between the two probabilities is answered differently.
    less, more = np.minimum(before, after), np.maximum(before, after)
    first = rng.binomial(seeds, less)
    second = first + rng.binomial(seeds - first, (more - less) / (1 - less))
    rises = after >= before
    return np.where(rises, first, second), np.where(rises, second, first)


@cache
def _level(rate: float, held_out: bool, spread: float) -> float:
    """Mean of the logits at which the mean rate is this."""
    return float(optimize.brentq(lambda level: _mean_rate(level, held_out, spread) - rate, -30, 30))


def _mean_rate(level: float, held_out: bool, spread: float) -> float:
    points, weights = _logits(held_out, spread)
    return float(weights @ special.expit(level + points) / weights.sum())


@cache
def _logits(held_out: bool, spread: float) -> tuple[Floats, Floats]:
    """Points and weights of how an item's logit differs from the mean, moved by this spread."""
    if not held_out:
        points, weights = np.polynomial.hermite_e.hermegauss(80)
        return math.sqrt(2 + 2 * spread**2) * points, weights
    uniform = stats.qmc.Sobol(3, seed=0).random_base2(16)
    shared = stats.t.ppf(uniform[:, :2], 3) / math.sqrt(3) @ np.array([1.0, spread])
    points = shared + math.sqrt(1 + spread**2) * stats.norm.ppf(uniform[:, 2])
    return points, np.ones(len(points))


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
        weight, change, n = weights[:, mine], (drawn.after - drawn.before)[:, mine], drawn.answers[:, mine]
        total = weight @ n.T
        value = weight @ change.T / total
        squares = weight @ (change**2).T - 2 * value * (weight @ (change * n).T)
        squares += value**2 * (weight @ (n**2).T)
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


Outcome = tuple[float, float, float]


def count(cell: Cell, repetitions: int, seed: int) -> dict[str, Outcome]:
    """Per method, the share of printed intervals that miss, of p-values below 0.05, and of no interval."""
    drawn = draw(cell, repetitions, seed)
    found = {}
    for name, method in METHODS.items():
        low, high, p = method(drawn)
        found[name] = (_missed(low, high, drawn.truth), float((p < 0.05).mean()), float(np.isnan(low).mean()))
    if cell.categories == 1 and cell.effect == RISE and cell.kind == KINDS[0] and not cell.confined:
        for name, rate in RATES.items():
            low, high = rate(drawn.before, drawn.answers)
            found[f"rate: {name}"] = (_missed(low, high, cell.rate), math.nan, float(np.isnan(low).mean()))
    return found


def _missed(low: Floats, high: Floats, truth: float) -> float:
    slack = 1e-12
    printed = ~np.isnan(low)
    missed = (low > truth + slack) | (high < truth - slack)
    return float(missed.sum() / max(printed.sum(), 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="another one draws other samples (default: 0)")
    options = parser.parse_args()
    grids = [list(grid()), list(held_out_grid()), list(hopeless_grid())]
    cells = [cell for part in grids for cell in part]
    many, seeds = itertools.repeat(options.repetitions), itertools.count(options.seed)
    with ProcessPoolExecutor(options.jobs) as pool:
        found = iter(zip(cells, pool.map(count, cells, many, seeds, chunksize=8), strict=True))
        noise = math.sqrt(0.05 * 0.95 / options.repetitions)
        print(
            f"{options.repetitions} repetitions of each cell; a standard error of 5 % is {100 * noise:.2f} %"
        )
        parts = [list(itertools.islice(found, len(part))) for part in grids]
    print(f"\n## The generator on which constants were chosen: {len(parts[0])} cells\n")
    report(parts[0])
    print(f"\n## Held out: {len(parts[1])} cells\n")
    report(parts[1])
    print(f"\n## What no interval can show: {len(parts[2])} cells\n")
    report_hopeless(parts[2])


Found = list[tuple[Cell, dict[str, Outcome]]]


def report(found: Found) -> None:
    """Print the tables of one generator, and by name every cell that ours covers below 94 %."""
    groups = {
        "6 and 8 templates": lambda c: c.categories == 1 and c.templates < 10,
        "12 templates": lambda c: c.categories == 1 and c.templates == 12,
        "25 to 100 templates": lambda c: c.categories == 1 and c.templates > 12,
        "five categories of 6": lambda c: c.categories == 5 and c.templates == 6,
        "five categories of 25 or 40": lambda c: c.categories == 5 and c.templates > 6,
    }
    print(
        "| | method | coverage, worst cell | cells below 94 % | below 93 % | p < 0.05 without effect: worst "
        "| power | no interval: worst |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for title, belongs in groups.items():
        mine = [(cell, one) for cell, one in found if belongs(cell)]
        for name in METHODS:
            missed = [one[name][0] for _, one in mine]
            false = [one[name][1] for cell, one in mine if cell.effect in (NONE, BALANCED)]
            power = [one[name][1] for cell, one in mine if cell.effect in SHIFTS]
            print(
                f"| {title} | {name} | {_worst(missed)} | {100 * max(false):.1f} % "
                f"| {100 * np.mean(power):.0f} % | {100 * max(one[name][2] for _, one in mine):.1f} % |"
            )
    print("\n| single rates | coverage, worst cell | cells below 94 % | below 93 % |\n|---|---:|---:|---:|")
    for name in RATES:
        print(
            f"| {name} | {_worst([one[f'rate: {name}'][0] for _, one in found if f'rate: {name}' in one])} |"
        )
    for name, what in (("ours", "differences"), ("rate: ours", "single rates")):
        print(f"\nThe cells whose {what} ours covers below 94 %:\n")
        below = [(one[name][0], cell) for cell, one in found if name in one and one[name][0] > 0.06]
        for missed, cell in sorted(below, key=lambda pair: -pair[0]):
            print(f"- {100 * (1 - missed):.1f} %: {cell}")


def _worst(missed: list[float]) -> str:
    below = " | ".join(f"{sum(share > least for share in missed)} of {len(missed)}" for least in (0.06, 0.07))
    return f"{100 * (1 - max(missed)):.1f} % | {below}"


def report_hopeless(found: Found) -> None:
    """Print how often intervals miss effects that the sample may lack."""
    print("| | others move by | templates | misses, mean (most): ours | Student's t | bootstrap-t ", end="")
    print("| ours: no interval | power |\n|---|---:|---:|---:|---:|---:|---:|---:|")
    keys = [(cell.confined, cell.held_out, cell.spread, cell.templates) for cell, _ in found]
    for key in dict.fromkeys(keys):
        confined, held_out, spread, templates = key
        mine = [pair for pair, its in zip(found, keys, strict=True) if its == key]
        cells = ["held out" if held_out else "first generator", f"{spread}", f"{templates}"]
        if not confined:
            cells = ["first generator, five uneven categories, nothing confined", "", f"{templates}"]
        for name in METHODS:
            missed = [one[name][0] for _, one in mine]
            cells.append(f"{100 * np.mean(missed):.1f} % ({100 * max(missed):.1f} %)")
        none = [one["ours"][2] for _, one in mine]
        power = [one["ours"][1] for cell, one in mine if cell.effect in SHIFTS]
        cells += [f"{100 * np.mean(none):.0f} %", f"{100 * np.mean(power):.0f} %"]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
