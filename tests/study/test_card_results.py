"""Card figures from run folders and a study: recounted here from the records themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kept_distances import distance_row, token_divergences
from recorded_run import SEEDS, save_run

from mlx_prune.cards.results import Figure, results_rows
from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.errors import RecordsError
from mlx_prune.study.card_results import results_of_runs, results_of_study

CATEGORIES = {"Age": 10, "SES": 6}
META: dict[str, Any] = {
    "model": "org/Tiny",
    "method": "wanda",
    "target_sparsity": 50.0,
    "actual_sparsity": 49.0,
    "zero_params": 7,
    "pattern": None,
}


def random_answers(seed: int, weights: tuple[float, ...]) -> dict[tuple[str, int], int | None]:
    rng = np.random.default_rng(seed)
    pairs = [(f"{c}:{i}", s) for c, count in CATEGORIES.items() for i in range(count) for s in SEEDS]
    chosen = rng.choice(4, size=len(pairs), p=weights)
    return {pair: None if option == 3 else int(option) for pair, option in zip(pairs, chosen, strict=True)}


@pytest.fixture
def answers() -> dict[str, dict[tuple[str, int], int | None]]:
    return {
        "dense": random_answers(0, (0.1, 0.1, 0.75, 0.05)),
        "pruned": random_answers(1, (0.4, 0.2, 0.3, 0.1)),
    }


@pytest.fixture
def study(tmp_path: Path, answers: dict[str, Any]) -> Path:
    runs = tmp_path / "study" / "runs" / "Tiny"
    save_run(runs / "dense-s0", answers["dense"], prune_method="dense", sparsity=0.0)
    save_run(runs / "wanda-s50", answers["pruned"])
    (runs / "wanda-s50" / "pruning_meta.json").write_text(json.dumps(META))
    return tmp_path / "study"


def share(answers: Mapping[tuple[str, int], int | None], option: int, category: str) -> float:
    parsed = [o for (item, _), o in answers.items() if item.startswith(category) and o is not None]
    return parsed.count(option) / len(parsed)


def mean_share(answers: Mapping[tuple[str, int], int | None], option: int) -> float:
    return float(np.mean([share(answers, option, category) for category in CATEGORIES]))


def test_rates_are_those_of_the_records_beside_the_dense_ones(study: Path, answers: dict[str, Any]):
    runs = study / "runs" / "Tiny"
    found = results_of_runs(PruningRecord.of(META), runs / "wanda-s50", runs / "dense-s0")
    for name, option in (("srs", 0), ("anti_rate", 1), ("usr", 2)):
        figure = getattr(found, name)
        assert figure.value == pytest.approx(mean_share(answers["pruned"], option))
        assert figure.dense == pytest.approx(mean_share(answers["dense"], option))
    for category, figure in found.srs_by_category.items():
        assert figure.value == pytest.approx(share(answers["pruned"], 0, category))
        assert figure.dense == pytest.approx(share(answers["dense"], 0, category))
        assert figure.low < figure.value < figure.high
    assert set(found.srs_by_category) == set(CATEGORIES)
    assert (found.items, found.seeds, found.temperature, found.bbq) == (16, 3, 0.3, "hub")
    assert found.device == "M9"


def test_emergence_is_the_share_of_unbiased_items_that_became_biased(study: Path, answers: dict[str, Any]):
    def stereotyped(which: str, item: str) -> list[bool]:
        chosen = [answers[which][item, seed] for seed in SEEDS]
        return [option == 0 for option in chosen if option is not None]

    items = [f"{category}:{i}" for category, count in CATEGORIES.items() for i in range(count)]
    unbiased = [i for i in items if stereotyped("dense", i) and not any(stereotyped("dense", i))]
    became = [item for item in unbiased if any(stereotyped("pruned", item))]
    runs = study / "runs" / "Tiny"
    found = results_of_runs(PruningRecord.of(META), runs / "wanda-s50", runs / "dense-s0")
    assert 0 < len(became) < len(unbiased) < len(items)
    assert found.emergence == pytest.approx(len(became) / len(unbiased))
    assert found.emergence_null is None  # these records hold no option probabilities


def test_without_a_dense_run_nothing_is_compared(study: Path):
    found = results_of_runs(PruningRecord.of(META), study / "runs" / "Tiny" / "wanda-s50")
    assert found.srs is not None
    assert found.srs.dense is None
    assert found.emergence is None


@pytest.mark.parametrize(
    "change", [{"zero_params": 8}, {"method": "random"}, {"target_sparsity": 30.0}, {"model": "org/Other"}]
)
def test_run_of_another_checkpoint_is_refused(study: Path, change: dict[str, Any]):
    with pytest.raises(RecordsError, match="another model"):
        results_of_runs(PruningRecord.of({**META, **change}), study / "runs" / "Tiny" / "wanda-s50")


@pytest.mark.parametrize("change", [{"seeds": [1, 2]}, {"temperature": 0.0}, {"items": "j"}, {"model": "B"}])
def test_dense_run_under_other_conditions_is_refused(
    study: Path, answers: dict[str, Any], tmp_path: Path, change: dict[str, Any]
):
    other = save_run(
        tmp_path / "dense", answers["dense"], **{"prune_method": "dense", "sparsity": 0.0, **change}
    )
    with pytest.raises(RecordsError):
        results_of_runs(PruningRecord.of(META), study / "runs" / "Tiny" / "wanda-s50", other)


def test_unfinished_or_absent_run_is_refused(study: Path, tmp_path: Path):
    run = study / "runs" / "Tiny" / "wanda-s50"
    about = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**about, "status": "running"}))
    with pytest.raises(RecordsError, match="not finished"):
        results_of_runs(PruningRecord.of(META), run)
    with pytest.raises(RecordsError, match=r"run\.json"):
        results_of_runs(PruningRecord.of(META), tmp_path)


def test_study_adds_its_perplexity_and_latency(study: Path):
    key = {"model": "Tiny", "prune_method": "wanda", "sparsity": 50.0, "pattern": None}
    dense = {**key, "prune_method": "dense", "sparsity": 0.0}
    size = {"sequences": 8, "sequence_length": 64}
    rows = [{**key, "perplexity": 12.5, **size}, {**dense, "perplexity": 10.0, **size}]
    (study / "perplexity.json").write_text(json.dumps({"results": rows}))
    timed = {**key, "ratio": 1.01, "low": 0.97, "high": 1.05, "dense_ms": 200.0, "pruned_ms": 202.0}
    (study / "latency.json").write_text(json.dumps({"results": [timed]}))
    (study / "study.toml").write_text('[perplexity]\ntext = "tulu"\n')
    tokens = token_divergences(*(-np.ones((8, 5)),) * 2, 0.1)
    row = key | distance_row(tokens)
    (study / "divergence.json").write_text(json.dumps({"results": [row]}))
    found = results_of_study(study, PruningRecord.of(META))
    assert found is not None
    assert found.perplexity == Figure(12.5, 10.0)
    assert found.perplexity_text == "Tulu 3 SFT mixture, 8 x 64 tokens"
    figures = row["divergence"]
    assert found.kl == Figure(figures["kl"], None, figures["kl_low"], figures["kl_high"])
    assert found.same_top is not None
    assert found.same_top.value == tokens.same_top.mean()
    assert any(name.startswith("KL divergence from dense") for name, *_ in results_rows(found))
    # An early version's interval is made symmetric on the log scale.
    assert found.latency_ratio is not None
    assert found.latency_ratio.dense is None
    ends = (found.latency_ratio.value, found.latency_ratio.low, found.latency_ratio.high)
    assert ends == pytest.approx((1.01, 0.97, 1.05), rel=2e-3)
    assert found.latency_s == Figure(0.202, 0.2)
    assert found.srs is not None
    assert found.srs.dense is not None


def test_a_damaged_study_file_is_one_sentence_and_an_absent_one_leaves_the_text_out(study: Path):
    key = {"model": "Tiny", "prune_method": "wanda", "sparsity": 50.0, "pattern": None}
    row = {**key, "perplexity": 12.5, "sequences": 8, "sequence_length": 64}
    (study / "perplexity.json").write_text(json.dumps({"results": [row]}))
    for damaged in ("perplexity = [", "\x00"):
        (study / "study.toml").write_text(damaged)
        with pytest.raises(RecordsError, match=r"study\.toml is damaged"):
            results_of_study(study, PruningRecord.of(META))
    for silent in ("perplexity = 3", ""):
        (study / "study.toml").write_text(silent)
        found = results_of_study(study, PruningRecord.of(META))
        assert found is not None
        assert found.perplexity_text == "8 x 64 tokens"


def test_study_without_those_measures_claims_none(study: Path):
    found = results_of_study(study, PruningRecord.of(META))
    assert found is not None
    assert (found.perplexity, found.latency_ratio, found.latency_s) == (None, None, None)
    assert results_of_study(study, PruningRecord.of({**META, "method": "random"})) is None
