"""Parts of a report's page, alone."""

from __future__ import annotations

from mlx_prune.report.page.page import frontier_part, templates


def frontier_section(tables, figures):
    """The page's section of gain and price, as HTML."""
    parts = templates().get_template("parts.html.j2").module
    return str(parts.frontier_section(frontier_part(tables, figures)))
