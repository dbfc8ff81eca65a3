"""Figures inside the page: SVG in the page's own font and colors, wide and narrow."""

from __future__ import annotations

import re
from html import escape

from mlx_prune.report.figures.draw import DrawnFigure
from mlx_prune.report.figures.style import TONES

_COLORS = re.compile("|".join(tone.light for tone in TONES), re.IGNORECASE)
_VARIABLES = {tone.light: f"var(--{tone.variable})" for tone in TONES}
_NAMED = re.compile(r'(\bid="|url\(#|xlink:href="#|\bhref="#)')
_WITHOUT = re.compile(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<defs>\s*</defs>", re.DOTALL)
_FONT = re.compile(r"(font(?:-family)?: [^;\"']*?)'DejaVu Sans'[^;\"]*")
_BACKGROUND = re.compile(r'<g id="patch_1">.*?</g>', re.DOTALL)


def tone_variables() -> str:
    """The palette as CSS variables, for light pages and dark ones."""
    light = " ".join(f"--{tone.variable}: {tone.light};" for tone in TONES)
    dark = " ".join(f"--{tone.variable}: {tone.dark};" for tone in TONES)
    return (
        f":root {{ {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{ {dark} }} }}\n"
        f":root[data-theme=dark] {{ {dark} }}\n"
    )


def inline_svg(svg: str, name: str, label: str, width: str) -> str:
    """Fit a drawing into a page.

    Args:
        svg: As Matplotlib writes it.
        name: Prefix of its ids, which must be unique in a page.
        label: What it shows, for those who do not see it.
        width: Its CSS class.
    """
    body = svg[svg.index("<svg") :]
    body = _WITHOUT.sub("", body)
    # The page's own background shows through.
    body = _BACKGROUND.sub("", body, count=1)
    body = _NAMED.sub(rf"\g<1>{name}-", body)
    body = _COLORS.sub(lambda found: _VARIABLES[found[0].lower()], body)
    body = _FONT.sub(r"\g<1>system-ui, sans-serif", body)
    view = re.search(r'viewBox="([^"]*)"', body)
    assert view is not None
    # Never larger than drawn: 72 points are 96 pixels.
    size = f"max-width: {float(view[1].split()[2]) * 96 / 72:.0f}px"
    label = escape(label, quote=True)
    opening = f'<svg class="{width}" style="{size}" viewBox="{view[1]}" role="img" aria-label="{label}">'
    return opening + body[body.index(">") + 1 :].strip()


def figure_html(figure: DrawnFigure) -> str:
    """One figure with its heading and caption."""
    kind = figure.kind
    label = f"{kind.title}. {kind.caption}"
    drawings = [
        inline_svg(svg.decode(), f"{kind.name}-{width}", label, width)
        for svg, width in ((figure.svg, "wide"), (figure.narrow_svg, "narrow"))
    ]
    return (
        f'<figure id="figure-{kind.name}"><h3>{escape(kind.title)}</h3>\n'
        + "\n".join(drawings)
        + f"\n<figcaption>{escape(kind.caption)}</figcaption></figure>"
    )
