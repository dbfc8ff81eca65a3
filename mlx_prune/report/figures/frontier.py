"""The figure that decides: what each configuration bought on one axis, what it cost on the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlx_prune import words
from mlx_prune.report.figures.panels import Band, panel_grid, scale_of_factors, shared_legend
from mlx_prune.report.figures.placing import Box, place_labels
from mlx_prune.report.figures.style import INK, MUTED, Layout, lay_out, method_style
from mlx_prune.report.tables.build import Tables
from mlx_prune.report.tables.frontier import UNDOMINATED, Frontier
from mlx_prune.report.tables.rows import by_model
from mlx_prune.report.tables.table import Interval, finite

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABEL_SIZE = 7.5
# Perplexities beyond so many times the largest undominated one would leave the others no room.
_FAR = 4.0
# Sizes that differ less from the dense model's are not to be told apart on an axis.
_ALIKE = 0.02
# Of so many configurations every one has room for its name; of more, those that matter.
_FEW = 6


@dataclass(frozen=True)
class _Axis:
    """A measure on an axis: its value of a row, its label, a word for titles, whether factors matter."""

    of: Callable[[Frontier], Interval]
    label: str
    title: str
    factors: bool = False


@dataclass(frozen=True)
class _Dot:
    """One configuration on one panel.

    Attributes:
        row: Of the table.
        at: Where it is drawn.
        intervals: Along x and along y, each None where there is none.
        beyond: The value, where it is too large for the panel.
        named: Whether it has its label even if another one dominates it.
    """

    row: Frontier
    at: Band
    intervals: tuple[Band | None, Band | None]
    beyond: str = ""
    named: bool = False

    @property
    def dense(self) -> bool:
        """Whether it is the dense model."""
        return self.row.configuration.is_dense

    @property
    def shown(self) -> bool:
        """Whether it is drawn in its color."""
        return _is_shown(self.row)

    @property
    def name(self) -> str:
        """Its label, or nothing."""
        if self.beyond and not self.named:
            return self.beyond
        label = self.row.configuration.name if self.shown or self.named else ""
        return f"{label} {self.beyond}".strip()

    def whiskers(self) -> list[tuple[Band, Band]]:
        """Its intervals as lines: both x values, both y values."""
        (x, y), (across, up) = self.at, self.intervals
        lines = [(across, (y, y))] if across else []
        return lines + ([((x, x), up)] if up else [])


_SIZE = _Axis(lambda row: Interval(row.size_ratio), "size on disk, dense = 1", "size")
_TIME = _Axis(lambda row: row.latency, "time of an answer, dense = 1", "time", factors=True)
_PERPLEXITY = _Axis(lambda row: row.perplexity, "perplexity", "Perplexity", factors=True)
_BIAS = _Axis(lambda row: row.direction_change, "change of SRS − anti", "Directional bias")


def frontier(tables: Tables, layout: Layout) -> Figure | None:
    """Size and time against perplexity and directional bias, a block of panels per model."""
    models = by_model(tables.frontier.rows)
    bought, paid = (
        [axis for axis in axes if _measured(tables.frontier.rows, axis)]
        for axes in ((_SIZE, _TIME), (_PERPLEXITY, _BIAS))
    )
    if not bought or not paid:
        return None
    places = [(model, x, y) for model in models for y in paid for x in bought]
    prefix = {model: f"{model} · " if len(models) > 1 else "" for model in models}
    titles = [f"{prefix[model]}{y.title} against {x.title}" for model, x, y in places]
    across = min(layout.columns, len(bought))
    figure, panels = panel_grid(layout, titles, 3.1, columns=across)
    dots = [
        _draw_panel(axes, models[model], x, y) for axes, (model, x, y) in zip(panels, places, strict=True)
    ]
    shared_legend(figure)
    # Labels go where there is room, which is known once everything else has its place.
    lay_out(figure)
    for axes, mine in zip(panels, dots, strict=True):
        _label_dots(axes, mine)
    return figure


def _measured(rows: Sequence[Frontier], axis: _Axis) -> bool:
    return any(not row.configuration.is_dense and axis.of(row).value is not None for row in rows)


def _draw_panel(axes: Axes, rows: Sequence[Frontier], x: _Axis, y: _Axis) -> list[_Dot]:
    """Draw a panel without its labels; returns what is on it."""
    axes.set_xlabel(x.label)
    axes.set_ylabel(y.label)
    for row in rows:
        method, pattern = row.configuration.prune_method, row.configuration.pattern
        look = method_style(method).points(pattern)
        axes.plot([], [], **look, linestyle="none", label=f"{method} {pattern or ''}".strip())
    dots = _dots(rows, x, y)
    if all(dot.dense for dot in dots):
        axes.annotate("not measured", (0.5, 0.5), xycoords="axes fraction", ha="center", color=MUTED.light)
        return []
    # The dense model last, on top of what it ties with.
    for dot in sorted(dots, key=lambda dot: (dot.dense, dot.shown)):
        _draw_dot(axes, dot)
    for number, (axis, measure) in enumerate(((axes.xaxis, x), (axes.yaxis, y))):
        if measure.factors:
            scale_of_factors(axis, [dot.at[number] for dot in dots])
    axes.margins(0.1, 0.14)
    left, right = axes.get_xlim()
    if x is _SIZE and all(abs(dot.at[0] - 1) < _ALIKE for dot in dots):
        # With all points on one line, labels find room at both of its sides.
        right = 2.0
    # Differences of a percent are not to look like any.
    axes.set_xlim(*((0, right) if x is _SIZE else (min(left, 0.85), max(right, 1.15))))
    dense = next((dot for dot in dots if dot.dense), None)
    if dense:
        # Left of one thin line and below the other is better.
        axes.axvline(dense.at[0], color=INK.light, linewidth=0.8, alpha=0.5, zorder=1)
        axes.axhline(dense.at[1], color=INK.light, linewidth=0.8, alpha=0.5, zorder=1)
    return dots


def _dots(rows: Sequence[Frontier], x: _Axis, y: _Axis) -> list[_Dot]:
    """What is on a panel; perplexities far above all that matter stand on the upper edge, with an arrow."""
    ceiling = math.inf
    if y is _PERPLEXITY:
        kept = [value for row in rows if _is_shown(row) and (value := finite(y.of(row).value)) is not None]
        ceiling = _FAR * max(kept, default=1.0)
    named = sum(not row.configuration.is_dense for row in rows) <= _FEW
    dots = []
    for row in rows:
        across, up = finite(x.of(row).value), y.of(row).value
        if across is None or up is None:
            continue
        if up > ceiling:
            beyond = f"↑ {words.count(up) if up < 1e5 else words.magnitude(up)}"
            dots.append(_Dot(row, (across, ceiling), (_ends(row, x), None), beyond, named))
        else:
            dots.append(_Dot(row, (across, up), (_ends(row, x), _ends(row, y)), named=named))
    return dots


def _is_shown(row: Frontier) -> bool:
    return row.standing == UNDOMINATED or row.configuration.is_dense


def _ends(row: Frontier, axis: _Axis) -> Band | None:
    """The interval of a measure, if it has one."""
    ends = axis.of(row).ends
    return None if ends is None or ends[0] == ends[1] else ends


def _draw_dot(axes: Axes, dot: _Dot) -> None:
    configuration = dot.row.configuration
    look = method_style(configuration.prune_method).points(configuration.pattern)
    if not dot.shown:
        look |= {"color": MUTED.light, "markeredgecolor": MUTED.light, "alpha": 0.6}
    for xs, ys in dot.whiskers():
        axes.plot(xs, ys, color=look["color"], linewidth=1, alpha=0.8 if dot.shown else 0.4)
    axes.plot([dot.at[0]], [dot.at[1]], **look, linestyle="none", label="_")


def _label_dots(axes: Axes, dots: Sequence[_Dot]) -> None:
    """Name what has a name where no other text or point is, in gray what is dominated."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    unit = figure.dpi / 72

    def pixels(point: Band) -> Band:
        x, y = axes.transData.transform(point)
        return float(x), float(y)

    named = [(dot.name, pixels(dot.at), dot.named and not dot.shown) for dot in dots if dot.name]
    lines = [(pixels((xs[0], ys[0])), pixels((xs[1], ys[1]))) for dot in dots for xs, ys in dot.whiskers()]
    edge = axes.get_window_extent()
    room = Box(edge.x0, edge.y0, edge.x1, edge.y1)
    for dot in dots:
        if dot.dense:
            x, y = pixels(dot.at)
            lines += [((x, room.bottom), (x, room.top)), ((room.left, y), (room.right, y))]
    boxes = place_labels(
        [at for _, at, _ in named],
        # As wide as in the widest font that a page may choose, and digits are wider than letters.
        [((0.6 * len(text) + 0.2) * _LABEL_SIZE * unit, 1.25 * _LABEL_SIZE * unit) for text, _, _ in named],
        room,
        [Box.around(pixels(dot.at), 8 * unit, 8 * unit) for dot in dots],
        reach=5.5 * unit,
        faint=[Box(x0 - unit, y0 - unit, x1 + unit, y1 + unit) for (x0, y0), (x1, y1) in lines],
    )
    for (text, at, gray), box in zip(named, boxes, strict=True):
        across, up = ((one - other) / unit for one, other in zip(box.center, at, strict=True))
        gap = max(abs(across) - 0.3 * _LABEL_SIZE * len(text), abs(up) - 0.6 * _LABEL_SIZE)
        leader = {"arrowstyle": "-", "color": MUTED.light, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4}
        point = axes.transData.inverted().transform(at)
        axes.annotate(
            text,
            (float(point[0]), float(point[1])),
            (across, up),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=_LABEL_SIZE,
            color=MUTED.light if gray else INK.light,
            arrowprops=leader if gap > 9 else None,
        )
