"""What doctor finds, and that a broken part is named instead of raised."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import mlx.core as mx
import pytest

from mlx_prune import _blas, diagnostics
from mlx_prune.cli.main import run
from mlx_prune.environment import backend, device, physical_memory, versions
from mlx_prune.errors import CheckpointError


def test_every_subject_is_looked_at_and_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    names = [check["name"] for check in found["checks"]]
    assert names == ["versions", "device", "matrix products", "kernels", "disk", "embedded model"]
    assert found["ok"] == (code == 0) == all(check["status"] != "failure" for check in found["checks"])
    assert f"mlx {versions()['mlx']}" in found["checks"][0]["detail"]


def test_a_failing_part_is_named_and_the_exit_code_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> tuple[str, str]:
        raise CheckpointError("the embedded model is gone.")

    monkeypatch.setattr(diagnostics, "_embedded_model", broken)
    monkeypatch.setattr(diagnostics, "_matrix_products", lambda: ("ok", "fine"))
    assert run(["doctor"]) == 1
    assert "the embedded model is gone" in " ".join(capsys.readouterr().out.split())


def test_openblas_is_reported_as_it_is() -> None:
    loaded, reason = _blas.status()
    assert device()["openblas"] is loaded
    assert reason
    if loaded:
        assert reason.startswith(str(_blas.preload()))
    else:
        assert _blas.preload() is None


@pytest.mark.skipif(sys.platform != "linux", reason="MLX uses Accelerate there")
def test_openblas_can_be_switched_off() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from mlx_prune import _blas; print(*_blas.status())"],
        env={**os.environ, "MLX_PRUNE_OPENBLAS": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False switched off by MLX_PRUNE_OPENBLAS=0"


def test_the_machine_is_described(request: pytest.FixtureRequest) -> None:
    on_gpu = mx.default_device() != mx.Device(mx.cpu) or request.config.getoption("--pretend-metal")
    assert (backend() != "cpu") == on_gpu
    found = device()
    assert found["memory_bytes"] == physical_memory() > 1e9
    assert int(found["cores"]) >= 1
    assert found["machine"]
