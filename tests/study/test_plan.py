"""A plan is reckoned from headers: nothing is loaded or downloaded, and the time is a measured one."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bbq_rows import paired_rows, write_jsonl
from hub_server import HubServer
from tiny_models import save_tiny_model

from mlx_prune.bbq.folder import BBQ_CATEGORIES, category_files
from mlx_prune.bbq.hub import hub_count
from mlx_prune.bbq.items import load_items
from mlx_prune.checkpoint import open as checkpoints
from mlx_prune.checkpoint.preview import preview
from mlx_prune.latency.timing import memory_bytes
from mlx_prune.pruning.methods.quantize import Quantization
from mlx_prune.pruning.quantizing import quantize_checkpoint
from mlx_prune.runs.evaluate import evaluate
from mlx_prune.runs.settings import Bbq
from mlx_prune.study.config import StudyConfig, config_from_dict
from mlx_prune.study.folder import StudyFolder
from mlx_prune.study.plan import plan_study


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> StudyConfig:
    folder = tmp_path_factory.mktemp("plan")
    write_jsonl(folder / "bbq" / "Age.jsonl", paired_rows(12))
    return config_from_dict(
        {
            "models": [str(save_tiny_model(folder / "tiny", "llama", dtype="bfloat16"))],
            "grid": {"methods": ["wanda", "q4"], "sparsities": [50]},
            "bbq": {"source": str(folder / "bbq")},
            "calibration": {"source": "hub:org/texts#body"},
            "generation": {"seeds": [1, 2]},
            "perplexity": {"text": "tulu"},
            "latency": {"enabled": False},
        }
    )


def test_no_model_is_loaded(config: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(checkpoints, "load", load)
    monkeypatch.setattr(checkpoints.Checkpoint, "network_and_config", load)
    plan = plan_study(config, tmp_path)
    (model,) = plan.models
    assert (model.configurations, model.unfinished, model.records) == (3, 3, 3 * 6 * 2)
    assert plan.seconds is None
    assert model.download_bytes == 0
    assert plan.data == ("tulu", "hub:org/texts#body")


def test_sizes_are_those_of_the_loaded_model(config: StudyConfig) -> None:
    path = config.models[0].path
    found = preview(path)
    loaded = checkpoints.load(path, dtype="float32")
    assert found.parameters == loaded.checkpoint.costs().parameters
    assert found.stored_dtype == "bfloat16"
    # As stored it would be on a GPU.
    floats = dataclasses.replace(config.generation, dtype="float32")
    (model,) = plan_study(dataclasses.replace(config, generation=floats), Path("absent")).models
    assert model.memory_bytes == 2 * memory_bytes(loaded.model)


def test_the_time_follows_from_finished_parts(config: StudyConfig, tmp_path: Path) -> None:
    name = config.configurations("tiny")[0]
    run = StudyFolder(tmp_path).run(name).path
    evaluate(config.models[0].path, run, questions=Bbq(config.bbq.source), generation=config.generation)
    about = json.loads((run / "run.json").read_text())
    about["sessions"][0] |= {"seconds": 6.0, "new_records": 12}
    (run / "run.json").write_text(json.dumps(about))
    asked = dataclasses.replace(config, perplexity=dataclasses.replace(config.perplexity, enabled=False))
    plan = plan_study(asked, tmp_path)
    assert plan.models[0].unfinished == 2
    assert plan.seconds == pytest.approx(2 * 12 * 0.5)
    assert plan.sampled == 0


def test_questions_of_the_hub_are_counted_without_being_read(real_data: Path) -> None:
    folder = real_data / "bbq"
    names = list(category_files(folder))
    for condition in ("ambig", "disambig", "all"):
        for excluded in (False, True):
            items = load_items(folder, categories=names, condition=condition, exclude_label_faults=excluded)
            assert hub_count(names, condition, None, excluded) == len(items)
    assert hub_count(None, "ambig", 500, False) == 500
    assert hub_count(None, "ambig", None, False) == 12_148
    assert hub_count(BBQ_CATEGORIES, "all", None, False) == 58_492


ASK = """
import dataclasses, json, sys
from mlx_prune.checkpoint.preview import preview
print(json.dumps([dataclasses.asdict(preview(model)) for model in sys.argv[1:]]))
"""


FETCH = """
import json, sys
from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.checkpoint.preview import preview
folder = Checkpoint(sys.argv[1]).path
total = sum(file.stat().st_size for file in folder.iterdir())
print(json.dumps([total, preview(sys.argv[1]).download_bytes]))
"""


def test_the_hub_is_asked_for_sizes_and_nothing_is_downloaded(hub: HubServer, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", "llama", dtype="bfloat16", shards=2)
    hub.add_repo("org/model", folder)
    hub.add_repo("org/pickles", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    told = hub.python(tmp_path / "home", "-c", ASK, "org/model", "org/pickles", "org/none")
    assert told.returncode == 0, told.stderr
    found, pickles, none = json.loads(told.stdout)
    here = preview(folder)
    weights = sum(file.stat().st_size for file in folder.glob("model*.safetensors"))
    assert found["parameters"] == here.parameters
    assert found["stored_dtype"] == "bfloat16"
    assert found["n_bytes"] == weights
    assert "has no safetensors files" in pickles["note"]
    assert "The Hub cannot be asked about org/none (" in none["note"]
    assert none["download_bytes"] is None
    assert not list((tmp_path / "home").rglob("*.safetensors"))
    # What loading does fetch, and what is known afterwards.
    fetched = hub.python(tmp_path / "home", "-c", FETCH, "org/model")
    assert fetched.returncode == 0, fetched.stderr
    total, after = json.loads(fetched.stdout)
    assert found["download_bytes"] == total
    assert after == 0


def test_without_a_network_the_sizes_are_not_known(tmp_path: Path) -> None:
    with HubServer() as hub:
        environment = hub.environment(tmp_path / "home")
    # Nobody listens there any more.
    told = subprocess.run(
        [sys.executable, "-c", ASK, "org/model"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    (found,) = json.loads(told.stdout)
    assert found["note"].startswith("The Hub cannot be asked about org/model (")
    assert (found["n_bytes"], found["download_bytes"]) == (None, None)


def test_packed_words_of_a_quantized_model_count_as_what_they_hold(tmp_path: Path) -> None:
    sizes = {"hidden_size": 64, "intermediate_size": 96, "vocab_size": 512}
    folder = save_tiny_model(tmp_path / "dense", "llama", **sizes)
    quantize_checkpoint(folder, tmp_path / "q4", Quantization(bits=4, group_size=32))
    assert preview(tmp_path / "q4").parameters == preview(folder).parameters
