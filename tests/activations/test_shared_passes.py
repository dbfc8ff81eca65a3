"""A prune whose calibration samples are split over two processes of MLX's ring backend."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from prune_together import recipe_of
from tiny_experts import save_tiny_experts
from tiny_models import save_tiny_model

from mlx_prune.pruning.job import write_pruned

SCRIPT = Path(__file__).parents[1] / "support" / "prune_together.py"


@pytest.mark.parametrize(
    ("architecture", "label"),
    [
        ("llama", "wanda"),
        ("llama", "sparsegpt"),
        ("llama", "wanda+owl"),
        ("mixtral", "wanda"),
        ("mixtral", "experts"),
    ],
)
def test_two_processes_prune_as_one_does(tmp_path: Path, architecture: str, label: str) -> None:
    save = save_tiny_model if architecture == "llama" else save_tiny_experts
    model = save(tmp_path / "tiny", architecture)
    alone = write_pruned(model, tmp_path / "alone", recipe_of(label))

    sockets = [socket.socket() for _ in range(2)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    hosts = tmp_path / "hosts.json"
    hosts.write_text(json.dumps([[f"127.0.0.1:{one.getsockname()[1]}"] for one in sockets]))
    for one in sockets:
        one.close()
    processes = [
        subprocess.Popen(
            [sys.executable, SCRIPT, model, tmp_path / "together", "2", label],
            env={**os.environ, "MLX_RANK": str(rank), "MLX_HOSTFILE": str(hosts)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    printed = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert [int(text) for text in printed] == [alone.zero_params] * 2

    left = mx.load(str(tmp_path / "alone" / "model.safetensors"))
    right = mx.load(str(tmp_path / "together" / "model.safetensors"))
    # Sums of halves may differ in the last bit, which may swap two weights of equal score, and in the updates
    # of SparseGPT is a last bit as well.
    same = [np.isclose(np.array(left[name]), np.array(right[name]), atol=1e-5) for name in left]
    assert sum(int((~entries).sum()) for entries in same) <= 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "hosts.json", "tiny", "together"]
