"""What a study measures on a text: both figures in one pass, kept, and carried on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from tiny_models import save_tiny_model
from watched_study import states

from mlx_prune.checkpoint.open import load
from mlx_prune.errors import RecordsError
from mlx_prune.runs import divergence as runs_divergence
from mlx_prune.runs.divergence import divergence
from mlx_prune.runs.perplexity import perplexity
from mlx_prune.study.config import Bbq, Generation, Grid, StudyConfig
from mlx_prune.study.folder import StudyFolder
from mlx_prune.study.measures import DivergenceMeasure, LatencyMeasure, PerplexityMeasure
from mlx_prune.study.rows import StudyCheckpoint
from mlx_prune.study.runner import run_study

TEXT = {"text": "demo", "sequences": 7, "sequence_length": 24}


@pytest.fixture
def config(tmp_path: Path) -> StudyConfig:
    return StudyConfig(
        models=(str(save_tiny_model(tmp_path / "tiny", "mistral", hidden_size=64)),),
        grid=Grid(methods=("magnitude", "q8"), sparsities=(50.0,)),
        bbq=Bbq("demo", limit=5),
        generation=Generation(seeds=(1,)),
        perplexity=PerplexityMeasure(**TEXT),
        divergence=DivergenceMeasure(top=16),
        latency=LatencyMeasure(enabled=False),
        save_checkpoints=True,
    )


def test_both_figures_are_those_of_the_commands(config: StudyConfig, tmp_path: Path) -> None:
    out = tmp_path / "study"
    run_study(config, out)
    study = StudyFolder(out)
    distances, perplexities = (dict(file.items()) for file in (study.divergences, study.perplexities))
    assert len(perplexities) == 3
    assert [name.folder for name in distances] == ["magnitude-s50", "q8-s0"]
    dense = load(config.models[0].path)
    for name, row in perplexities.items():
        model = dense if name.is_dense else load(study.checkpoint(name))
        assert row.figure.value == pytest.approx(perplexity(model, **TEXT).value, rel=1e-5)
        if not name.is_dense:
            expected = divergence(dense, model, **TEXT, top=16)
            found = distances[name]
            assert found.figure is not None
            assert found.figure.figures == pytest.approx(expected.figures, rel=1e-3, abs=1e-5)
            assert (found.text, found.top, found.note) == ("demo", 16, None)
            assert 0 < found.rest < 1
    far, near = (distances[name].figure.kl for name in distances)
    assert far > 10 * near > 0


def test_it_carries_on_with_what_is_lacking(
    config: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "study"
    without = dataclasses.replace(config, divergence=DivergenceMeasure(enabled=False))
    run_study(without, out)
    assert not (out / "divergence.json").exists()
    before = (out / "perplexity.json").read_bytes()
    records = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}

    passes: list[str] = []
    own = runs_divergence.DenseReference.compare

    def watched(self: Any, model: Any, *rest: Any) -> Any:
        passes.append(Path(model.name).name)
        return own(self, model, *rest)

    monkeypatch.setattr(runs_divergence.DenseReference, "compare", watched)
    assert states(config, out) == [("dense-s0", "there"), ("magnitude-s50", "done"), ("q8-s0", "done")]
    assert len(passes) == 2
    assert (out / "perplexity.json").read_bytes() == before
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")} == records
    assert {state for _, state in states(config, out)} == {"there"}

    finer = dataclasses.replace(config, divergence=DivergenceMeasure(top=64))
    states(finer, out)
    assert len(passes) == 4
    assert {row.top for _, row in StudyFolder(out).divergences.items()} == {64}

    rows = json.loads((out / "divergence.json").read_text())
    rows["results"][0]["divergence"].pop("kl_99")
    (out / "divergence.json").write_text(json.dumps(rows))
    with pytest.raises(RecordsError, match=r"divergence\.json, row 1 is damaged \(kl_99 is absent\)"):
        run_study(config, out)


def test_a_checkpoint_with_other_tokens_is_measured_but_not_compared(
    config: StudyConfig, tmp_path: Path
) -> None:
    wider = save_tiny_model(tmp_path / "wider", "mistral", seed=1, vocab_size=400)
    config = dataclasses.replace(
        config,
        grid=dataclasses.replace(config.grid, methods=()),
        checkpoints=(StudyCheckpoint(name="wide", path=str(wider)),),
    )
    out = tmp_path / "study"
    run_study(config, out)
    study = StudyFolder(out)
    ((_, row),) = study.divergences.items()
    assert row.figure is None
    assert "so their predictions cannot be compared" in row.note
    assert len(study.perplexities.items()) == 2
    assert {state for _, state in states(config, out)} == {"there"}
