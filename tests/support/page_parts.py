"""Parts of a report's page, alone."""

from __future__ import annotations

from html.parser import HTMLParser

from mlx_prune.report.page.drawings import shown
from mlx_prune.report.page.page import frontier_part, templates


def frontier_section(tables, figures):
    """The page's section of gain and price, as HTML."""
    parts = templates().get_template("parts.html.j2").module
    drawn = parts.only_figures([shown(figure) for figure in figures])
    return str(parts.frontier_section(frontier_part(tables, drawn)))


VOID = {"meta", "link", "br", "input", "hr", "img"}


class Outline(HTMLParser):
    """Collects elements, checks nesting, and keeps ids and references."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.tags = [], [], [], []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append((tag, found))
        self.ids += [found["id"]] if "id" in found else []
        self.links += [v for k, v in attrs if k in ("href", "src", "xlink:href", "action") and v]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, f"stray </{tag}>"
        assert self.open.pop() == tag
