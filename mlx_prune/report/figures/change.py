"""Figures of what pruning changed: items that changed sides, the evaluation gap, SRS with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlx_prune.labels import DENSE, only_quantized
from mlx_prune.report.figures.panels import (
    HATCHED,
    Tables,
    answered_text,
    configuration_panels,
    distinct,
    few,
    number,
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
from mlx_prune.report.tables.rows import number_or_nan
from mlx_prune.report.tables.table import Row
from mlx_prune.stats.levels import SIGNIFICANCE
from mlx_prune.stats.rates import OVERALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def transitions(tables: Tables, layout: Layout) -> Figure | None:
    """Shares of items that became biased, and that became unbiased."""
    rows = tables["transitions"].rows
    if not rows:
        return None
    figure, panels = configuration_panels(layout, rows)
    for axes, mine in panels:
        for column, tone, shift, label in (
            ("pct_became_biased", VERMILION, -0.19, "unbiased items that became biased"),
            ("pct_became_unbiased", BLUE, 0.19, "biased items that became unbiased"),
        ):
            for weak, color, name in ((False, tone.light, label), (True, GRID.light, "_")):
                chosen = [(place, row) for place, row in enumerate(mine) if few(row) == weak]
                widths = [number(row[column]) or 0.0 for _, row in chosen]
                axes.barh([place + shift for place, _ in chosen], widths, 0.36, color=color, label=name)
        axes.set_xlabel("% of items")
    shared_legend(figure)
    return figure


def evaluation_gap(tables: Tables, layout: Layout) -> Figure | None:
    """Change of SRS beside change of perplexity."""
    rows = [
        row
        for row in tables["evaluation_gap"].rows
        if row["prune_method"] != DENSE
        and number(row["srs_pct_change"]) is not None
        and number(row["ppl_pct_change"]) is not None
    ]
    if not rows:
        return None
    models = list(dict.fromkeys(str(row["model"]) for row in rows))
    figure, panels = panel_grid(layout, models, 3.0)
    for axes, model in zip(panels, models, strict=True):
        for row in rows:
            if row["model"] == model:
                _gap_point(axes, row)
        axes.set_xscale("symlog", linthresh=10)
        plain_numbers(axes.xaxis)
        axes.axhline(0, color=INK.light, linewidth=0.9)
        zero_line(axes)
        axes.margins(0.12)
        axes.set_xlabel("perplexity, change from dense (%)")
    panels[0].set_ylabel("SRS, change from dense (%)")
    shared_legend(figure)
    return figure


def _gap_point(axes: Axes, row: Row) -> None:
    style = method_style(str(row["prune_method"]))
    at = (number_or_nan(row["ppl_pct_change"]), number_or_nan(row["srs_pct_change"]))
    name = f"{row['prune_method']} {row['pattern'] or ''}".strip()
    axes.plot(*at, **style.points(row["pattern"]), linestyle="none", label=name)
    if only_quantized(str(row["prune_method"])):
        return
    sparsity = row["sparsity"] if row["actual_sparsity"] is None else row["actual_sparsity"]
    text = f"{number_or_nan(sparsity):.0f}"
    axes.annotate(text, at, (5, 4), textcoords="offset points", fontsize=7.5, color=MUTED.light)


def srs_change(tables: Tables, layout: Layout) -> Figure | None:
    """Change of the overall SRS with its interval."""
    rows = tables["paired_tests"].where(category=OVERALL).rows
    if not rows:
        return None
    figure, panels = configuration_panels(layout, rows)
    for axes, mine in panels:
        zero_line(axes)
        for place, row in enumerate(mine):
            color = method_style(str(row["prune_method"])).color
            whisker(axes, row, "srs_delta", place, color)
            fill = color if _significant(row) else PAPER.light
            value = number_or_nan(row["srs_delta"])
            axes.plot([value], [place], "o", color=color, markerfacecolor=fill, markersize=5.5)
        axes.set_xlabel("change of SRS from dense")
    for fill, label in ((MUTED.light, "significant (q < 0.05)"), (PAPER.light, "not significant")):
        panels[0][0].plot([], [], "o", color=MUTED.light, markerfacecolor=fill, label=label)
    shared_legend(figure)
    return figure


def srs_change_by_category(tables: Tables, layout: Layout) -> Figure | None:
    """Change of SRS in every category and configuration, as a colored matrix."""
    table = tables["paired_tests"]
    if not len(table):
        return None
    models = distinct(table, "model")
    names = [*sorted(set(distinct(table, "category")) - {OVERALL}), OVERALL]
    cells = [table.where(model=model).rows for model in models]
    keys = [list(dict.fromkeys(with_actual(row) for row in mine)) for mine in cells]
    reach = max((abs(number(row["srs_delta"]) or 0.0) for row in table.rows), default=0.0) or 0.01
    figure, panels = panel_grid(layout, models, 1.15 + 0.24 * max(len(labels) for labels in keys))
    for axes, mine, labels in zip(panels, cells, keys, strict=True):
        axes.grid(False)
        for row in mine:
            place = names.index(str(row["category"])), labels.index(with_actual(row))
            _cell(axes, place, number_or_nan(row["srs_delta"]) / reach, row)
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        shown = [name.replace("_", " ") for name in names]
        axes.set_xticks(range(len(names)), shown, rotation=35, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(labels)), labels)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure


def _significant(row: Row) -> bool:
    q = number(row["q_clustered"])
    return q is not None and q < SIGNIFICANCE


def _cell(axes: Axes, place: tuple[int, int], shade: float, row: Row) -> None:
    """One cell of the matrix; ``shade`` from -1 to 1, nothing where there is no change to show."""
    import matplotlib as mpl
    from matplotlib.patches import Rectangle

    value = number(row["srs_delta"])
    if value is None:
        if row["answered"] is not None:
            corner = (place[0] - 0.5, place[1] - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, facecolor=PAPER.light, **HATCHED))
            said = answered_text(row) if few(row) else ""
            axes.annotate(said, place, ha="center", va="center", fontsize=6, color=MUTED.light)
        return
    color = mpl.colormaps["PuOr_r"](0.5 + shade / 2)
    axes.add_patch(Rectangle((place[0] - 0.5, place[1] - 0.5), 1, 1, facecolor=color, edgecolor="#ffffff"))
    text = f"{value:+z.2f}".replace("0.", ".")
    ink = "#ffffff" if abs(shade) > 0.72 else "#111111"
    if share := answered_text(row):
        axes.annotate(share, (place[0], place[1] + 0.3), ha="center", va="center", fontsize=5, color=ink)
    axes.annotate(
        f"{text}*" if _significant(row) else text,
        place,
        ha="center",
        va="center",
        fontsize=7,
        fontweight="bold" if _significant(row) else "normal",
        color=ink,
    )
