"""Which files of a checkpoint folder are published, and whether the folder is fit to be."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

from mlx_prune.cards.card import CARD_FILE
from mlx_prune.checkpoint.adapters import adapters_of
from mlx_prune.checkpoint.record import META_FILE, PruningRecord
from mlx_prune.checkpoint.shards import open_shards
from mlx_prune.errors import CheckpointError
from mlx_prune.json_files import read_object

# What mlx-lm saves and loads, and what a base model's license may require to travel along.
_KNOWN = (
    "*.safetensors",
    "*.json",
    "*.jinja",
    "*.model",
    "*.tiktoken",
    "*.txt",
    "*.py",
    "*.md",
    "LICENSE*",
    "NOTICE*",
    "COPYING*",
)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt", "*.joblib", "*.npy", "*.npz")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "*.tiktoken")


def publishable_files(folder: Path) -> list[Path]:
    """Check a checkpoint folder and list what is uploaded as it stands, by name.

    Hidden files are passed over; ``README.md`` and ``pruning_meta.json`` are not in the list, because they
    are written anew for the Hub.

    Raises:
        CheckpointError: The folder was not made by this tool, is incomplete or damaged, or holds files that
            do not belong in a published checkpoint.
    """
    if not folder.is_dir():
        raise CheckpointError(f"There is no checkpoint folder {folder}.")
    PruningRecord.read(folder)
    found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    for path in found:
        _require_wanted(path)
    _require_json(folder / "config.json")
    if not any(fnmatch(path.name, pattern) for path in found for pattern in _TOKENIZERS):
        raise CheckpointError(f"{folder} holds no tokenizer, so nobody could load it; prune the model again.")
    weights = {*open_shards(folder).files, adapters_of(folder)}
    strays = [path for path in found if path.suffix == ".safetensors" and path not in weights]
    if strays:
        raise CheckpointError(f"{strays[0]} is not one of the checkpoint's weight files; remove it first.")
    return [path for path in found if path.name not in (CARD_FILE, META_FILE)]


def _require_wanted(path: Path) -> None:
    if any(fnmatch(path.name, pattern) for pattern in _PICKLES):
        raise CheckpointError(f"{path} is or may hold a pickle, which is never published; remove it first.")
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file; a checkpoint has no subfolders, so remove it first.")
    if not any(fnmatch(path.name, pattern) for pattern in _KNOWN):
        raise CheckpointError(f"{path} is not part of a checkpoint; remove it before publishing.")


def _require_json(file: Path) -> None:
    if not file.is_file():
        raise CheckpointError(f"{file.parent} holds no {file.name}, so it is incomplete; prune again.")
    read_object(file, CheckpointError, "prune the model again")
