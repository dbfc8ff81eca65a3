"""The command's own process does without torch and pandas; nobody else's is touched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with a package torch, found and named like an installed one, that says when it is imported."""
    folder = tmp_path / "site"
    (folder / "torch").mkdir(parents=True)
    (folder / "torch" / "__init__.py").write_text("raise ImportError('torch was imported')\n")
    (folder / "torch-99.0.dist-info").mkdir()
    (folder / "torch-99.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: torch\nVersion: 99.0\n"
    )
    return folder


def python(site: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    given = {**os.environ, "PYTHONPATH": path, **environment}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=given
    )


def test_a_whole_evaluation_imports_neither(site: Path, tmp_path: Path) -> None:
    asked = [
        "mlxprune",
        "eval",
        "demo",
        "--limit",
        "1",
        "--seeds",
        "1",
        "-o",
        str(tmp_path / "run"),
        "--json",
    ]
    done = python(
        site,
        f"import sys\nsys.argv = {asked!r}\nfrom mlx_prune.cli.main import main\n"
        "try: main()\n"
        "finally: print({'torch', 'pandas'}.intersection(sys.modules), file=sys.stderr)",
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "set()"
    assert '"records": 1' in done.stdout


ASK = (
    "from mlx_prune.cli.kept_out import keep_out\nkeep_out()\n"
    "from transformers.utils import is_torch_available\nprint(is_torch_available())"
)


def test_the_switch_lets_transformers_find_torch(site: Path) -> None:
    assert python(site, ASK).stdout == "False\n"
    assert python(site, ASK, MLX_PRUNE_TORCH="1").stdout == "True\n"


def test_a_process_that_has_imported_torch_keeps_it(site: Path) -> None:
    (site / "torch" / "__init__.py").write_text("")
    assert python(site, f"import torch\n{ASK}").stdout == "True\n"


def test_both_can_be_imported_afterwards(site: Path) -> None:
    pytest.importorskip("pandas")
    (site / "torch" / "__init__.py").write_text("VALUE = 7\n")
    done = python(
        site,
        "from mlx_prune.cli.kept_out import keep_out\nkeep_out()\n"
        "import pyarrow as pa, transformers, sys\n"
        "from importlib.machinery import SourceFileLoader\n"
        "for package in (pa, transformers): assert type(package.__spec__.loader) is SourceFileLoader\n"
        "import torch, pandas as pd\n"
        "print(torch.VALUE, pa.table({'a': [1, 2]}).to_pandas()['a'].sum())\n"
        "print(pa.array(pd.Series([3.0])).to_pylist())",
    )
    assert done.stdout == "7 3\n[3.0]\n", done.stderr
