"""What the tests of the gate share: a small grid, limits one at a time, answers that are not understood."""

import pyarrow as pa
import pyarrow.parquet as pq
from report_study import GRID

from mlx_prune.gate.limits import MEASURES, Limits

SMALL = (GRID[0], GRID[6], GRID[9])


def only(**limits):
    """These limits and no others."""
    return Limits(**{name: limits.get(name) for name in MEASURES})


def mumble(folder, share, category=None):
    """Leave the letters of the first answers of a run, or of a category, to the last parsing rule."""
    for part in (folder / "records").glob("*.parquet"):
        table = pq.read_table(part)
        rules = table["parse_rule"].to_pylist()
        places = [row for row, name in enumerate(table["category"].to_pylist()) if category in (None, name)]
        for row in places[: int(share * len(places))]:
            rules[row] = "first_character"
        place = table.schema.get_field_index("parse_rule")
        column = pa.array(rules).cast(table.schema.field("parse_rule").type)
        pq.write_table(table.set_column(place, "parse_rule", column), part)
