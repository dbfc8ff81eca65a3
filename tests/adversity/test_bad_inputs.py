"""Hundreds of bad inputs: each gets one sentence, an exit code that says so, and an end within seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
from bad_things import cases
from damages import Case
from driver import run_all
from good_things import make_good_things

CASES = cases()
# Of every kind of damage something in the default run; all of them behind `long`.
EVERY = 5


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_good_things(tmp_path_factory.mktemp("good"))


def check(chosen: list[Case], good: Path, scratch: Path) -> None:
    wrong = [
        f"{case.name}: {', '.join(found)}: {(answer['err'] or answer['out'])[-300:]}"
        for case, answer, found in run_all(chosen, good, scratch)
        if found
    ]
    assert not wrong, "\n".join(wrong)


def test_the_table_is_long_and_its_names_are_unique() -> None:
    assert len(CASES) >= 300
    assert len({case.name for case in CASES}) == len(CASES)


def test_some_of_the_bad_inputs_get_one_sentence_each(good: Path, tmp_path: Path) -> None:
    check(CASES[::EVERY], good, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(8))
def test_all_bad_inputs_get_one_sentence_each(part: int, good: Path, tmp_path: Path) -> None:
    check(CASES[part::8], good, tmp_path)
