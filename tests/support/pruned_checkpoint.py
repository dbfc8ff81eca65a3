"""A folder such as `mlxprune prune` leaves, and what the loopback Hub holds of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from hub_handler import USER
from hub_server import HubServer
from tiny_models import save_tiny_model

from mlx_prune.checkpoint.record import META_FILE

REPO = f"{USER}/tiny-wanda-s50-pia"


def save_checkpoint(folder: Path, *, shards: int = 1, seed: int = 0, **entries: Any) -> Path:
    """A folder such as `mlxprune prune` leaves; keyword arguments replace entries of its metadata."""
    save_tiny_model(folder, "llama", shards=shards, seed=seed)
    meta = {
        "model": "org/Tiny",
        "method": "wanda",
        "target_sparsity": 50.0,
        "actual_sparsity": 49.9,
        "total_prunable_params": 1000,
        "zero_params": 499,
        "prune_time_s": 0.1,
        "pattern": None,
        "scope": "blocks",
    }
    (folder / META_FILE).write_text(json.dumps(meta | entries))
    return folder


def published(hub: HubServer, repo_id: str = REPO) -> dict[str, bytes]:
    files = hub.repos["model", repo_id].files
    return {name: data for name, data in files.items() if name != ".gitattributes"}


def hashes(*files: Path) -> list[str]:
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
