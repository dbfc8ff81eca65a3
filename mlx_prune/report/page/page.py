"""The report as one HTML page that needs no network: finding, figures, tables, limits, versions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template

from mlx_prune import __version__
from mlx_prune.cards.sections import CITATION
from mlx_prune.labels import DENSE
from mlx_prune.report.about import StudyAbout
from mlx_prune.report.figures.draw import FRONTIER, DrawnFigure
from mlx_prune.report.figures.panels import Tables, configuration_label, key_of, number, sparsity_axis
from mlx_prune.report.figures.style import TONES, method_style
from mlx_prune.report.page.figures import figure_html, tone_variables
from mlx_prune.report.page.frontier import HEADING, frontier_section
from mlx_prune.report.page.tables import any_table, overview
from mlx_prune.report.tables.table import Table
from mlx_prune.report.words.answered import floor_of, percent
from mlx_prune.report.words.finding import find
from mlx_prune.report.words.limits import limits

_OVERVIEW_NOTE = (
    "SRS: share of answers to ambiguous questions that fit the stereotype (chance 0.333). USR: share that "
    "choose “unknown”, which is right. SRS − anti: bias in a direction, BBQ's own score. All are means over "
    "categories. Colored changes are significant (q < 0.05) with answers to one question template kept "
    "together. Answered: share of answers understood, by one of the first three parsing rules; where it is "
    "less than $floor, rates are struck out and nothing is compared."
)
_SETTINGS = {
    "bbq": "Questions",
    "engine": "Engine",
    "temperature": "Temperature",
    "max_tokens": "Tokens at most",
    "seeds": "Seeds",
    "noise": "Sampling noise per",
    "dtype": "Computed in",
}


def report_page(tables: Mapping[str, Table], figures: Sequence[DrawnFigure], about: StudyAbout) -> str:
    """Compose the page.

    Args:
        tables: All tables of the report, by name.
        figures: Its figures, in order.
        about: What the study says about itself.

    Returns:
        A complete HTML document.
    """
    found = find(tables)
    web = files(__package__)
    read = {name: web.joinpath(f"page.{name}").read_text(encoding="utf-8") for name in ("html", "css", "js")}
    published, frontier = _published(tables), frontier_section(tables, figures)
    shown = "\n".join(figure_html(figure) for figure in figures if figure.kind is not FRONTIER)
    return Template(read["html"]).substitute(
        title=escape(about.name),
        subtitle=escape(_subtitle(tables, about)),
        css=tone_variables() + read["css"],
        script=read["js"],
        navigation=_navigation(frontier=bool(frontier), published=bool(published)),
        unfinished=f'<p class="unfinished">{escape(found.unfinished)}</p>' if found.unfinished else "",
        headline=escape(found.headline),
        paragraph=escape(found.paragraph),
        overview_note=escape(Template(_OVERVIEW_NOTE).substitute(floor=percent(floor_of(tables)))),
        overview=overview(tables),
        frontier=frontier,
        published=published,
        figures=shown or "<p>No figure can be drawn from these records.</p>",
        tables="\n".join(_details(t) for t in tables.values() if len(t) and t.name != "published"),
        limits="\n".join(f"<li>{escape(text)}</li>" for text in limits(tables, about)),
        citation=escape(CITATION),
        versions=_versions(about),
        version=escape(__version__),
        data=_drill_data(tables),
    )


def _subtitle(tables: Tables, about: StudyAbout) -> str:
    rows = tables["overall"].rows
    models = list(dict.fromkeys(str(row["model"]) for row in rows))
    methods = list(dict.fromkeys(str(row["prune_method"]) for row in rows if row["prune_method"] != DENSE))
    parts = [", ".join(models), ", ".join(methods), about.finished]
    return " · ".join(part for part in parts if part)


def _navigation(*, frontier: bool, published: bool) -> str:
    entries = [("finding", "Finding"), ("overview", "At a glance")]
    entries += [("frontier", HEADING)] if frontier else []
    entries += [("figures", "Figures"), ("categories", "Categories")]
    entries += [("published", "Reported and measured")] if published else []
    entries += [("tables", "Tables")]
    entries += [("limits", "Limits"), ("cite", "Cite"), ("versions", "Versions")]
    return "".join(f'<a href="#{name}">{text}</a>' for name, text in entries)


def _published(tables: Tables) -> str:
    table = tables.get("published")
    if table is None or not len(table):
        return ""
    return (
        f'<section id="published"><h2>{escape(table.title)}</h2><p class="note">{escape(table.note)}</p>'
        f"{any_table(table)}</section>"
    )


def _details(table: Table) -> str:
    count = f"{table.name}, {len(table)} row{'s' * (len(table) != 1)}"
    summary = f"<summary>{escape(table.title)} <span>{count}</span></summary>"
    note = f'<p class="note">{escape(table.note)}</p>'
    return f'<details id="table-{escape(table.name)}">{summary}{note}{any_table(table)}</details>'


def _versions(about: StudyAbout) -> str:
    entries = [(_SETTINGS[name], value) for name, value in about.settings.items()]
    if about.perplexity_text:
        entries.append(("Perplexity on", about.perplexity_text))
    entries += [("Machine", device) for device in about.devices]
    entries += list(about.versions.items())
    entries.append(("Report by", f"mlx-prune {__version__}"))
    lines = [f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in entries]
    return f"<dl>{''.join(lines)}</dl>"


def _drill_data(tables: Tables) -> str:
    """What the category view needs, as JSON that cannot close its script element."""
    axis, label = sparsity_axis(tables["rates"].rows)
    paired = {(key_of(row), row["category"]): row for row in tables["paired_tests"].rows}
    rows = []
    for row in tables["rates"].rows:
        change = paired.get((key_of(row), row["category"]), {})
        rows.append(
            {
                "model": row["model"],
                "category": row["category"],
                "method": row["prune_method"],
                "pattern": row["pattern"],
                "label": configuration_label(row),
                "x": number(row[axis]) or 0.0,
                "items": row["n_items"],
                "srs": row["srs"],
                "low": row["srs_clustered_low"],
                "high": row["srs_clustered_high"],
                "usr": row["usr"],
                "anti": row["anti_rate"],
                "bias": row["bias_score"],
                "answered": row["answered"],
                "few": row["too_few_answered"],
                "delta": change.get("srs_delta"),
                "delta_low": change.get("srs_delta_low"),
                "delta_high": change.get("srs_delta_high"),
                "q": change.get("q_clustered"),
            }
        )
    tones = {tone.light: tone.variable for tone in TONES}
    styles = {method: method_style(method) for method in dict.fromkeys(str(row["method"]) for row in rows)}
    data = {
        "axis": label,
        "colors": {method: tones[style.color] for method, style in styles.items()},
        "hollow": [m for m, style in styles.items() if style.fill != "full" or style.edge != style.color],
        "rows": rows,
    }
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c")
