"""Drawings inside the page: SVG in the page's own font and colors, wide and narrow."""

from __future__ import annotations

import re
from dataclasses import dataclass

from markupsafe import Markup

from mlx_prune.report.figures.draw import FigureKind
from mlx_prune.report.figures.drawn import DrawnFigure
from mlx_prune.report.figures.style import TONES

_COLORS = re.compile("|".join(tone.light for tone in TONES), re.IGNORECASE)
_VARIABLES = {tone.light: f"var(--{tone.variable})" for tone in TONES}
_NAMED = (' id="', "url(#", 'href="#')
_WITHOUT = re.compile(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<defs>\s*</defs>", re.DOTALL)
_FONT = re.compile(r"(font(?:-family)?: [^;\"']*?)'DejaVu Sans'[^;\"]*")
_BACKGROUND = re.compile(r'<g id="patch_1">.*?</g>', re.DOTALL)
_VIEW = re.compile(r'viewBox="([\d. ]*)"')


def tone_variables() -> str:
    """The palette as CSS variables, for light pages and dark ones."""
    light = " ".join(f"--{tone.variable}: {tone.light};" for tone in TONES)
    dark = " ".join(f"--{tone.variable}: {tone.dark};" for tone in TONES)
    return (
        f":root {{ {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{ {dark} }} }}\n"
        f":root[data-theme=dark] {{ {dark} }}\n"
    )


@dataclass(frozen=True)
class Drawing:
    """One drawing of a figure.

    Attributes:
        width: "wide" or "narrow", its CSS class.
        view: The SVG's view box.
        pixels: As wide as it was drawn, which it never exceeds.
        inside: What stands between the SVG's opening tag and its end, the end included.
    """

    width: str
    view: str
    pixels: str
    inside: Markup


@dataclass(frozen=True)
class ShownFigure:
    """A figure as the page shows it, with its drawings."""

    kind: FigureKind
    drawings: tuple[Drawing, ...]


def drawing(svg: str, name: str, width: str) -> Drawing:
    """Fit a drawing into a page.

    Args:
        svg: As Matplotlib writes it, which escapes what texts hold.
        name: Prefix of its ids, which must be unique in a page.
        width: "wide" or "narrow".
    """
    body = svg[svg.index("<svg") :]
    body = _WITHOUT.sub("", body)
    # The page's own background shows through.
    body = _BACKGROUND.sub("", body, count=1)
    for before in _NAMED:
        body = body.replace(before, f"{before}{name}-")
    body = _COLORS.sub(lambda found: _VARIABLES[found[0].lower()], body)
    body = _FONT.sub(r"\g<1>system-ui, sans-serif", body)
    view = _VIEW.search(body)
    assert view is not None
    # 72 points are 96 pixels.
    pixels = f"{float(view[1].split()[2]) * 96 / 72:.0f}"
    return Drawing(width, view[1], pixels, Markup(body[body.index(">") + 1 :].strip()))


def shown(figure: DrawnFigure) -> ShownFigure:
    """A figure with its heading and caption."""
    kind = figure.kind
    drawings = ((figure.svg, "wide"), (figure.narrow_svg, "narrow"))
    return ShownFigure(
        kind,
        tuple(drawing(svg.decode(), f"{kind.name}-{width}", width) for svg, width in drawings),
    )
