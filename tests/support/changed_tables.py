"""A report's tables with other values in some cells, for tests of what is said about them."""

from dataclasses import replace

from mlx_prune.report.tables.table import Table


def with_rows(tables, name, change):
    """The tables, one of them with changed rows; ``change`` makes a row's values, by column, other ones."""
    table = tables[name]
    rows = (with_values(row, change(row.record())) for row in table.rows)
    return replace(tables, **{name: Table.of(table.row_type, rows)})


def with_values(row, values):
    """The row with these values, by column name."""
    parts = {}
    for column in type(row).schema().columns:
        field, _, part = column.path.partition(".")
        if column.name in values:
            parts.setdefault(field, {})[part] = values[column.name]
    fields = {
        field: replace(getattr(row, field), **changes) if "" not in changes else changes[""]
        for field, changes in parts.items()
    }
    return replace(row, **fields)
