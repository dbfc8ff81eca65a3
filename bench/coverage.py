"""Do the intervals over question templates hold what they promise, where real models are?

    python bench/coverage.py                        # every cell, 1,000 repetitions of each
    python bench/coverage.py --repetitions 4000 --jobs 2

Each cell is a made-up benchmark: templates lean by some amount on the logit scale, items of one template by
another, and pruning moves every template and every item by some amount; each item is answered under five
seeds. The truth is known by quadrature. Counted are the 95 % intervals that miss it, comparisons without an
effect whose p-value is below 0.05, and comparisons with one that find it. The peers are Student's t over
templates and the bootstrap-t over templates (Cameron, Gelbach & Miller 2008), for single rates Wilson's
interval with a design effect and Student's quantile for the number of templates (Korn & Graubard 1998).

The cells, and the two generators that make them, are in ``made_up_benchmarks.py``.
"""

from __future__ import annotations

import argparse
import itertools
import math
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from interval_methods import METHODS, RATES
from made_up_benchmarks import (
    BALANCED,
    KINDS,
    NONE,
    RISE,
    SHIFTS,
    Cell,
    draw,
    grid,
    held_out_grid,
    hopeless_grid,
)
from numpy.typing import NDArray

Floats = NDArray[np.float64]
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
