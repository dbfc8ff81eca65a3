"""What is known of a model that is neither loaded nor downloaded: its size, and what would be fetched."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from mlx_prune.checkpoint.config import CONFIG_FILE, read_config
from mlx_prune.checkpoint.downloads import HUB_FILES
from mlx_prune.checkpoint.shards import WEIGHT_FILES, open_shards
from mlx_prune.dtypes import FLOATS, WIDTHS
from mlx_prune.errors import CheckpointError, no_folder, one_line
from mlx_prune.paths import expanded

_SECONDS = 10.0  # to wait for an answer of the Hub
_PACKED = "U32"


@dataclass(frozen=True)
class Preview:
    """What is known of a model.

    Attributes:
        n_bytes: Of its weight files; None where the Hub cannot be asked.
        parameters: Of its tensors; packed words of a quantized model count as what they hold.
        stored_dtype: The float type that most weights are stored in: "float32", "bfloat16" or "float16".
        download_bytes: What loading it would download: 0 where it is here.
        note: Why something is not known, as a sentence; empty if all is.
    """

    n_bytes: int | None = None
    parameters: int | None = None
    stored_dtype: str | None = None
    download_bytes: int | None = 0
    note: str = ""


def preview(model: str | Path) -> Preview:
    """Look at a model's headers, here, in the Hub's cache or on the Hub; nothing is downloaded.

    Args:
        model: A folder, a Hub id, or "demo".

    Raises:
        CheckpointError: It is a folder without a config.json or with damaged weight files.
    """
    folder = local_folder(model)
    if folder is None:
        return _of_hub(str(model))
    config = read_config(folder)
    told = config.get("quantization")
    bits = told.get("bits") if isinstance(told, dict) else None
    tensors = [
        (one.name, one.dtype, math.prod(one.shape), one.nbytes)
        for one in open_shards(folder).tensors.values()
    ]
    parameters = _parameters(((name, dtype, size) for name, dtype, size, _ in tensors), bits)
    widths: dict[str, int] = {}
    for _, dtype, _, nbytes in tensors:
        widths[dtype] = widths.get(dtype, 0) + nbytes
    return Preview(sum(nbytes for *_, nbytes in tensors), parameters, _most(widths))


def local_folder(model: str | Path) -> Path | None:
    """Where a model lies on this machine, the Hub's cache included; None if it would be downloaded."""
    if model == "demo":
        from mlx_prune import demo

        return Path(demo.model_path())
    path = expanded(model)
    if path.exists():
        return path
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(str(model), CONFIG_FILE)
    except HFValidationError as error:
        raise no_folder(model) from error
    if not isinstance(found, str):
        return None
    try:
        open_shards(Path(found).parent)
    except CheckpointError:
        return None  # only some of its files are there
    return Path(found).parent


def _of_hub(model: str) -> Preview:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import NotASafetensorsRepoError
    from huggingface_hub.hf_api import RepoFile

    api = HfApi()
    try:
        info = api.model_info(model, timeout=_SECONDS)
        files = [one for one in api.list_repo_tree(model, revision=info.sha) if isinstance(one, RepoFile)]
        weights = sum(one.size for one in files if fnmatch(one.path, WEIGHT_FILES))
        rest = sum(one.size for one in files if any(fnmatch(one.path, pattern) for pattern in HUB_FILES))
        counts: dict[str, int] = {}
        try:
            told = api.get_safetensors_metadata(model, revision=info.sha).parameter_count
            counts = {str(name): count for name, count in told.items()}
        except NotASafetensorsRepoError:
            return Preview(None, None, None, None, f"{model} on the Hub has no safetensors files.")
    except Exception as error:  # the Hub's client passes on errors of its network library
        return Preview(None, None, None, None, f"The Hub cannot be asked about {model} ({one_line(error)}).")
    packed = counts.get(_PACKED, 0)
    return Preview(
        weights,
        None if packed else sum(counts.values()) or None,
        _most({name: count * WIDTHS.get(name, 0) for name, count in counts.items()}),
        weights + rest,
    )


def _parameters(tensors: Iterable[tuple[str, str, int]], bits: int | None) -> int:
    total = 0
    for name, dtype, size in tensors:
        if bits and dtype == _PACKED:
            total += size * 32 // bits
        elif not (bits and name.endswith((".scales", ".biases"))):
            total += size
    return total


def _most(sizes: dict[str, int]) -> str | None:
    floats = {name: size for name, size in sizes.items() if name in FLOATS}
    return FLOATS[max(floats, key=lambda name: floats[name])] if floats else None
