"""What would be published: complete and clean folders, names, and nothing that tells of this machine."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hub_handler import USER
from pruned_checkpoint import REPO, save_checkpoint
from recorded_run import SEEDS, save_run
from recovering import recovered_copy, write_text
from tiny_models import save_tiny_model

from mlx_prune.checkpoint.adapters import ADAPTERS_CONFIG, ADAPTERS_FILE
from mlx_prune.checkpoint.record import META_FILE
from mlx_prune.cli.main import run
from mlx_prune.errors import CheckpointError, PublishError
from mlx_prune.pruning.job import write_copy
from mlx_prune.pruning.methods.quantize import Quantization
from mlx_prune.publishing.names import check_repo_id, repository_name
from mlx_prune.publishing.plan import plan_grid, plan_publication


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "checkpoint")


def test_grid_with_one_name_twice_is_refused_before_anything_is_sent(tmp_path: Path):
    for scope in ("blocks", "paper"):
        save_checkpoint(tmp_path / scope, scope=scope)
    with pytest.raises(PublishError, match="would both be"):
        plan_grid(tmp_path, USER)


def test_folder_without_checkpoints_is_refused(tmp_path: Path):
    with pytest.raises(PublishError, match="no checkpoint"):
        plan_grid(tmp_path, USER)


def truncate(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / META_FILE).unlink(), META_FILE),
        (lambda folder: (folder / "config.json").unlink(), "config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer"),
        (lambda folder: (folder / "model.safetensors").unlink(), "safetensors"),
        (truncate, "truncated"),
        (lambda folder: (folder / "optimizer.pt").write_bytes(pickle.dumps(1)), "pickle"),
        (lambda folder: (folder / "weights.npz").write_bytes(b"PK"), "pickle"),
        (lambda folder: (folder / "movie.mp4").write_bytes(b"x"), "movie.mp4"),
        (lambda folder: (folder / "sub").mkdir(), "sub"),
        (lambda folder: (folder / "adapters.safetensors").write_bytes(b"x"), "adapters.safetensors"),
    ],
)
def test_unfit_folder_is_refused_before_anything_is_sent(
    checkpoint: Path, damage: Callable[[Path], Any], said: str
):
    damage(checkpoint)
    with pytest.raises(CheckpointError, match=said):
        plan_publication(checkpoint, REPO)


def test_hidden_files_stay_at_home(checkpoint: Path):
    (checkpoint / ".DS_Store").write_bytes(b"x")
    (checkpoint / ".cache").mkdir()
    assert not any(name.startswith(".") for name in plan_publication(checkpoint, REPO).sizes)


def test_local_paths_are_not_published(tmp_path: Path):
    base = save_tiny_model(tmp_path / "home-of-jane" / "Base_Model")
    checkpoint = save_checkpoint(
        tmp_path / "out",
        model=str(base),
        calibration={"source": "/home-of-jane/text.txt", "samples": 8, "sequence_length": 64},
    )
    plan = plan_publication(checkpoint, USER)
    assert plan.repo_id == f"{USER}/base_model-wanda-s50-pia"
    assert all(b"jane" not in text for text in plan.texts.values())
    meta = json.loads(plan.texts[META_FILE])
    assert (meta["model"], meta["calibration"]["source"]) == ("Base_Model", "text.txt")


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("google/gemma-2-9b-it", "wanda", 50.0), "gemma-2-9b-it-wanda-s50-pia"),
        (("microsoft/Phi-3.5-mini-instruct", "random", 10), "phi-3.5-mini-instruct-random-s10-pia"),
        (("Mistral-7B-Instruct-v0.3", "magnitude", 12.5), "mistral-7b-instruct-v0.3-magnitude-s12.5-pia"),
        (("demo", "wanda", 50.0, "2:4"), "demo-wanda-s50-2of4-pia"),
        (("/a b/My Mödel--x..", "wanda", 50.0), "my-m-del-x-wanda-s50-pia"),
    ],
)
def test_repository_names_follow_the_published_pattern(arguments: tuple[Any, ...], name: str):
    assert repository_name(*arguments) == name
    check_repo_id(f"owner/{name}")


@pytest.mark.parametrize("repo_id", ["name", "a/b/c", "a/b--c", "a/.b", "a/b c", "a/", "/b", f"a/{'b' * 97}"])
def test_impossible_repository_ids_are_refused(repo_id: str):
    with pytest.raises(PublishError):
        check_repo_id(repo_id)
    with pytest.raises(PublishError):
        repository_name("b" * 97, "wanda", 50)


def test_adapters_of_a_recovery_go_along_and_its_paths_do_not(tmp_path: Path):
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 4, "head_dim": 16}
    base = save_tiny_model(tmp_path / "home-of-jane" / "Base_Model", **sizes)
    text = write_text(tmp_path / "home-of-jane" / "text.txt")
    write_copy(base, tmp_path / "q4", None, Quantization("affine", 4, 32))
    recovered_copy(tmp_path / "q4", tmp_path / "out", text, steps=1)
    plan = plan_publication(tmp_path / "out", REPO)
    assert {ADAPTERS_FILE, ADAPTERS_CONFIG} <= plan.sizes.keys()
    assert not any(b"home-of-jane" in content for content in plan.texts.values())
    card = plan.texts["README.md"].decode()
    assert f'folder = snapshot_download("{REPO}")' in card
    assert "load(folder, adapter_path=folder)" in card
    (tmp_path / "out" / ADAPTERS_FILE).unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        plan_publication(tmp_path / "out", REPO)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study with one saved checkpoint and its runs, in which every pruned answer fits the stereotype."""
    folder = tmp_path / "study"
    checkpoint = save_checkpoint(folder / "checkpoints" / "Tiny-wanda-s50")
    for name, option, entries in (
        ("dense-s0", 2, {"prune_method": "dense", "sparsity": 0.0}),
        ("wanda-s50", 0, {}),
    ):
        recorded = folder / "runs" / "Tiny" / name
        save_run(recorded, {(f"Age:{item}", seed): option for item in range(4) for seed in SEEDS}, **entries)
        (recorded / META_FILE).write_bytes((checkpoint / META_FILE).read_bytes())
    return folder


def test_grid_of_a_study_shows_what_the_study_measured_and_leaves_its_runs(study: Path):
    (plan,) = plan_grid(study, USER)
    assert plan.folder == study / "checkpoints" / "Tiny-wanda-s50"
    card = plan.texts["README.md"].decode()
    assert "| SRS, Age | 1.000" in card
    assert "| dense 0.000 (+1.000)" in card
    assert not any("measured" in warning for warning in plan.warnings)
    assert json.loads(plan.texts[META_FILE])["results"]["srs"] == {"value": 1.0, "dense": 0.0}


def test_run_named_on_the_command_line_is_on_the_card(
    study: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    # The base model is called like one on the Hub, which no test may ask.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    checkpoint, runs = study / "checkpoints" / "Tiny-wanda-s50", study / "runs" / "Tiny"
    words = ["publish", str(checkpoint), REPO, "--dry-run", "--json", "--run", str(runs / "wanda-s50")]
    assert run([*words, "--dense-run", str(runs / "dense-s0")]) == 0
    (shown,) = json.loads(capsys.readouterr().out)["would_publish"]
    assert "| SRS, Age | 1.000" in shown["card"]
    assert run([*words[:3], "--dry-run", "--dense-run", str(runs / "dense-s0")]) == 2
    assert run(["publish", str(study), USER, "--dry-run", "--run", str(runs / "wanda-s50")]) == 2


@pytest.mark.parametrize("method", ["magnitude", "width", "quantize"])
def test_a_folder_named_like_a_hub_id_is_not_taken_for_one_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
):
    save_tiny_model(tmp_path / "google" / "gemma-tiny", "llama", hidden_size=64, head_dim=32)
    monkeypatch.chdir(tmp_path)
    options = {
        "magnitude": ["-s", "50"],
        "width": ["-s", "50", "--scores", "magnitude"],
        "quantize": ["--bits", "4", "--group-size", "32"],
    }
    assert run(["prune", "google/gemma-tiny", "-m", method, *options[method], "-o", "out"]) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    plan = plan_publication(tmp_path / "out", f"{USER}/tiny")
    assert plan.record.model == "gemma-tiny"
    assert "google/gemma-tiny" not in plan.texts["README.md"].decode()
    assert "google/gemma-tiny" not in plan.texts[META_FILE].decode()
