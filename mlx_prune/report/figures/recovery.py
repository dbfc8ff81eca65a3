"""The figure of models that were trained back: where pruning took them, and how far training brought them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlx_prune.labels import DENSE
from mlx_prune.report.figures.beside import write_beside
from mlx_prune.report.figures.panels import panel_grid, scale_of_factors, shared_legend
from mlx_prune.report.figures.style import MUTED, Layout, method_style
from mlx_prune.report.tables.build import Tables
from mlx_prune.report.tables.recovery import Recovered
from mlx_prune.report.tables.rows import by_model
from mlx_prune.report.tables.table import finite

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Place = tuple[float, float]


@dataclass(frozen=True)
class _Way:
    """One recovered model's three places, each perplexity and SRS.

    Attributes:
        row: Of the table.
        dense: Where it began.
        pruned: Where pruning took it.
        recovered: Where training brought it.
    """

    row: Recovered
    dense: Place
    pruned: Place
    recovered: Place

    @classmethod
    def of(cls, row: Recovered) -> _Way | None:
        """None where a perplexity was not measured, or too few answers were understood."""
        places = []
        for name in ("dense", "pruned", "recovered"):
            x, y = finite(row[f"perplexity_{name}"]), row[f"srs_{name}"]
            if x is None or y is None:
                return None
            places.append((x, y))
        return cls(row, *places)


def recovery(tables: Tables, layout: Layout) -> Figure | None:
    """Perplexity and SRS, dense, pruned and recovered, a panel per model."""
    models = {
        model: ways
        for model, rows in by_model(tables.recovery.rows).items()
        if (ways := [way for way in map(_Way.of, rows) if way is not None])
    }
    if not models:
        return None
    figure, panels = panel_grid(layout, list(models), 3.1, sharey=True)
    for axes, ways in zip(panels, models.values(), strict=True):
        look = method_style(DENSE).points() | {"linestyle": "none", "zorder": 4}
        axes.plot(*ways[0].dense, **look, label=DENSE)
        for way in ways:
            _draw(axes, way)
        places = [place for way in ways for place in (way.dense, way.pruned, way.recovered)]
        scale_of_factors(axes.xaxis, [x for x, _ in places])
        axes.margins(0.12)
        axes.set_xlabel("perplexity")
    panels[0].set_ylabel("SRS")
    shared_legend(figure)
    return figure


def _draw(axes: Axes, way: _Way) -> None:
    """Two points, their intervals, and the arrows that lead to them; the sparsity beside the pruned one."""
    name, row, dense = way.row.configuration, way.row, way.dense[1]
    _arrow(axes, way.dense, way.pruned, MUTED.light)
    _arrow(axes, way.pruned, way.recovered, method_style(name.prune_method).color)
    for method, place, change in (
        (row.pruned, way.pruned, row.srs_pruning),
        (name.prune_method, way.recovered, row.srs_left),
    ):
        style = method_style(method)
        if change.ends is not None:
            ends = [dense + end for end in change.ends]
            axes.plot([place[0]] * 2, ends, color=style.color, linewidth=1, alpha=0.75)
        label = f"{method} {name.pattern or ''}".strip()
        axes.plot(*place, **style.points(name.pattern), linestyle="none", label=label, zorder=3)
    write_beside(axes, f"{name.sparsity:g}", way.pruned, MUTED.light, size=7.5)


def _arrow(axes: Axes, start: Place, end: Place, color: str) -> None:
    look = {"arrowstyle": "-|>", "color": color, "linewidth": 1.1, "shrinkA": 3, "shrinkB": 4, "alpha": 0.8}
    axes.annotate("", end, start, arrowprops=look)
