"""Figures of rates along sparsity and by category."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mlx_prune.configuration import Configuration
from mlx_prune.labels import DENSE
from mlx_prune.report.figures.panels import (
    Band,
    Look,
    Tables,
    chance_line,
    distinct,
    draw_answered,
    draw_lines,
    few,
    key_of,
    method_lines,
    number,
    panel_grid,
    shared_legend,
    sparsity_axis,
    with_actual,
)
from mlx_prune.report.figures.style import GRID, INK, Layout, method_style
from mlx_prune.report.tables.table import Row
from mlx_prune.stats.rates import OVERALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def srs_by_sparsity(tables: Tables, layout: Layout) -> Figure | None:
    """Overall SRS along actual sparsity."""
    bands = _around_dense(tables, "paired_tests", "srs_delta", "srs_baseline", 1)
    return _overall_rate(tables, layout, "srs", "SRS (mean of categories)", bands)


def usr_by_sparsity(tables: Tables, layout: Layout) -> Figure | None:
    """Overall USR along actual sparsity."""
    # The abstention part of SRS is half the loss of USR.
    bands = _around_dense(tables, "direction", "abstention_part", "usr_baseline", -2)
    return _overall_rate(tables, layout, "usr", "USR (mean of categories)", bands)


def _around_dense(
    tables: Tables, table: str, change: str, baseline: str, factor: float
) -> dict[Configuration, Band]:
    """Interval of each configuration's change, moved to the dense rate it starts from."""
    starts = {key_of(row): number(row[baseline]) for row in tables["overall"].rows}
    bands = {}
    for row in tables[table].rows:
        start = starts.get(key_of(row))
        ends = number(row[f"{change}_low"]), number(row[f"{change}_high"])
        if row["category"] == OVERALL and start is not None and None not in ends:
            moved = sorted(start + factor * end for end in ends if end is not None)
            bands[key_of(row)] = (max(moved[0], 0.0), min(moved[1], 1.0))
    return bands


def _overall_rate(
    tables: Tables, layout: Layout, column: str, label: str, bands: dict[Configuration, Band]
) -> Figure | None:
    table = tables["overall"]
    if all(row["prune_method"] == DENSE for row in table.rows):
        return None
    models = distinct(table, "model")
    axis, axis_label = sparsity_axis(table.rows)
    figure, panels = panel_grid(layout, models, 2.7, sharey=True)
    for axes, model in zip(panels, models, strict=True):
        rows = table.where(model=model).rows
        lines = method_lines(rows, axis, _cell(column), lambda row: bands.get(key_of(row)))
        draw_lines(axes, lines)
        draw_answered(axes, rows, _at(axis, column))
        if column == "srs":
            chance_line(axes)
        axes.set_xlabel(axis_label)
    _from_zero(panels)
    panels[0].set_ylabel(label)
    shared_legend(figure)
    return figure


def _from_zero(panels: list[Axes]) -> None:
    # Last, because fixing one end of a shared axis stops it from following what is drawn later.
    for axes in panels:
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=-2)


def _cell(column: str) -> Look:
    return lambda row: number(row[column])


def _at(axis: str, column: str) -> Callable[[Row], tuple[float | None, float | None]]:
    return lambda row: (number(row[axis]), number(row[column]))


def _there(x: float, y: float) -> Callable[[Row], tuple[float, float]]:
    return lambda _: (x, y)


def srs_by_category(tables: Tables, layout: Layout) -> Figure | None:
    """SRS of each category along actual sparsity."""
    table = tables["rates"]
    if all(row["prune_method"] == DENSE for row in table.rows):
        return None
    models, categories = distinct(table, "model"), sorted(distinct(table, "category"))
    axis, axis_label = sparsity_axis(table.rows)
    places = [(model, category) for model in models for category in categories]
    suffixes = {model: f" · {model}" if len(models) > 1 else "" for model in models}
    titles = [_words(category) + suffixes[model] for model, category in places]
    across = 2 if layout.columns == 1 else len(categories) if len(categories) <= 5 else 4
    figure, panels = panel_grid(layout, titles, 2.1, columns=across, sharey=True, sharex=True)
    for axes, (model, category) in zip(panels, places, strict=True):
        rows = table.where(model=model, category=category).rows
        draw_lines(axes, method_lines(rows, axis, _cell("srs"), _clustered))
        draw_answered(axes, rows, _at(axis, "srs"))
        chance_line(axes)
    _from_zero(panels)
    figure.supxlabel(axis_label, fontsize=9)
    figure.supylabel("SRS", fontsize=9)
    shared_legend(figure)
    return figure


def _clustered(row: Row) -> Band | None:
    low, high = number(row["srs_clustered_low"]), number(row["srs_clustered_high"])
    return None if low is None or high is None else (low, high)


def _words(category: str) -> str:
    return category.replace("_", " ")


def methods_at_50(tables: Tables, layout: Layout) -> Figure | None:
    """SRS of every method at a target of 50 %, by category, beside dense."""
    halves = {key_of(row) for row in tables["methods_at_50"].rows}
    if not halves:
        return None
    table = tables["rates"]
    models = distinct(tables["methods_at_50"], "model")
    categories = sorted(distinct(table, "category"))
    most = max(sum(key.model == model for key in halves) for model in models)
    figure, panels = panel_grid(
        layout, models, 1.0 + max(0.42, 0.1 + 0.11 * most) * len(categories), sharex=True
    )
    for axes, model in zip(panels, models, strict=True):
        rows = table.where(model=model).rows
        shown = list(dict.fromkeys(key_of(row) for row in rows if key_of(row) in halves))
        step = min(0.18, 0.8 / max(len(shown), 1))
        for place, category in enumerate(categories):
            dense = [r for r in rows if r["prune_method"] == DENSE and r["category"] == category]
            for start in (number(row["srs"]) for row in dense):
                if start is not None:
                    ends = [place - 0.42, place + 0.42]
                    axes.plot([start] * 2, ends, color=INK.light, linewidth=2.2, label=DENSE)
            for row in rows:
                value = number(row["srs"])
                if key_of(row) not in halves or row["category"] != category or value is None:
                    continue
                offset = step * (shown.index(key_of(row)) - (len(shown) - 1) / 2)
                draw_answered(axes, [row], _there(value, place + offset))
                if few(row):
                    continue
                style = method_style(str(row["prune_method"]))
                band = _clustered(row)
                if band:
                    axes.plot(band, [place + offset] * 2, color=style.color, linewidth=1, alpha=0.8)
                look = style.points(row["pattern"]) | {"linestyle": "none", "label": with_actual(row)}
                axes.plot([value], [place + offset], **look)
        axes.set_yticks(range(len(categories)), [_words(name) for name in categories])
        axes.set_ylim(len(categories) - 0.45, -0.55)
        axes.grid(False, axis="y")
        for line in range(1, len(categories)):
            axes.axhline(line - 0.5, color=GRID.light, linewidth=0.7)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("SRS")
    panels[0].set_xlim(left=0)
    shared_legend(figure)
    return figure


def latent_items(tables: Tables, layout: Layout) -> Figure | None:
    """SRS of all items beside that of the items that were already biased in the dense model."""
    latent = _category_means(tables["latent_rates"].rows)
    table = tables["overall"]
    if not latent or all(row["prune_method"] == DENSE for row in table.rows):
        return None
    models = distinct(table, "model")
    axis, axis_label = sparsity_axis(table.rows)
    figure, panels = panel_grid(layout, models, 2.7, sharey=True)
    for axes, model in zip(panels, models, strict=True):
        rows = table.where(model=model).rows
        draw_lines(axes, method_lines(rows, axis, _cell("srs"), lambda _: None))
        draw_answered(axes, rows, _at(axis, "srs"))
        chosen = method_lines(rows, axis, lambda row: latent.get(key_of(row)), lambda _: None)
        draw_lines(axes, chosen, label="_latent", fillstyle="none", alpha=0.85)
        axes.set_xlabel(axis_label)
    _from_zero(panels)
    panels[0].set_ylabel("SRS (mean of categories)")
    shared_legend(figure)
    return figure


def _category_means(rows: tuple[Row, ...]) -> dict[Configuration, float]:
    found: dict[Configuration, list[float]] = {}
    for row in rows:
        value = number(row["srs"])
        if value is not None:
            found.setdefault(key_of(row), []).append(value)
    return {key: sum(values) / len(values) for key, values in found.items()}
