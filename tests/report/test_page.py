"""The page: self-contained, well-formed, safe with any text, and usable in a browser on a phone."""

import html
import json
import re
import shutil
import subprocess
from itertools import pairwise

import pytest
from kept_texts import keep_texts
from page_parts import Outline
from report_study import GRID, write_full_study

from mlx_prune.report.changed import changed_answers
from mlx_prune.report.data import read_study
from mlx_prune.report.figures.draw import FIGURES, draw, render
from mlx_prune.report.figures.drawn import DrawnFigure
from mlx_prune.report.figures.style import NARROW, TONES, WIDE
from mlx_prune.report.page import grids
from mlx_prune.report.page.drawings import drawing
from mlx_prune.report.page.grids import Cell, Column
from mlx_prune.report.page.page import report_page, templates
from mlx_prune.report.write import report_tables
from mlx_prune.study.about import read_about

SMALL = (*GRID[:1], *GRID[7:], ("wanda", 50.0, "2:4"))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EVIL = "<script>alert(1)</script>"


def part(name, *values):
    """One of the parts that the page is made of, as HTML."""
    return str(getattr(templates().get_template("parts.html.j2").module, name)(*values))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = write_full_study(tmp_path_factory.mktemp("study"), items=40, grid=SMALL)
    keep_texts(folder)
    return folder, report_tables(folder)


@pytest.fixture(scope="module")
def page(study):
    folder, tables = study
    figures = []
    for kind in FIGURES[:2] + FIGURES[7:9]:
        svgs = [render(draw(kind, tables, layout), "svg") for layout in (WIDE, NARROW)]
        figures.append(DrawnFigure(kind, *svgs))
    # Opened, so that a browser lays out what is inside.
    page = report_page(tables, figures, read_about(folder), changed_answers(read_study(folder)))
    return page.replace("<details>", "<details open>")


@pytest.fixture(scope="module")
def outline(page):
    parser = Outline()
    parser.feed(page)
    return parser


def test_no_line_of_the_text_ends_between_a_number_and_its_percent_sign(page):
    said = re.findall(r"<(?:p|figcaption|h2)(?: class=\"[^\"]*\")?>(.*?)</(?:p|figcaption|h2)>", page)
    assert sum("\u00a0%" in text for text in said) > 10
    assert not [text for text in said if "<kbd" not in text and re.search(r"\d %", text)]


def test_elements_are_closed_and_ids_unique(outline):
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))


def test_nothing_is_fetched(page, outline):
    assert all(link.startswith(("#", "data:")) for link in outline.links)
    assert "default-src 'none'" in page
    assert not re.search(r"@import|url\((?!#)", page)


def test_every_reference_inside_the_page_has_a_target(page, outline):
    wanted = {link[1:] for link in outline.links if link.startswith("#")}
    wanted |= set(re.findall(r"url\(#([^)]+)\)", page))
    assert wanted <= set(outline.ids)


def test_sections_come_in_reading_order(outline):
    sections = [found["id"] for tag, found in outline.tags if tag == "section"]
    assert sections == [
        "finding",
        "overview",
        "frontier",
        "figures",
        "categories",
        "answers",
        "tables",
        "limits",
        "cite",
        "versions",
    ]


def test_finding_limits_citation_and_exact_versions_are_on_it(page):
    for text in ("stereotype reliance", "BBQ is in English", "2605.08137", "<dt>mlx</dt><dd>0.32.4</dd>"):
        assert text in page


def test_what_the_finding_means_stands_before_its_details(study, page):
    from mlx_prune.report.words.finding import find

    _, tables = study
    found = find(tables)
    shown = page.split('id="finding"')[1].split("</section>")[0]
    parts = ("headline", "What this means", "In detail", found.paragraph[:40])
    places = [shown.index(part) for part in parts]
    assert places == sorted(places)
    # As a browser shows it: commands as code, without the marks of a terminal.
    text = html.unescape(re.sub("</?code>", "`", shown))
    assert " ".join(found.meaning) in text
    assert "<code>mlxprune gate</code>" in shown


def test_names_in_notes_are_set_as_code(page):
    notes = re.findall(r'<p class="note">.*?</p>', page, re.DOTALL)
    assert any("<code>paired_tests</code>" in note for note in notes)
    assert not any("`" in note for note in notes)


def test_svg_takes_the_page_s_colors_and_font(study):
    _, tables = study
    svg = render(draw(FIGURES[0], tables), "svg").decode()
    inside = part("drawing", drawing(svg, "first", "wide"), 'about "it"')
    for tone in TONES:
        assert tone.light not in inside
    assert "var(--ink)" in inside
    assert "DejaVu" not in inside
    assert 'aria-label="about &#34;it&#34;"' in inside
    assert not re.search(r'id="(?!first-)', inside)
    assert not re.search(r"<svg[^>]* (width|height)=", inside)


def test_both_drawings_of_a_figure_are_there_under_different_ids(outline):
    drawings = [found.get("class") for tag, found in outline.tags if tag == "svg"]
    assert drawings == ["wide", "narrow"] * 4


def test_text_from_the_study_cannot_become_markup(tmp_path):
    folder = write_full_study(tmp_path, models=("alpha",), items=12, grid=SMALL[:2], categories=(EVIL,))
    (folder / "study.toml").write_text(f'name = "{EVIL} & co"\nmodels = ["demo"]\n')
    page = report_page(report_tables(folder), [], read_about(folder))
    assert EVIL not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; co" in page
    data = page.split('id="drill-data">')[1].split("</script>")[0]
    assert {row["category"] for row in json.loads(data)["rows"]} == {EVIL}


def test_category_data_are_the_tables_figures(study, page):
    _, tables = study
    data = json.loads(page.split('id="drill-data">')[1].split("</script>")[0])
    assert len(data["rows"]) == len(tables["rates"])
    for row, expected in zip(data["rows"], tables["rates"].rows, strict=True):
        assert row["srs"] == expected["srs"]
        assert row["x"] == expected["actual_sparsity"]
    paired = {(r["category"], r["sparsity"], r["pattern"]): r for r in tables["paired_tests"].rows}
    wanda = next(row for row in data["rows"] if row["label"] == "wanda 70 %")
    assert wanda["delta"] == paired[wanda["category"], 70.0, None]["srs_delta"]


def test_table_cells_sort_by_their_exact_value():
    columns = [
        Column("what", lambda row: Cell(row["name"]), numeric=False),
        Column("how much", lambda row: Cell("0.123", row["value"], "up")),
    ]
    html = part("grid", grids.grid([{"name": "a", "value": 0.1234567}], columns))
    assert '<td class="n up" data-v="0.1234567">0.123</td>' in html
    assert '<th scope="col"><button type="button">what</button></th>' in html


def test_what_rounds_to_zero_has_no_minus():
    assert grids.fixed(-1e-5, 3, sign=True).text == "+0.000"
    assert grids.fixed(-1e-5, 3).text == "0.000"
    assert grids.fixed(-6e-4, 3, sign=True).text == "-0.001"


def test_a_study_without_figures_or_dense_model_has_a_page(tmp_path):
    folder = write_full_study(tmp_path, items=8, grid=GRID[1:2])
    (folder / "perplexity.json").unlink()
    page = report_page(report_tables(folder), [], read_about(folder))
    parser = Outline()
    parser.feed(page)
    assert parser.open == []
    assert "No figure can be drawn" in page
    assert "Perplexity was not measured." in page


PROBE = """<script>
window.problems = [];
addEventListener("error", (event) => problems.push(event.message));
addEventListener("securitypolicyviolation", (event) => problems.push(event.blockedURI));
addEventListener("load", () => {
  const seen = (element) => {
    const box = element.getBoundingClientRect();
    return box.width > 50 && box.height > 50;
  };
  const shown = (figure) => [...figure.querySelectorAll("svg")].filter(seen).length;
  const heading = document.querySelectorAll("#overview thead th")[3];
  heading.click();
  heading.click();
  const cells = [...document.querySelectorAll("#overview tbody tr")].map((row) => row.cells[3]);
  const order = cells.map((cell) => Number(cell.dataset.v ?? cell.textContent));
  document.getElementById("drill-measure").value = "usr";
  document.getElementById("drill-measure").dispatchEvent(new Event("change"));
  const report = {
    problems, order, inner: innerWidth, scroll: document.scrollingElement.scrollWidth,
    figures: [...document.querySelectorAll("figure")].map(shown),
    drill: document.querySelectorAll("#drill-chart circle").length,
    drillRows: document.querySelectorAll("#drill-table tbody tr").length,
    paper: getComputedStyle(document.body).backgroundColor,
  };
  parent.postMessage(JSON.stringify(report), "*");
});
</script>"""


def in_browser(page, folder, width, theme):
    # A headless window has a least width, so the page is put into a frame of the width wanted.
    page = page.replace('<html lang="en">', f'<html lang="en" data-theme="{theme}">')
    policy = re.compile(r'<meta http-equiv="Content-Security-Policy".*?>')
    inner = policy.sub(lambda found: found[0] + PROBE, page)
    holder = folder / f"{width}-{theme}.html"
    frame = inner.replace("&", "&amp;").replace('"', "&quot;")
    holder.write_text(
        '<!doctype html><body style="margin:0">'
        '<script>addEventListener("message", (event) => { document.title = event.data; })</script>'
        f'<iframe style="border:0;width:{width}px;height:900px" srcdoc="{frame}"></iframe>'
    )
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += ["--virtual-time-budget=10000", "--window-size=1400,900", "--enable-logging=stderr"]
    command += [f"--user-data-dir={folder / 'profile'}", holder.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title, done.stderr[-2000:]
    messages = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(title[1].replace("&quot;", '"').replace("&amp;", "&")), messages


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize(("width", "theme"), [(390, "light"), (1280, "dark")])
def test_in_a_browser_nothing_fails_or_overflows_and_everything_shows(page, tmp_path, width, theme):
    report, messages = in_browser(page, tmp_path, width, theme)
    assert messages == []
    assert report["problems"] == []
    assert report["inner"] == width
    assert report["scroll"] <= width
    assert report["figures"] == [1] * 4
    assert report["drill"] == report["drillRows"] == len(SMALL)
    assert all(a >= b for a, b in pairwise(report["order"]))
    dark = sum(map(int, re.findall(r"\d+", report["paper"])[:3])) < 200
    assert dark == (theme == "dark")
