"""Tables and the picture of a latency run."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from xml.etree import ElementTree

import pytest
from latency_examples import made_up_result

from mlx_prune.latency.table import table_rows, to_csv, to_markdown, verdict_sentence
from mlx_prune.report.figures.latency import save_latency_plot

COLUMNS = (
    "model,recipe,dtype,workload,prompt_tokens,new_tokens,measurements,ttft_median_ms,ttft_p95_ms,"
    "per_token_median_ms,per_token_p95_ms,total_median_ms,total_p95_ms,prompt_tps,decode_tps,total_ratio,"
    "total_ratio_low,total_ratio_high,verdict,more_rounds,more_items,ttft_ratio,ttft_ratio_low,"
    "ttft_ratio_high,ttft_verdict,per_token_ratio,per_token_ratio_low,per_token_ratio_high,"
    "per_token_verdict,drift_percent,load_s,memory_bytes,peak_bytes,disk_bytes,zstd_bytes,bitmask_bytes,"
    "gguf_bytes"
)


def test_csv_has_stable_columns_and_unrounded_numbers() -> None:
    result = made_up_result(workloads=2)
    text = to_csv(result)
    assert text.splitlines()[0] == COLUMNS
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["workload"], row["model"]) for row in rows] == [
        (load, model)
        for load in ("p100", "p200")
        for model in ("dense", "out/wanda-s50", "out/magnitude-s50")
    ]
    assert float(rows[1]["total_ratio"]) == result.rows[1].comparisons["total"].ratio.ratio
    assert rows[1]["verdict"] == "slower"
    assert rows[0]["total_ratio"] == rows[0]["verdict"] == ""
    assert rows[0]["gguf_bytes"] == ""
    assert float(rows[1]["drift_percent"]) == 100 * result.drift[1]


def test_rows_say_none_for_what_is_not_known() -> None:
    row = table_rows(made_up_result(new_tokens=1))[1]
    assert row["per_token_median_ms"] is None
    assert row["decode_tps"] is None
    assert row["per_token_ratio"] is None
    assert row["total_ratio"] is not None


def test_markdown_is_a_table_with_its_conditions() -> None:
    result = made_up_result(names=("dense", "a|b"), ratios=(1.0, 1.0), drop=3)
    lines = to_markdown(result).splitlines()
    cells = [line.replace("\\|", "").count("|") for line in lines[:4]]
    assert len(set(cells)) == 1
    assert lines[2].startswith("| dense | p100 |")
    assert " baseline " in lines[2]
    assert lines[3].startswith("| a\\|b | p100 |")
    assert " same " in lines[3]
    text = "\n".join(lines[4:])
    assert "20 prompts x 3 rounds" in text
    assert "Some Machine, cpu, mlx 0.1, mlx-lm 0.2" in text
    assert "Warning: The run was interrupted" in text


@pytest.mark.parametrize(
    ("ratios", "words"),
    [
        ((1.0, 1.3), "slower than dense; total time x 1."),
        ((1.0, 0.7), "faster than dense; total time x 0."),
        ((1.0, 1.0), "the same as dense within 5 %; total time x "),
    ],
)
def test_the_verdict_is_a_sentence(ratios: tuple[float, float], words: str) -> None:
    result = made_up_result(ratios)
    assert words in verdict_sentence(result, result.rows[1])


def test_an_unsettled_verdict_says_which_option_settles_it() -> None:
    result = made_up_result((1.0, 1.03), noise=0.1, seed=1)
    advice = result.rows[1].comparisons["total"].verdict.more_rounds
    assert advice is not None
    sentence = verdict_sentence(result, result.rows[1])
    assert f"run {advice} more round" in sentence
    assert f"(--rounds {3 + advice})" in sentence


def test_the_picture_shows_every_comparison(tmp_path: Path) -> None:
    result = made_up_result(workloads=2, names=("dense", "wanda" * 20, "short"))
    png, svg = save_latency_plot(result, tmp_path / "new")
    assert png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    words = " ".join(ElementTree.parse(svg).getroot().itertext())
    assert words.count("slower") == 2
    assert words.count("same") == 2
    assert "wandawanda" in words
    assert "wanda" * 20 not in words
    assert "drift" in words


def test_the_same_result_gives_the_same_picture(tmp_path: Path) -> None:
    first, second = (save_latency_plot(made_up_result(), tmp_path / name)[1] for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_without_an_interval_the_ratio_alone_is_drawn(tmp_path: Path) -> None:
    assert len(save_latency_plot(made_up_result(items=4), tmp_path)) == 2


def test_without_a_pair_there_is_no_picture(tmp_path: Path) -> None:
    assert save_latency_plot(made_up_result(drop=179), tmp_path / "new") == []
    assert not (tmp_path / "new").exists()
