"""Models and BBQ by Hub id, from a Hub on loopback, each in a process of its own with empty caches."""

from __future__ import annotations

import json
import pickle
import socket
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_handler import TOKEN
from hub_server import HubServer
from tiny_models import save_tiny_model

from mlx_prune.bbq.hub import HUB_DATASET, HUB_REVISION
from mlx_prune.bbq.items import load_items

LOAD_MODEL = """
import sys
from mlx_prune.checkpoint.open import load
from mlx_prune.errors import MlxPruneError
try:
    model = load(sys.argv[1])
except MlxPruneError as error:
    sys.exit(str(error))
print(model.path)
"""
LOAD_ITEMS = """
import dataclasses, json, sys
from mlx_prune.bbq.items import load_items
from mlx_prune.errors import MlxPruneError
try:
    items = load_items("hub", categories=sys.argv[1:] or None, condition="all")
except MlxPruneError as error:
    sys.exit(str(error))
print(json.dumps([dataclasses.asdict(item) for item in items]))
"""


class Trap:
    """Unpickling this breaks the process."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (SystemExit, ("unpickled",))


@pytest.fixture
def closed_endpoint() -> str:
    """An address where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def assert_one_sentence(text: str) -> None:
    text = text.strip()
    assert text, "no message"
    assert "\n" not in text
    assert "Traceback" not in text
    assert TOKEN not in text


def test_model_by_id_fetches_weights_and_tokenizer_but_no_pickle_and_no_code(hub: HubServer, tmp_path: Path):
    source = save_tiny_model(tmp_path / "source", "llama", shards=2)
    (source / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    (source / "training_args.pt").write_bytes(pickle.dumps(Trap()))
    (source / "modeling_tiny.py").write_text("raise SystemExit('code was run')\n")
    hub.add_repo("org/tiny", source)
    done = hub.python(tmp_path, "-c", LOAD_MODEL, "org/tiny")
    assert done.returncode == 0, done.stderr
    fetched = {path.name: path.read_bytes() for path in Path(done.stdout.strip()).iterdir()}
    wanted = {path.name for path in source.iterdir()}
    assert set(fetched) == wanted - {"pytorch_model.bin", "training_args.pt", "modeling_tiny.py"}
    assert all(data == (source / name).read_bytes() for name, data in fetched.items())
    assert not hub.paths_requested(r"\.(bin|pt|py)$")


@pytest.mark.parametrize("shards", [1, 2])
def test_model_by_id_fetches_no_second_copy_of_the_weights(hub: HubServer, tmp_path: Path, shards: int):
    source = save_tiny_model(tmp_path / "source", "mistral", shards=shards)
    weights = {path.name for path in source.glob("*.safetensors")}
    files = {path.name: path.read_bytes() for path in source.iterdir()}
    copies = [
        "consolidated.safetensors",
        "original/model-00001-of-00001.safetensors",
        "original/x.safetensors",
    ]
    if shards > 1:
        copies.append("model-other.safetensors")
    hub.add_repo("org/double", files | dict.fromkeys(copies, b"the same weights in another format"))
    done = hub.python(tmp_path, "-c", LOAD_MODEL, "org/double")
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.safetensors")} == weights
    assert not [path for name in copies for path in hub.paths_requested(name)]


def test_damaged_index_on_the_hub_is_one_sentence(hub: HubServer, tmp_path: Path):
    source = save_tiny_model(tmp_path / "source", "llama", shards=2)
    (source / "model.safetensors.index.json").write_text('{"weight_map": [1]}')
    hub.add_repo("org/damaged", source)
    refused = hub.python(tmp_path, "-c", LOAD_MODEL, "org/damaged")
    assert refused.returncode == 1
    assert_one_sentence(refused.stderr)
    assert "index" in refused.stderr


def test_second_load_by_id_downloads_nothing(hub: HubServer, tmp_path: Path):
    hub.add_repo("org/tiny", save_tiny_model(tmp_path / "source", "qwen3"))
    assert hub.python(tmp_path, "-c", LOAD_MODEL, "org/tiny").returncode == 0
    hub.requests.clear()
    assert hub.python(tmp_path, "-c", LOAD_MODEL, "org/tiny").returncode == 0
    assert not hub.paths_requested("^GET /org/tiny/resolve")


def test_model_that_is_not_on_the_hub_is_one_sentence(hub: HubServer, tmp_path: Path):
    refused = hub.python(tmp_path, "-c", LOAD_MODEL, "org/absent")
    assert refused.returncode == 1
    assert_one_sentence(refused.stderr)
    assert "org/absent" in refused.stderr


def test_private_model_without_login_is_one_sentence(hub: HubServer, tmp_path: Path):
    hub.add_repo("org/secret", save_tiny_model(tmp_path / "source"), private=True)
    refused = hub.python(tmp_path, "-c", LOAD_MODEL, "org/secret", token=False)
    assert refused.returncode == 1
    assert_one_sentence(refused.stderr)


def test_repository_without_a_model_is_one_sentence(hub: HubServer, tmp_path: Path):
    hub.add_repo("org/pickles", {"pytorch_model.bin": pickle.dumps(Trap()), "config.json": b"{}"})
    refused = hub.python(tmp_path, "-c", LOAD_MODEL, "org/pickles")
    assert refused.returncode == 1
    assert_one_sentence(refused.stderr)
    assert "safetensors" in refused.stderr


def test_unreachable_hub_is_one_sentence(hub: HubServer, closed_endpoint: str, tmp_path: Path):
    hub.endpoint = closed_endpoint
    refused = hub.python(tmp_path, "-c", LOAD_MODEL, "org/tiny")
    assert refused.returncode == 1
    assert_one_sentence(refused.stderr)


@pytest.mark.parametrize(("code", "argument"), [(LOAD_MODEL, "org/tiny"), (LOAD_ITEMS, "Age")])
def test_offline_mode_without_a_cached_copy_is_one_sentence(
    hub: HubServer, tmp_path: Path, code: str, argument: str
):
    refused = hub.python(tmp_path, "-c", code, argument, HF_HUB_OFFLINE="1")
    assert refused.returncode == 1
    assert_one_sentence(refused.stderr)
    assert not hub.requests


def test_cached_model_loads_when_the_hub_is_unreachable(hub: HubServer, closed_endpoint: str, tmp_path: Path):
    hub.add_repo("org/tiny", save_tiny_model(tmp_path / "source"))
    first = hub.python(tmp_path, "-c", LOAD_MODEL, "org/tiny")
    hub.endpoint = closed_endpoint
    again = hub.python(tmp_path, "-c", LOAD_MODEL, "org/tiny")
    assert again.returncode == 0, again.stderr
    assert again.stdout == first.stdout


def elfsong_rows(category: str) -> list[dict[str, Any]]:
    """Four rows of one category in the columns of Elfsong/BBQ: both polarities, both conditions."""
    rows = []
    for number, (polarity, condition) in enumerate(
        (polarity, condition) for polarity in ("neg", "nonneg") for condition in ("ambig", "disambig")
    ):
        target = 0 if polarity == "neg" else 2
        rows.append(
            {
                "category": category,
                "example_id": number,
                "question_index": "1",
                "question_polarity": polarity,
                "context_condition": condition,
                "context": f"A and B of {category} were at the lake. {'A slept.' * (condition != 'ambig')}",
                "question": f"Who was {polarity}?",
                "ans0": "A",
                "ans1": "Not known",
                "ans2": "B",
                "answer_info": {"ans0": ["A", "old"], "ans1": ["x", "unknown"], "ans2": ["B", "nonOld"]},
                "answer_label": 1 if condition == "ambig" else 0,
                "target_label": target,
                "additional_metadata": {"stereotyped_groups": ["old"], "known_stereotyped_groups": "old"},
            }
        )
    return rows


@pytest.fixture
def bbq_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "bbq" / "data"
    folder.mkdir(parents=True)
    for category in ("Age", "Religion"):
        table = pa.Table.from_pylist(elfsong_rows(category))
        pq.write_table(table, folder / f"{category.lower()}-00000-of-00001.parquet")
    return folder


def test_items_by_hub_id_equal_those_of_the_same_files_in_a_folder(
    hub: HubServer, bbq_folder: Path, tmp_path: Path
):
    hub.add_repo(HUB_DATASET, bbq_folder.parent, kind="dataset", sha=HUB_REVISION)
    done = hub.python(tmp_path, "-c", LOAD_ITEMS, "Age", "Religion")
    assert done.returncode == 0, done.stderr
    items = json.loads(done.stdout)
    local = load_items(bbq_folder, categories=["Age", "Religion"], condition="all")
    assert len(items) == len(local) == 8
    for fetched, item in zip(items, local, strict=True):
        assert fetched.pop("where")
        assert fetched == {name: jsonable(getattr(item, name)) for name in fetched}
    assert [item["stereotype_target_index"] for item in items[:4]] == [0, 0, 2, 2]
    offline = hub.python(tmp_path, "-c", LOAD_ITEMS, "Age", "Religion", HF_HUB_OFFLINE="1")
    assert offline.stdout == done.stdout


def jsonable(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def test_items_that_the_hub_does_not_have_are_one_sentence(hub: HubServer, bbq_folder: Path, tmp_path: Path):
    refused = hub.python(tmp_path / "a", "-c", LOAD_ITEMS, "Age")
    assert refused.returncode == 1
    assert_one_sentence(refused.stderr)
    hub.add_repo(HUB_DATASET, bbq_folder.parent, kind="dataset", sha=HUB_REVISION)
    refused = hub.python(tmp_path / "b", "-c", LOAD_ITEMS, "SES")
    assert refused.returncode == 1
    assert_one_sentence(refused.stderr)
    assert "ses" in refused.stderr
