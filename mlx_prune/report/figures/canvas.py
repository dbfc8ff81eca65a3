"""What figures are measured and written with, which measures each text once, whatever figures it stands in.

Matplotlib remembers the size of a text as long as it measures with the same object, of which it makes one for
each figure and each file. Imported only where a figure is made, since it needs Matplotlib.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import lru_cache

from matplotlib.axis import Axis
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

Size = tuple[float, float, float]

_POINTS = 72  # per inch; what SVG counts in
# A report has some 500 texts in some 10 fonts.
_KEPT_TEXTS = 4096


class Canvas(FigureCanvasBase):
    """Measures as Matplotlib does for pictures; what is saved is drawn by Matplotlib's own canvases."""

    def get_renderer(self) -> RendererAgg:
        """What measures; nothing is drawn with it."""
        return _measuring(self.figure.dpi)


@lru_cache(maxsize=4)
def _measuring(dots: float) -> RendererAgg:
    return RendererAgg(1, 1, dots)


def svg_of(figure: Figure, metadata: Mapping[str, None]) -> bytes:
    """A figure, which has its layout, as Matplotlib's ``savefig`` writes it.

    Args:
        figure: Its parts are where they belong.
        metadata: Entries that are left out.
    """
    out, dots = io.StringIO(), figure.dpi
    for axes in figure.axes:
        _measure_no_numbers(axes.xaxis)
        _measure_no_numbers(axes.yaxis)
    figure.dpi = _POINTS
    try:
        width, height = figure.get_size_inches() * _POINTS
        renderer = _Svg(width, height, out, image_dpi=dots, metadata=dict(metadata))
        figure.draw(renderer)
        renderer.finalize()
    finally:
        figure.dpi = dots
    return out.getvalue().encode()


def _measure_no_numbers(axis: Axis) -> None:
    # Matplotlib measures what stands at the ticks to place a factor of all these numbers beside them.
    if not axis.offsetText.get_text():
        for tick in (*axis.majorTicks, *axis.minorTicks):
            tick.label1.set_in_layout(False)


class _Svg(RendererSVG):
    def get_text_width_height_descent(self, s: str, prop: FontProperties, ismath: bool) -> Size:
        return _size(s, prop, ismath)


@lru_cache(maxsize=_KEPT_TEXTS)
def _size(text: str, font: FontProperties, formula: bool) -> Size:
    # Matplotlib hands over a copy of the font, which stays as it is.
    width, height, descent = text_to_path.get_text_width_height_descent(text, font, formula)
    return width, height, descent
