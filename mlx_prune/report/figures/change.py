"""Figures of what pruning changed: items that changed sides, the evaluation gap, SRS with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlx_prune import words
from mlx_prune.kinds import only_quantized
from mlx_prune.report.figures.beside import write_beside
from mlx_prune.report.figures.panels import (
    HATCHED,
    answered_text,
    configuration_panels,
    panel_grid,
    shared_legend,
    whisker,
    with_actual,
    zero_line,
)
from mlx_prune.report.figures.style import (
    BLUE,
    GRID,
    INK,
    MUTED,
    PAPER,
    VERMILION,
    Layout,
    method_style,
    plain_numbers,
)
from mlx_prune.report.tables.build import Tables
from mlx_prune.report.tables.change import PairedTest
from mlx_prune.report.tables.rows import by_model, number_or_nan
from mlx_prune.report.tables.study import EvaluationGap
from mlx_prune.report.tables.table import finite
from mlx_prune.stats.levels import SIGNIFICANCE
from mlx_prune.stats.rates import OVERALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def transitions(tables: Tables, layout: Layout) -> Figure:
    """Shares of items that became biased, and that became unbiased."""
    figure, panels = configuration_panels(layout, tables.transitions.rows)
    for axes, mine in panels:
        became, ceased = [row.pct_became_biased for row in mine], [row.pct_became_unbiased for row in mine]
        for shares, tone, shift, label in (
            (became, VERMILION, -0.19, "unbiased items that became biased"),
            (ceased, BLUE, 0.19, "biased items that became unbiased"),
        ):
            for weak, color, name in ((False, tone.light, label), (True, GRID.light, "_")):
                chosen = [place for place, row in enumerate(mine) if row.too_few_answered == weak]
                widths = [shares[place] or 0.0 for place in chosen]
                axes.barh([place + shift for place in chosen], widths, 0.36, color=color, label=name)
        axes.set_xlabel("% of items")
    shared_legend(figure)
    return figure


def evaluation_gap(tables: Tables, layout: Layout) -> Figure | None:
    """Change of SRS beside change of perplexity."""
    models = by_model(
        row
        for row in tables.evaluation_gap.rows
        if not row.configuration.is_dense
        and row.srs_pct_change is not None
        and finite(row.ppl_pct_change) is not None
    )
    if not models:
        return None
    figure, panels = panel_grid(layout, list(models), 3.0)
    for axes, rows in zip(panels, models.values(), strict=True):
        for row in rows:
            _gap_point(axes, row)
        axes.set_xscale("symlog", linthresh=10, subs=[2, 5])
        plain_numbers(axes.xaxis)
        axes.axhline(0, color=INK.light, linewidth=0.9)
        zero_line(axes)
        axes.margins(0.12)
        axes.set_xlabel("perplexity, change from dense (%)")
    panels[0].set_ylabel("SRS, change from dense (%)")
    shared_legend(figure)
    return figure


def _gap_point(axes: Axes, row: EvaluationGap) -> None:
    configuration = row.configuration
    style = method_style(configuration.prune_method)
    at = (number_or_nan(row.ppl_pct_change), number_or_nan(row.srs_pct_change))
    name = f"{configuration.prune_method} {configuration.pattern or ''}".strip()
    axes.plot(*at, **style.points(configuration.pattern), linestyle="none", label=name)
    if configuration.is_named or only_quantized(configuration.prune_method):
        return
    sparsity = configuration.sparsity if row.actual_sparsity is None else row.actual_sparsity
    write_beside(axes, words.fixed(sparsity, 0), at, MUTED.light, size=7.5)


def srs_change(tables: Tables, layout: Layout) -> Figure:
    """Change of the overall SRS with its interval."""
    figure, panels = configuration_panels(layout, tables.paired_tests.where(category=OVERALL).rows)
    for axes, mine in panels:
        zero_line(axes)
        for place, row in enumerate(mine):
            color = method_style(row.configuration.prune_method).color
            whisker(axes, row.srs_delta, place, color)
            fill = color if _significant(row) else PAPER.light
            value = number_or_nan(row.srs_delta.value)
            axes.plot([value], [place], "o", color=color, markerfacecolor=fill, markersize=5.5)
        axes.set_xlabel("change of SRS from dense")
    for fill, label in ((MUTED.light, "significant (q < 0.05)"), (PAPER.light, "not significant")):
        panels[0][0].plot([], [], "o", color=MUTED.light, markerfacecolor=fill, label=label)
    shared_legend(figure)
    return figure


def srs_change_by_category(tables: Tables, layout: Layout) -> Figure:
    """Change of SRS in every category and configuration, as a colored matrix."""
    cells = by_model(tables.paired_tests.rows)
    rows = tables.paired_tests.rows
    names = [*sorted({row.category for row in rows} - {OVERALL}), OVERALL]
    keys = [list(dict.fromkeys(with_actual(row) for row in mine)) for mine in cells.values()]
    reach = max(abs(row.srs_delta.value or 0.0) for row in rows) or 0.01
    figure, panels = panel_grid(layout, list(cells), 1.15 + 0.24 * max(len(labels) for labels in keys))
    for axes, mine, labels in zip(panels, cells.values(), keys, strict=True):
        axes.grid(False)
        for row in mine:
            place = names.index(row.category), labels.index(with_actual(row))
            _cell(axes, place, row, reach)
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        shown = [name.replace("_", " ") for name in names]
        axes.set_xticks(range(len(names)), shown, rotation=35, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(labels)), labels)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure


def _significant(row: PairedTest) -> bool:
    return row.q_clustered is not None and row.q_clustered < SIGNIFICANCE


def _cell(axes: Axes, place: tuple[int, int], row: PairedTest, reach: float) -> None:
    """One cell of the matrix, whose colors reach so far; nothing where there is no change to show."""
    import matplotlib as mpl
    from matplotlib.patches import Rectangle

    value, corner = row.srs_delta.value, (place[0] - 0.5, place[1] - 0.5)
    if value is None:
        if row.answered is not None:
            axes.add_patch(Rectangle(corner, 1, 1, facecolor=PAPER.light, **HATCHED))
            said = answered_text(row) if row.too_few_answered else ""
            _say(axes, place, said, fontsize=6, color=MUTED.light)
        return
    shade = value / reach
    color = mpl.colormaps["PuOr_r"](0.5 + shade / 2)
    axes.add_patch(Rectangle(corner, 1, 1, facecolor=color, edgecolor="#ffffff"))
    text = words.signed(value, 2).replace("0.", ".")
    ink = "#ffffff" if abs(shade) > 0.72 else "#111111"
    if share := answered_text(row):
        _say(axes, (place[0], place[1] + 0.3), share, fontsize=5, color=ink)
    weight = "bold" if _significant(row) else "normal"
    text = f"{text}*" if _significant(row) else text
    _say(axes, place, text, fontsize=7, fontweight=weight, color=ink)


def _say(axes: Axes, place: tuple[float, float], text: str, **look: Any) -> None:
    """A text in a cell, which no layout need measure."""
    axes.text(*place, text, ha="center", va="center", in_layout=False, **look)
