"""Calibration text for the tiny models."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_prune.pruning import Calibration


@pytest.fixture(scope="session")
def calibration_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "calibration.txt"
    people = ("teacher", "student", "doctor", "nurse", "old man", "young woman", "banker")
    places = ("market", "river", "school", "office", "station")
    lines = [
        f"The {a} met the {b} at the {p} on day {i}." for i, (a, b, p) in enumerate(_triples(people, places))
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _triples(people, places):
    return [(a, b, p) for a in people for b in people for p in places if a != b]


@pytest.fixture
def calibration(calibration_file: Path) -> Calibration:
    return Calibration(calibration_file, samples=7, sequence_length=29)
