"""Made-up benchmarks whose truth is known by quadrature: what ``coverage.py`` counts misses on.

Two generators make the cells. On the first (normal leans and effects) the constants of
``mlx_prune.stats.clustered`` were chosen, so it says how well they fit and no more. The second is held out
and is no ground to change a constant: leans and effects of templates follow Student's t with three degrees of
freedom, templates have as unequal numbers of items as BBQ's, and half of the items answer alike under all
five seeds. Cells of a third table are those whose effect no interval can show: it is confined to a few
templates, which a sample may lack.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

Floats = NDArray[np.float64]
SEEDS = 5
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
