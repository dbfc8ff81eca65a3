"""The figure of social groups: how far each moved in every configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlx_prune.configuration import Configuration
from mlx_prune.report.figures.panels import panel_grid, shared_legend, zero_line
from mlx_prune.report.figures.style import GRID, Layout, method_style
from mlx_prune.report.tables.build import Tables
from mlx_prune.report.tables.groups import GroupRate
from mlx_prune.report.tables.rows import by_model, number_or_nan
from mlx_prune.stats.levels import SIGNIFICANCE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches of a line; and how much of one the points of all configurations are spread over.
_LINE, _SPREAD = 0.23, 0.62
_FAINT = 0.5


def groups(tables: Tables, layout: Layout) -> Figure | None:
    """Change of SRS of every social group, one line each, a point per configuration."""
    models = by_model(row for row in tables.groups.rows if row.srs_delta.value is not None)
    if not models:
        return None
    lines = {model: _lines(rows) for model, rows in models.items()}
    most = max(len(names) for names in lines.values())
    figure, panels = panel_grid(
        layout, list(models), 0.9 + _LINE * most, columns=min(2, layout.columns), sharex=True
    )
    for axes, (model, rows) in zip(panels, models.items(), strict=True):
        zero_line(axes)
        _label(axes, lines[model])
        _draw_points(axes, rows, lines[model])
        axes.set_xlabel("change of SRS from dense")
    shared_legend(figure)
    return figure


def _lines(rows: Sequence[GroupRate]) -> list[tuple[str, str]]:
    """Category and group of each line from above; each category begins with a line of its own."""
    found: list[tuple[str, str]] = []
    for category in sorted({row.category for row in rows}):
        found.append((category, ""))
        found += [(category, name) for name in sorted({r.group for r in rows if r.category == category})]
    return found


def _label(axes: Axes, lines: Sequence[tuple[str, str]]) -> None:
    labels = [group or category.replace("_", " ") for category, group in lines]
    axes.set_yticks(range(len(lines)), labels)
    for label, (_, group) in zip(axes.get_yticklabels(), lines, strict=True):
        if not group:
            label.set_fontweight("bold")
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.locator_params(axis="x", nbins=6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    first = [place for place, (_, group) in enumerate(lines) if place and not group]
    across = axes.get_yaxis_transform()
    axes.hlines([place - 0.5 for place in first], 0, 1, GRID.light, linewidth=0.8, transform=across)


def _draw_points(axes: Axes, rows: Sequence[GroupRate], lines: Sequence[tuple[str, str]]) -> None:
    """A point per configuration and group; a bar and full color where the change is beyond chance."""
    places = {line: place for place, line in enumerate(lines)}
    order = list(dict.fromkeys(row.configuration for row in rows))
    for number, configuration in enumerate(order):
        shift = _SPREAD * (number / (len(order) - 1) - 0.5) if len(order) > 1 else 0.0
        style = method_style(configuration.prune_method)
        look = style.points(configuration.pattern) | {"linestyle": "none", "markersize": 4.5}
        mine = [row for row in rows if row.configuration == configuration]
        for sure in (False, True):
            some = [row for row in mine if beyond_chance(row) == sure]
            ys = [places[row.category, row.group] + shift for row in some]
            label = _method(configuration) if not sure else "_"
            xs = [number_or_nan(row.srs_delta.value) for row in some]
            axes.plot(xs, ys, **look, alpha=1.0 if sure else _FAINT, label=label, zorder=3 if sure else 2)
            if sure:
                ends = [row.srs_delta.ends or (0.0, 0.0) for row in some]
                axes.hlines(
                    ys, [end[0] for end in ends], [end[1] for end in ends], style.color, linewidth=1.2
                )


def beyond_chance(row: GroupRate) -> bool:
    """Whether the change of a group is beyond chance, all groups and configurations allowed for."""
    return row.q_clustered is not None and row.q_clustered < SIGNIFICANCE


def _method(configuration: Configuration) -> str:
    return f"{configuration.prune_method} {configuration.pattern or ''}".strip()
