"""A study's latencies as one family: made anew from what each row keeps, whenever there are more."""

from __future__ import annotations

import json
import math

import msgspec
import pytest
from latency_examples import made_up_result

from mlx_prune.latency.family import LatencyRow, together
from mlx_prune.latency.verdict import within


def rows(ratios: tuple[float, ...], **options: float) -> list[LatencyRow]:
    made = [
        LatencyRow.of(made_up_result((1.0, ratio), names=("dense", "it"), seed=seed, **options))
        for seed, ratio in enumerate(ratios)
    ]
    found = [msgspec.convert(json.loads(json.dumps(row.to_json())), LatencyRow) for row in made]
    assert found == made
    return found


def test_more_comparisons_widen_every_interval() -> None:
    made = rows((1.0, 1.2, 0.8, 1.1), noise=0.05)
    alone, four = together(made[:1])[0], together(made)[0]
    assert (alone.family, four.family) == (1, 4)
    assert four.low < alone.low < alone.ratio < alone.high < four.high
    assert together(together(made)) == together(made)
    assert together(together(made)[:1]) == [alone]


def test_verdicts_are_read_off_the_wider_intervals() -> None:
    # One comparison of 1.08 clears the margin, 200 of them do not.
    made = rows((1.08,), noise=0.03)
    assert together(made)[0].verdict == "slower"
    many = together(made * 200)[0]
    assert many.verdict == "open"
    assert many.more_rounds or many.more_items
    assert [row.verdict for row in together(rows((1.0, 1.03, 1.5)))] == ["same", within(), "slower"]


def test_a_run_that_drifted_stays_open() -> None:
    (row,) = together(rows((1.5,), drift_per_s=0.02))
    assert row.drift > 0.1
    assert row.verdict == "open"
    assert "the machine drifted" in row.reason


def test_rows_of_early_versions_are_widened_from_their_own_interval() -> None:
    old = {"ratio": 1.2, "low": 1.1, "high": 1.2 * 1.2 / 1.1, "items": 20, "rounds": 3, "verdict": "slower"}
    (one,) = together([msgspec.convert(old, LatencyRow)])
    assert (one.low, one.high) == (pytest.approx(1.1), pytest.approx(old["high"]))
    assert one.verdict == "slower"
    twelve = together([msgspec.convert(old, LatencyRow)] * 12)[0]
    assert math.log(twelve.high / twelve.low) > 1.4 * math.log(1.2 / 1.1) * 2
    assert twelve.verdict == "open"
    bare = {"ratio": None, "note": "dense and pruned do not fit in memory together"}
    untimed, timed = together([msgspec.convert(bare, LatencyRow), msgspec.convert(old, LatencyRow)])
    assert untimed.to_json() == bare
    assert timed == one
