"""Distances from the dense model and changed answers in a report: tables, sentences, figures, frontier."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kept_distances import POSITIONS, SEQUENCES, distance_row, token_divergences
from random_study import GRID, random_records, write_study
from scipy import stats

from mlx_prune.configuration import Configuration
from mlx_prune.report.figures.draw import FIGURES, draw
from mlx_prune.report.figures.style import NARROW
from mlx_prune.report.tables.build import Tables, build_tables
from mlx_prune.report.tables.table import Interval, Table
from mlx_prune.report.words.finding import find
from mlx_prune.report.words.limits import limits
from mlx_prune.report.words.predictions import divergence_sentence, uncertainty_sentence
from mlx_prune.study.about import read_about


def measured() -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None]]:
    """Name, row of perplexity and row of divergence of every configuration of the made-up study."""
    rng = np.random.default_rng(4)
    dense = -rng.exponential(2, (SEQUENCES, POSITIONS))
    for method, sparsity, pattern in GRID:
        harm = sparsity / 1000
        log = dense if method == "dense" else dense - np.abs(rng.normal(harm, 0.05, dense.shape))
        name = {"model": "alpha", "prune_method": method, "sparsity": sparsity, "pattern": pattern}
        perplexity = {
            "perplexity": math.exp(-log.mean()),
            "standard_error": 0.2,
            "sequences": SEQUENCES,
            "sequence_length": POSITIONS + 1,
            "tokens": SEQUENCES * POSITIONS,
            "sequence_nll": (-log.sum(axis=1)).tolist(),
            "sequence_hashes": [f"s{n}" for n in range(SEQUENCES)],
        }
        row = distance_row(token_divergences(dense, log, harm, int(sparsity)))
        yield name, perplexity, None if method == "dense" else row


def write(folder: Path) -> Path:
    write_study(folder, random_records(3, items=150))
    rows = list(measured())
    for file, place in (("perplexity.json", 1), ("divergence.json", 2)):
        content = [row[0] | row[place] for row in rows if row[place] is not None]
        (folder / file).write_text(json.dumps({"results": content}))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def tables(folder: Path) -> Tables:
    return build_tables(folder)


def test_the_table_has_every_figure_that_was_measured(tables: Tables) -> None:
    rows = {row.configuration: row for row in tables.divergence.rows}
    assert len(rows) == len(GRID) - 1
    _, dense, _ = next(measured())
    for name, perplexity, found in measured():
        if found is None:
            continue
        row, figures = rows[Configuration.of(name)], found["divergence"]
        for one in ("kl", "kl_median", "kl_99", "same_top", "probability_rms"):
            assert getattr(row, one) == Interval(*(figures[one + end] for end in ("", "_low", "_high")))
        added = (np.array(perplexity["sequence_nll"]) - np.array(dense["sequence_nll"])) / POSITIONS
        peer = stats.ttest_1samp(added, 0).confidence_interval(0.95)
        expected = [100 * math.expm1(x) for x in (added.mean(), peer.low, peer.high)]
        found_change = row.perplexity_change
        assert [found_change.value, found_change.low, found_change.high] == pytest.approx(expected)
        assert (row.top, row.rest, row.note) == (16, 0.1, None)


def test_perplexity_of_the_frontier_is_paired_and_holds_together(tables: Tables) -> None:
    rows = {row.configuration: row.perplexity for row in tables.frontier.rows}
    _, dense, _ = next(measured())
    for name, perplexity, found in measured():
        interval = rows[Configuration.of(name)]
        assert interval.value == pytest.approx(perplexity["perplexity"])
        if found is None:
            assert interval.low == interval.high == interval.value
            continue
        added = (np.array(perplexity["sequence_nll"]) - np.array(dense["sequence_nll"])) / POSITIONS
        peer = stats.ttest_1samp(added, 0).confidence_interval(1 - 0.05 / 5)
        expected = [dense["perplexity"] * math.exp(x) for x in (peer.low, peer.high)]
        assert [interval.low, interval.high] == pytest.approx(expected)


def test_tenths_are_in_the_table_for_every_compressed_configuration(tables: Tables) -> None:
    rows = tables.uncertainty.rows
    assert len(rows) == 10 * (len(GRID) - 1)
    assert {row.decile for row in rows} == set(range(1, 11))
    assert all(0 <= row.entropy_low <= row.entropy_high <= math.log2(3) + 1e-6 for row in rows)


def test_sentences_tell_what_perplexity_hides_and_where_answers_gave_way(
    folder: Path, tables: Tables
) -> None:
    paragraph = find(tables).paragraph
    row = min(tables.divergence.rows, key=lambda one: one.same_top.value or 0)
    assert f"Predictions move further than perplexity tells: {row.configuration.full_name}" in paragraph
    assert "of positions (KL divergence" in paragraph
    assert not any("taken" in one or "take the tokens" in one for one in limits(tables, read_about(folder)))
    # Without a measured distance, or with predictions that stayed, nothing is said.
    still = [replace(one, same_top=Interval(0.999)) for one in tables.divergence.rows]
    assert divergence_sentence(replace(tables, divergence=Table.of(type(still[0]), still))) == ""
    far = {10: Interval(0.4, 0.3, 0.5), 1: Interval(0.02, 0.01, 0.05)}
    forced = [replace(one, changed=far.get(one.decile, one.changed)) for one in tables.uncertainty.rows]
    said = uncertainty_sentence(replace(tables, uncertainty=Table.of(type(forced[0]), forced)))
    assert "in 5 of 5 compressed models" in said
    assert "40.0 % (30 to 50 %) against 2.0 % (1 to 5 %)" in said
    alike = [replace(one, changed=Interval(0.2, 0.1, 0.3)) for one in tables.uncertainty.rows]
    assert uncertainty_sentence(replace(tables, uncertainty=Table.of(type(alike[0]), alike))) == ""


def test_both_figures_are_drawn_of_what_there_is(tables: Tables) -> None:
    kinds = {kind.name: kind for kind in FIGURES}
    for layout in (None, NARROW):
        more = () if layout is None else (layout,)
        distance = draw(kinds["divergence"], tables, *more)
        assert distance is not None
        points = [line for line in distance.axes[0].lines if line.get_marker() not in ("None", None, "")]
        shown = {round(float(y), 9) for line in points for y in np.atleast_1d(line.get_ydata())}
        assert {round(row.kl.value, 9) for row in tables.divergence.rows} <= shown
        tenths = draw(kinds["uncertainty"], tables, *more)
        assert tenths is not None
        assert {axes.get_title(loc="left") for axes in tenths.axes} >= {"magnitude", "wanda", "wanda 2:4"}


def test_models_that_cannot_be_compared_are_noted(folder: Path, tmp_path: Path) -> None:
    study = write(tmp_path)
    rows = json.loads((study / "divergence.json").read_text())
    rows["results"] = [
        {key: row[key] for key in ("model", "prune_method", "sparsity", "pattern", "top")}
        | {"divergence": None, "note": "other tokens"}
        for row in rows["results"]
    ]
    (study / "divergence.json").write_text(json.dumps(rows))
    found = build_tables(study)
    assert {(row.note, row.kl) for row in found.divergence.rows} == {("other tokens", Interval())}
    kinds = {kind.name: kind for kind in FIGURES}
    assert draw(kinds["divergence"], found) is None
    assert divergence_sentence(found) == ""
