"""What runs a model runs inside mlx-lm's wired limit, and takes it back."""

from __future__ import annotations

from collections.abc import Iterator

import mlx.core as mx
import pytest
from agreement import make_prompts
from tiny_models import save_tiny_model

import mlx_prune
from mlx_prune.activations.calibration import Calibration
from mlx_prune.activations.passes import calibrate
from mlx_prune.checkpoint.open import LoadedModel, load
from mlx_prune.generation.batched import BatchedEngine
from mlx_prune.generation.interface import GenerationSettings
from mlx_prune.latency import run as latency_run
from mlx_prune.latency.settings import BenchSettings
from mlx_prune.pruning.in_memory import prune
from mlx_prune.pruning.on_disk import prune_checkpoint
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.structure.prune import prune_structured
from mlx_prune.pruning.structured_recipe import StructuredRecipe
from mlx_prune.wired import wired_limit

RECOMMENDED = 1 << 40


class Limit:
    """A stand-in for the wired limit of a Mac; at first 7 bytes."""

    def __init__(self) -> None:
        self.now = 7
        self.changes = 0

    def set(self, value: int) -> int:
        before, self.now = self.now, value
        self.changes += 1
        return before

    @property
    def raised(self) -> bool:
        return self.now == RECOMMENDED


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Limit]:
    found = Limit()
    info = mx.device_info()
    monkeypatch.setattr(
        mx, "device_info", lambda *_: {**info, "max_recommended_working_set_size": RECOMMENDED}
    )
    monkeypatch.setattr(mx, "set_wired_limit", found.set)
    yield found
    assert found.now == 7
    assert found.changes


@pytest.fixture
def model(tmp_path) -> LoadedModel:
    return load(save_tiny_model(tmp_path / "model", "llama"))


@pytest.fixture
def text(tmp_path) -> Calibration:
    file = tmp_path / "text.txt"
    file.write_text("\n".join(f"The doctor met the nurse at the river on day {day}." for day in range(40)))
    return Calibration(file, samples=3, sequence_length=16)


@pytest.mark.parametrize("schedule", ["interleaved", "blocks"])
def test_bench_sets_it_around_all_that_is_timed_and_not_inside(model, schedule, limit, monkeypatch):
    changes = []
    timed = latency_run.time_generation

    def watched(*arguments):
        before = limit.changes
        assert limit.raised
        found = timed(*arguments)
        assert limit.raised
        changes.append(limit.changes - before)
        return found

    monkeypatch.setattr(latency_run, "time_generation", watched)
    models = [model, model] if schedule == "interleaved" else [model.path, model.path]
    settings = BenchSettings(
        schedule=schedule,
        items=2,
        rounds=2,
        cooldown_s=0,
        prompt_lengths=(4,),
        new_tokens=2,
        sizes=False,
    )
    mlx_prune.bench(models, settings)
    assert changes
    assert not any(changes)


def test_the_batched_engine_holds_it_until_the_last_batch_or_until_it_is_closed(model, limit):
    engine = BatchedEngine(
        model.model, model.tokenizer, GenerationSettings(seeds=(1,), max_tokens=2), batch_size=1
    )
    prompts = make_prompts(model.tokenizer, 4)
    answers = engine.answer(prompts)
    next(answers)
    assert limit.raised
    answers.close()
    assert limit.now == 7
    assert sum(len(batch) for batch in engine.answer(prompts)) == 4


@pytest.mark.parametrize("job", ["calibrate", "prune", "prune_checkpoint", "width", "depth"])
def test_calibration_runs_inside_it(job, model, text, tmp_path, limit):
    seen = []

    def progress(_):
        seen.append(limit.raised)

    wanda = Recipe("wanda", 0.5, calibration=text)
    if job == "calibrate":
        calibrate(model, text, progress=progress)
    elif job == "prune":
        prune(model, wanda, progress=progress)
    elif job == "prune_checkpoint":
        prune_checkpoint(model.path, tmp_path / "out", wanda, progress=progress)
    else:
        recipe = StructuredRecipe(job, 0.4, calibration=text)
        prune_structured(model.path, tmp_path / "out", recipe, progress=progress)
    assert seen
    assert all(seen)


def test_it_is_taken_back_after_a_failure(limit):
    def fail() -> None:
        with wired_limit():
            assert limit.raised
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()


def test_the_warning_of_a_large_model_leaves_stdout_alone(model, limit, monkeypatch, capsys):
    monkeypatch.setattr(mx, "device_info", lambda *_: {"max_recommended_working_set_size": 1})
    with wired_limit(model.model):
        print("a result")  # noqa: T201
    told = capsys.readouterr()
    assert told.out == "a result\n"
    assert "WARNING" in told.err
