"""The notebook is stored without output and runs on a study, through the public interface alone."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from kept_texts import keep_texts
from report_study import GRID, write_full_study

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "per_category_srs.ipynb"
SMALL = (GRID[0], GRID[2], GRID[8], GRID[9], ("wanda", 50.0, "2:4"))

# Runs the cells one after the other in one namespace, as a kernel does, and shows each last value.
RUNNER = """
import ast, json, sys
names = {"__name__": "__main__"}
for number, cell in enumerate(json.load(open(sys.argv[1], encoding="utf-8"))["cells"]):
    if cell["cell_type"] == "code":
        body = ast.parse("".join(cell["source"])).body
        last = ast.Expression(body.pop().value) if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), f"cell {number}", "exec"), names)
        if last is not None:
            print(eval(compile(last, f"cell {number}", "eval"), names))
figures = names["plt"].get_fignums()
print("figures:", len(figures))
"""


@pytest.fixture
def cells():
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def test_it_is_stored_without_output(cells):
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


def test_it_opens_a_study_in_three_lines(cells):
    first = next(cell for cell in cells if cell["cell_type"] == "code")
    lines = [line.strip() for line in first["source"] if line.strip()]
    assert len(lines) == 3
    assert lines[0] == "import mlx_prune"


def test_it_uses_the_public_interface_only(cells):
    code = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert "from mlx_prune" not in code
    assert "import mlx_prune." not in code


def test_every_cell_runs_on_a_study(tmp_path):
    keep_texts(write_full_study(tmp_path / "demo-study", items=40, grid=SMALL))
    environment = {**os.environ, "MPLBACKEND": "Agg"}
    command = [sys.executable, "-W", "error::FutureWarning", "-c", RUNNER, str(NOTEBOOK)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "stereotype reliance" in done.stdout
    assert "alpha/dense-s0 to alpha/wanda-s70" in done.stdout
    # Questions are shown by what they say, not by their ids.
    assert done.stdout.count("there were an elder & a student. Who was slow") == 10
    assert not re.search(r"\b(Age|Religion|SES):\d", done.stdout)
    assert done.stdout.rstrip().endswith("figures: 2")
