"""Figures: every kind is drawn from a study's tables, shows their numbers, and is left out without them."""

import collections
import gc
import io
import itertools
import json
import re
import warnings
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
from drawn_texts import cut_off, overlapping
from kept_distances import keep_distances
from kept_texts import keep_texts
from matplotlib.figure import Figure
from matplotlib.textpath import TextToPath
from mixed_study import MIXED, write_mixed_study
from report_study import GRID, write_full_study

from mlx_prune.report.figures import canvas
from mlx_prune.report.figures.draw import FIGURES, STUDY_FIGURES, draw, render
from mlx_prune.report.figures.drawn import draw_figures
from mlx_prune.report.figures.filling import Filling
from mlx_prune.report.figures.panels import TOO_FEW, panel_grid, shared_legend, with_actual
from mlx_prune.report.figures.sparsity_lines import CHANCE, method_lines, sparsity_axis
from mlx_prune.report.figures.style import NARROW, TONES, WIDE, lay_out, look, method_style, plain_numbers
from mlx_prune.report.tables.table import Table
from mlx_prune.report.write import report_tables

DENSE_ONLY = (("dense", 0.0, None),)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    grid = (*GRID[:1], *GRID[4:], ("wanda", 50.0, "2:4"), ("wanda+recover", 50.0, "2:4"))
    folder = write_full_study(tmp_path_factory.mktemp("study"), items=40, grid=grid)
    keep_texts(folder)
    keep_distances(folder)
    return report_tables(folder)


@pytest.fixture(scope="module")
def wide(tables):
    return {found.name: draw(found, tables, WIDE) for found in FIGURES}


@pytest.fixture(scope="module")
def dense_tables(tmp_path_factory):
    folder = write_full_study(tmp_path_factory.mktemp("dense"), items=20, grid=DENSE_ONLY)
    (folder / "perplexity.json").unlink()
    return report_tables(folder)


def drawn_lines(axes):
    """Lines with a label, by it."""
    return {line.get_label(): line for line in axes.get_lines() if not line.get_label().startswith("_")}


def test_the_studys_seven_figures_come_first_and_names_are_unique():
    assert len(STUDY_FIGURES) == 7
    assert len({found.name for found in FIGURES}) == len(FIGURES)


def test_every_figure_is_drawn_in_the_width_of_its_layout(tables, wide):
    narrow = {found.name: draw(found, tables, NARROW) for found in FIGURES}
    for layout, figures in ((WIDE, wide), (NARROW, narrow)):
        for name, figure in figures.items():
            assert figure is not None, name
            assert figure.get_figwidth() <= layout.width
            assert any(axes.has_data() for axes in figure.axes), name


def test_figures_are_left_out_where_only_dense_models_were_questioned(dense_tables):
    shown = {found.name for found in FIGURES if draw(found, dense_tables) is not None}
    assert shown == {"sampled_against_expected"}


def test_srs_is_drawn_over_actual_sparsity_from_the_overall_table(tables, wide):
    lines = drawn_lines(wide["srs_by_sparsity"].axes[0])
    rows = [r for r in tables["overall"].rows if r["prune_method"] in ("dense", "wanda") and not r["pattern"]]
    expected = sorted((row["actual_sparsity"], row["srs"]) for row in rows)
    assert list(lines["wanda"].get_xdata()) == pytest.approx([x for x, _ in expected])
    assert list(lines["wanda"].get_ydata()) == pytest.approx([y for _, y in expected])
    # The fixture's Wanda reaches two thirds of its target.
    assert max(lines["wanda"].get_xdata()) == pytest.approx(70 * 2 / 3)
    assert lines["wanda 2:4"].get_linestyle() == "None"


def test_intervals_of_overall_rates_are_those_of_the_change_moved_to_dense(tables, wide):
    axes = wide["usr_by_sparsity"].axes[0]
    bars = [line.get_ydata() for line in axes.get_lines() if line.get_label().startswith("_")]
    found = {tuple(round(float(end), 9) for end in bar) for bar in bars}
    for row in tables["direction"].where(category="overall").rows:
        dense = tables["overall"].where(prune_method="dense").rows[0]["usr"]
        ends = (dense - 2 * row["abstention_part_high"], dense - 2 * row["abstention_part_low"])
        assert tuple(round(min(max(end, 0), 1), 9) for end in ends) in found


def test_no_marker_of_the_items_already_biased_is_cut_off_at_the_top(wide):
    axes = wide["latent_items"].axes[0]
    highest = max(np.max(line.get_ydata()) for line in axes.get_lines() if len(line.get_ydata()))
    assert axes.get_ylim()[1] >= 1.05 * highest


def test_a_method_with_single_categories_alone_is_in_the_legend(tables):
    rows = [
        replace(
            row, too_few_answered=row.configuration.prune_method == "magnitude" and row.category == "overall"
        )
        for row in tables.expected.rows
    ]
    kind = next(found for found in FIGURES if found.name == "sampled_against_expected")
    figure = draw(kind, replace(tables, expected=Table.of(type(rows[0]), rows)), WIDE)
    drawn = {row.configuration.prune_method for row in rows}
    assert {text.get_text() for text in figure.legends[0].get_texts()} == drawn | {TOO_FEW}


def test_target_sparsity_is_drawn_and_named_so_where_the_actual_one_is_unknown(tables):
    rows = [replace(row, actual_sparsity=None) for row in tables["overall"].rows]
    assert sparsity_axis(rows)[0] == "sparsity"
    assert "target" in sparsity_axis(rows)[1]
    assert sparsity_axis(tables["overall"].rows)[0] == "actual_sparsity"


def test_a_missing_dense_model_leaves_lines_of_pruned_points_only(tables):
    rows = [row for row in tables["overall"].rows if row["prune_method"] != "dense"]
    lines = method_lines(rows, "sparsity", lambda row: row.srs, lambda _: None)
    assert [len(line.xs) for line in lines if line.joined] == [3, 3]


def significant(row):
    return row["q_clustered"] is not None and row["q_clustered"] < 0.05


def test_hollow_points_of_srs_change_are_the_insignificant_ones(tables, wide):
    axes = wide["srs_change"].axes[0]
    points = [line for line in axes.get_lines() if line.get_marker() == "o" and len(line.get_xdata())]
    hollow = {float(line.get_xdata()[0]) for line in points if line.get_markerfacecolor() == "#fffffe"}
    rows = tables["paired_tests"].where(category="overall").rows
    assert len(points) == len(rows)
    assert hollow == {row["srs_delta"] for row in rows if not significant(row)}


def test_matrix_cells_say_the_change_and_star_what_is_significant(tables, wide):
    texts = [text.get_text() for text in wide["srs_change_by_category"].axes[0].texts]
    rows = tables["paired_tests"].rows
    expected = [f"{r['srs_delta']:+z.2f}".replace("0.", ".") + "*" * significant(r) for r in rows]
    # Below a change stands the share of answers understood, where it is not nearly all.
    assert sorted(text for text in texts if not text.endswith(" %")) == sorted(expected)


def test_transition_bars_are_the_tables_percentages(tables, wide):
    axes = wide["transitions"].axes[0]
    widths = sorted(patch.get_width() for patch in axes.patches)
    rows = tables["transitions"].rows
    expected = [row[column] for row in rows for column in ("pct_became_biased", "pct_became_unbiased")]
    assert widths == pytest.approx(sorted(expected))


@pytest.mark.parametrize("name", ["srs_by_sparsity", "srs_by_category"])
def test_chance_is_a_third_and_named_in_the_legend(wide, name):
    figure = wide[name]
    assert pytest.approx(1 / 3) == CHANCE
    for axes in figure.axes:
        assert not axes.get_visible() or set(drawn_lines(axes)["chance"].get_ydata()) == {CHANCE}
    assert [text.get_text() for text in figure.legends[0].get_texts()].count("chance") == 1


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.3, 0.9, {"0.3", "0.5", "0.7"}), (0.3, 3, {"0.5", "1", "2"}), (0.05, 50, {"0.1", "1", "10"})],
)
def test_a_logarithmic_axis_is_labeled_however_short_it_is(low, high, expected):
    figure = Figure()
    axes = figure.subplots()
    axes.set(yscale="log", ylim=(low, high))
    plain_numbers(axes.yaxis)
    figure.draw_without_rendering()
    ticks = [*axes.yaxis.get_major_ticks(), *axes.yaxis.get_minor_ticks()]
    shown = {tick.label1.get_text() for tick in ticks if low <= tick.get_loc() <= high}
    assert shown - {""} == expected


def test_the_same_tables_give_the_same_bytes(tables):
    gap = next(found for found in FIGURES if found.name == "evaluation_gap")
    for file_format in ("png", "svg"):
        first, second = (render(draw(gap, tables), file_format) for _ in range(2))
        assert first == second


@pytest.mark.parametrize("name", ["srs_by_sparsity", "direction", "emergence"])
def test_svg_holds_text_and_colors_of_the_palette_only(wide, name):
    allowed = {tone.light for tone in TONES} | {"#ffffff", "#000000"}
    svg = render(wide[name], "svg").decode()
    root = ElementTree.fromstring(svg)
    assert root.findall(".//{http://www.w3.org/2000/svg}text")
    assert set(re.findall(r"#[0-9a-f]{6}\b", svg)) <= allowed


@pytest.mark.parametrize("name", ["evaluation_gap", "frontier"])
def test_axes_are_labeled_with_numbers_not_formulas(wide, name):
    assert b"mathdefault" not in render(wide[name], "svg")


def test_families_of_methods_differ_in_marker_and_color():
    families = ("dense", "random", "magnitude", "wanda", "sparsegpt", "width", "depth", "experts", "q4")
    styles = [method_style(name) for name in families]
    assert len({style.marker for style in styles}) == len({style.color for style in styles}) == 9


def test_every_method_of_a_family_looks_different():
    names = ["wanda", "wanda+owl", "wanda+q4", "wanda+owl+q4"]
    names += ["width", "width+heads", "width+both", "width+repair", "width+heads+repair"]
    names += ["width+both+repair", "width+mxfp4"]
    names += ["depth", "depth+contiguous", "depth+repair", "depth+contiguous+repair"]
    names += ["experts", "experts+ean", "experts+frequency", "experts+weight-norm", "experts+random"]
    names += ["q2", "q3", "q4", "q6", "q8", "mxfp4", "mxfp8"]
    looks = {(style.color, style.marker, style.fill, style.edge) for style in map(method_style, names)}
    assert len(looks) == len(names)
    patterned = [method_style(name).points("2:4")["fillstyle"] for name in ("wanda", "wanda+q4")]
    assert patterned == ["none", "bottom"]


def test_a_method_of_another_tool_has_a_style():
    assert method_style("other-tool").color in {tone.light for tone in TONES}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    folder = write_mixed_study(tmp_path_factory.mktemp("mixed"), models=("alpha",), items=24)
    return report_tables(folder)


def test_methods_at_one_sparsity_are_points_and_the_dense_model_is_shown(mixed):
    axes = draw(FIGURES[0], mixed).axes[0]
    lines = drawn_lines(axes)
    assert lines.pop("chance")
    assert set(lines) == {f"{method} {pattern}" if pattern else method for method, _, pattern in MIXED}
    assert {line.get_linestyle() for line in lines.values()} == {"None"}
    actual = {row["prune_method"]: row["actual_sparsity"] for row in mixed["overall"].rows}
    # Only what would be hidden is moved, and not far.
    assert lines["dense"].get_xdata()[0] == 0
    for method in ("q4", "wanda", "depth", "width"):
        assert abs(lines[method].get_xdata()[0] - actual[method]) <= 2
    assert {len(line.get_xdata()) for line in lines.values()} == {1}


def test_labels_say_what_the_sparsity_is_of(mixed):
    labels = {with_actual(row) for row in mixed["overall"].rows}
    assert {"q4", "width 50 % (33 % of weights)", "wanda 2:4", "depth 50 %", "dense"} <= labels
    assert "removed" in sparsity_axis(mixed["overall"].rows)[1]


def test_methods_at_50_keep_to_the_band_of_their_category(mixed):
    kind = next(found for found in FIGURES if found.name == "methods_at_50")
    axes = draw(kind, mixed).axes[0]
    places = [line.get_ydata()[0] for line in axes.get_lines() if line.get_marker() not in ("None", None)]
    assert len(places) == 3 * sum(sparsity == 50 for _, sparsity, _ in MIXED)
    assert all(abs(place - round(place)) < 0.42 for place in places)


def test_removed_and_quantized_weights_are_no_dose(mixed):
    (row,) = mixed["dose_response"].rows
    assert (row["sparsity"], row["methods"]) == (50, 5)


def test_the_lowest_panel_of_every_column_has_numbers_on_its_axis(tables):
    by_category = next(found for found in FIGURES if found.name == "srs_by_category")
    axes = draw(by_category, tables, NARROW).axes
    assert [one.get_visible() for one in axes] == [True, True, True, False]
    shown = [one.xaxis.get_tick_params()["labelbottom"] for one in axes[:3]]
    assert shown == [False, True, True]


def test_a_long_legend_on_a_phone_leaves_the_panel_its_room():
    with look():
        figure, (axes,) = panel_grid(NARROW, ["alpha"], 2.7)
        for number in range(15):
            axes.plot([0, 1], [number, 1], label=f"method number {number}")
        shared_legend(figure)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            lay_out(figure)
    (legend,) = figure.legends
    assert legend.get_window_extent().y0 >= axes.get_window_extent().y1
    assert axes.get_window_extent().height / figure.dpi > 1.2


def test_changes_of_perplexity_of_less_than_the_linear_part_of_the_axis_are_drawn(tmp_path):
    folder = write_full_study(tmp_path, items=20, grid=GRID[:2])
    kept = json.loads((folder / "perplexity.json").read_text())
    for number, entry in enumerate(kept["results"]):
        entry["perplexity"] = 12 + 0.05 * number
    (folder / "perplexity.json").write_text(json.dumps(kept))
    figures = {found.kind.name for found in draw_figures(report_tables(folder))}
    assert "evaluation_gap" in figures


def test_a_study_without_intervals_is_drawn(tmp_path):
    # Three items: a category has one template, so nothing can be resampled.
    tables = report_tables(write_full_study(tmp_path, items=3, grid=GRID[:2]))
    figures = [draw(found, tables) for found in FIGURES]
    for figure in filter(None, figures):
        render(figure, "svg")
    assert any(figures)


def test_a_figure_is_not_drawn_without_the_rows_it_needs(tables):
    for kind in FIGURES:
        assert kind.needs
        for name in kind.needs:
            empty = replace(tables, **{name: Table.of(tables[name].row_type, ())})
            assert draw(kind, empty) is None, (kind.name, name)


def test_who_does_not_see_a_figure_is_told_what_it_shows(tables):
    for kind in FIGURES:
        assert kind.alt.startswith(f"{kind.title}. ")
        assert kind.alt.endswith(".")


def crowded(tables):
    """The same study, had of every version so few answers been understood that a figure says how many."""

    def told(row):
        few = row.configuration.prune_method == "random"
        return replace(row, answered=0.4 if few else 0.8, too_few_answered=few)

    names = ("overall", "rates", "methods_at_50", "expected")
    return replace(
        tables, **{name: Table.of(tables[name].row_type, map(told, tables[name].rows)) for name in names}
    )


@pytest.mark.parametrize("layout", [WIDE, NARROW], ids=lambda layout: layout.name)
def test_no_text_lies_on_another_or_is_cut_off_by_a_figures_edge(tables, mixed, layout):
    for kind, study in itertools.product(FIGURES, (tables, crowded(tables), mixed)):
        if (figure := draw(kind, study, layout)) is not None:
            lay_out(figure)
            assert overlapping(figure) == [], kind.name
            assert cut_off(figure) == [], kind.name
            reach, room = figure.get_tightbbox(), figure.bbox_inches
            assert reach.x0 >= 0, kind.name
            assert reach.y0 >= 0, kind.name
            assert reach.y1 <= room.y1, kind.name


def test_more_panels_than_a_figures_share_for_each_still_fit():
    with look():
        figure, panels = panel_grid(NARROW, [str(number) for number in range(40)], 2.0)
        lay_out(figure)
    assert not cut_off(figure)
    assert all(axes.get_position().height * figure.get_figheight() > 1 for axes in panels)


def test_panels_of_a_grid_are_of_one_size_and_their_labels_apart():
    with look():
        figure, panels = panel_grid(WIDE, ["alpha", "beta", "gamma", "delta"], 2.0)
        for number, axes in enumerate(panels):
            axes.set(xlabel="along", ylabel="up", yticks=[0, 1], yticklabels=["0", "long " * number])
        lay_out(figure)
        boxes = [axes.get_tightbbox(for_layout_only=True) for axes in panels]
    sizes = [axes.get_window_extent().size for axes in panels]
    assert np.ptp(sizes, axis=0) == pytest.approx([0, 0], abs=1e-6)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_a_report_lays_out_every_drawing_once_and_draws_it_once_for_each_file(tables, monkeypatch):
    laid_out, drawn = collections.Counter(), collections.Counter()
    execute, draw_all = Filling.execute, Figure.draw
    monkeypatch.setattr(Filling, "execute", lambda *args: laid_out.update([args[1]]) or execute(*args))
    monkeypatch.setattr(Figure, "draw", lambda *args: drawn.update([args[0]]) or draw_all(*args))
    figures = draw_figures(tables, png=True, processes=1)
    assert sorted(laid_out.values()) == [1] * 2 * len(figures)
    # The wide one as PNG and as SVG, the narrow one as SVG.
    assert sorted(drawn.values()) == [1] * len(figures) + [2] * len(figures)


@pytest.mark.parametrize("name", ["srs_by_sparsity", "srs_by_category", "divergence"])
def test_labels_of_axes_are_kept_where_matplotlib_puts_them(tables, name, monkeypatch):
    kind = next(found for found in FIGURES if found.name == name)

    def labels():
        figure = draw(kind, tables, NARROW)
        lay_out(figure)
        figure.draw_without_rendering()
        found = [axis.label for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
        return [label.get_window_extent().bounds for label in found if label.get_text()]

    kept = labels()
    monkeypatch.setattr("matplotlib.axis.Axis.set_label_coords", lambda *_, **__: None)
    assert np.array(kept) == pytest.approx(np.array(labels()), abs=0.5)


def test_a_drawing_is_what_matplotlib_writes_and_measures_a_text_once_in_all_files(wide, monkeypatch):
    measured, measure = collections.Counter(), TextToPath.get_text_width_height_descent

    def counted(self, *text):
        measured.update([text])
        return measure(self, *text)

    monkeypatch.setattr(TextToPath, "get_text_width_height_descent", counted)
    canvas._size.cache_clear()
    ours = {name: render(figure, "svg") for name, figure in wide.items()}
    assert set(measured.values()) == {1}
    for name, figure in wide.items():
        theirs = io.BytesIO()
        with look():
            figure.savefig(theirs, format="svg", metadata={"Date": None, "Creator": None})
        assert ours[name] == theirs.getvalue(), name


def test_garbage_is_collected_again_after_the_figures(tables):
    missing = {kind.needs[0] for kind in FIGURES[1:]}
    few = replace(tables, **{name: Table.of(tables[name].row_type, ()) for name in missing})
    draw_figures(few, processes=1)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
