"""A table that is readable in a terminal of any width: what does not fit beside stands below.

Rich cuts cells with an ellipsis where columns do not fit, and leaves out what is cut. Here a table breaks
between columns into several, each with the first columns again; no cell is ever cut, and no number is parted
from its unit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mlx_prune.outside_names import plain

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table
    from rich.text import Text

    from mlx_prune.cli.terminal.unbroken import Unbroken

    Cell = str | Text

# A column that may wrap is given at least this much, or its widest word, before the table breaks.
_LEAST_WRAPPED = 12


@dataclass(frozen=True)
class _Column:
    name: str
    justify: Literal["left", "right"]
    wrap: bool
    group: str


class FittedTable:
    """Columns and rows for a Rich console, which lays them out when it knows its width.

    Text is shown as it is: brackets are no markup. Style a cell with a ``Text``.
    """

    def __init__(self, title: str = "", *, keys: int = 1) -> None:
        """Begin a table without columns.

        Args:
            title: Above the table; empty for none.
            keys: How many of the first columns name a row, and are repeated where the table breaks.
        """
        self.title = title
        self.keys = keys
        self._columns: list[_Column] = []
        self._rows: list[tuple[tuple[Cell, ...], str]] = []
        self._sections: set[int] = set()

    def add_column(
        self, name: str, *, justify: Literal["left", "right"] = "left", wrap: bool = False, group: str = ""
    ) -> None:
        """Add a column.

        Args:
            name: Its heading; line breaks stack it.
            justify: "left", or "right" for numbers.
            wrap: Whether its text may run over several lines; for prose and long names.
            group: Columns of one group that stand side by side stay so as long as they fit.
        """
        self._columns.append(_Column(name, justify, wrap, group or f"column {len(self._columns)}"))

    def add_row(self, *cells: Cell, style: str = "") -> None:
        """Add a row; cells that are left out at its end are empty."""
        missing = len(self._columns) - len(cells)
        self._rows.append((cells + ("",) * missing, style))

    def add_section(self) -> None:
        """Draw a line below what is there."""
        self._sections.add(len(self._rows) - 1)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for number, places in enumerate(self._parts(console, options)):
            yield self._table(places, "" if number else self.title, options)
            yield ""

    def _parts(self, console: Console, options: ConsoleOptions) -> Iterator[list[int]]:
        """Which columns stand side by side."""
        keys = list(range(self.keys))
        part: list[int] = []
        for group in self._groups():
            fits = self._fits(console, options, [*keys, *part, *group])
            if part and not fits:
                yield [*keys, *part]
                part = []
                fits = self._fits(console, options, [*keys, *group])
            if fits:
                part += group
                continue
            for place in group:
                if part and not self._fits(console, options, [*keys, *part, place]):
                    yield [*keys, *part]
                    part = []
                part.append(place)
        if part or keys:
            yield [*keys, *part]

    def _groups(self) -> Iterator[list[int]]:
        group: list[int] = []
        for place in range(self.keys, len(self._columns)):
            if group and self._columns[place].group != self._columns[place - 1].group:
                yield group
                group = []
            group.append(place)
        if group:
            yield group

    def _fits(self, console: Console, options: ConsoleOptions, places: Sequence[int]) -> bool:
        return self._least(console, options, places) <= options.max_width

    def _least(self, console: Console, options: ConsoleOptions, places: Sequence[int]) -> int:
        unbounded = options.update(width=10_000)
        return console.measure(self._table(places, "", unbounded), options=unbounded).minimum

    def _table(self, places: Sequence[int], title: str, options: ConsoleOptions) -> Table:
        from rich import box
        from rich.table import Table

        table = Table(
            title=_text(title) if title else None,
            title_justify="left",
            title_style="bold",
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            collapse_padding=True,
        )
        widths = [self._widths(place) for place in places]
        # One row of figures that no terminal could hold is folded rather than cut.
        crowded = sum(least for least, _ in widths) + 2 * len(places) > options.max_width
        for place, (least, widest) in zip(places, widths, strict=True):
            column = self._columns[place]
            wrap = column.wrap or crowded
            table.add_column(
                _text(column.name),
                justify=column.justify,
                no_wrap=not wrap,
                overflow="fold",
                min_width=None if crowded else least,
                max_width=widest,
            )
        for number, (cells, style) in enumerate(self._rows):
            table.add_row(
                *(_text(cells[place]) for place in places),
                style=style or None,
                end_section=number in self._sections,
            )
        return table

    def _widths(self, place: int) -> tuple[int, int]:
        """The least and the widest that a column can do with."""
        from rich.cells import cell_len

        column = self._columns[place]
        texts = [_text(cell) for cell in (column.name, *(cells[place] for cells, _ in self._rows))]
        widest = max(cell_len(line) for text in texts for line in text.plain.split("\n"))
        if not column.wrap:
            return widest, widest
        words = max((cell_len(word) for text in texts for word in text.words()), default=0)
        return min(widest, max(_LEAST_WRAPPED, words)), widest


def _text(cell: Cell) -> Unbroken:
    from mlx_prune.cli.terminal.unbroken import Unbroken

    return Unbroken(plain(cell, keep="\n")) if isinstance(cell, str) else Unbroken.of(cell)


def simple_table(title: str, left: list[str], right: list[str]) -> FittedTable:
    """A table with a plain look: left-aligned columns, which name a row, then right-aligned ones."""
    table = FittedTable(title, keys=max(len(left), 1))
    for name in left:
        table.add_column(name)
    for name in right:
        table.add_column(name, justify="right")
    return table
