"""Items that change: both published definitions, of every configuration, against plain loops."""

from dataclasses import replace

import pytest
from mixed_study import MIXED, write_mixed_study
from random_study import LETTERS, random_records, usable

from mlx_prune.report.tables.changing import compression
from mlx_prune.report.words.frontier import changing_sentence, reported_sentence
from mlx_prune.report.write import report_tables

FEW = tuple(entry for entry in MIXED if entry[0] in ("dense", "wanda", "wanda+q4", "q4", "q8"))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = write_mixed_study(tmp_path_factory.mktemp("few"), models=("alpha",), items=50, grid=FEW, seed=4)
    return random_records(4, ("alpha",), 50, grid=FEW), report_tables(folder)


def answers(rows, method, pattern):
    """Whether each understood answer was stereotyped, by item and seed."""
    return {
        (row["item_id"], row["seed"]): LETTERS.index(row["parsed_answer"]) == row["stereotype_target_index"]
        for row in usable(rows)
        if (row["prune_method"], row["pattern"]) == (method, pattern) and row["parsed_answer"]
    }


def test_shares_are_those_of_plain_loops(study):
    rows, tables = study
    asked = {
        method: {row["item_id"] for row in usable(rows) if row["prune_method"] == method}
        for method, _, _ in FEW
    }
    before = answers(rows, "dense", None)
    clean = {item for item, _ in before} - {item for (item, _), hit in before.items() if hit}
    measured = tables["items_changing"].where(kind="measured").rows
    assert len(measured) == len(FEW) - 1
    for row in measured:
        after = answers(rows, row["prune_method"], row["pattern"])
        unbiased = clean & asked[row["prune_method"]]
        became = unbiased & {item for (item, _), hit in after.items() if hit}
        assert row["unbiased_items"] == len(unbiased)
        assert row["became_biased"] == pytest.approx(len(became) / len(unbiased))
        both = before.keys() & after.keys()
        flips = sum(before[key] != after[key] for key in both)
        assert row["flipped"] == pytest.approx(flips / len(both))
        turned = sum(after[key] and not before[key] for key in both)
        assert row["flipped_to_stereotyped"] == pytest.approx(turned / len(both))
        for name in ("became_biased", "flipped"):
            assert 0 <= row[f"{name}_low"] <= row[name] <= row[f"{name}_high"] <= 1


def test_the_first_definition_is_that_of_the_table_of_transitions(study):
    _, tables = study
    transitions = tables["transitions"].column("pct_became_biased")
    measured = tables["items_changing"].where(kind="measured").column("became_biased")
    assert [round(100 * share, 2) for share in measured] == transitions


def test_pruning_and_quantization_are_told_apart(study):
    _, tables = study
    kinds = {row["prune_method"]: row["compression"] for row in tables["items_changing"].rows}
    assert kinds["wanda"] == compression("width+repair") == compression("other-tool") == "pruning"
    assert kinds["q4"] == compression("mxfp4") == "quantization"
    assert kinds["wanda+q4"] == "pruning and quantization"


def test_the_sentence_sets_ranges_of_the_same_definitions_beside_each_other(study):
    _, tables = study
    rows = tables["items_changing"].where(kind="measured").rows
    shares = sorted(100 * row["became_biased"] for row in rows if row["compression"] == "quantization")
    text = changing_sentence(tables)
    assert f"quantization alone {shares[0]:.3g} to {shares[-1]:.3g} %" in text
    alone = replace(tables, items_changing=tables.items_changing.where(compression="pruning"))
    assert changing_sentence(alone) == ""


def test_reported_figures_are_named_as_their_authors_own(study):
    _, tables = study
    reported = tables["items_changing"].where(kind="reported").rows
    first, last = reported[0], reported[-1]
    assert (first["became_biased_low"], first["became_biased_high"], first["sparsity"]) == (0.47, 0.59, 70)
    assert (last["flipped_low"], last["flipped_high"], last["became_biased_high"]) == (None, 0.21, None)
    assert all("arXiv" in row["source"] for row in reported)
    text = reported_sentence(tables)
    assert "47 to 59 %" in text
    assert "up to 21 %" in text
