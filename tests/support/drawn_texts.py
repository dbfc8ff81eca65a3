"""What a figure writes and where, for tests that no text lies on another and none is cut off."""

from __future__ import annotations

import itertools

from matplotlib.text import Annotation, Text


def written(figure):
    """Every text of a laid out figure that is upright or level, with its box in pixels."""
    renderer = figure.canvas.get_renderer()
    # Ticks have their labels once they are drawn.
    figure.draw_without_rendering()
    found = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in (axes for axes in figure.axes if axes.get_visible()):
        found += [*axes.texts, axes._left_title, axes.xaxis.label, axes.yaxis.label]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = (*axis.get_major_ticks(), *axis.get_minor_ticks())
            found += [tick.label1 for tick in ticks if low - 1e-9 <= tick.get_loc() <= high + 1e-9]
    for text in found:
        if isinstance(text, Annotation):
            text.update_positions(renderer)
    # Of the text alone: an annotation's own extent holds its leader line, too.
    return [
        (text.get_text(), Text.get_window_extent(text, renderer))
        for text in found
        if text.get_text() and text.get_visible() and text.get_rotation() in (0, 90)
    ]


def overlapping(figure, tolerance=1.0):
    """Pairs of texts that have more than so many pixels in common in both directions."""
    return [
        (one, other)
        for (one, box), (other, second) in itertools.combinations(written(figure), 2)
        if min(box.x1, second.x1) - max(box.x0, second.x0) > tolerance
        and min(box.y1, second.y1) - max(box.y0, second.y0) > tolerance
    ]


def cut_off(figure):
    """Texts that reach beyond the figure's edges."""
    room = figure.bbox
    return [
        text
        for text, box in written(figure)
        if box.x0 < 0 or box.y0 < 0 or box.x1 > room.x1 or box.y1 > room.y1
    ]
