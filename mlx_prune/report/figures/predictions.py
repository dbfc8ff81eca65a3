"""Figures of predictions: distance from the dense model's, and answers that changed where it was unsure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlx_prune.configuration import Configuration
from mlx_prune.report.figures.beside import write_beside
from mlx_prune.report.figures.panels import panel_grid, shared_legend, zero_line
from mlx_prune.report.figures.style import INK, MUTED, Layout, method_style, plain_numbers
from mlx_prune.report.tables.build import Tables
from mlx_prune.report.tables.divergence import Distance
from mlx_prune.report.tables.rows import by_model, number_or_nan
from mlx_prune.report.tables.table import finite
from mlx_prune.report.tables.uncertainty import Uncertainty

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of several sparsities of a method, the lowest is this strong.
_FAINTEST = 0.35
# Where the axis of tenths ends, beside whose last points sparsities stand.
_ROOM = 12.2


def divergence(tables: Tables, layout: Layout) -> Figure | None:
    """KL divergence from dense beside change of perplexity, both with their intervals."""
    models = by_model(
        row
        for row in tables.divergence.rows
        if (finite(row.kl.value) or 0) > 0 and finite(row.perplexity_change.value) is not None
    )
    if not models:
        return None
    figure, panels = panel_grid(layout, list(models), 3.0, sharey=True)
    for axes, rows in zip(panels, models.values(), strict=True):
        for row in rows:
            _point(axes, row)
        axes.set_xscale("symlog", linthresh=10, subs=[2, 5])
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            plain_numbers(axis)
        zero_line(axes)
        axes.margins(0.12)
        axes.set_xlabel("perplexity, change from dense (%)")
    panels[0].set_ylabel("KL(dense || compressed), nats per token")
    shared_legend(figure)
    return figure


def _point(axes: Axes, row: Distance) -> None:
    configuration, style = row.configuration, method_style(row.configuration.prune_method)
    x, y = number_or_nan(row.perplexity_change.value), number_or_nan(row.kl.value)
    if row.perplexity_change.ends is not None:
        axes.plot(row.perplexity_change.ends, [y, y], color=style.color, linewidth=1, alpha=0.75)
    if row.kl.ends is not None and row.kl.ends[0] > 0:
        axes.plot([x, x], row.kl.ends, color=style.color, linewidth=1, alpha=0.75)
    axes.plot(x, y, **style.points(configuration.pattern), linestyle="none", label=_method(configuration))
    if configuration.sparsity and not configuration.is_named:
        write_beside(axes, f"{configuration.sparsity:g}", (x, y), MUTED.light, size=7.5)


def uncertainty(tables: Tables, layout: Layout) -> Figure | None:
    """Share of changed answers by tenths of the dense model's uncertainty, a panel per method."""
    rows = [
        row for row in tables.uncertainty.rows if row.changed.value is not None and not row.too_few_answered
    ]
    models = by_model(rows)
    groups = {
        (model, method): [row for row in mine if _method(row.configuration) == method]
        for model, mine in models.items()
        for method in dict.fromkeys(_method(row.configuration) for row in mine)
    }
    if not groups:
        return None
    titles = [f"{method} · {model}" if len(models) > 1 else method for model, method in groups]
    figure, panels = panel_grid(layout, titles, 2.1, sharey=True, sharex=True)
    for axes, mine in zip(panels, groups.values(), strict=True):
        _lines(axes, mine)
        axes.set_xticks(range(1, 11))
    if any(axes.texts for axes in panels):
        panels[0].set_xlim(right=_ROOM)
    panels[0].set_ylim(bottom=0)
    figure.supxlabel("tenths of the questions, the least sure last", fontsize=9)
    figure.supylabel("answers that changed (%)", fontsize=9)
    return figure


def _lines(axes: Axes, rows: Sequence[Uncertainty]) -> None:
    """A line per sparsity of one method, with its intervals."""
    order = list(dict.fromkeys(row.configuration for row in rows))
    for number, configuration in enumerate(order):
        mine = [row for row in rows if row.configuration == configuration]
        style = method_style(configuration.prune_method)
        strength = 1.0 if len(order) == 1 else _FAINTEST + (1 - _FAINTEST) * number / (len(order) - 1)
        shift = 0.3 * ((number + 0.5) / len(order) - 0.5)
        xs = [row.decile + shift for row in mine]
        ys = [100 * number_or_nan(row.changed.value) for row in mine]
        look = style.points(configuration.pattern) | {"linestyle": style.line, "markersize": 3.5}
        axes.plot(xs, ys, **look, alpha=strength)
        for x, row in zip(xs, mine, strict=True):
            if row.changed.ends is not None:
                ends = [100 * end for end in row.changed.ends]
                axes.plot([x, x], ends, color=style.color, linewidth=1, alpha=0.6 * strength)
        if configuration.sparsity and not configuration.pattern:
            write_beside(axes, f"{configuration.sparsity:g} %", (xs[-1], ys[-1]), INK.light, size=7)


def _method(configuration: Configuration) -> str:
    return f"{configuration.prune_method} {configuration.pattern or ''}".strip()
