"""From measurements to rows, warnings and a file that reads back as the same result."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from latency_examples import made_up_result

from mlx_prune.errors import DataError
from mlx_prune.latency.result import read_result
from mlx_prune.latency.samples import Sample, Samples


def test_rows_hold_medians_percentiles_and_ratios() -> None:
    result = made_up_result()
    dense, slow, same = result.rows
    own = result.samples.model == 1
    total = (result.samples.ttft_s + result.samples.rest_s)[own]
    assert slow.measurements == 60 == own.sum()
    assert slow.times["total"].median_ms == pytest.approx(1e3 * np.median(total))
    assert slow.times["total"].p95_ms == pytest.approx(1e3 * np.percentile(total, 95))
    assert slow.times["per_token"].median_ms == pytest.approx(1e3 * np.median(result.samples.rest_s[own]) / 4)
    assert slow.prompt_tps == pytest.approx(np.median(100 / result.samples.ttft_s[own]))
    assert slow.decode_tps == pytest.approx(1e3 / slow.times["per_token"].median_ms)
    assert slow.peak_bytes == 10**6 + 1019
    assert dense.comparisons == {}
    assert slow.comparisons["total"].ratio.ratio == pytest.approx(1.2, rel=0.01)
    assert slow.comparisons["total"].verdict.word == "slower"
    assert {c.verdict.word for c in same.comparisons.values()} == {"same"}
    assert result.warnings == ()


def test_workloads_are_compared_apart() -> None:
    result = made_up_result(workloads=2)
    assert [(row.workload, row.model) for row in result.rows] == [(w, m) for w in (0, 1) for m in (0, 1, 2)]
    first, second = result.rows[1], result.rows[4]
    # Later items take longer: the second half of forty made-up items is slower than the first.
    assert second.times["total"].median_ms > 1.1 * first.times["total"].median_ms
    assert first.comparisons["total"].ratio.items == second.comparisons["total"].ratio.items == 20


def test_blocks_average_both_visits_and_need_both() -> None:
    base = {"round": 0, "started_s": 0.0, "new_tokens": 1, "rest_s": 0.0, "extra_bytes": 0}
    samples = Samples.of(
        [
            Sample(model=0, item=3, visit=0, ttft_s=1.0, **base),
            Sample(model=1, item=3, visit=0, ttft_s=2.0, **base),
            Sample(model=1, item=3, visit=1, ttft_s=8.0, **base),
        ]
    )
    cube = samples.cube("ttft", models=2, items=[2, 3], rounds=1, visits=2)
    assert cube.shape == (2, 2, 1)
    assert cube[1, 1, 0] == pytest.approx(4.0)
    assert np.isnan(cube).sum() == 3


def test_blocks_have_wider_intervals_for_the_same_noise() -> None:
    widths = {}
    for schedule in ("interleaved", "blocks"):
        ratio = made_up_result(schedule=schedule, rounds=3).rows[1].comparisons["total"].ratio
        assert ratio.low < 1.2 < ratio.high
        widths[schedule] = ratio.high - ratio.low
    assert widths["blocks"] > widths["interleaved"]


def test_a_single_token_has_no_comparison_of_further_tokens() -> None:
    row = made_up_result(new_tokens=1).rows[1]
    assert set(row.comparisons) == {"total", "ttft"}
    assert math.isnan(row.times["per_token"].median_ms)
    assert math.isnan(row.decode_tps)


def test_a_machine_that_drifts_is_flagged_and_settles_nothing() -> None:
    # 180 measurements, 0.1 s apart: 18 s in which times grow by e^0.36.
    result = made_up_result(drift_per_s=0.02)
    assert result.drift[0] == pytest.approx(math.expm1(0.36), abs=0.04)
    assert result.run_drift == pytest.approx(math.expm1(0.36), abs=0.04)
    assert any("The machine became 4" in w and "slower during the run" in w for w in result.warnings)
    words = {one.verdict.word for row in result.rows for one in row.comparisons.values()}
    assert words == {"open"}
    assert "drifted by +4" in str(result.rows[1].comparisons["total"].verdict)


def test_drift_is_unknown_where_nothing_was_measured_twice() -> None:
    result = made_up_result((1.0, 3.0, 1.0), rounds=1)
    assert math.isnan(result.run_drift)
    assert result.warnings == ()


def test_all_comparisons_of_a_run_share_one_level() -> None:
    result = made_up_result(workloads=2)
    compared = [one.ratio for row in result.rows for one in row.comparisons.values()]
    assert len(compared) == 2 * 2 * 3
    assert {ratio.family for ratio in compared} == {12}
    alone = compared[0].among(1)
    assert compared[0].low < alone.low < alone.high < compared[0].high
    assert {row.comparisons["ttft"].ratio.family for row in made_up_result(new_tokens=1).rows[1:]} == {4}


def test_an_interrupted_run_says_so_and_keeps_its_pairs() -> None:
    result = made_up_result(drop=70)
    assert result.rows[1].comparisons["total"].ratio.rounds == 2
    assert any("interrupted" in warning for warning in result.warnings)


def test_a_run_cut_before_the_first_pair_compares_nothing() -> None:
    row = made_up_result(drop=179).rows[1]
    assert row.comparisons["total"].ratio.items == 0
    assert row.comparisons["total"].verdict.word == "open"


def test_doubtful_conditions_are_warned_about_once(tmp_path: Path) -> None:
    data = made_up_result().to_json()
    state = {"source": "battery", "thermal_pressure": "heavy"}
    data["conditions"] = [state, state]
    data["models"][1]["dtype"] = "bfloat16"
    data["workloads"][0]["prompt_tokens"][2][0] = 101
    file = tmp_path / "latency.json"
    file.write_text(json.dumps(data))
    assert sorted(read_result(file).warnings) == [
        "During the run, the machine runs on battery.",
        "During the run, thermal pressure is heavy.",
        "The models compute in different types: dense float32, out/wanda-s50 bfloat16, "
        "out/magnitude-s50 float32.",
        "out/magnitude-s50 splits the p100 prompts into other numbers of tokens than dense.",
    ]


@pytest.mark.parametrize("schedule", ["interleaved", "blocks"])
def test_a_result_reads_back_as_it_was(tmp_path: Path, schedule: str) -> None:
    result = made_up_result(workloads=2, schedule=schedule, drop=5)
    file = tmp_path / "latency.json"
    file.write_text(json.dumps(result.to_json(), allow_nan=False))
    again = read_result(file)
    assert again.to_json() == result.to_json()
    assert json.loads(file.read_text())["rows"][1]["model"] == "out/wanda-s50"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"settings": None}, r"latency\.json gives settings as None; "),
        ({"models": [{}]}, r"latency\.json lacks label; "),
        ({"samples": {}}, r"latency\.json lacks model; "),
        ({"conditions": [{"battery_percent": "full"}]}, r"gives conditions\.0\.battery_percent as 'full'; "),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, damage: dict[str, Any], message: str) -> None:
    file = tmp_path / "latency.json"
    file.write_text(json.dumps(made_up_result().to_json() | damage))
    with pytest.raises(DataError, match=message + "measure again"):
        read_result(file)


def test_a_file_of_a_newer_version_says_so(tmp_path: Path) -> None:
    file = tmp_path / "latency.json"
    file.write_text(json.dumps({"kind": "latency", "format": 99}))
    said = r"latency\.json is of format 99, which is newer than this version of mlx-prune reads \(1\); "
    with pytest.raises(DataError, match=said):
        read_result(file)


@pytest.mark.parametrize("column", ["model", "item", "round", "ttft_s"])
@pytest.mark.parametrize("damage", [[999], ["a"], {}, 3])
def test_measurements_that_no_run_gives_are_refused(tmp_path: Path, column: str, damage: Any) -> None:
    data = made_up_result().to_json()
    data["samples"][column] = damage
    file = tmp_path / "latency.json"
    file.write_text(json.dumps(data))
    with pytest.raises(DataError, match=r"latency\.json (is damaged|gives samples\.\w+) .*; measure again"):
        read_result(file)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "latency", "format": 1}'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "latency.json"
    file.write_text(text)
    with pytest.raises(DataError, match="measure again"):
        read_result(file)
