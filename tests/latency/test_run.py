"""Whole latency runs on tiny models, some of them slowed down by a known amount."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from tiny_models import save_tiny_model

import mlx_prune
from mlx_prune.checkpoint.open import LoadedModel, load
from mlx_prune.errors import CheckpointError, DataError, MlxPruneError, RecordsError
from mlx_prune.latency import run as latency_run
from mlx_prune.latency.models import labels
from mlx_prune.latency.result import read_result
from mlx_prune.latency.settings import BenchSettings
from mlx_prune.progress import Progress

QUICK: dict[str, Any] = {"items": 8, "rounds": 2, "cooldown_s": 0, "prompt_lengths": (6,), "new_tokens": 3}


def quick(**changes: Any) -> BenchSettings:
    return BenchSettings(**{**QUICK, **changes})


class Slowed(nn.Module):
    """A model that sleeps before every forward pass."""

    def __init__(self, inner: Any, pause_s: float) -> None:
        super().__init__()
        self.inner = inner
        self._pause_s = pause_s

    @property
    def layers(self) -> Any:
        return self.inner.layers

    def __call__(self, inputs: mx.array, cache: Any = None) -> mx.array:
        time.sleep(self._pause_s)
        return self.inner(inputs, cache=cache)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", "llama")


@pytest.fixture(scope="module")
def tiny(folder: Path) -> LoadedModel:
    return load(folder)


def slowed(model: LoadedModel, name: str, pause_s: float) -> LoadedModel:
    return dataclasses.replace(model, name=name, model=Slowed(model.model, pause_s))


def test_a_model_that_takes_three_times_as_long_is_found_slower(tiny: LoadedModel) -> None:
    pair = [slowed(tiny, "dense", 0.01), slowed(tiny, "slow", 0.03)]
    result = mlx_prune.bench(pair, quick(rounds=1))
    compared = result.rows[1].comparisons
    assert compared["total"].verdict.word == "slower"
    assert compared["total"].ratio.low < 3.02
    assert compared["total"].ratio.high > 1.8
    assert result.settings.schedule == "interleaved"
    assert [facts.load_s for facts in result.models] == [None, None]
    reverse = mlx_prune.bench(pair[::-1], quick(rounds=1))
    assert reverse.rows[1].comparisons["per_token"].verdict.word == "faster"


@pytest.mark.parametrize("schedule", ["interleaved", "blocks"])
def test_everything_asked_for_is_measured_and_written(folder: Path, tmp_path: Path, schedule: str) -> None:
    seen: list[Progress] = []
    result = mlx_prune.bench(
        [folder, str(folder)],
        quick(prompt_lengths=(6, 9), schedule=schedule),
        out=tmp_path,
        progress=seen.append,
    )
    visits = 2 if schedule == "blocks" else 1
    assert [row.measurements for row in result.rows] == [16 * visits] * 4
    assert [facts.label for facts in result.models] == ["tiny", "tiny (2)"]
    for facts in result.models:
        assert facts.load_s is not None
        assert facts.disk_bytes is not None
        assert facts.zstd_bytes is not None
        assert facts.gguf_bytes is not None
        assert facts.memory_bytes < facts.disk_bytes < facts.memory_bytes + 10_000
    times = [p for p in seen if p.stage == "time"]
    assert times[-1].done == times[-1].total == 64 * visits
    assert np.all(np.diff(result.samples.started_s) > 0)
    assert len(result.conditions) == 2
    assert result.versions["mlx"]
    assert read_result(tmp_path / "latency.json").to_json() == result.to_json()


def test_blocks_load_each_model_anew_for_every_visit(folder: Path) -> None:
    result = mlx_prune.bench([folder, folder], quick(schedule="blocks", sizes=False))
    order = result.samples.model[:: QUICK["items"]].tolist()
    assert order == [0, 1, 1, 0] * QUICK["rounds"]
    assert (result.models[0].zstd_bytes, result.models[0].gguf_note) == (None, "not asked for")


def test_a_ctrl_c_keeps_what_was_measured(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = latency_run.time_generation, []

    def impatient(*arguments: Any) -> Any:
        calls.append(1)
        # Two warm-ups of each model in each round, then 16 timings in the first round.
        if len(calls) > 4 + 16 + 4 + 5:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(latency_run, "time_generation", impatient)
    result = mlx_prune.bench([folder, folder], quick(sizes=False), out=tmp_path)
    assert result.interrupted
    assert len(result.samples) == 16 + 5
    assert result.rows[1].comparisons["total"].ratio.items == 8
    saved = json.loads((tmp_path / "latency.json").read_text())
    assert saved["interrupted"] is True
    assert len(saved["samples"]["model"]) == 21


def test_a_ctrl_c_before_the_first_measurement_is_just_that(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def impatient(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(latency_run, "time_generation", impatient)
    with pytest.raises(KeyboardInterrupt):
        mlx_prune.bench([folder, folder], quick(sizes=False), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_finished_rounds_are_on_disk_before_the_run_ends(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = latency_run.time_generation, []

    def killed(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) > 4 + 16 + 4:
            raise SystemExit("as if killed")
        return real(*arguments)

    monkeypatch.setattr(latency_run, "time_generation", killed)
    with pytest.raises(SystemExit):
        mlx_prune.bench([folder, folder], quick(sizes=False), out=tmp_path)
    left = read_result(tmp_path / "latency.json")
    assert left.interrupted
    assert len(left.samples) == 16


def test_earlier_results_are_replaced_only_by_force(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "latency.json"
    mlx_prune.bench([folder, folder], quick(rounds=1, sizes=False), out=tmp_path)
    first = file.read_bytes()
    with pytest.raises(RecordsError, match="another run"):
        mlx_prune.bench([folder, folder], quick(sizes=False), out=tmp_path)
    assert file.read_bytes() == first
    mlx_prune.bench([folder, folder], quick(sizes=False), out=tmp_path, force=True)
    assert read_result(file).settings.rounds == QUICK["rounds"]


def test_a_finished_run_is_read_and_a_stopped_one_measured_anew(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "latency.json"
    found = mlx_prune.bench([folder, folder], quick(sizes=False), out=tmp_path)
    first = file.read_bytes()
    again = mlx_prune.bench([folder, folder], quick(sizes=False), out=tmp_path)
    assert file.read_bytes() == first
    assert again.to_json()["rows"] == found.to_json()["rows"]
    stopped = json.loads(first) | {"interrupted": True}
    file.write_text(json.dumps(stopped))
    anew = mlx_prune.bench([folder, folder], quick(sizes=False), out=tmp_path)
    assert not anew.interrupted
    assert json.loads(file.read_text())["started"] == anew.started
    assert anew.samples.started_s.tolist() != found.samples.started_s.tolist()


def test_a_damaged_result_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "latency.json").write_text('{"kind": "latency"}')
    with pytest.raises(MlxPruneError, match="measure again"):
        mlx_prune.bench([folder, folder], quick(), out=tmp_path)
    assert (tmp_path / "latency.json").read_text() == '{"kind": "latency"}'


@pytest.mark.parametrize("text", ['{"results": []}', "[]", "not json"])
def test_the_latencies_of_a_study_are_not_replaced_even_by_force(
    folder: Path, tmp_path: Path, text: str
) -> None:
    (tmp_path / "latency.json").write_text(text)
    with pytest.raises(RecordsError, match="perhaps a study's"):
        mlx_prune.bench([folder, folder], quick(), out=tmp_path, force=True)
    assert (tmp_path / "latency.json").read_text() == text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rounds": 0}, "at least one round"),
        ({"items": 0}, "at least one round and one item"),
        ({"cooldown_s": -1}, "cooldown"),
        ({"cooldown_s": float("nan")}, "cooldown"),
        ({"margin": 0}, "margin"),
        ({"new_tokens": 0}, "0 tokens"),
        ({"bbq": "demo"}, "exclude each other"),
        ({"schedule": "other"}, "schedule is one of"),
        ({"prompt_lengths": (0,)}, "at least 1"),
    ],
)
def test_nonsense_is_refused(folder: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        mlx_prune.bench([folder, folder], quick(**change, sizes=False))


def test_one_model_is_no_comparison_and_loaded_models_cannot_be_reloaded(tiny: LoadedModel) -> None:
    with pytest.raises(DataError, match="two models"):
        mlx_prune.bench([tiny], quick())
    with pytest.raises(DataError, match="interleaved"):
        mlx_prune.bench([tiny, tiny], quick(schedule="blocks"))


def test_a_missing_model_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nothing-here"):
        mlx_prune.bench([folder, tmp_path / "nothing-here"], quick())


def test_what_was_done_to_a_model_is_read_beside_it(folder: Path, tmp_path: Path) -> None:
    pruned = save_tiny_model(tmp_path / "pruned", "llama")
    (pruned / "pruning_meta.json").write_text(json.dumps({"method": "wanda", "actual_sparsity": 49.96}))
    result = mlx_prune.bench([folder, pruned], quick(rounds=1, sizes=False))
    assert [facts.recipe for facts in result.models] == ["", "wanda 50.0 %"]


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["demo", "out/w50"], ["demo", "w50"]),
        (["demo", "demo", "demo"], ["demo", "demo (2)", "demo (3)"]),
        (["a/model", "b/model"], ["a/model", "b/model"]),
        (["org/name", Path("/x/y")], ["name", "y"]),
    ],
)
def test_labels_are_short_and_unique(names: list[Any], short: list[str]) -> None:
    assert labels(names) == short
