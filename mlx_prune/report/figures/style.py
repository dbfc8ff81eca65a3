"""The one look of all figures: colors that color-blind readers tell apart, markers that survive gray print.

Colors are Okabe and Ito's, and three more that keep apart from them under protanopia and deuteranopia. Each
has a twin for dark pages; the page swaps them through CSS variables, so that one drawing serves both.

The kind of a method decides color and marker. What was done besides decides how the marker is filled, and a
quantization on top of pruning gives it a dark edge. Another calibration text than a study's first brings a
second color and dashes of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mlx_prune.configuration import Configuration
from mlx_prune.kinds import family
from mlx_prune.labels import DENSE, QUANTIZED, Label, known_label
from mlx_prune.registry import QUANTIZATION, Look, methods

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Tone:
    """One color of the palette: its CSS variable, and its value on white and on dark."""

    variable: str
    light: str
    dark: str


INK = Tone("ink", "#1f2328", "#e6e9ed")
MUTED = Tone("muted", "#656d76", "#9aa4af")
GRID = Tone("grid", "#dfe3e8", "#333a43")
PAPER = Tone("paper", "#fffffe", "#14181d")
BLUE = Tone("blue", "#0072b2", "#4fb0ec")
VERMILION = Tone("vermilion", "#d55e00", "#ff8a3d")
PINK = Tone("pink", "#bb6395", "#e39cc5")
GREEN = Tone("green", "#00875f", "#3ccb9f")
AMBER = Tone("amber", "#c98a00", "#f0b429")
VIOLET = Tone("violet", "#4b2e83", "#9a78f0")
CYAN = Tone("cyan", "#1f9db5", "#5fd3e0")
BROWN = Tone("brown", "#7a4419", "#c98f5f")
TONES = (INK, MUTED, GRID, PAPER, BLUE, VERMILION, PINK, GREEN, AMBER, VIOLET, CYAN, BROWN)
_BY_NAME = {tone.variable: tone for tone in TONES}
_DENSE = Look("ink", "s")


@dataclass(frozen=True)
class MethodStyle:
    """How one pruning method is drawn wherever it appears.

    Attributes:
        color: Of its points and lines.
        marker: Matplotlib's name of it.
        line: Matplotlib's line style.
        fill: Matplotlib's fill style: which part of the marker is filled.
        edge: Color of the marker's edge.
        second: Color of what is not filled, in a marker that is filled in part.
    """

    color: str
    marker: str
    line: Any
    fill: str
    edge: str
    second: str = PAPER.light

    def points(self, pattern: object = None) -> dict[str, Any]:
        """Matplotlib's settings of its points; those of an N:M pattern are hollow."""
        hollow = "none" if self.edge == self.color and self.second == PAPER.light else "bottom"
        return {
            "color": self.color,
            "marker": self.marker,
            "fillstyle": hollow if pattern else self.fill,
            "markerfacecoloralt": self.second,
            "markeredgecolor": self.edge,
            "markersize": 8.5 if self.marker == "*" else 6,
        }


_OTHERS = ((MUTED, ">", "--"), (MUTED, "<", "-."))
# Of checkpoints with names of their own; no method is drawn with these markers.
_NAMED_TONES = (BLUE, VERMILION, GREEN, AMBER, VIOLET, PINK, CYAN)
_NAMED_MARKERS = ("p", "<", "h", ">")
_named: ContextVar[tuple[str, ...]] = ContextVar("names", default=())
_texts: ContextVar[tuple[str, ...]] = ContextVar("texts", default=())
_MODIFIED_LINE = (0, (4, 1, 1, 1, 1, 1))
_QUANTIZED_LINE = (0, (1, 1))
_RECOVERED_FILL = "top"
_ADAPTED_LINE, _ADAPTED_MARKER = (0, (3, 1)), "h"
# Calibrated on another text than a study's first: dashes and second color, of each text in turn.
_OTHER_TEXTS = (((3, 1.2), INK), ((1.5, 1.5), MUTED), ((4, 1.2, 1.2, 1.2), GRID))
_LEARNED = {"dwq": "d", "awq": "X", "gptq": "P"}
_BITS = {8: "full", 6: "top", 4: "left", 3: "bottom", 2: "none"}


@contextmanager
def naming(configurations: Iterable[Configuration]) -> Iterator[None]:
    """Give checkpoints with names of their own and calibration texts looks of their own while this lasts."""
    configurations = list(configurations)
    labels = (known_label(one.prune_method) for one in configurations)
    names = dict.fromkeys(one.prune_method for one in configurations if one.is_named)
    texts = dict.fromkeys(label.calibration for label in labels if label and label.calibration)
    tokens = _named.set(tuple(names)), _texts.set(tuple(texts))
    try:
        yield
    finally:
        _named.reset(tokens[0])
        _texts.reset(tokens[1])


def method_style(method: str) -> MethodStyle:
    """The style of a method, or of a checkpoint by its place in :func:`naming`; others share two styles."""
    label = known_label(method)
    if label is not None:
        style = _style(label, family(method))
        return style if label.calibration is None else _on_other_text(style, label)
    if method in _named.get():
        place = _named.get().index(method)
        tone = _NAMED_TONES[place % len(_NAMED_TONES)]
        marker = _NAMED_MARKERS[place % len(_NAMED_MARKERS)]
        return MethodStyle(tone.light, marker, "-", "full", tone.light)
    tone, marker, line = _OTHERS[sum(method.encode()) % len(_OTHERS)]
    return MethodStyle(tone.light, marker, line, "full", tone.light)


def _style(label: Label, kind: str) -> MethodStyle:
    """The style of a label, whichever text it was calibrated on."""
    look = _look(kind)
    tone = _BY_NAME.get(look.tone, MUTED)
    fill = look.fills.get(label.modifiers, "left") if label.modifiers else "full"
    fill = _RECOVERED_FILL if label.trained else fill
    if label.quantization is None:
        line: Any = _MODIFIED_LINE if label.modifiers or label.recovered else look.line
        return MethodStyle(tone.light, look.marker, line, fill, tone.light)
    if kind == QUANTIZED:
        marker = look.marker if label.quantization.mode == "affine" else "H"
        if label.quantization.learned:
            marker = _LEARNED.get(label.quantization.label.rpartition("+")[2], "8")
        marker = _ADAPTED_MARKER if label.adapted else marker
        filled = _BITS[label.quantization.bits or 8]
        return MethodStyle(tone.light, marker, look.line, filled, tone.light)
    dots = _ADAPTED_LINE if label.adapted else _QUANTIZED_LINE
    return MethodStyle(tone.light, look.marker, dots, fill, INK.light)


def _on_other_text(style: MethodStyle, label: Label) -> MethodStyle:
    """The same, told apart by its calibration text, of which :func:`naming` knows the place."""
    texts = _texts.get()
    place = texts.index(label.calibration) if label.calibration in texts else 0
    dashes, second = _OTHER_TEXTS[place % len(_OTHER_TEXTS)]
    if label.modifiers or label.recovered:
        dashes = (*dashes, 1, dashes[-1])
    # A second color shows in a marker that is filled in part only.
    fill = "right" if style.fill in ("full", "none") else style.fill
    line = style.line if label.quantization else (0, dashes)
    return replace(style, line=line, fill=fill, second=second.light)


def _look(kind: str) -> Look:
    if kind == DENSE:
        return _DENSE
    return next(iter(methods(QUANTIZATION).values())).look if kind == QUANTIZED else methods()[kind].look


@dataclass(frozen=True)
class Layout:
    """The room a figure has.

    Attributes:
        name: "wide" or "narrow".
        width: Inches.
        columns: Panels side by side at most.
    """

    name: str
    width: float
    columns: int


WIDE = Layout("wide", 10.0, 3)
NARROW = Layout("narrow", 3.9, 1)

_DOTS = 200  # per inch of a PNG
_SETTINGS = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK.light,
    "axes.labelcolor": INK.light,
    "axes.edgecolor": MUTED.light,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlecolor": INK.light,
    "axes.titlelocation": "left",
    # Where nothing else stands above the panels; left open, it is measured what does.
    "axes.titley": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID.light,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED.light,
    "ytick.color": MUTED.light,
    "xtick.labelcolor": INK.light,
    "ytick.labelcolor": INK.light,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 2.4,
    "figure.facecolor": "white",
    "axes.facecolor": "none",
    "savefig.dpi": _DOTS,
    # A dollar sign in a name starts no formula.
    "text.parse_math": False,
    # Text stays text: searchable, and in the page's own font.
    "svg.fonttype": "none",
    # The same data gives the same file.
    "svg.hashsalt": "mlx-prune",
}


@contextmanager
def look() -> Iterator[None]:
    """Matplotlib's settings for everything drawn inside; what was set before returns afterwards."""
    import matplotlib as mpl

    with mpl.rc_context(_SETTINGS):
        yield


def plain_numbers(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers; Matplotlib's own labels are formulas.

    A short axis may hold no power of ten, or one: ticks between them are labeled there, too.
    """
    from matplotlib.ticker import FuncFormatter

    def between(value: float, _: int | None) -> str:
        low, high = sorted(axis.get_view_interval())
        powers = sum(low <= tick <= high for tick in axis.get_majorticklocs())
        digits = ("2357", "25", "25")[powers] if powers < 3 else ""
        return f"{value:g}" if f"{abs(value):.0e}"[0] in digits else ""

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(between))


def new_figure(layout: Layout, height: float) -> Figure:
    """An empty figure of the layout's width and ``height`` inches, outside pyplot's global state."""
    from matplotlib.figure import Figure

    from mlx_prune.report.figures.canvas import Canvas
    from mlx_prune.report.figures.filling import Filling

    figure = Figure(figsize=(layout.width, height), dpi=_DOTS, layout=Filling())
    Canvas(figure)
    return figure


def lay_out(figure: Figure) -> None:
    """Give everything in a figure its place, once; what was laid out already stays as it is.

    Left to itself, Matplotlib lays a figure out anew whenever it is saved.
    """
    from mlx_prune.report.figures.beside import move_apart

    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)
        move_apart(figure)
