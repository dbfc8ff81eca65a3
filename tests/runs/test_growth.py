"""A run grows with its limit, and is carried on where it stopped."""

import json
from dataclasses import replace

import pytest
from agreement import make_items
from record_tables import responses
from tiny_models import save_tiny_model

from mlx_prune.bbq.items import load_items
from mlx_prune.checkpoint import open as checkpoints
from mlx_prune.errors import RecordsError
from mlx_prune.runs.evaluate import evaluate
from mlx_prune.runs.folder import RunFolder
from mlx_prune.runs.items import read_items
from mlx_prune.runs.settings import Bbq, Generation

ITEMS = make_items(8)
SETTINGS = Generation(temperature=1.0, max_tokens=3, seeds=(42, 7))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", chat_template=None)


@pytest.fixture(scope="module")
def loaded(folder):
    return checkpoints.load(folder)


def test_a_run_grows_with_its_limit_and_equals_one_made_at_once(loaded, tmp_path):
    small = evaluate(loaded, tmp_path / "grown", questions=Bbq("demo", limit=6), generation=SETTINGS)
    grown = evaluate(loaded, tmp_path / "grown", questions=Bbq("demo", limit=11), generation=SETTINGS)
    assert grown.new_records == 5 * len(SETTINGS.seeds)
    at_once = evaluate(loaded, tmp_path / "once", questions=Bbq("demo", limit=11), generation=SETTINGS)
    assert responses(grown.table) == responses(at_once.table)
    assert set(responses(small.table)) < set(responses(grown.table))
    for key in ("configuration", "configuration_hash", "status", "totals", "items_available"):
        assert grown.info[key] == at_once.info[key]
    assert sum(grown.info["items_available"].values()) == 720
    asked = [read_items(RunFolder(tmp_path / name)) for name in ("grown", "once")]
    assert asked[0] == asked[1] == load_items("demo", limit=11)
    everything = evaluate(loaded, tmp_path / "grown", questions=Bbq("demo", limit=11), generation=SETTINGS)
    assert everything.new_records == 0


def test_only_a_larger_limit_grows_a_run(loaded, tmp_path):
    evaluate(loaded, tmp_path, questions=Bbq("demo", limit=6), generation=SETTINGS)
    for questions, generation in (
        (Bbq("demo", limit=5), SETTINGS),
        (Bbq("demo", limit=11, condition="all"), SETTINGS),
        (Bbq("demo", limit=11, categories=("Age",)), SETTINGS),
        (Bbq("demo", limit=11), replace(SETTINGS, temperature=0.5)),
    ):
        with pytest.raises(RecordsError, match="another configuration"):
            evaluate(loaded, tmp_path, questions=questions, generation=generation)
    assert RunFolder(tmp_path).about.entries["configuration"]["limit"] == 6


def test_a_killed_growth_is_carried_on(loaded, tmp_path):
    evaluate(loaded, tmp_path, questions=Bbq("demo", limit=6), generation=SETTINGS)

    def stop(report):
        if report.stage == "answer" and report.done > 6 * len(SETTINGS.seeds):
            raise KeyboardInterrupt

    grown = {"questions": Bbq("demo", limit=30), "generation": replace(SETTINGS, batch_size=2)}
    with pytest.raises(KeyboardInterrupt):
        evaluate(loaded, tmp_path, **grown, progress=stop)
    assert RunFolder(tmp_path).about.entries["status"] == "running"
    assert evaluate(loaded, tmp_path, **grown).table.num_rows == 30 * len(SETTINGS.seeds)
    assert RunFolder(tmp_path).about.entries["status"] == "complete"


def test_a_run_killed_after_its_last_record_is_completed_by_the_same_call(loaded, tmp_path):
    evaluate(loaded, tmp_path, questions=ITEMS, generation=SETTINGS)
    data = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**data, "status": "running"}))
    assert evaluate(loaded, tmp_path, questions=ITEMS, generation=SETTINGS).new_records == 0
    assert RunFolder(tmp_path).about.entries["status"] == "complete"
