"""Records are the model's own answers, complete, and of one configuration each."""

import json
from dataclasses import replace

import mlx.core as mx
import pytest
from agreement import make_items
from record_tables import assert_same_records, responses
from tiny_models import save_tiny_model

from mlx_prune.bbq.prompts import PromptBuilder
from mlx_prune.checkpoint import open as checkpoints
from mlx_prune.configuration import Configuration
from mlx_prune.errors import CheckpointError, DataError, RecordsError
from mlx_prune.generation.interface import Prompt
from mlx_prune.generation.sequential import SequentialEngine
from mlx_prune.kernels import choice
from mlx_prune.paths import short_name
from mlx_prune.runs.evaluate import evaluate
from mlx_prune.runs.folder import RunFolder
from mlx_prune.runs.records import read_records
from mlx_prune.runs.settings import Bbq, Generation

ITEMS = make_items(8)
SETTINGS = Generation(temperature=1.0, max_tokens=3, seeds=(42, 7))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", chat_template=None)


@pytest.fixture(scope="module")
def loaded(folder):
    return checkpoints.load(folder)


@pytest.fixture(scope="module")
def reference(loaded):
    """One call of stream_generate per item and seed, through the project's sampler."""
    builder = PromptBuilder(loaded.tokenizer)
    engine = SequentialEngine(loaded.model, loaded.tokenizer, SETTINGS.settings)
    return {
        (item.item_id, seed): engine.one(Prompt(item.item_id, tuple(builder.tokens(item))), seed)[0].text
        for item in ITEMS
        for seed in SETTINGS.seeds
    }


@pytest.mark.parametrize("engine", ["batched", "sequential"])
def test_records_are_the_answers_of_stream_generate_in_order(loaded, reference, engine):
    evaluation = evaluate(loaded, questions=ITEMS, generation=replace(SETTINGS, engine=engine))
    assert list(responses(evaluation.table)) == list(reference)
    assert responses(evaluation.table) == reference
    times = evaluation.table["elapsed_s"].to_pylist()
    assert all(time is None for time in times) if engine == "batched" else all(time > 0 for time in times)
    assert evaluation.new_records == 16
    assert evaluation.path is None
    assert evaluation.info["configuration"]["engine"] == engine
    assert evaluation.info["engine_note"] == ""
    assert evaluation.rates.overall.n_answers == 16


def test_the_engines_agree_on_probabilities(loaded):
    batched = evaluate(loaded, questions=ITEMS, generation=SETTINGS).table
    sequential = evaluate(loaded, questions=ITEMS, generation=replace(SETTINGS, engine="sequential")).table
    assert_same_records(batched, sequential, but=["elapsed_s"])


def test_a_finished_run_is_not_done_again(loaded, tmp_path):
    first = evaluate(loaded, tmp_path, questions=ITEMS, generation=SETTINGS)
    parts = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "records").iterdir()}
    second = evaluate(loaded, tmp_path, questions=ITEMS, generation=SETTINGS)
    assert (first.new_records, second.new_records) == (16, 0)
    assert second.table.equals(first.table)
    assert parts == {p.name: p.stat().st_mtime_ns for p in (tmp_path / "records").iterdir()}
    data = RunFolder(tmp_path).about.entries
    assert (data["status"], data["totals"]) == ("complete", {"items": 8, "records": 16})
    assert len(data["sessions"]) == 1


def test_a_run_tells_which_kernels_ran_before_it_was_complete(loaded, tmp_path, monkeypatch):
    monkeypatch.setattr(choice, "_process", choice.KernelRecord())
    evaluate(loaded, tmp_path / "first", questions=ITEMS, generation=SETTINGS)
    assert RunFolder(tmp_path / "first").about.entries["kernels"] == {"ran": {}, "faults": {}}
    choice.note("prune_rows", mx.float32, "metal")
    choice.note("prune_rows", mx.float16, choice.PORTABLE, "failed")
    wanted = {
        "ran": {"prune_rows": {"float32": ["metal"], "float16": ["portable"]}},
        "faults": {"prune_rows": {"float16": "failed"}},
    }
    evaluate(loaded, tmp_path / "second", questions=ITEMS, generation=SETTINGS)
    assert RunFolder(tmp_path / "second").about.entries["kernels"] == wanted
    assert evaluate(loaded, questions=ITEMS, generation=SETTINGS).info["kernels"] == wanted


@pytest.mark.parametrize("engine", ["batched", "sequential"])
def test_an_interrupted_run_carries_on(loaded, reference, tmp_path, engine):
    class StopError(Exception):
        pass

    def stop_after_some(report):
        if report.stage == "answer" and report.done >= 4:
            raise StopError

    arguments = {"questions": ITEMS, "generation": replace(SETTINGS, engine=engine, batch_size=3)}
    with pytest.raises(StopError):
        evaluate(loaded, tmp_path, **arguments, progress=stop_after_some)
    before = read_records(tmp_path).num_rows
    assert 0 < before < 16
    assert RunFolder(tmp_path).about.entries["status"] == "running"
    rest = evaluate(loaded, tmp_path, **arguments)
    assert rest.new_records == 16 - before
    assert responses(rest.table) == reference
    assert list(responses(rest.table)) == list(reference)
    assert read_records(tmp_path).num_rows == 16


def test_missing_seeds_of_an_item_are_filled_in(loaded, reference, tmp_path):
    import pyarrow.parquet as pq

    evaluate(loaded, tmp_path, questions=ITEMS, generation=SETTINGS)
    for part in (tmp_path / "records").iterdir():
        table = pq.read_table(part)
        keep = [row for row, seed in enumerate(table["seed"].to_pylist()) if seed == 42 or row % 4 == 0]
        pq.write_table(table.take(keep), part)
    left = read_records(tmp_path).num_rows
    evaluation = evaluate(loaded, tmp_path, questions=ITEMS, generation=SETTINGS)
    assert evaluation.new_records == 16 - left > 0
    assert responses(evaluation.table) == reference


def test_force_redoes_the_records(loaded, tmp_path):
    evaluate(loaded, tmp_path, questions=ITEMS, generation=SETTINGS)
    again = evaluate(loaded, tmp_path, questions=ITEMS, generation=SETTINGS, force=True)
    assert again.new_records == 16
    assert read_records(tmp_path).num_rows == 16


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"generation": replace(SETTINGS, temperature=0.5)}, "temperature"),
        ({"generation": replace(SETTINGS, noise="seed")}, "noise"),
        ({"questions": ITEMS[:-1]}, "items"),
        ({"generation": replace(SETTINGS, engine="sequential")}, "engine"),
        ({"stamp": Configuration("tiny", "wanda", 50.0)}, "sparsity"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_folder_of_another_configuration_is_refused(loaded, tmp_path, changes, field):
    evaluate(loaded, tmp_path, questions=ITEMS[:2], generation=SETTINGS)
    arguments = {"questions": ITEMS[:2], "generation": SETTINGS, **changes}
    with pytest.raises(RecordsError, match=rf"another configuration.*\b{field} \("):
        evaluate(loaded, tmp_path, **arguments)


def test_a_model_with_other_weights_is_refused(loaded, tmp_path):
    run = tmp_path / "run"
    evaluate(loaded, run, questions=ITEMS[:2], generation=SETTINGS)
    other = checkpoints.load(save_tiny_model(tmp_path / "tiny", chat_template=None, seed=1))
    with pytest.raises(RecordsError, match=r"differs in weights"):
        evaluate(other, run, questions=ITEMS[:2], generation=SETTINGS)


def test_a_model_moved_to_another_folder_of_its_name_is_the_same_model(folder, tmp_path):
    import shutil

    evaluate(folder, tmp_path / "run", questions=ITEMS[:2], generation=SETTINGS)
    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "tiny")
    assert evaluate(moved, tmp_path / "run", questions=ITEMS[:2], generation=SETTINGS).new_records == 0


def test_verify_replays_records_and_finds_what_was_altered(loaded, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    sound = evaluate(loaded, tmp_path, questions=ITEMS, generation=SETTINGS, verify=100).verification
    assert (sound.records, sound.identical, sound.same_answer, sound.disagreements) == (16, 16, 16, ())
    part = next((tmp_path / "records").iterdir())
    table = pq.read_table(part)
    texts = table["raw_response"].to_pylist()
    texts[1] = "altered"
    index = table.column_names.index("raw_response")
    pq.write_table(table.set_column(index, "raw_response", pa.array(texts)), part)
    caught = evaluate(loaded, tmp_path, questions=ITEMS, generation=SETTINGS, verify=100).verification
    assert (caught.records, caught.identical) == (16, 15)
    assert [d.recorded for d in caught.disagreements] == ["altered"]
    assert (
        evaluate(loaded, tmp_path, questions=ITEMS, generation=SETTINGS, verify=3).verification.records == 3
    )
    assert RunFolder(tmp_path).about.entries["sessions"][0]["verified"]["identical"] == 16


def test_progress_counts_records_up_to_the_end(loaded):
    reports = []
    evaluate(
        loaded,
        questions=ITEMS,
        generation=replace(SETTINGS, batch_size=3),
        progress=reports.append,
    )
    counts = [(r.done, r.total) for r in reports if r.stage == "answer"]
    assert counts[0] == (0, 16)
    assert counts[-1] == (16, 16)
    assert counts == sorted(counts)
    assert len(counts) > 3


def test_a_pruned_checkpoint_stamps_its_records(folder, tmp_path):
    import shutil

    pruned = shutil.copytree(folder, tmp_path / "tiny-wanda")
    meta = {"model": "org/tiny", "method": "wanda", "target_sparsity": 50.0, "pattern": "2:4"}
    (pruned / "pruning_meta.json").write_text(json.dumps(meta))
    row = evaluate(pruned, questions=ITEMS[:1], generation=SETTINGS).table.to_pylist()[0]
    assert (row["model"], row["prune_method"], row["pattern"], row["sparsity"]) == (
        "tiny",
        "wanda",
        "2:4",
        50.0,
    )
    (pruned / "pruning_meta.json").write_text('{"method": 3')
    with pytest.raises(CheckpointError, match=r"pruning_meta\.json is not valid JSON"):
        evaluate(pruned, questions=ITEMS[:1], generation=SETTINGS)


def test_a_dense_checkpoint_is_called_by_its_folder(folder, monkeypatch):
    table = evaluate(folder, questions=ITEMS[:1], generation=SETTINGS).table
    assert set(table["model"].to_pylist()) == {"tiny"}
    assert set(table["prune_method"].to_pylist()) == {"dense"}
    assert short_name("google/gemma-2-9b-it", folder) == "gemma-2-9b-it"
    assert short_name(".", folder) == "tiny"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"generation": {"engine": "fast"}}, "engine is 'fast'"),
        ({"generation": {"batch_size": 0}}, "batch_size is a whole number from 1 upwards, not 0"),
        ({"verify": -1}, "cannot verify -1"),
        ({"questions": []}, "no items"),
        ({"questions": [ITEMS[0], ITEMS[0]]}, "share an item_id"),
        ({"generation": {"dtype": "bfloat16"}}, "loaded already"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_senseless_arguments_are_refused_before_any_work(loaded, tmp_path, arguments, message):
    run = tmp_path / "run"

    def ask(generation=None, **rest):
        asked = replace(SETTINGS, **(generation or {}))
        evaluate(loaded, run, **{"questions": ITEMS, "generation": asked, **rest})

    with pytest.raises(DataError, match=message):
        ask(**arguments)
    assert not run.exists()


def test_original_items_can_be_asked(folder, real_data):
    evaluation = evaluate(
        folder, questions=Bbq(str(real_data / "bbq"), limit=6, condition="all"), generation=SETTINGS
    )
    assert evaluation.table.num_rows == 12
    assert evaluation.info["configuration"]["bbq"] == "bbq"
    assert evaluation.info["prompt"]["system_placement"] == "plain"
