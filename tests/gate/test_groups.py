"""The limit on social groups: the rises are those of the report's table, and few templates are told."""

import pytest
from command_line import done
from gate_studies import only
from kept_texts import keep_texts

from mlx_prune.gate.judge import gate
from mlx_prune.gate.limits import PASS, UNDECIDED, Limits
from mlx_prune.gate.sources import measured_run
from mlx_prune.report.data import read_study
from mlx_prune.report.tables.groups import GroupRate

LIMIT = {"group_srs_rise": 0.9}


def sides(study):
    return [measured_run(study / "runs" / "alpha" / name) for name in ("dense-s0", "wanda-s70")]


def test_rises_are_those_of_the_table_and_groups_of_few_templates_are_named(copy):
    keep_texts(copy, ("north", "south"))
    result = gate(*sides(copy), only(**LIMIT))
    rows = [
        row
        for row in GroupRate.of_study(read_study(copy))
        if row.configuration.folder == "wanda-s70" and row.clusters >= 6
    ]
    found = {check.estimate.scope: check.estimate for check in result.checks}
    assert set(found) == {f"{row.category}: {row.group}" for row in rows}
    assert len(found) >= 4
    for row in rows:
        one = found[f"{row.category}: {row.group}"]
        assert (one.value, one.low, one.high) == (row.srs_delta.value, row.srs_delta.low, row.srs_delta.high)
        assert one.size == row.n_items
    assert {check.outcome for check in result.checks} <= {PASS, UNDECIDED}
    assert "2 social groups cannot be judged" in result.warnings[-1]
    assert "SES: north and SES: south" in result.warnings[-1]


def test_without_texts_the_limit_is_unmeasured_and_without_a_limit_nothing_is_read(copy):
    dense, candidate = sides(copy)
    assert gate(dense, candidate, only(**LIMIT)).unmeasured == ("group_srs_rise",)
    assert Limits().group_srs_rise is None
    assert not any(c.estimate.measure == "group_srs_rise" for c in gate(dense, candidate).checks)


@pytest.mark.parametrize("limit", ["0.9", "off"])
def test_the_command_takes_the_limit(copy, capsys, limit):
    keep_texts(copy)
    off = [f"--max-{name}=off" for name in ("srs-rise", "category-srs-rise", "emergence", "usr-drop")]
    off += ["--max-perplexity-rise=off", "--max-unanswered=50", "--allow-undecided"]
    found = done(["gate", copy, *off, f"--max-group-srs-rise={limit}"], capsys)
    measures = {check["measure"] for one in found["candidates"] for check in one["checks"]}
    assert ("group_srs_rise" in measures) == (limit != "off")
