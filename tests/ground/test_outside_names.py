"""Names from outside never act as markup, on any surface they are shown on."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import unicodedata
from pathlib import Path

import pytest
from command_line import Capture
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from report_study import GRID, write_full_study
from tiny_models import save_tiny_model

from mlx_prune.cards.base import BaseModel
from mlx_prune.cards.card import model_card
from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.cli.main import run
from mlx_prune.outside_names import csv_cell, markdown, plain
from mlx_prune.report.write import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
HOSTILE = (
    "=HYPERLINK(1)|$\\frac{x}",
    "[bold red]x[/oops]\x1b[31m",
    "<img src=x onerror=alert(1)>*a*",
)


@given(st.text())
def test_plain_text_has_nothing_that_a_terminal_obeys(text: str) -> None:
    shown = plain(text)
    assert not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in shown)
    shown.encode()


@given(st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1))
def test_markdown_shows_a_name_as_it_is(text: str) -> None:
    tokens = MarkdownIt().enable("table").parse(f"| head |\n|---|\n| x{markdown(text)}x |\n")
    inline = [token for token in tokens if token.type == "inline"][1]
    assert {child.type for child in inline.children or ()} <= {"text", "text_special"}
    assert "".join(child.content for child in inline.children or ()) == f"x{text}x"


@given(st.text())
def test_a_csv_cell_is_no_formula(text: str) -> None:
    assert csv_cell(text)[:1] not in ("=", "+", "-", "@", "\t", "\r")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_full_study(
        tmp_path_factory.mktemp("study"), items=45, grid=(GRID[0], GRID[8]), categories=HOSTILE
    )
    write_report(folder)
    return folder


def test_tables_keep_hostile_categories_harmless(study: Path) -> None:
    for file in (study / "tables").glob("*.csv"):
        for row in csv.reader(io.StringIO(file.read_text())):
            assert not any(cell[:1] in ("=", "+", "@") or "\x1b" in cell for cell in row)
    for file in (study / "tables").glob("*.md"):
        tokens = MarkdownIt().enable("table").parse(file.read_text())
        kinds = {child.type for token in tokens for child in token.children or ()}
        # The notes below the tables are our own.
        assert kinds <= {"text", "text_special", "softbreak", "code_inline"}, file


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_makes_no_element_of_a_hostile_category(study: Path, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", (study / "report.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "onerror=alert(1)" in done.stdout
    assert "<img" not in done.stdout


def test_the_terminal_shows_a_hostile_folder_as_it_is(tmp_path: Path, capsys: Capture) -> None:
    model = save_tiny_model(tmp_path / "x\x1b]0;title\x07", num_hidden_layers=1)
    few = ["--items", "1", "--rounds", "1", "--cooldown", "0", "--no-sizes"]
    assert run(["bench", str(model), str(model), "-o", str(tmp_path / "out"), *few]) == 0
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err
    assert "x\\x1b]0;title\\x07" in captured.out
    assert run(["inspect", str(tmp_path / "none\x1b[2J[/x]")]) == 1
    assert "none\\x1b[2J[/x]" in capsys.readouterr().err


def test_the_terminal_shows_hostile_categories_as_they_are(study: Path, capsys: Capture) -> None:
    run(["gate", str(study)])
    shown = capsys.readouterr().out
    assert "[bold red]x[/oops]" in shown
    assert "\x1b" not in shown


def test_a_folder_whose_name_is_a_pattern_is_refused_in_a_sentence(tmp_path: Path, capsys: Capture) -> None:
    model = save_tiny_model(tmp_path / "[ab]*", num_hidden_layers=1)
    assert run(["inspect", str(model)]) == 1
    assert "rename the folder" in capsys.readouterr().err


def test_a_card_takes_no_markup_from_a_name() -> None:
    meta = {
        "model": "models/x",
        "method": "wanda",
        "target_sparsity": 50.0,
        "actual_sparsity": 50.0,
        "total_prunable_params": 10,
        "zero_params": 5,
        "prune_time_s": 1.0,
        "calibration": {"source": "a [link](http://x).txt", "samples": 1, "sequence_length": 2, "sha256": ""},
        "warnings": ["a <b>note</b>"],
    }
    base = BaseModel(
        "# x](http://evil.example) `code`\n---\nlicense: mit",
        license="other: [1]\n---",
        license_name="*odd*",
        license_link="javascript:alert(1)",
    )
    card = ModelCard(model_card(PruningRecord.of(meta), base=base))
    assert card.data.license == "other: [1]\n---"
    tokens = [child for token in MarkdownIt().parse(card.text) for child in token.children or ()]
    links = {str(child.attrs.get("href")) for child in tokens if child.type == "link_open"}
    assert links == {"https://arxiv.org/abs/2605.08137"}
    assert not any(child.type == "html_inline" for child in tokens)
