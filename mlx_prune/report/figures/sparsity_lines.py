"""Rates along the sparsity axis: one line per method with its intervals, and where chance would be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from mlx_prune.kinds import removes_weights
from mlx_prune.labels import DENSE
from mlx_prune.report.figures.panels import Band
from mlx_prune.report.figures.style import MUTED, method_style
from mlx_prune.report.tables.rows import Configured, Rated

if TYPE_CHECKING:
    from matplotlib.axes import Axes

R = TypeVar("R", bound=Rated)
ValueOf = Callable[[R], float | None]
BandOf = Callable[[R], Band | None]

CHANCE = 1 / 3
# Points this near along the sparsity axis, in percent, would hide one another.
_NEIGHBORS = 1.5


def sparsity_axis(rows: Iterable[Configured]) -> tuple[str, str]:
    """The column to put on the axis and its label: actual sparsity, if every row has it."""
    rows = list(rows)
    if any(row.actual_sparsity is None for row in rows):
        return "sparsity", "target sparsity (%; actual not recorded)"
    if any(removes_weights(row.configuration.prune_method) for row in rows):
        return "actual_sparsity", "weights zero or removed (% of prunable)"
    return "actual_sparsity", "actual sparsity (% of prunable weights)"


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


def method_lines(rows: Sequence[R], axis: str, value: ValueOf[R], band: BandOf[R]) -> list[Line]:
    """Sort one model's rows into lines; the dense model is one of its own.

    Rows of too few answers are left out; see :func:`~mlx_prune.report.figures.panels.draw_answered`. A line
    begins at dense and joins the sparsities of a method. A pattern, a quantization and a method with a single
    sparsity are points, unjoined: a line through one measurement would show what was not measured.
    """
    rows = [row for row in rows if not row.too_few_answered]
    dense = [row for row in rows if row.configuration.is_dense]
    groups: dict[tuple[str, str | None], list[R]] = {(DENSE, None): dense}
    for row in rows:
        if not row.configuration.is_dense:
            name = row.configuration.prune_method, row.configuration.pattern
            groups.setdefault(name, []).append(row)
    lines = []
    for (method, pattern), mine in groups.items():
        joined = method != DENSE and pattern is None and len({row.configuration.sparsity for row in mine}) > 1
        points = []
        for row in (*(dense if joined else []), *mine):
            x, y = row[axis], value(row)
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
    """Where answering at random would be; named in the legend, as crowded panels have no room for a word."""
    axes.axhline(CHANCE, color=MUTED.light, linewidth=0.9, linestyle=(0, (2, 3)), label="chance")
