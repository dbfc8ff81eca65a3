"""The report as one HTML page that needs no network: finding, figures, tables, limits, versions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from mlx_prune import words
from mlx_prune._version import __version__
from mlx_prune.cards.citation import CITATION
from mlx_prune.checkpoint.invented import DEMO
from mlx_prune.report.changed import NOTHING_CHANGED, ChangedAnswers, ChangedBy, ChangedItem
from mlx_prune.report.figures.draw import FRONTIER
from mlx_prune.report.figures.drawn import DrawnFigure
from mlx_prune.report.figures.sparsity_lines import sparsity_axis
from mlx_prune.report.figures.style import TONES, method_style
from mlx_prune.report.page import answers, grids
from mlx_prune.report.page.drawings import shown, tone_variables
from mlx_prune.report.tables.build import Tables
from mlx_prune.report.tables.table import Interval, Table
from mlx_prune.report.words.answered import floor_of
from mlx_prune.report.words.finding import find
from mlx_prune.report.words.frontier import changing_sentence, frontier_sentences, reported_sentence
from mlx_prune.report.words.limits import limits
from mlx_prune.study.about import StudyAbout

_OVERVIEW_NOTE = (
    "SRS: share of answers to ambiguous questions that fit the stereotype (chance 0.333). USR: share that "
    "choose “unknown”, which is right. SRS − anti: bias in a direction, BBQ's own score. All are means over "
    "categories. Colored changes are significant (q < 0.05) with answers to one question template kept "
    "together. Answered: share of answers understood, by one of the first three parsing rules; where it is "
    "less than {floor}, rates are struck out and nothing is compared."
)
_FRONTIER = "Gain and price"
_FRONTIER_NOTE = (
    "Names in bold: undominated. size and time: relative to dense; zeros alone change neither shapes nor "
    "types, so their time is taken as the dense model's. Δ bias: change of SRS − anti from dense, paired and "
    "clustered. The intervals of all configurations hold at once with 95 % confidence. emergence: share of "
    "unbiased items that become biased, above what the dense model does when asked afresh. Colored: beyond "
    "chance (q or p < 0.05)."
)
_SOURCE = "Questions of BBQ are by Parrish et al. (2022), CC BY 4.0."
# Where the answers go once it is known how much room there is; no text from outside can hold it unescaped.
_ANSWERS = Markup("<!-- answers -->")
# The same for the figures, which are drawn meanwhile.
_FIGURES, _DECIDING = Markup("<!-- figures -->"), Markup("<!-- figures of the frontier -->")
_MOST_BYTES, _AROUND_ANSWERS = 4_000_000, 20_000
_SETTINGS = {
    "bbq": "Questions",
    "engine": "Engine",
    "temperature": "Temperature",
    "max_tokens": "Tokens at most",
    "seeds": "Seeds",
    "noise": "Sampling noise per",
    "dtype": "Computed in",
}


@cache
def templates() -> Environment:
    """The page's templates, which escape whatever they are given."""
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    found.filters["unparted"] = lambda text: Markup(words.unparted(escape(text)))
    # As the tables have them: in their order, and no number that is none.
    found.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "allow_nan": False}
    return found


@dataclass(frozen=True)
class Draft:
    """A page that lacks its figures and the answers that changed.

    Attributes:
        text: With marks where these go.
        about: What the study says about itself.
        changed: The answers that changed.
    """

    text: str
    about: StudyAbout
    changed: ChangedAnswers

    def page(self, figures: Sequence[DrawnFigure]) -> str:
        """The page with its figures, in order: a complete HTML document."""
        parts: Any = templates().get_template("parts.html.j2").module
        deciding = [shown(one) for one in figures if one.kind is FRONTIER]
        others = [shown(one) for one in figures if one.kind is not FRONTIER]
        page = self.text.replace(_DECIDING, str(parts.only_figures(deciding)), 1)
        page = page.replace(_FIGURES, str(parts.all_figures(others)), 1)
        # Last, since as many answers are shown as the rest of the page leaves room for.
        room = _MOST_BYTES - len(page.encode())
        return page.replace(_ANSWERS, answers_part(self.changed, self.about, room), 1)


def report_page(
    tables: Tables,
    figures: Sequence[DrawnFigure],
    about: StudyAbout,
    changed: ChangedAnswers = NOTHING_CHANGED,
) -> str:
    """Compose the page at once; as :func:`draft_page` and :meth:`Draft.page`."""
    return draft_page(tables, about, changed).page(figures)


def draft_page(tables: Tables, about: StudyAbout, changed: ChangedAnswers) -> Draft:
    """Compose the page as far as can be without its figures.

    Args:
        tables: All tables of the report, by name.
        about: What the study says about itself.
        changed: The answers that changed.
    """
    here = Path(__file__).parent
    style, script = (here.joinpath(f"page.{name}").read_text(encoding="utf-8") for name in ("css", "js"))
    published = tables.published if len(tables.published) else None
    frontier = frontier_part(tables, _DECIDING)
    finding = find(tables)
    page = (
        templates()
        .get_template("page.html.j2")
        .render(
            about=about,
            subtitle=_subtitle(tables, about),
            style=Markup(tone_variables() + style),
            script=Markup(script),
            navigation=list(
                _navigation(
                    frontier=frontier is not None,
                    answers=bool(changed.by or changed.missing),
                    published=published is not None,
                )
            ),
            finding=finding,
            meaning=_with_code(" ".join(finding.meaning)),
            overview_note=_OVERVIEW_NOTE.format(floor=words.some_percent(floor_of(tables))),
            overview=grids.overview(tables),
            frontier=frontier,
            published=published and _whole(published),
            figures=_FIGURES,
            tables=[_whole(table) for table in tables.values() if len(table) and table.name != "published"],
            limits=limits(tables, about),
            citation=CITATION,
            versions=list(_versions(about)),
            version=__version__,
            drill=drill_data(tables),
            answers=_ANSWERS,
        )
    )
    return Draft(page, about, changed)


def answers_part(changed: ChangedAnswers, about: StudyAbout, room: int) -> str:
    """The section of answers that changed, in so many bytes at most; empty where there are none."""
    if not changed.by and not changed.missing:
        return ""
    parts: Any = templates().get_template("answers.html.j2").module

    def card(by: ChangedBy, one: ChangedItem) -> str:
        sides = (answers.said(one, side) for side in (one.dense, one.now))
        return str(parts.card(by.configuration.name, one, answers.options(one), *sides))

    cards = answers.fitting(changed, card, room - _AROUND_ANSWERS)
    several = len({by.configuration.model for by in changed.by}) > 1
    models = [
        (
            by.configuration.full_name if several else by.configuration.name,
            answers.summary(by, cards),
            answers.grouped(by, cards),
        )
        for by in changed.by
    ]
    invented = about.settings.get("bbq") == DEMO
    section = parts.section(
        {
            "heading": answers.HEADING,
            "note": answers.note(changed) if changed.by else "",
            "source": "" if invented or not changed.by else _SOURCE,
            "missing": changed.missing,
            "models": models,
        }
    )
    return str(section)


def _with_code(text: str) -> Markup:
    """A text in which `code` is set as such."""
    around = Markup("{}"), Markup("<code>{}</code>")
    return Markup().join(around[number % 2].format(part) for number, part in enumerate(text.split("`")))


def frontier_part(tables: Tables, figures: Markup) -> dict[str, Any] | None:
    """The part that weighs what was bought against its price; None where nothing was compressed."""
    if not len(tables.frontier):
        return None
    said = (changing_sentence(tables), reported_sentence(tables))
    return {
        "heading": _FRONTIER,
        "note": _FRONTIER_NOTE,
        "sentences": frontier_sentences(tables),
        "figures": figures,
        "grids": grids.frontier(tables),
        "changing": tables.items_changing,
        "changing_note": _with_code(tables.items_changing.note),
        "changing_words": " ".join(filter(None, said)),
        "changing_grid": grids.changing(tables),
    }


def _whole(table: Table[Any]) -> dict[str, Any]:
    return {
        "name": table.name,
        "title": table.title,
        "note": _with_code(table.note),
        "count": words.counted(len(table), "row"),
        "grid": grids.whole_table(table),
    }


def _subtitle(tables: Tables, about: StudyAbout) -> str:
    found = [row.configuration for row in tables.overall.rows]
    models = dict.fromkeys(one.model for one in found)
    methods = dict.fromkeys(one.prune_method for one in found if not one.is_dense)
    return " · ".join(filter(None, (", ".join(models), ", ".join(methods), about.finished)))


def _navigation(*, frontier: bool, answers: bool, published: bool) -> Iterator[tuple[str, str]]:
    yield from (("finding", "Finding"), ("overview", "At a glance"))
    if frontier:
        yield "frontier", _FRONTIER
    yield from (("figures", "Figures"), ("categories", "Categories"))
    if answers:
        yield "answers", "Answers"
    if published:
        yield "published", "Reported and measured"
    yield from (("tables", "Tables"), ("limits", "Limits"), ("cite", "Cite"), ("versions", "Versions"))


def _versions(about: StudyAbout) -> Iterator[tuple[str, str]]:
    for name, value in about.settings.items():
        yield _SETTINGS[name], value
    if about.perplexity_text:
        yield "Perplexity on", about.perplexity_text
    for device in about.devices:
        yield "Machine", device
    yield from about.versions.items()
    yield "Report by", f"mlx-prune {__version__}"


def drill_data(tables: Tables) -> dict[str, Any]:
    """What the category view needs."""
    axis, label = sparsity_axis(tables.rates.rows)
    paired = {(row.configuration, row.category): row for row in tables.paired_tests.rows}
    rows = []
    for row in tables.rates.rows:
        change = paired.get((row.configuration, row.category))
        delta = Interval() if change is None else change.srs_delta
        rows.append(
            {
                "model": row.configuration.model,
                "category": row.category,
                "method": row.configuration.prune_method,
                "pattern": row.configuration.pattern,
                "label": row.configuration.name,
                "x": row[axis] or 0.0,
                "items": row.n_items,
                "srs": row.srs,
                "low": row.srs_clustered_low,
                "high": row.srs_clustered_high,
                "usr": row.usr,
                "anti": row.anti_rate,
                "bias": row.bias_score,
                "answered": row.answered,
                "few": row.too_few_answered,
                "delta": delta.value,
                "delta_low": delta.low,
                "delta_high": delta.high,
                "q": None if change is None else change.q_clustered,
            }
        )
    tones = {tone.light: tone.variable for tone in TONES}
    styles = {method: method_style(method) for method in dict.fromkeys(str(row["method"]) for row in rows)}
    return {
        "axis": label,
        "colors": {method: tones[style.color] for method, style in styles.items()},
        "hollow": [m for m, style in styles.items() if style.fill != "full" or style.edge != style.color],
        "rows": rows,
    }
