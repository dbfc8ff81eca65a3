"""Several calibration texts in one study: each method and text is a row of its own."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from tiny_models import save_tiny_model

from mlx_prune.activations.calibration import Calibration
from mlx_prune.checkpoint.inspection import inspect
from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.configuration import Configuration
from mlx_prune.errors import DataError, RecipeError, RecordsError
from mlx_prune.runs.settings import Bbq, Generation
from mlx_prune.study.card_results import results_of_study
from mlx_prune.study.config import (
    Grid,
    RecoverStep,
    StudyConfig,
    config_from_dict,
    config_to_dict,
    read_config,
)
from mlx_prune.study.data import data_warnings, from_the_hub, require_sources, with_named_data
from mlx_prune.study.folder import StudyFolder
from mlx_prune.study.measures import LatencyMeasure, PerplexityMeasure
from mlx_prune.study.plan import plan_study
from mlx_prune.study.recipes import recipe_of
from mlx_prune.study.runner import differences, run_study

SHORT = {"samples": 2, "sequence_length": 32}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", "llama", seed=4)


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("text") / "chat.jsonl"
    rows = [{"prompt": f"Who was late on day {day}?", "completion": "The old nurse."} for day in range(30)]
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def config_of(model: Path, chat: Path | None, *methods: str, **changed: object) -> StudyConfig:
    found = StudyConfig(
        models=(str(model),),
        grid=Grid(methods=methods, sparsities=(50.0,)),
        calibration=Calibration("demo", **SHORT),
        calibrations={} if chat is None else {"chat": Calibration(str(chat), **SHORT)},
        recover=RecoverStep(steps=2, rank=2, batch_size=2, sequence_length=32, first_step="none"),
        bbq=Bbq("demo", limit=10),
        generation=Generation(seeds=(1, 2)),
        perplexity=PerplexityMeasure(text="demo", sequences=2, sequence_length=32),
        latency=LatencyMeasure(enabled=False),
    )
    return dataclasses.replace(found, **changed)


def masks(folder: Path) -> dict[str, np.ndarray]:
    return {linear.name: np.array(linear.weight) == 0 for linear in Checkpoint(folder).matrices()}


def test_a_method_is_run_on_both_texts_and_each_is_recorded(model: Path, chat: Path, tmp_path: Path) -> None:
    methods = ("wanda", "wanda@chat", "wanda@chat+recover")
    config = config_of(model, chat, *methods, save_checkpoints=True)
    run_study(config, tmp_path)
    study = StudyFolder(tmp_path)
    names = [Configuration("tiny", method, 50.0) for method in methods]
    plain, other, recovered = (study.run(name).pruned for name in names)
    assert plain.calibration.source == "demo"
    assert other.calibration.source == recovered.calibration.source == str(chat)
    assert [record.method for record in (plain, other, recovered)] == list(methods)
    assert recovered.recovery.data["source"] == str(chat)
    kept = tmp_path / "checkpoints"
    one, two, three = (masks(kept / f"tiny-{method}-s50") for method in methods)
    assert any((one[name] != two[name]).any() for name in one)
    assert all((two[name] == three[name]).all() for name in two)
    for name in names:
        folder = study.checkpoint(name)
        assert inspect(folder).disagreements == ()
        record = PruningRecord.read(folder)
        assert record.method == name.prune_method
        assert name.prune_method in (folder / "README.md").read_text()
        # A card shows what was measured of its own checkpoint, not of the other text's.
        found = results_of_study(tmp_path, record)
        assert found.perplexity.value == study.perplexities.get(name).perplexity
    assert study.sizes.get(names[1]) is not None
    read = read_config(study.file)
    assert read.calibrations["chat"].source == str(chat)


def test_dense_statistics_are_of_the_text_that_was_named(model: Path, chat: Path, tmp_path: Path) -> None:
    methods = ("wanda", "wanda@chat", "wanda+owl@chat")
    grid = Grid(methods=methods, sparsities=(50.0,), statistics="dense")
    run_study(config_of(model, chat, "wanda", grid=grid), tmp_path / "both")
    alone = Grid(methods=("wanda@chat",), sparsities=(50.0,), statistics="dense")
    run_study(config_of(model, chat, "wanda", grid=alone), tmp_path / "alone")
    name = Configuration("tiny", "wanda@chat", 50.0)
    both, one = (StudyFolder(tmp_path / folder) for folder in ("both", "alone"))
    assert both.perplexities.get(name).perplexity == pytest.approx(one.perplexities.get(name).perplexity)
    assert both.run(name).pruned.calibration == one.run(name).pruned.calibration


def test_a_few_bits_on_top_take_the_masks_text(chat: Path, tmp_path: Path) -> None:
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 4, "head_dim": 16}
    model = save_tiny_model(tmp_path / "tiny", "llama", **sizes)
    run_study(config_of(model, chat, "wanda@chat+q4"), tmp_path / "study")
    record = StudyFolder(tmp_path / "study").run(Configuration("tiny", "wanda@chat+q4", 50.0)).pruned
    assert record.method == "wanda@chat+q4"
    assert record.calibration.source == str(chat)
    assert record.quantization.bits == 4


def test_texts_are_sections_of_their_own_and_read_back(chat: Path) -> None:
    study = {
        "models": ["demo"],
        "grid": {"methods": ["wanda", "wanda@chat"], "sparsities": [50]},
        "calibration": {"samples": 3, "chat": {"source": str(chat), "samples": 5}},
    }
    config = config_from_dict(study)
    assert config.calibration == Calibration(None, 3)
    assert config.calibrations == {"chat": Calibration(str(chat), 5)}
    assert config_from_dict(config_to_dict(config)) == config
    assert config_to_dict(config)["calibration"]["chat"] == {"source": str(chat), "samples": 5}
    recipes = [recipe_of(config, name) for name in config.configurations("demo")[1:]]
    assert [recipe.calibration.samples for recipe in recipes] == [3, 5]


@pytest.mark.parametrize(
    ("section", "method", "message"),
    [
        ({"chat": {}}, "wanda@cht", r"no section \[calibration.cht\]; did you mean 'chat'\?"),
        ({}, "wanda@chat", r"wanda@chat: there is no section \[calibration.chat\]; add the section"),
        ({"chat": {"sorce": "c4"}}, "wanda", "calibration.chat: unknown key 'sorce'; did you mean 'source'"),
        ({"Chat": {}}, "wanda", "'Chat' cannot be the name of a calibration text"),
        ({"samples": {}}, "wanda", "cannot be called samples, which is a key"),
        ({"chat": {"samples": "x"}}, "wanda", "calibration.chat: samples must be int"),
        ({}, "magnitude@chat", "looks at no calibration text"),
    ],
)
def test_what_no_text_fits_is_refused_in_a_sentence(section: dict, method: str, message: str) -> None:
    study = {"models": ["demo"], "grid": {"methods": [method]}, "calibration": section}
    with pytest.raises((DataError, RecipeError), match=message):
        config_from_dict(study)
    with pytest.raises(DataError, match="unknown key 'calibrations'; did you mean 'calibration'"):
        config_from_dict({"models": ["demo"], "calibrations": {}})


def test_a_text_is_needed_only_where_a_method_takes_it(model: Path, chat: Path, tmp_path: Path) -> None:
    off = PerplexityMeasure(enabled=False)
    config = config_of(model, chat, "wanda@chat", calibration=Calibration(), perplexity=off)
    config = dataclasses.replace(config, bbq=dataclasses.replace(config.bbq, source=str(tmp_path)))
    assert with_named_data(config).calibration.source is None
    assert data_warnings(config) == ()
    with pytest.raises(DataError, match=r"give source in \[calibration\] as"):
        with_named_data(config_of(model, chat, "wanda", calibration=Calibration()))
    nameless = dataclasses.replace(config, calibrations={"chat": Calibration()})
    with pytest.raises(DataError, match=r"give source in \[calibration.chat\] as"):
        with_named_data(nameless)
    absent = dataclasses.replace(config, calibrations={"chat": Calibration(str(tmp_path / "no.txt"))})
    with pytest.raises(DataError, match=r"There is no text file .*no\.txt"):
        require_sources(absent)
    hub = dataclasses.replace(config, calibrations={"chat": Calibration("hub:org/talks")})
    assert from_the_hub(hub) == ("hub:org/talks",)
    invented = dataclasses.replace(config, calibrations={"chat": Calibration("demo")})
    assert any("demo text" in sentence for sentence in data_warnings(invented))


def test_a_study_may_gain_texts_but_none_may_change(model: Path, chat: Path, tmp_path: Path) -> None:
    run_study(config_of(model, None, "magnitude"), tmp_path)
    both = config_of(model, chat, "magnitude", "wanda@chat")
    run_study(both, tmp_path)
    other = dataclasses.replace(both, calibrations={"chat": Calibration("demo", **SHORT)})
    found = config_to_dict(both)
    assert differences(found, other) == [f"calibration.chat.source: there {str(chat)!r}, now 'demo'"]
    more = dataclasses.replace(both, calibrations={**both.calibrations, "c4": Calibration("c4")})
    assert differences(found, more) == []
    # Left out for a while, it is still known what the finished runs were calibrated on.
    run_study(config_of(model, None, "magnitude"), tmp_path)
    with pytest.raises(RecordsError, match=r"calibration.chat.source: there"):
        run_study(other, tmp_path)


def test_the_plan_counts_both(model: Path, chat: Path, tmp_path: Path) -> None:
    plan = plan_study(config_of(model, chat, "wanda", "wanda@chat"), tmp_path)
    assert plan.models[0].configurations == 3
    assert plan.models[0].unfinished == 3
