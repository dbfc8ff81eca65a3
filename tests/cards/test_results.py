"""What a card's results are kept as: beside the card, finite, or refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from example_card import META, RESULTS

from mlx_prune.cards.card import CARD_FILE, write_card
from mlx_prune.cards.results import CardResults, Figure, figure
from mlx_prune.checkpoint.record import META_FILE, PruningRecord
from mlx_prune.errors import DataError


def test_write_card_keeps_results_and_later_cards_show_them(tmp_path: Path):
    (tmp_path / META_FILE).write_text(json.dumps(META))
    write_card(tmp_path)
    assert "None yet" in (tmp_path / CARD_FILE).read_text(encoding="utf-8")
    write_card(tmp_path, RESULTS)
    measured = (tmp_path / CARD_FILE).read_text(encoding="utf-8")
    assert "| SRS, Age |" in measured
    write_card(tmp_path)
    assert (tmp_path / CARD_FILE).read_text(encoding="utf-8") == measured
    meta = PruningRecord.read(tmp_path).entries
    assert {key: meta[key] for key in META} == META
    assert CardResults.from_dict(meta["results"]) == RESULTS
    assert {path.name for path in tmp_path.iterdir()} == {META_FILE, CARD_FILE}


def test_results_with_infinite_values_are_strict_json():
    results = CardResults(perplexity=Figure(math.inf, 8.94))
    text = json.dumps(results.to_dict(), allow_nan=False)
    assert CardResults.from_dict(json.loads(text)) == results


@pytest.mark.parametrize(
    "data", [{"sr": 1}, {"srs": 0.5}, {"srs": {"value": "x"}}, {"srs_by_category": 3}, {"srs": {"worth": 1}}]
)
def test_damaged_results_are_refused(data: dict[str, Any]):
    with pytest.raises(DataError):
        CardResults.from_dict(data)


def test_figures_that_are_not_numbers_are_absent_or_refused():
    assert figure(math.nan, 1.0) is None
    assert figure(None) is None
    assert figure(0.5, math.nan, math.nan, math.nan) == Figure(0.5)
    with pytest.raises(DataError):
        Figure(math.nan)
