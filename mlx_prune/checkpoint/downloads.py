"""Fetch a model from the Hub."""

from __future__ import annotations

from glob import escape
from pathlib import Path

from mlx_prune.checkpoint.config import CONFIG_FILE
from mlx_prune.checkpoint.shards import INDEX_FILE, WEIGHT_FILES, indexed_files
from mlx_prune.errors import CheckpointError, one_line

# Beside the weights: never pickles, and nothing that runs unless the caller trusts remote code. The README
# tells the license.
HUB_FILES = [
    "*.json",
    "*.model",
    "*.tiktoken",
    "*.txt",
    "*.jinja",
    "LICENSE*",
    "NOTICE*",
    "README.md",
]


def download(hub_id: str, *, trust_remote_code: bool) -> Path:
    """Download what a model needs, unless it is in the Hub's cache already.

    Args:
        hub_id: "org/name".
        trust_remote_code: Also fetch the repository's Python files.

    Returns:
        The folder in the cache.

    Raises:
        CheckpointError: There is no such model, it may not be read, or the Hub cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    patterns = [*HUB_FILES, "*.py"] if trust_remote_code else HUB_FILES
    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=patterns))
        # Of this very commit: the branch may have moved on. Below other folders lie copies in other formats.
        snapshot_download(
            hub_id, revision=folder.name, allow_patterns=_weights(folder), ignore_patterns="*/*"
        )
    except HFValidationError as error:
        raise CheckpointError(f"{hub_id} is no id that the Hub could have ({one_line(error)}).") from error
    except GatedRepoError as error:
        raise CheckpointError(
            f"{hub_id} is gated: accept its terms on the Hub, then log in with `hf auth login`."
        ) from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{hub_id} is neither a folder here nor a model on the Hub that you may read."
        ) from error
    except LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"{hub_id} is not a folder here, and the Hub cannot be reached to download it; "
            "check the connection or give a folder."
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise CheckpointError(f"{hub_id} could not be downloaded from the Hub: {one_line(error)}.") from error
    if not (folder / CONFIG_FILE).is_file():
        raise CheckpointError(f"{hub_id} on the Hub holds no config.json, so it is not a model for mlx-lm.")
    return folder


def _weights(folder: Path) -> list[str]:
    """Patterns of the weight files: those that the index names, else what mlx-lm loads."""
    index = folder / INDEX_FILE
    named = [escape(name) for name in indexed_files(index)] if index.is_file() else [WEIGHT_FILES]
    return [*named, CONFIG_FILE]  # without anything to fetch, the Hub's client warns
