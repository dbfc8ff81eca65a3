"""The pages in docs/ name every field, key and setting that there is, and their examples are sound."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from click.shell_completion import get_completion_class

import mlx_prune
from mlx_prune.bbq.check import check_items
from mlx_prune.bbq.wording import FIELDS, VALUES, Wording, read_wording
from mlx_prune.bbq.words import INSTRUCTION, PromptWords
from mlx_prune.caches import KINDS
from mlx_prune.cli.main import cli
from mlx_prune.runs.records import SCHEMA
from mlx_prune.study.template import study_template

DOCS = Path(__file__).resolve().parent.parent / "docs"


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", page(name), re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


def test_the_example_of_a_question_is_sound_and_explained(tmp_path: Path) -> None:
    (text,) = blocks("questions", "json")
    (tmp_path / "Age.jsonl").write_text(" ".join(text.split("\n")), encoding="utf-8")
    found = check_items(tmp_path, Wording())
    assert not found.faults
    assert found.categories[0].stereotyped == (1, 0, 0)
    explained = page("questions").partition("## Are they sound?")[0]
    assert {name for name in re.findall(r'"(\w+)":', text) if f"`{name}`" not in explained} <= {
        "ans0",
        "ans1",
        "ans2",
    }


@pytest.mark.parametrize("number", [0, 1])
def test_files_of_words_are_sound(tmp_path: Path, number: int) -> None:
    file = tmp_path / "questions.toml"
    file.write_text(blocks("questions", "toml")[number], encoding="utf-8")
    read_wording(file)


def test_every_key_of_a_file_of_words_is_named() -> None:
    example = tomllib.loads(blocks("questions", "toml")[0])
    assert set(example["prompt"]) == set(PromptWords.__dataclass_fields__)
    assert set(example["values"]) == set(VALUES)
    assert set(FIELDS) <= set(re.findall(r"`(\w+)`", page("questions")))
    assert INSTRUCTION in page("questions")


def test_the_studys_file_is_the_one_that_the_command_writes() -> None:
    (text,) = blocks("study", "toml")
    assert text == study_template()


def test_every_column_of_the_records_is_explained_with_its_type() -> None:
    rows = re.findall(r"^\| (`.*?`) \| (\w+) \|", page("records"), re.MULTILINE)
    told = [(name, kind) for names, kind in rows for name in re.findall(r"`(\w+)`", names)]
    assert told == [(field.name, str(field.type)) for field in SCHEMA]


def test_the_examples_of_the_python_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for number, code in enumerate(blocks("python", "python"), start=1):
        exec(compile(code, f"docs/python.md, example {number}", "exec"), names)
    assert (tmp_path / "wanda-s50" / "config.json").is_file()
    assert "50.0% zeros" in capsys.readouterr().out


def test_every_public_name_is_on_the_python_page() -> None:
    assert set(mlx_prune.__all__) - {"__version__"} <= set(re.findall(r"`(\w+)`", page("python")))


def test_every_environment_variable_is_explained() -> None:
    sources = [file.read_text(encoding="utf-8") for file in (DOCS.parent / "mlx_prune").rglob("*.py")]
    used = set(re.findall(r"MLX_PRUNE_[A-Z_]+", "\n".join(sources)))
    explained = set(re.findall(r"^\| `(MLX_PRUNE_\w+)` \|", page("commands"), re.MULTILINE))
    assert len(used) >= 5
    assert used <= explained <= used | {"MLX_PRUNE_TEST_DATA"}


def test_every_kind_of_the_cache_is_explained() -> None:
    table = page("commands").partition("## The cache")[2].partition("##")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(KINDS)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_can_complete_commands(shell: str) -> None:
    assert f"_MLXPRUNE_COMPLETE={shell}_source mlxprune" in page("commands")
    complete = get_completion_class(shell)
    assert complete is not None
    found = complete(cli, {}, "mlxprune", "_MLXPRUNE_COMPLETE")
    assert "_MLXPRUNE_COMPLETE" in found.source()
    assert {item.value for item in found.get_completions([], "")} >= {"study", "items", "cache"}
    assert [item.value for item in found.get_completions(["cache", "clear"], "dist")] == ["distributions"]


@pytest.mark.parametrize(
    "word", ["emergence", "null", "dominated", "anti", "frontier", "flips", "template", "wording"]
)
def test_words_that_a_newcomer_meets_are_explained(word: str) -> None:
    assert re.search(rf"^\| .*\*\*{word}\*\*", page("glossary"), re.MULTILINE)


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert not [file.name for file in DOCS.glob("*.md") if f"docs/{file.name}" not in readme]
