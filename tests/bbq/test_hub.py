"""BBQ through the Hub's copy of it, read as the datasets library reads it."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bbq_rows import bbq_row, elfsong_row

from mlx_prune.bbq.hub import read_hub_category
from mlx_prune.bbq.rows import item_from_bbq
from mlx_prune.errors import DataError

CARD = """---
configs:
- config_name: default
  data_files:
  - split: age
    path: data/age-*
  - split: religion
    path: data/religion-*
---
"""


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """A data set folder laid out like Elfsong/BBQ, for the real ``datasets`` library."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "BBQ"
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    for category in ("Age", "Religion"):
        rows = [elfsong_row(number, category=category) for number in range(4)]
        table = pa.Table.from_pylist(rows)
        pq.write_table(table, folder / "data" / f"{category.lower()}-00000-of-00001.parquet")
    return folder


def test_a_split_read_through_datasets_gives_bbqs_items(dataset):
    items = read_hub_category("Religion", path=str(dataset), revision=None)
    expected = [item_from_bbq(bbq_row(n, category="Religion"), "Religion", "") for n in range(4)]
    assert items == expected


def test_progress_bars_of_datasets_are_as_before_afterwards(dataset, capfd):
    import datasets

    datasets.enable_progress_bars()
    read_hub_category("Age", path=str(dataset), revision=None)
    assert not datasets.are_progress_bars_disabled()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("category", ["SES", "Age"])
def test_what_cannot_be_loaded_is_one_sentence_with_a_way_out(dataset, category):
    path = dataset if category == "SES" else dataset / "absent"
    with pytest.raises(DataError, match="folder of BBQ JSONL files") as caught:
        read_hub_category(category, path=str(path), revision=None)
    assert "\n" not in str(caught.value)


def test_a_repeated_example_is_refused(dataset):
    table = pa.Table.from_pylist([elfsong_row(3), elfsong_row(3)])
    pq.write_table(table, dataset / "data" / "age-00000-of-00001.parquet")
    with pytest.raises(DataError, match="twice"):
        read_hub_category("Age", path=str(dataset), revision=None)
