"""How numbers and lists are written: one form each, which can be read back."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_prune import words

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=64)
SHARES = st.floats(0, 1)
UNITS = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}
NUMBERS = (
    *(words.count, words.fixed, words.signed, words.percent, words.percentage, words.percent_cell),
    *(words.rise, words.magnitude, words.number, words.size, words.seconds, words.duration),
)


@pytest.mark.parametrize("write", NUMBERS, ids=lambda write: write.__name__)
@pytest.mark.parametrize("missing", [None, math.nan])
def test_what_is_not_there_is_a_dash(write, missing):
    assert write(missing) == "-"


@given(st.integers(0, 10**15))
def test_sizes_read_back_to_three_digits_and_never_reach_the_next_unit(n_bytes):
    value, unit = words.size(n_bytes).split(" ")
    assert float(value) * UNITS[unit] == pytest.approx(n_bytes, rel=0.05, abs=0.5)
    assert float(value) < 1000 or unit == "GB"


def test_sizes_are_decimal():
    assert [words.size(n) for n in (0, 999, 1000, 999_960, 3_700_000)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.0 MB",
        "3.7 MB",
    ]


@given(SHARES, st.integers(0, 4))
def test_a_share_and_the_same_in_percent_are_written_alike(share, digits):
    assert words.percent(share, digits) == words.percentage(100 * share, digits)
    assert words.percent(share, digits).removesuffix(" %") == words.percent_cell(share, digits)


@given(SHARES)
def test_some_are_not_none_and_not_all(share):
    text = words.some_percent(share)
    if 0.0005 < share < 0.9995:
        assert text not in ("0 %", "0.0 %", "100 %", "100.0 %")
    assert float(text.removesuffix(" %")) == pytest.approx(100 * share, abs=0.5)


def test_targets_and_limits_have_no_more_digits_than_needed():
    assert [words.percent(share, None) for share in (0.5, 0.125, 0.02)] == ["50 %", "12.5 %", "2 %"]


@given(FINITE, st.integers(0, 6))
def test_no_difference_is_written_as_minus_nothing(value, digits):
    for text in (words.fixed(value, digits), words.signed(value, digits)):
        assert not (text.startswith("-") and float(text) == 0)
    assert float(words.signed(value, digits)) == float(words.fixed(value, digits))
    assert words.signed(value, digits)[0] in "+-"


@given(st.integers(1, 10**12), st.integers(0, 10**12))
def test_a_change_is_what_it_became_and_by_how_much(before, after):
    text = words.change(before, after)
    written, relative = text.removesuffix(" %)").split(" (")
    assert int(written.replace(",", "")) == after
    assert float(relative.replace(",", "")) == pytest.approx(100 * (after / before - 1), abs=0.051)
    assert (relative[0] == "-") == (float(relative.replace(",", "")) < 0)


def test_a_change_has_one_meaning_whatever_is_written():
    assert words.change(1000, 763) == "763 (-23.7 %)"
    assert words.change(2e6, 3.2e5, words.size) == "320.0 kB (-84.0 %)"
    assert words.before_after(1000, 763) == "1,000 -> 763 (-23.7 %)"
    assert words.before_after(1000, 1000) == "1,000, unchanged"


@pytest.mark.parametrize("before", [0.0, math.inf, math.nan])
def test_a_change_from_nothing_or_beyond_all_bounds_has_no_percentage(before):
    assert words.change(before, 3) == "3"


@given(FINITE, FINITE)
def test_an_interval_has_both_ends_or_none(low, high):
    assert words.interval(low, high) == f"{words.fixed(low)} to {words.fixed(high)}"
    assert words.interval(low, None) == words.interval(math.nan, high) == "-"


@given(st.floats(0, 1e300))
def test_magnitudes_keep_two_digits_over_all_orders(value):
    assert float(words.magnitude(value).replace(",", "")) == pytest.approx(value, rel=0.05, abs=0.005)
    assert len(words.magnitude(value)) <= 8


def test_a_perplexity_beyond_all_bounds_is_infinite():
    assert words.magnitude(math.inf) == "∞"


def test_magnitudes_keep_about_four_digits():
    shown = [words.magnitude(value) for value in (8.944, 99.996, 132.945, 999.96, 54_775.2, 5.49e6)]
    assert shown == ["8.94", "100.0", "132.9", "1,000", "54,775", "5.5e+06"]


@given(st.floats(-1, 1e300))
def test_a_rise_shows_its_sign_and_reads_back(share):
    text = words.rise(share)
    assert text[0] in "+-"
    read = float(text.removesuffix(" %").replace(",", ""))
    assert read == pytest.approx(100 * share, rel=0.006, abs=0.051)


@given(st.floats(-1e300, 1e300))
def test_a_number_of_any_kind_keeps_four_digits(value):
    assert float(words.number(value).replace(",", "")) == pytest.approx(value, rel=0.006)


def test_times_have_the_unit_that_suits_them():
    assert [words.seconds(value) for value in (1.2344, 0.1, 0.0567)] == ["1.234 s", "0.100 s", "56.7 ms"]
    assert [words.duration(value) for value in (45, 600, 9000)] == ["45 s", "10 min", "2.5 h"]


def test_things_are_counted_in_the_singular_and_the_plural():
    assert words.counted(1, "model") == "1 model"
    assert words.counted(1200, "model") == "1,200 models"
    assert words.counted(0, "category", "categories") == "0 categories"


@given(st.lists(st.text("abc", min_size=1), max_size=12), st.integers(2, 8))
def test_long_lists_say_how_many_more(items, most):
    text = words.names(items, most=most)
    if len(items) <= most:
        assert text.replace(" and ", ", ") == ", ".join(items)
    else:
        assert text.endswith(f" and {len(items) - most + 1} more")
        assert text.count(",") == most - 2


@given(SHARES, SHARES)
def test_a_range_of_shares_has_one_end_where_both_are_written_alike(low, high):
    ends = words.percents(low, high).removesuffix(" %").split(" to ")
    assert [float(end) for end in ends] == pytest.approx([100 * low, 100 * high][: len(ends)], rel=0.006)
    assert words.percents(low, low).count("to") == 0


def test_lists_read_as_in_a_sentence():
    assert [words.names(list(text)) for text in ("", "a", "ab", "abc")] == ["", "a", "a and b", "a, b and c"]
    assert words.names(["a", "b", "c"], "or") == "a, b or c"


@given(st.sets(st.integers(0, 40)))
def test_ranges_hold_every_number_once(numbers):
    read = []
    for part in filter(None, words.ranges(sorted(numbers)).split(", ")):
        first, _, last = part.partition("-")
        read += range(int(first), int(last or first) + 1)
    assert read == sorted(numbers)
    assert words.ranges([3, 4, 5, 8]) == "3-5, 8"


def test_spaces_before_units_are_replaced_and_no_others():
    text = "wanda 50 % of 3 models, 12 min, 3.7 MB, 5 sheep (0 %)"
    assert words.unparted(text, "_") == "wanda 50_% of 3 models, 12_min, 3.7_MB, 5 sheep (0_%)"
    assert words.unparted(text).replace("\u00a0", " ") == text
