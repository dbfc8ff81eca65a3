"""The README's examples run as they stand, and what the pages and scripts name exists."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import click
import pytest

from mlx_prune.cli.main import COMMANDS, cli
from mlx_prune.study.config import config_from_dict

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    *(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md")),
)
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_examples_run(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "actual sparsity 30." in printed or "actual sparsity 29." in printed
    dense, pruned = (float(rate) for rate in re.findall(r": SRS ([\d.]+)", printed))
    assert pruned > dense
    before, after = (
        float(value) for value in re.findall(r"perplexity ([\d.]+) before, ([\d.]+)", printed)[0]
    )
    assert before < after < 1.1 * before
    assert (tmp_path / "demo-wanda-s30" / "config.json").is_file()


def test_the_studys_file_is_sound_and_names_its_data() -> None:
    (text,) = blocks("toml")
    config = config_from_dict(tomllib.loads(text))
    assert config.paths != ("demo",)
    assert None not in (config.bbq.source, config.calibration.source, config.perplexity.text)
    assert config.recover.data is not None


def test_every_command_is_explained_and_every_explained_command_exists() -> None:
    table = set(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE))
    assert table == set(COMMANDS)
    used = set(re.findall(r"^mlxprune (\w+)", "\n".join(blocks("bash")), re.MULTILINE))
    assert used
    assert used <= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_use_options_that_the_commands_have(page: str) -> None:
    group, text = click.Context(cli), (REPOSITORY / page).read_text(encoding="utf-8")
    examples = re.findall(
        r"\bmlxprune (\w+) ([^#\n]*)", "\n".join(blocks("bash", text) + blocks("yaml", text))
    )
    assert len(examples) > 15 or page != "README.md"
    for name, rest in examples:
        command, words = cli.get_command(group, name), iter(rest.split())
        while isinstance(command, click.Group) and (word := next(words, None)):
            command = command.get_command(group, word)
        assert command is not None
        known = {option for given in command.get_params(group) for option in given.opts}
        assert set(re.findall(r"(?<!\S)--?[a-z][\w-]*", rest)) <= known, name


@pytest.mark.parametrize("page", PAGES)
def test_links_into_the_tree_exist(page: str) -> None:
    path = REPOSITORY / page
    for target in re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_files_and_folders_of_the_tree_named_in_code_spans_exist(page: str) -> None:
    spans = re.findall(r"`([^`\n]+)`", (REPOSITORY / page).read_text(encoding="utf-8"))
    named = {span for span in spans if re.match(r"(mlx_prune|tests|bench|docs|data|\.ci)/[\w/.-]*$", span)}
    assert not {span for span in named if not (REPOSITORY / span).exists()}


def test_what_the_tests_scripts_name_exists() -> None:
    script = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    named = [name for word in re.findall(r"tests/[\w/{},.]+", script) for name in spelled_out(word)]
    assert len(named) > 5
    assert not [name for name in named if not (REPOSITORY / name).exists()]


def spelled_out(word: str) -> list[str]:
    """The names that a shell makes of a word with braces."""
    found = re.match(r"(.*?)\{(.*?)\}(.*)", word)
    if not found:
        return [word]
    before, words, after = found.groups()
    return [name for choice in words.split(",") for name in spelled_out(before + choice + after)]
