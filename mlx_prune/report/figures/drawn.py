"""All figures of one study, drawn for a page and for files."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mlx_prune.progress import Progress, ProgressCallback, silent
from mlx_prune.report.figures import draw
from mlx_prune.report.figures.side_by_side import processes_to_draw, started
from mlx_prune.report.figures.style import NARROW, WIDE, Layout
from mlx_prune.report.tables.build import Tables
from mlx_prune.store import write_atomically


@dataclass(frozen=True)
class DrawnFigure:
    """A figure of one study.

    Attributes:
        kind: Which.
        svg: As a drawing, for pages, slides and documents.
        narrow_svg: One panel per row, for phones.
        png: The same as ``svg``, as a picture; None unless asked for.
    """

    kind: draw.FigureKind
    svg: bytes
    narrow_svg: bytes
    png: bytes | None = None


def load_matplotlib() -> None:
    """Import what figures are drawn with: once, and not in each process that draws."""
    import matplotlib.backends.backend_agg
    import matplotlib.backends.backend_svg
    import matplotlib.figure  # noqa: F401


def draw_figures(
    tables: Tables, *, png: bool = False, progress: ProgressCallback = silent, processes: int | None = None
) -> list[DrawnFigure]:
    """Draw every figure that the tables allow; as :func:`drawing`, with nothing to do meanwhile."""
    with drawing(tables, png=png, progress=progress, processes=processes) as finish:
        return finish()


@contextmanager
def drawing(
    tables: Tables, *, png: bool = False, progress: ProgressCallback = silent, processes: int | None = None
) -> Iterator[Callable[[], list[DrawnFigure]]]:
    """Begin to draw, in other processes, every figure that the tables allow.

    Args:
        tables: What :func:`mlx_prune.report.write.report_tables` returns.
        png: Also as pictures.
        progress: Called with stage "figures".
        processes: To draw in; None for what the machine allows. They draw the same.

    Yields:
        Draws with the others what is left, and returns the figures.
    """
    kinds = [kind for kind in draw.FIGURES if draw.has_rows(kind, tables)]
    tasks = [
        partial(_drawn, kind, tables, layout, formats)
        for kind in kinds
        for layout, formats in ((WIDE, ("svg", "png") if png else ("svg",)), (NARROW, ("svg",)))
    ]
    if tasks:
        load_matplotlib()

    def begin(number: int) -> None:
        progress(Progress("figures", number // 2, len(kinds), kinds[number // 2].name))

    with started(tasks, processes or processes_to_draw(len(tasks)), begin) as finish_tasks:

        def finish() -> list[DrawnFigure]:
            found = finish_tasks()
            progress(Progress("figures", len(kinds), len(kinds)))
            return [
                DrawnFigure(kind, wide[0], narrow[0], wide[1] if png else None)
                for kind, wide, narrow in zip(kinds, found[::2], found[1::2], strict=True)
                if wide is not None and narrow is not None
            ]

        yield finish


def _drawn(
    kind: draw.FigureKind, tables: Tables, layout: Layout, formats: tuple[str, ...]
) -> list[bytes] | None:
    """A figure in some formats; it is gone from memory when this returns, which many panels fill."""
    with _garbage_kept():
        figure = draw.draw(kind, tables, layout)
        found = None if figure is None else [draw.render(figure, name) for name in formats]
        del figure
    return found


@contextmanager
def _garbage_kept() -> Iterator[None]:
    """Collect garbage once, at the end, and only what was made inside.

    A figure is so many small objects that looking for garbage among them, and among all that was imported
    before, would be a quarter of its cost.
    """
    if not gc.isenabled():
        yield
        return
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect()
        gc.unfreeze()


def write_figures(figures: Iterable[DrawnFigure], folder: Path) -> list[Path]:
    """Write figures as SVG, and as PNG where they were drawn so, into a folder; returns the files written."""
    written = []
    for figure in figures:
        for suffix, data in (("svg", figure.svg), ("png", figure.png)):
            if data is not None:
                path = folder / f"{figure.kind.name}.{suffix}"
                write_atomically(path, data)
                written.append(path)
    return written
