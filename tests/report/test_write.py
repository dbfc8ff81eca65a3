"""``mlxprune report``: all files of a small study, written without MLX, and written again."""

import csv
import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest
from click.testing import CliRunner
from kept_texts import keep_texts
from report_study import GRID, write_full_study

from mlx_prune.cli.report import command
from mlx_prune.errors import RecordsError
from mlx_prune.report.figures.draw import FIGURES
from mlx_prune.report.write import write_report

SMALL = (GRID[0], GRID[8], ("wanda", 50.0, "2:4"))

# MLX and what loads it must not be touched, and not merely be absent from sys.modules at the end.
WITHOUT_MLX = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("mlx", "mlx_lm", "transformers", "datasets", "torch"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from mlx_prune.cli.main import run
sys.exit(run(["report", sys.argv[1], "--json"]))
"""


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A study whose report a process without MLX wrote, and what that process printed."""
    folder = write_full_study(tmp_path_factory.mktemp("study"), items=24, grid=SMALL)
    keep_texts(folder)
    made = subprocess.run(
        [sys.executable, "-c", WITHOUT_MLX, str(folder)], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    return folder, json.loads(made.stdout)


def test_a_report_is_made_where_mlx_is_not_installed(reported):
    folder, printed = reported
    assert printed["page"] == str(folder / "report.html")
    page = (folder / "report.html").read_text()
    assert len(page) > 50_000
    assert "<article>" in page


def test_every_file_named_is_there_and_no_other(reported):
    folder, printed = reported
    assert {str(path) for path in folder.glob("tables/*")} == set(printed["tables"])
    assert {str(path) for path in folder.glob("figures/*")} == set(printed["figures"])
    names = {path.name for path in folder.glob("figures/*")}
    tables = {path.stem for path in folder.glob("tables/*.csv")}
    drawn = [kind.name for kind in FIGURES if tables.issuperset(kind.needs)]
    assert names == {f"{name}.svg" for name in drawn}
    assert "groups" in drawn
    assert len(drawn) >= 15


def test_the_rows_of_the_frontier_are_printed_as_json(reported):
    _, printed = reported
    assert [row["prune_method"] for row in printed["frontier"]] == ["dense", "wanda", "wanda"]
    assert printed["frontier"][1]["dominated_by"] == "dense"
    # Nothing says how large the checkpoints are.
    assert printed["frontier"][1]["size_ratio"] is None


def test_csv_holds_full_precision_and_actual_sparsity(reported):
    folder, _ = reported
    with open(folder / "tables/overall.csv", encoding="utf-8", newline="") as file:
        rows = {(row["prune_method"], row["pattern"]): row for row in csv.DictReader(file)}
    assert float(rows["wanda", ""]["actual_sparsity"]) == pytest.approx(100 / 3)
    assert len(rows["wanda", ""]["srs"]) > 10


def test_figures_are_real_pictures(reported):
    folder, _ = reported
    for path in folder.glob("figures/*.svg"):
        assert ElementTree.fromstring(path.read_bytes()).tag == "{http://www.w3.org/2000/svg}svg"


def test_pictures_are_written_when_asked_for_and_leave_when_not(copy, monkeypatch):
    monkeypatch.setattr("mlx_prune.report.figures.draw.FIGURES", FIGURES[:1])
    result = CliRunner().invoke(command, [str(copy), "--png"])
    assert result.exit_code == 0, result.output
    picture = copy / "figures" / "srs_by_sparsity.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture not in write_report(copy).figures
    assert not picture.exists()


@pytest.fixture
def copy(reported, tmp_path):
    """A copy of the reported study, to be changed."""
    return shutil.copytree(reported[0], tmp_path / "copy")


def test_reporting_again_replaces_and_removes_what_is_outdated(copy, monkeypatch):
    monkeypatch.setattr("mlx_prune.report.figures.draw.FIGURES", FIGURES[:1])
    (copy / "tables" / "no_longer.csv").write_text("old")
    (copy / "figures" / "notes.txt").write_text("the reader's own")
    seen = []
    paths = write_report(copy, progress=seen.append)
    assert not (copy / "tables" / "no_longer.csv").exists()
    left = {path.name for path in (copy / "figures").iterdir()}
    assert left == {"srs_by_sparsity.svg", "notes.txt"}
    assert {seen[0].stage, seen[-1].stage} == {"tables", "figures"}
    assert seen[-1].done == seen[-1].total == 1
    # The same records give the same page, byte for byte.
    before = paths.page.read_bytes()
    assert write_report(copy).page.read_bytes() == before


def test_a_folder_without_records_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(RecordsError, match="holds no records"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["perplexity.json", "latency.json", "study.toml"])
def test_a_damaged_file_is_named(tmp_path, name):
    folder = write_full_study(tmp_path, items=6, grid=GRID[:2])
    (folder / name).write_text("{ damaged")
    with pytest.raises(RecordsError, match=name):
        write_report(folder)


def test_the_command_ends_with_the_path_of_the_page(copy, monkeypatch):
    monkeypatch.setattr("mlx_prune.report.figures.draw.FIGURES", ())
    result = CliRunner().invoke(command, [str(copy)])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == f"Report: {copy / 'report.html'}"
