"""The file that --init writes says all settings and their defaults, and reads back as them."""

from __future__ import annotations

import dataclasses
import re
import tomllib
import typing
from pathlib import Path
from typing import Any

import pytest

from mlx_prune.cli.main import run
from mlx_prune.study.config import StudyConfig, config_from_dict, config_to_dict
from mlx_prune.study.rows import StudyModel
from mlx_prune.study.template import study_template

DEFAULTS = StudyConfig((StudyModel("demo"),))


def keys(kind: Any, prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, hint in typing.get_type_hints(kind).items():
        sections = [one for one in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(one)]
        found.add(f"{prefix}{name}")
        for section in sections:
            found |= keys(section, f"{prefix}{name}.")
    return found


def test_it_reads_back_as_the_defaults() -> None:
    assert config_from_dict(tomllib.loads(study_template())) == DEFAULTS


def test_uncommented_it_names_every_key_and_no_other() -> None:
    text = study_template()
    given = re.sub(r"^# (\[.*\]|[\w\"*.]+ = .*)$", r"\1", text, flags=re.MULTILINE)
    # A key without a default takes no value here, only a name.
    given = re.sub(r"^# (\w+) =$", r"\1 = 'x'", given, flags=re.MULTILINE)
    data = tomllib.loads(given)
    assert set(data) == {field.name for field in dataclasses.fields(StudyConfig)} - {"calibrations"}
    assert data["calibration"].pop("chat").keys() == {"source"}
    named = {
        f"{section}.{key}" if isinstance(values, dict) else section
        for section, values in data.items()
        for key in (values if isinstance(values, dict) else [""])
    } | {f"checkpoints.{key}" for key in data["checkpoints"][0]}
    wanted = {key for key in keys(StudyConfig) if not key.startswith("models.")}
    nested = {key.partition(".")[0] for key in wanted if "." in key} - {"checkpoints"}
    wanted = {key for key in wanted if not key.startswith("calibrations")}
    assert named - {"layers.*.down_proj"} == wanted - nested - {"layers"}


def test_every_key_is_explained() -> None:
    lines = study_template().splitlines()
    settings = [n for n, line in enumerate(lines) if re.match(r"(# )?\w+ =( |$)", line)]
    assert len(settings) > 40
    assert not [lines[n] for n in settings if not lines[n - 1].startswith("# ") or " = " in lines[n - 1]]
    assert "None" not in study_template()
    assert "`" not in study_template()


def test_the_command_writes_it_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "my.toml"
    assert run(["study", "--init", "-o", str(file)]) == 0
    assert file.read_text(encoding="utf-8") == study_template()
    assert run(["study", "--init", "-o", str(file)]) == 2
    assert run(["study", "--init", "--preset", "demo"]) == 2
    told = capsys.readouterr().err
    assert "is there already; name another file" in told
    assert "--preset would be ignored: --init writes a file of defaults" in told
    assert config_to_dict(DEFAULTS)["models"] == ["demo"]
