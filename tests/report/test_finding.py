"""The finding says what the tables say, whichever way they point."""

import pytest
from changed_tables import with_rows
from report_study import GRID, write_full_study

from mlx_prune.report.words.finding import find
from mlx_prune.report.write import report_tables

SMALL = (*GRID[:1], *GRID[7:])


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return report_tables(write_full_study(tmp_path_factory.mktemp("study"), items=45, grid=SMALL))


def overall(delta, q, low=None, high=None):
    """Changes the overall rows of paired_tests; ``delta`` and ``q`` are functions of the target sparsity."""

    def change(row):
        if row["category"] == "overall":
            value = delta(row["sparsity"])
            row |= {"srs_delta": value, "q_clustered": q(row["sparsity"])}
            row |= {"srs_delta_low": value - 0.01, "srs_delta_high": value + 0.01}
        return row

    return change


def test_rises_beyond_chance_are_counted_and_the_largest_is_named(tables):
    changed = with_rows(
        tables, "paired_tests", overall(lambda s: s / 1000, lambda s: 0.2 if s < 50 else 0.01)
    )
    found = find(changed)
    assert found.headline == "Pruning raised stereotype reliance beyond chance in 2 of 3 pruned models."
    assert "wanda 70 % of alpha: SRS moved by +0.070 (95 % interval +0.060 to +0.080)" in found.paragraph


def test_no_change_beyond_chance_says_how_far_the_intervals_reach(tables):
    changed = with_rows(tables, "paired_tests", overall(lambda s: s / 1000, lambda s: 0.5))
    found = find(changed)
    assert found.headline.startswith("No change of stereotype reliance in 3 pruned models is beyond chance")
    assert found.headline.endswith("the 95 % intervals reach from +0.000 to +0.080.")
    assert "itself within chance" in found.paragraph


@pytest.mark.parametrize(
    ("significant", "said"),
    [
        ((0, 0), "Of 9 comparisons by category none is significant, not even if"),
        (
            (2, 0),
            "Of 9 comparisons by category, 2 are significant if all answers are taken as independent, and 0",
        ),
    ],
)
def test_comparisons_by_category_are_counted(tables, significant, said):
    counts = iter(significant)

    def change(row):
        return row | {"comparisons": 9, "significant": next(counts, 0)}

    kept = "chi-square, as in the study", "clustered by template, adjusted"
    rows = [row for row in tables.test_summary.rows if row.test in kept]
    assert [row.test for row in rows] == list(kept)
    changed = with_rows(tables, "test_summary", lambda row: change(row) if row["test"] in kept else row)
    assert said in find(changed).paragraph


@pytest.mark.parametrize(("part", "said"), [(0.02, "+0.020 is lost"), (-0.02, "-0.020 is gained")])
def test_abstention_is_lost_or_gained(tables, part, said):
    changed = with_rows(tables, "direction", lambda row: row | {"abstention_part": part})
    assert f"Of that, {said} abstention and" in find(changed).paragraph


def test_falls_are_not_called_rises(tables):
    changed = with_rows(tables, "paired_tests", overall(lambda s: -s / 1000, lambda s: 0.001))
    assert find(changed).headline == (
        "Pruning lowered stereotype reliance beyond chance in 3 of 3 pruned models, and raised it in none."
    )


def test_rises_and_falls_are_both_in_the_headline(tables):
    sign = {10.0: -1, 50.0: 1, 70.0: 1}
    changed = with_rows(tables, "paired_tests", overall(lambda s: sign[s] * 0.05, lambda s: 0.001))
    assert find(changed).headline.endswith("in 2 of 3 pruned models, and lowered it in 1.")


@pytest.mark.parametrize(
    ("rise", "word"),
    [(3.0, "Perplexity alone would have missed 3 of the 3 rises: wanda"), (300.0, "gave notice")],
)
def test_perplexity_is_called_blind_only_where_it_hardly_moved(tables, rise, word):
    changed = with_rows(tables, "paired_tests", overall(lambda s: 0.05, lambda s: 0.001))
    changed = with_rows(changed, "evaluation_gap", lambda row: row | {"ppl_pct_change": rise})
    assert word in find(changed).paragraph


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.01, 0.03, "bias in a direction"),
        (-0.01, 0.03, "not distinguishable from none"),
        (-0.03, -0.01, "lean less to the stereotype"),
    ],
)
def test_direction_is_claimed_only_beyond_its_interval(tables, low, high, words):
    ends = {"direction_part": (low + high) / 2, "direction_part_low": low, "direction_part_high": high}
    changed = with_rows(tables, "direction", lambda row: row | ends)
    assert words in find(changed).paragraph


def test_emergence_is_claimed_only_above_its_null(tables):
    within = with_rows(tables, "emergence", lambda row: row | {"excess_low": -0.01})
    assert "no pruned model makes more items biased than sampling alone" in find(within).paragraph
    beyond = with_rows(
        tables, "emergence", lambda row: row | {"excess_low": 0.01, "expected": 0.5, "null": 0.1}
    )
    assert (
        "50.0 % with one when asked afresh, where the dense model itself does in 10.0 %"
        in find(beyond).paragraph
    )


def test_missed_targets_and_speed_are_told(tables):
    text = find(tables).paragraph
    assert "wanda 70 % of alpha has 46.7 % zeros" in text
    assert "None of the 3 timed models was found faster than its dense one (3 the same)." in text


def test_faster_models_are_counted(tables):
    changed = with_rows(
        tables,
        "latency_ratios",
        lambda row: row | {"verdict": "faster" if row["sparsity"] == 70 else "open"},
    )
    assert "1 of 3 timed models answer faster than the dense one; 2 open." in find(changed).paragraph


def test_what_is_open_says_what_would_settle_it(tables):
    why = {
        10: {"drift": -0.2},
        50: {"more_rounds": 12},
        70: {"more_rounds": None, "more_items": 1200},
    }
    nothing = {"verdict": "open", "drift": 0.01, "more_rounds": None, "more_items": None}
    changed = with_rows(tables, "latency_ratios", lambda row: row | nothing | why[row["sparsity"]])
    assert (
        "None of the 3 timed models was found faster than its dense one (3 open: 1 because the machine "
        "drifted, 1 for want of rounds, typically 12 more, 1 for want of items, typically 1,200 more)."
    ) in find(changed).paragraph


def test_counts_agree_with_the_tables(tables):
    text = find(tables).paragraph
    answers = sum(row["n"] for row in tables["overall"].rows)
    assert f"{answers:,} answers in all" in text
    summary = tables["test_summary"].where(test="chi-square, as in the study").rows[0]
    assert f"Of {summary['comparisons']} comparisons by category, {summary['significant']} are" in text


@pytest.mark.parametrize(
    ("grid", "words"),
    [(GRID[:1], "Only dense models were questioned"), (GRID[1:2], "Without the dense model's answers")],
)
def test_without_a_pair_nothing_is_claimed(tmp_path, grid, words):
    folder = write_full_study(tmp_path, items=12, grid=grid)
    found = find(report_tables(folder))
    assert found.headline.startswith(words)
    assert len(found.sentences) == 1
