"""Figures of rates along sparsity and by category."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, TypeVar

from mlx_prune.configuration import Configuration
from mlx_prune.labels import DENSE
from mlx_prune.report.figures.panels import Band, draw_answered, panel_grid, shared_legend, with_actual
from mlx_prune.report.figures.sparsity_lines import chance_line, draw_lines, method_lines, sparsity_axis
from mlx_prune.report.figures.style import GRID, INK, Layout, method_style
from mlx_prune.report.tables.build import Tables
from mlx_prune.report.tables.change import Direction, PairedTest
from mlx_prune.report.tables.rates import Overall, Rate
from mlx_prune.report.tables.rows import Configured, Rated, by_model, number_or_nan
from mlx_prune.report.tables.study import LatentRate
from mlx_prune.stats.rates import OVERALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

C = TypeVar("C", bound=Configured)
# The top of an axis from zero, as a multiple of the largest value on it.
_HEADROOM = 1.05
# The same for an axis with texts beside its last points.
_SIDEROOM = 1.15


def srs_by_sparsity(tables: Tables, layout: Layout) -> Figure | None:
    """Overall SRS along actual sparsity."""

    def band(row: PairedTest, dense: Overall) -> Band | None:
        return _moved(dense.srs_baseline, row.srs_delta.ends, 1)

    bands = _bands(tables, tables.paired_tests.where(category=OVERALL).rows, band)
    return _overall_rate(tables, layout, "srs", "SRS (mean of categories)", bands)


def usr_by_sparsity(tables: Tables, layout: Layout) -> Figure | None:
    """Overall USR along actual sparsity."""

    def band(row: Direction, dense: Overall) -> Band | None:
        # The abstention part of SRS is half the loss of USR.
        return _moved(dense.usr_baseline, row.abstention_part.ends, -2)

    bands = _bands(tables, tables.direction.where(category=OVERALL).rows, band)
    return _overall_rate(tables, layout, "usr", "USR (mean of categories)", bands)


def _bands(
    tables: Tables, rows: tuple[C, ...], band: Callable[[C, Overall], Band | None]
) -> dict[Configuration, Band]:
    """Interval of each configuration's rate."""
    overall = {row.configuration: row for row in tables.overall.rows}
    found = {row.configuration: band(row, overall[row.configuration]) for row in rows}
    return {name: ends for name, ends in found.items() if ends is not None}


def _moved(start: float | None, ends: Band | None, factor: float) -> Band | None:
    """Interval of a change, moved to the dense rate it starts from."""
    if start is None or ends is None:
        return None
    low, high = sorted(start + factor * end for end in ends)
    return max(low, 0.0), min(high, 1.0)


def _overall_rate(
    tables: Tables, layout: Layout, column: str, label: str, bands: dict[Configuration, Band]
) -> Figure | None:
    table = tables.overall
    if _only_dense(table.rows):
        return None
    models = by_model(table.rows)
    axis, axis_label = sparsity_axis(table.rows)
    figure, panels = panel_grid(layout, list(models), 2.7, sharey=True)
    for axes, rows in zip(panels, models.values(), strict=True):
        lines = method_lines(rows, axis, _cell(column), lambda row: bands.get(row.configuration))
        draw_lines(axes, lines)
        draw_answered(axes, rows, _at(axis, column))
        if column == "srs":
            chance_line(axes)
        axes.set_xlabel(axis_label)
    _from_zero(panels)
    panels[0].set_ylabel(label)
    shared_legend(figure)
    return figure


def _only_dense(rows: Sequence[Configured]) -> bool:
    return all(row.configuration.is_dense for row in rows)


def _from_zero(panels: list[Axes]) -> None:
    # Last, because fixing one end of a shared axis stops it from following what is drawn later. The room that
    # it has above is a share of the range drawn: too little for a marker where that range is far from zero.
    reach = _HEADROOM * max(float(axes.dataLim.y1) for axes in panels)
    right = max(axes.get_xlim()[1] for axes in panels)
    # Beside the highest sparsity stands how many answers were understood.
    right *= _SIDEROOM if any(axes.texts for axes in panels) else 1.0
    for axes in panels:
        axes.set_ylim(0, max(reach, axes.get_ylim()[1]))
        axes.set_xlim(-2, right)


def _cell(column: str) -> Callable[[Rated], float | None]:
    return lambda row: row[column]


def _at(axis: str, column: str) -> Callable[[Rated], tuple[float | None, float | None]]:
    return lambda row: (row[axis], row[column])


def srs_by_category(tables: Tables, layout: Layout) -> Figure | None:
    """SRS of each category along actual sparsity."""
    table = tables.rates
    if _only_dense(table.rows):
        return None
    models, categories = by_model(table.rows), sorted({row.category for row in table.rows})
    axis, axis_label = sparsity_axis(table.rows)
    places = [(model, category) for model in models for category in categories]
    suffixes = {model: f" · {model}" if len(models) > 1 else "" for model in models}
    titles = [_words(category) + suffixes[model] for model, category in places]
    across = 2 if layout.columns == 1 else len(categories) if len(categories) <= 5 else 4
    figure, panels = panel_grid(layout, titles, 2.1, columns=across, sharey=True, sharex=True)
    for axes, (model, category) in zip(panels, places, strict=True):
        rows = [row for row in models[model] if row.category == category]
        draw_lines(axes, method_lines(rows, axis, _cell("srs"), _clustered))
        draw_answered(axes, rows, _at(axis, "srs"))
        chance_line(axes)
    _from_zero(panels)
    figure.supxlabel(axis_label, fontsize=9)
    figure.supylabel("SRS", fontsize=9)
    shared_legend(figure)
    return figure


def _clustered(row: Rate) -> Band | None:
    low, high = row.srs_clustered_low, row.srs_clustered_high
    return None if low is None or high is None else (low, high)


def _words(category: str) -> str:
    return category.replace("_", " ")


def methods_at_50(tables: Tables, layout: Layout) -> Figure:
    """SRS of every method at a target of 50 %, by category, beside dense."""
    halves = {row.configuration for row in tables.methods_at_50.rows}
    models = by_model(tables.methods_at_50.rows)
    categories = sorted({row.category for row in tables.rates.rows})
    most = max(sum(name.model == model for name in halves) for model in models)
    height = 1.0 + max(0.42, 0.1 + 0.11 * most) * len(categories)
    figure, panels = panel_grid(layout, list(models), height, sharex=True)
    for axes, model in zip(panels, models, strict=True):
        rows = tables.rates.where(model=model).rows
        shown = list(dict.fromkeys(row.configuration for row in rows if row.configuration in halves))
        step = min(0.18, 0.8 / max(len(shown), 1))
        for place, category in enumerate(categories):
            mine = [row for row in rows if row.category == category and row.srs is not None]
            for row in mine:
                if row.configuration.is_dense:
                    ends = [place - 0.42, place + 0.42]
                    axes.plot([number_or_nan(row.srs)] * 2, ends, color=INK.light, linewidth=2.2, label=DENSE)
            for row in mine:
                if row.configuration in halves:
                    offset = step * (shown.index(row.configuration) - (len(shown) - 1) / 2)
                    _half_point(axes, row, place + offset)
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


def _half_point(axes: Axes, row: Rate, place: float) -> None:
    draw_answered(axes, [row], lambda row: (row.srs, place))
    if row.too_few_answered:
        return
    style = method_style(row.configuration.prune_method)
    band = _clustered(row)
    if band:
        axes.plot(band, [place] * 2, color=style.color, linewidth=1, alpha=0.8)
    look = style.points(row.configuration.pattern) | {"linestyle": "none", "label": with_actual(row)}
    axes.plot([number_or_nan(row.srs)], [place], **look)


def latent_items(tables: Tables, layout: Layout) -> Figure | None:
    """SRS of all items beside that of the items that were already biased in the dense model."""
    latent = _category_means(tables.latent_rates.rows)
    table = tables.overall
    if not latent or _only_dense(table.rows):
        return None
    models = by_model(table.rows)
    axis, axis_label = sparsity_axis(table.rows)
    figure, panels = panel_grid(layout, list(models), 2.7, sharey=True)
    for axes, rows in zip(panels, models.values(), strict=True):
        draw_lines(axes, method_lines(rows, axis, _cell("srs"), lambda _: None))
        draw_answered(axes, rows, _at(axis, "srs"))
        chosen = method_lines(rows, axis, lambda row: latent.get(row.configuration), lambda _: None)
        draw_lines(axes, chosen, label="_latent", fillstyle="none", alpha=0.85)
        axes.set_xlabel(axis_label)
    _from_zero(panels)
    panels[0].set_ylabel("SRS (mean of categories)")
    shared_legend(figure)
    return figure


def _category_means(rows: Sequence[LatentRate]) -> dict[Configuration, float]:
    found: dict[Configuration, list[float]] = {}
    for row in rows:
        if row.srs is not None:
            found.setdefault(row.configuration, []).append(row.srs)
    return {name: fmean(values) for name, values in found.items()}
