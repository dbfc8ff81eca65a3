"""Every table has the columns and types that its schema declares, whatever a study holds."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from mixed_study import write_mixed_study
from random_study import GRID, random_records, write_study
from silent_study import write_silent_study

from mlx_prune.configuration import Configuration
from mlx_prune.report.tables.build import Tables
from mlx_prune.report.tables.meanings import MEANINGS, RATES
from mlx_prune.report.tables.reference import reference, row_types
from mlx_prune.report.tables.rows import Rated
from mlx_prune.report.tables.table import About, Interval, Table, column
from mlx_prune.report.write import report_tables

DENSE = GRID[:1]
WANDA, PATTERN = ("wanda", 50.0, None), ("wanda", 50.0, "2:4")


def of_grid(*grid):
    return lambda folder: write_study(folder, random_records(2, models=("alpha",), items=12, grid=grid))


STUDIES = {
    "dense only": of_grid(*DENSE),
    "one method": of_grid(*DENSE, WANDA),
    "a pattern": of_grid(*DENSE, PATTERN),
    "without dense": of_grid(WANDA, PATTERN),
    "silent": lambda folder: write_silent_study(folder, items=15),
    "mixed": lambda folder: write_mixed_study(folder, models=("alpha",), items=12),
}


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    return {name: report_tables(write(tmp_path_factory.mktemp("study"))) for name, write in STUDIES.items()}


def test_arrow_schemas_of_different_studies_are_equal(studies):
    first, *others = (
        {name: t.to_arrow().schema for name, t in tables.items()} for tables in studies.values()
    )
    assert len(first) == len(row_types()) == 32
    assert all(other == first for other in others)
    assert str(first["overall"].field("pattern").type) == "string"


def test_cells_are_of_their_column_s_type(studies):
    for tables in studies.values():
        for table in tables.values():
            for cells in table.cells:
                for entry, value in zip(table.schema.columns, cells, strict=True):
                    assert value is None or type(value) is entry.kind, (table.name, entry.name)


def test_every_table_goes_by_its_name_and_explains_its_columns(studies):
    for name, table in studies["mixed"].items():
        assert table.name == name
        assert getattr(studies["mixed"], name) is table
        assert all(entry.meaning for entry in table.schema.columns), name
        assert len(set(table.columns)) == len(table.columns)


def test_meanings_and_rates_are_of_columns_that_there_are():
    names = {entry.name for row_type in row_types() for entry in row_type.schema().columns}
    assert names >= MEANINGS.keys()
    assert names >= RATES


def test_the_page_of_tables_is_that_of_the_schemas():
    page = Path(__file__).parents[2] / "docs" / "tables.md"
    assert page.read_text(encoding="utf-8") == reference()


def test_tables_are_a_mapping_in_the_order_of_a_report(studies):
    tables = studies["one method"]
    assert isinstance(tables, Tables)
    assert next(iter(tables)) == "rates"
    assert [*tables][-1] == "published"
    with pytest.raises(KeyError):
        tables["no table"]


@dataclass(frozen=True, kw_only=True)
class Toy(Rated):
    about = About("toy", "A toy", "For tests.")

    srs: float | None
    gap: Interval
    ratio: Interval = column("a ratio", names=("ratio", "low", "high"))
    found: int | None = None


def toy(**changes):
    plain = {"actual_sparsity": None, "answered": 0.25, "too_few_answered": False, "srs": 0.5}
    plain |= {"configuration": Configuration("alpha", "wanda", 50.0), "gap": Interval(0.1, -0.2, 0.3)}
    return Toy(**plain | {"ratio": Interval()} | changes)


def test_configurations_and_intervals_are_several_columns():
    names = ("model", "prune_method", "pattern", "sparsity", "actual_sparsity", "answered")
    names += ("too_few_answered", "srs", "gap", "gap_low", "gap_high", "ratio", "low", "high", "found")
    assert Toy.schema().names == names
    record = toy().record()
    assert tuple(record) == names
    shown = (record["prune_method"], record["gap"], record["gap_low"], record["low"])
    assert shown == ("wanda", 0.1, -0.2, None)


def test_numbers_of_numpy_become_plain_and_nan_becomes_none():
    row = toy(srs=np.float64("nan"), found=np.int64(3), too_few_answered=np.bool_(True), gap=Interval(np.nan))
    assert row.srs is None
    assert (type(row.found), type(row.too_few_answered), row.gap.value) == (int, bool, None)


def test_an_interval_with_an_end_that_is_unknown_or_infinite_has_no_ends():
    assert Interval(0.1, -0.2, 0.3).ends == (-0.2, 0.3)
    assert Interval(0.1, None, 0.3).ends is Interval(0.1, 0.0, np.inf).ends is None


def test_rows_are_found_by_their_columns_and_rates_of_too_few_answers_are_struck():
    table = Table.of(Toy, [toy(), toy(too_few_answered=True, gap=Interval(0.7))])
    assert table.where(gap=0.7, prune_method="wanda").rows == table.rows[1:]
    assert table.column("sparsity") == [50.0, 50.0]
    assert [line.count("~~0.5~~") for line in table.to_markdown().splitlines()] == [0, 0, 0, 1]
    with pytest.raises(KeyError):
        table.where(nothing=1)


def test_an_empty_table_has_its_columns_in_every_format():
    table = Table(Toy, ())
    assert table.to_csv().strip().split(",") == list(Toy.schema().names)
    assert table.to_arrow().column_names == list(Toy.schema().names)
    assert table.records() == []
