"""One method on two calibration texts: the table, the sentence, and a look of its own."""

from dataclasses import replace

import numpy as np
import pytest
from report_study import write_full_study

from mlx_prune.configuration import Configuration
from mlx_prune.report.figures.style import method_style, naming
from mlx_prune.report.tables.calibrations import OtherText, on_first_text
from mlx_prune.report.tables.table import Interval, Table
from mlx_prune.report.words.calibrations import calibrations_sentence
from mlx_prune.report.words.finding import find
from mlx_prune.report.write import report_tables
from mlx_prune.stats.perplexity import Perplexity, paired_ratio
from mlx_prune.study.results import PerplexityRow, perplexities

GRID = (("dense", 0.0, None), ("wanda", 50.0, None), ("wanda@chat", 50.0, None))
FIRST, OTHER = (Configuration("alpha", method, 50.0) for method in ("wanda", "wanda@chat"))


def figure(seed, sequences=12):
    rng = np.random.default_rng(seed)
    nll = 2 + 0.1 * rng.standard_normal(sequences) + seed / 50
    hashes = tuple(f"{number:016x}" for number in range(sequences))
    tokens, value = 31 * sequences, float(np.exp(nll.mean()))
    return Perplexity(value, 0.1, sequences, 32, tokens, tuple((31 * nll).tolist()), hashes)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = write_full_study(tmp_path_factory.mktemp("study"), items=160, grid=GRID)
    file = perplexities(folder)
    for seed, name in enumerate((FIRST.dense, FIRST, OTHER)):
        file.put(name, PerplexityRow.of(figure(seed), "demo"))
    return folder


@pytest.fixture(scope="module")
def tables(study):
    return report_tables(study)


def test_the_same_method_on_two_texts_is_compared_by_item_and_by_sequence(tables):
    (row,) = tables.calibrations.rows
    assert (row.configuration, row.text, row.first) == (OTHER, "chat", "wanda")
    rates = {one.configuration.prune_method: one for one in tables.overall.rows}
    assert row.srs_change.value == pytest.approx(rates["wanda@chat"].srs - rates["wanda"].srs)
    assert (row.srs_first, row.srs_other) == (rates["wanda"].srs, rates["wanda@chat"].srs)
    assert row.srs_change.low < row.srs_change.value < row.srs_change.high
    assert row.q == row.p
    ratio = paired_ratio(figure(1), figure(2))
    expected = [100 * np.expm1(end) for end in (ratio.log, ratio.low, ratio.high)]
    found = row.perplexity_change
    assert [found.value, found.low, found.high] == pytest.approx(expected)


def test_only_what_has_a_text_of_its_own_is_compared():
    assert on_first_text(FIRST) is None
    assert on_first_text(Configuration("m", "theirs", 50.0)) is None
    for method, first in (("wanda@chat+q4", "wanda+q4"), ("q4+gptq@chat", "q4+gptq")):
        assert on_first_text(Configuration("m", method)) == Configuration("m", first)


@pytest.mark.parametrize(
    ("change", "q", "said"),
    [
        (Interval(0.02, 0.01, 0.03), 0.001, "SRS by +0.020 (95 % interval +0.010 to +0.030), beyond chance."),
        (Interval(0.02, -0.01, 0.05), 0.3, ", which is within chance."),
        (Interval(0.02, None, None), None, "of too few question templates to tell that from chance."),
        (Interval(), None, "gave too few answers that were understood to tell what that did to SRS."),
    ],
)
def test_a_sentence_says_what_the_text_changed(tables, change, q, said):
    row = replace(tables.calibrations.rows[0], srs_change=change, q=q)
    told = calibrations_sentence(replace(tables, calibrations=Table.of(OtherText, [row])))
    assert told.startswith("Calibrated on chat instead of the first text, wanda 50 % of alpha changed ")
    assert told.endswith(said)


def test_the_finding_has_it_and_counts_several(tables):
    assert calibrations_sentence(tables) in find(tables).paragraph
    rows = tables.calibrations.rows * 3
    assert "; of 3 such pairs, SRS moved beyond chance in " in calibrations_sentence(
        replace(tables, calibrations=Table.of(OtherText, rows))
    )
    assert calibrations_sentence(replace(tables, calibrations=Table.of(OtherText, []))) == ""


def test_both_are_drawn_apart():
    looks = [method_style(method) for method in ("wanda", "wanda@chat", "wanda+owl", "wanda+recover")]
    assert len({(str(look.line), look.fill) for look in looks}) == 4
    assert len({(look.color, look.marker) for look in looks}) == 1
    bits = [method_style(method) for method in ("q4+gptq", "q4+gptq@chat", "wanda+q4", "wanda@chat+q4")]
    assert len({(look.color, look.marker, look.fill, look.edge, look.second) for look in bits}) == 4


def test_several_texts_are_drawn_apart_from_one_another_as_lines_and_as_points():
    bases = ("wanda{}", "wanda+owl{}", "wanda{}+recover", "wanda{}+q4", "q4+gptq{}", "q8+awq{}")
    methods = [base.format(text) for base in bases for text in ("", "@chat", "@code", "@news")]
    with naming(Configuration("alpha", method, 50.0) for method in methods):
        assert len({str(method_style(method).points()) for method in methods}) == len(methods)
        hollow = {str(method_style(f"wanda{text}").points("2:4")) for text in ("", "@chat", "@code", "@news")}
        assert len(hollow) == 4
        lines = {str(method_style(f"wanda{text}").line) for text in ("", "@chat", "@code", "@news")}
        assert len(lines) == 4
    # Alone, each looks like a study's only other text.
    assert method_style("wanda@code") == method_style("wanda@chat")
