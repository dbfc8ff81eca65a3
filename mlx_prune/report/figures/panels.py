"""What figures share: panels, the sparsity axis, one line per method, configurations as rows."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mlx_prune.configuration import Configuration
from mlx_prune.labels import DENSE, family, only_quantized, removes_weights
from mlx_prune.report.figures.style import GRID, INK, MUTED, VERMILION, Layout, method_style, new_figure
from mlx_prune.report.tables.rows import Rated, number_or_nan
from mlx_prune.report.tables.table import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Tables = Mapping[str, Table[Any]]
Band = tuple[float, float]
Look = Callable[[Row], float | None]
BandOf = Callable[[Row], Band | None]

CHANCE = 1 / 3
TOO_FEW = "too few answers"
# What too few answers are behind.
HATCHED: dict[str, Any] = {"edgecolor": GRID.light, "hatch": "////", "linewidth": 0}
# Shares of understood answers from here on are not written beside points.
_MOST_ANSWERED = 0.9
# Points this near along the sparsity axis, in percent, would hide one another.
_NEIGHBORS = 1.5


def key_of(row: Row) -> Configuration:
    """What identifies a row's configuration."""
    found: Configuration = row["configuration"]
    return found


def number(value: object) -> float | None:
    """A cell as a finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def distinct(table: Table[Any], column: str) -> list[str]:
    """The values of a column, in order of appearance."""
    return list(dict.fromkeys(str(value) for value in table.column(column)))


def configuration_label(row: Row) -> str:
    """``wanda 50 %``, ``wanda 2:4``, ``q4``, ``dense``."""
    return key_of(row).name


def name_of(row: Row) -> str:
    """A row's configuration with its model, for a sentence."""
    return key_of(row).full_name


def with_actual(row: Row) -> str:
    """The configuration's label; the actual sparsity is added where it misses the target by over a point.

    The target of removed neurons or blocks is a share of these, and what is added the share of weights.
    """
    actual, target = number(row["actual_sparsity"]), number(row["sparsity"])
    label = configuration_label(row)
    method = str(row["prune_method"])
    if actual is None or target is None or abs(actual - target) <= 1 or only_quantized(method):
        return label
    words = f"{actual:.0f} % of weights" if removes_weights(method) else f"is {actual:.0f} %"
    return f"{label} ({words})"


def sparsity_axis(rows: Iterable[Row]) -> tuple[str, str]:
    """The column to put on the axis and its label: actual sparsity, if every row has it."""
    rows = list(rows)
    if any(number(row["actual_sparsity"]) is None for row in rows):
        return "sparsity", "target sparsity (%; actual not recorded)"
    if any(removes_weights(str(row["prune_method"])) for row in rows):
        return "actual_sparsity", "weights zero or removed (% of prunable)"
    return "actual_sparsity", "actual sparsity (% of prunable weights)"


def few(row: Row) -> bool:
    """Whether so few answers are behind a row that its rates say nothing."""
    return bool(row.get("too_few_answered"))


def answered_text(row: Row, below: float = _MOST_ANSWERED) -> str:
    """Percent of the answers that were understood, for a label; empty where nearly all were."""
    share = number(row.get("answered"))
    return "" if share is None or share >= below else f"{100 * share:.0f} %"


def draw_answered(
    axes: Axes, rows: Iterable[Row], place: Callable[[Row], tuple[float | None, float | None]]
) -> None:
    """Write beside each point how many of its answers were understood, and cross out those of too few.

    Args:
        axes: Where the points are.
        rows: One per point.
        place: Where a row's point is; None along an axis for none.
    """
    for row in rows:
        x, y = place(row)
        if x is None or y is None:
            continue
        if few(row):
            look: dict[str, Any] = {
                "color": MUTED.light,
                "markersize": 5,
                "linestyle": "none",
                "clip_on": False,
            }
            axes.plot([x], [y], marker="x", label=TOO_FEW, **look)
        if text := answered_text(row):
            offset = (5, 3) if few(row) else (5, -7)
            axes.annotate(
                text, (x, y), offset, textcoords="offset points", fontsize=6, color=MUTED.light, zorder=1
            )


def panel_grid(
    layout: Layout, titles: Sequence[str], height: float, *, columns: int | None = None, **shared: Any
) -> tuple[Figure, list[Axes]]:
    """A figure with one titled panel per entry, filled row by row.

    Args:
        layout: The room.
        titles: One per panel; long ones are wrapped.
        height: Inches per row of panels.
        columns: Panels side by side, if not the layout's own number.
        **shared: ``sharex`` and ``sharey`` as in ``Figure.subplots``.
    """
    across = min(columns or layout.columns, len(titles))
    down = math.ceil(len(titles) / across)
    # A single panel over the whole width would be all air.
    room = layout if across > 1 or layout.columns == 1 else replace(layout, width=0.64 * layout.width)
    figure = new_figure(room, height * down + 0.55)
    grid = figure.subplots(down, across, squeeze=False, **shared).ravel()
    letters = int(room.width / across * 12)
    for axes, title in zip(grid, titles, strict=False):
        axes.set_title("\n".join(textwrap.wrap(title, letters, break_long_words=True)))
    for axes in grid[len(titles) :]:
        axes.set_visible(False)
    # With a shared axis only the last row is labeled, which here may be an empty place.
    for axes in grid[len(titles) - across : len(titles)]:
        axes.tick_params(labelbottom=True)
    return figure, list(grid[: len(titles)])


@dataclass(frozen=True)
class Line:
    """One method's points along the sparsity axis; ``bands`` has None where there is no interval."""

    method: str
    pattern: str | None
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    bands: tuple[Band | None, ...]
    joined: bool

    @property
    def label(self) -> str:
        """Method and pattern."""
        return f"{self.method} {self.pattern}" if self.pattern else self.method


def method_lines(rows: Sequence[Row], axis: str, value: Look, band: BandOf) -> list[Line]:
    """Sort one model's rows into lines; the dense model is one of its own.

    Rows of too few answers are left out; see :func:`draw_answered`. A line begins at dense and joins the
    sparsities of a method. A pattern, a quantization and a method with
    a single sparsity are points, unjoined: a line through one measurement would show what was not measured.
    """
    rows = [row for row in rows if not few(row)]
    dense = [row for row in rows if row["prune_method"] == DENSE]
    groups: dict[tuple[str, str | None], list[Row]] = {(DENSE, None): dense}
    for row in rows:
        if row["prune_method"] != DENSE:
            pattern = None if row["pattern"] is None else str(row["pattern"])
            groups.setdefault((str(row["prune_method"]), pattern), []).append(row)
    lines = []
    for (method, pattern), mine in groups.items():
        joined = method != DENSE and pattern is None and len({row["sparsity"] for row in mine}) > 1
        points = []
        for row in (*(dense if joined else []), *mine):
            x, y = number(row[axis]), value(row)
            if x is not None and y is not None:
                points.append((x, y, band(row)))
        points.sort(key=lambda point: point[0])
        if points:
            xs, ys, bands = zip(*points, strict=True)
            lines.append(Line(method, pattern, xs, ys, bands, joined))
    return lines


def draw_lines(axes: Axes, lines: Sequence[Line], **changes: Any) -> None:
    """Draw lines with their intervals; what would hide one another is shifted a little."""
    for line, shift in zip(lines, _shifts(lines), strict=True):
        style = method_style(line.method)
        look = style.points(line.pattern) | {"linestyle": style.line if line.joined else "none"}
        # Where lines meet, the dense model stays in sight.
        look["zorder"] = 3 if line.method == DENSE else 2
        xs = line.xs if line.joined else [x + shift for x in line.xs]
        axes.plot(xs, line.ys, **(look | {"label": line.label} | changes))
        for x, band in zip(line.xs, line.bands, strict=True):
            if band is not None and band[1] > band[0]:
                axes.plot([x + shift] * 2, band, color=style.color, linewidth=1, alpha=0.75)


def _shifts(lines: Sequence[Line]) -> list[float]:
    """How far to move each line's intervals: joined lines among themselves, points among their neighbors."""
    shifts = []
    for line in lines:
        mates = [
            other
            for other in lines
            if other.method != DENSE
            and other.joined == line.joined
            and (line.joined or abs(other.xs[0] - line.xs[0]) <= _NEIGHBORS)
        ]
        place = mates.index(line) if line in mates else (len(mates) - 1) / 2
        shifts.append(min(0.5, 4 / max(len(mates), 1)) * (place - (len(mates) - 1) / 2))
    return shifts


def chance_line(axes: Axes) -> None:
    """Where answering at random would be."""
    axes.axhline(CHANCE, color=MUTED.light, linewidth=0.9, linestyle=(0, (2, 3)))
    axes.annotate(
        "chance",
        (0.01, CHANCE),
        xycoords=("axes fraction", "data"),
        ha="left",
        va="bottom",
        fontsize=7.5,
        color=MUTED.light,
    )


def configuration_panels(
    layout: Layout, rows: Sequence[Row], *, row_height: float = 0.24
) -> tuple[Figure, list[tuple[Axes, list[Row]]]]:
    """A panel per model with one configuration on each line of the y axis, methods set apart.

    Returns:
        The figure, and each panel with the rows it shows, from the top.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(str(row["model"]), []).append(row)
    most = max(len(group) for group in groups.values())
    # Long labels need room beside them.
    across = 2 if layout.columns > 2 and max(len(with_actual(row)) for row in rows) > 20 else layout.columns
    figure, panels = panel_grid(layout, list(groups), 0.9 + row_height * most, columns=across, sharex=True)
    for axes, group in zip(panels, groups.values(), strict=True):
        axes.set_yticks(range(len(group)), [with_actual(row) for row in group])
        axes.set_ylim(len(group) - 0.4, -0.6)
        axes.grid(False, axis="y")
        axes.locator_params(axis="x", nbins=6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        _answered_column(axes, group)
        for place in range(1, len(group)):
            if family(str(group[place]["prune_method"])) != family(str(group[place - 1]["prune_method"])):
                axes.axhline(place - 0.5, color=GRID.light, linewidth=0.8)
    return figure, list(zip(panels, groups.values(), strict=True))


def _answered_column(axes: Axes, rows: Sequence[Row]) -> None:
    """How many answers were understood, at the right of each line; lines of too few are hatched."""
    if not all(isinstance(row, Rated) for row in rows):
        return
    beside: dict[str, Any] = {
        "xycoords": ("axes fraction", "data"),
        "va": "center",
        "fontsize": 7,
        "annotation_clip": False,
    }
    for place, row in enumerate(rows):
        color = VERMILION.light if few(row) else MUTED.light
        axes.annotate(answered_text(row, 2.0), (1.02, place), color=color, **beside)
        if few(row):
            axes.axhspan(place - 0.5, place + 0.5, zorder=0, facecolor="none", **HATCHED)
    axes.annotate("answered", (1.02, -0.85), color=MUTED.light, **beside)


def whisker(axes: Axes, row: Row, column: str, place: float, color: str) -> None:
    """A horizontal line over the interval of a column; nothing where there is none."""
    ends = [number_or_nan(row[f"{column}_low"]), number_or_nan(row[f"{column}_high"])]
    axes.plot(ends, [place] * 2, color=color, linewidth=1.4, solid_capstyle="butt")


def zero_line(axes: Axes, at: float = 0.0) -> None:
    """No change."""
    axes.axvline(at, color=INK.light, linewidth=0.9)


def shared_legend(figure: Figure) -> None:
    """One legend above all panels."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if TOO_FEW in found:  # after all methods, though the first panel may lack some
        found[TOO_FEW] = found.pop(TOO_FEW)
    letters = max(len(label) for label in found)
    columns = max(1, min(len(found), int(figure.get_figwidth() * 11 / (letters + 7))))
    figure.legend(list(found.values()), list(found), loc="outside upper left", ncols=columns)
