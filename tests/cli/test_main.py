"""The command line as a whole: what it loads, how it fails, what it prints."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest

from mlx_prune import words
from mlx_prune.cli.main import COMMANDS, cli, run
from mlx_prune.cli.terminal.options import parse_percent, parse_seeds
from mlx_prune.json_files import to_jsonable

HEAVY = ("mlx", "mlx_lm", "transformers", "datasets", "matplotlib", "pyarrow", "torch", "scipy")


def loaded_modules(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint('\\n'.join(sorted(m.split('.')[0] for m in sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not loaded_modules("import mlx_prune").intersection(HEAVY)


def test_help_loads_nothing_heavy_and_names_every_command() -> None:
    code = (
        "import io, contextlib\nfrom mlx_prune.cli.main import run\nout = io.StringIO()\n"
        "with contextlib.redirect_stdout(out): assert run(['--help']) == 0\n"
        f"assert all(name in out.getvalue() for name in {list(COMMANDS)!r}), out.getvalue()"
    )
    assert not loaded_modules(code).intersection(HEAVY)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help_and_json(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = cli.get_command(click.Context(cli), name)
    words = [[name, sub] for sub in command.commands] if isinstance(command, click.Group) else [[name]]
    for asked in words:
        assert run([*asked, "--help"]) == 0
        assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_option_says_what_it_is(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    every = [command, *(command.commands.values() if isinstance(command, click.Group) else ())]
    options = [option for one in every for option in one.params if isinstance(option, click.Option)]
    assert [option.name for option in options if not (option.help or "").endswith((".", "]"))] == []


def test_every_public_name_can_be_imported() -> None:
    import mlx_prune

    for name in mlx_prune.__all__:
        assert getattr(mlx_prune, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = mlx_prune.nonsense


def test_wrong_usage_exits_with_2_and_failure_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["no-such-command"]) == 2
    assert run(["prune", "demo", "-o", str(tmp_path / "x"), "-m", "wanda", "-s", "0.5"]) == 2
    assert "did you mean 50" in capsys.readouterr().err
    assert run(["inspect", str(tmp_path / "nothing-here")]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("Error: ")
    assert "Traceback" not in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize(("word", "seeds"), [("42", (42,)), ("1,2,30", (1, 2, 30))])
def test_seeds_are_parsed(word: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(None, None, word) == seeds  # type: ignore[arg-type]


@pytest.mark.parametrize("word", ["", "1,1", "-1", "1;2", "a"])
def test_bad_seeds_are_refused(word: str) -> None:
    with pytest.raises(click.BadParameter):
        parse_seeds(None, None, word)  # type: ignore[arg-type]


@pytest.mark.parametrize("word", ["0.5", "0", "100", "-3", "half", "nan", "inf"])
def test_bad_sparsities_are_refused(word: str) -> None:
    with pytest.raises(click.BadParameter):
        parse_percent(None, None, word)  # type: ignore[arg-type]


def test_json_has_no_non_finite_numbers_and_knows_numpy() -> None:
    payload = to_jsonable(
        {"a": math.nan, "b": np.float32(0.5), "c": np.arange(3), "d": Path("x"), "e": (True, None)}
    )
    assert json.loads(json.dumps(payload, allow_nan=False)) == {
        "a": None,
        "b": 0.5,
        "c": [0, 1, 2],
        "d": "x",
        "e": [True, None],
    }


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (3_700_000, "3.7 MB"), (5e13, "50000.0 GB")],
)
def test_sizes_are_decimal(n_bytes: float, text: str) -> None:
    assert words.size(n_bytes) == text
