"""A run's questions are kept beside its answers, and are read only if they are the ones that were asked."""

import dataclasses
import json

import pytest
from agreement import make_items

from mlx_prune.bbq.items import load_items
from mlx_prune.errors import RecordsError
from mlx_prune.runs.folder import RunFolder
from mlx_prune.runs.items import ITEMS_FILE, items_fingerprint, read_items, write_items


@pytest.fixture
def kept(tmp_path):
    """A run's folder and its questions, some of them odd."""
    odd = dataclasses.replace(
        make_items(4)[3],
        context="Both\nare <b>new</b> & “old” \u2028 here.",
        stereotype_target_index=None,
        anti_stereotype_target_index=None,
    )
    items = [*load_items("demo", condition="all", limit=40), odd]
    write_items(tmp_path, items)
    asked = {"items": items_fingerprint(items)}
    (tmp_path / "run.json").write_text(json.dumps({"format": 1, "configuration": asked}))
    return tmp_path, items


def test_items_fingerprint_sees_every_text_and_index_and_the_order():
    items = make_items(3)
    changed = [
        dataclasses.replace(items[0], label=(items[0].label + 1) % 3),
        dataclasses.replace(items[0], stereotype_target_index=None),
        dataclasses.replace(items[0], context=items[0].context + "!"),
    ]
    prints = {items_fingerprint([item, *items[1:]]) for item in [items[0], *changed]}
    assert len({*prints, items_fingerprint(items[::-1])}) == 5


def test_where_an_item_comes_from_and_its_group_are_no_part_of_it():
    (item,) = make_items(1)
    other = dataclasses.replace(item, group="old", where="elsewhere")
    assert items_fingerprint([item]) == items_fingerprint([other])
    assert item == other


def test_questions_come_back_as_they_were_asked(kept):
    run, items = kept
    found = read_items(RunFolder(run))
    assert found == items
    assert [item.group for item in found] == [item.group for item in items]
    assert {type(item.answers) for item in found} == {tuple}


def test_other_questions_than_those_asked_are_refused(kept):
    run, items = kept
    write_items(run, [dataclasses.replace(items[0], question="Who was it?"), *items[1:]])
    with pytest.raises(RecordsError, match=r"holds other questions than .* was asked"):
        read_items(RunFolder(run))


def test_a_truncated_file_and_an_absent_one_are_one_sentence(kept):
    run, _ = kept
    file = run / ITEMS_FILE
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(RecordsError, match=r"items\.parquet is damaged, .* evaluate again") as raised:
        read_items(RunFolder(run))
    assert ". " not in str(raised.value)
    file.unlink()
    with pytest.raises(RecordsError, match="keeps no texts of its questions"):
        read_items(RunFolder(run))
