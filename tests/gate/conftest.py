"""One study that is read by the tests of the gate."""

import shutil

import pytest
from gate_studies import SMALL
from report_study import write_full_study

from mlx_prune.gate.sources import measured_run


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    return write_full_study(tmp_path_factory.mktemp("gate"), items=150, grid=SMALL)


@pytest.fixture
def copy(study, tmp_path):
    return shutil.copytree(study, tmp_path / "study")


@pytest.fixture(scope="session")
def measured(study):
    return {path.name: measured_run(path) for path in (study / "runs" / "alpha").iterdir()}
