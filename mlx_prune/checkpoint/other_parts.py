"""Parts of a checkpoint that see or hear: mlx-lm leaves them out, a copy must not lose them in silence."""

from __future__ import annotations

import re
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from mlx_prune.checkpoint.shards import INDEX_FILE, Shards
from mlx_prune.errors import CheckpointError
from mlx_prune.json_files import read_object
from mlx_prune.store import write_json

PARTS_FILE = "model-parts-beside-language.safetensors"
_SENSES = re.compile(
    r"(^|\.)(visual|vision\w*|audio\w*|multi_modal_projector|mm_projector|embed_(vision|audio))(\.|$)"
)


def parts_left_out(shards: Shards, network: nn.Module) -> list[str]:
    """Names of the tensors of vision and hearing that a checkpoint holds and mlx-lm's network does not.

    Args:
        shards: The checkpoint's weight files.
        network: As mlx-lm loaded it.
    """
    if any(_SENSES.search(name) for name, _ in tree_flatten(network.parameters())):
        return []
    return [name for name in shards.tensors if _SENSES.search(name)]


def names_beside(shards: Shards, network: nn.Module, fresh: nn.Module) -> dict[str, str]:
    """What parts that mlx-lm leaves out can be called beside its own names, so that it leaves them out again.

    Args:
        shards: The source's weight files.
        network: As mlx-lm loaded it, perhaps quantized since.
        fresh: The same, built and not loaded: loading changes some architectures.

    Returns:
        New names by old ones; empty where there are no such parts.

    Raises:
        CheckpointError: Under no name would mlx-lm load what was written.
    """
    lost = parts_left_out(shards, network)
    if not lost:
        return {}
    own = dict(tree_flatten(network.parameters()))
    values = shards.load(lost)
    for prefix in ("", "model."):  # as transformers writes them, and as it used to
        names = {name: name.removeprefix(prefix) for name in lost}
        try:
            loaded = fresh.sanitize(own | {new: values[old] for old, new in names.items()})
        except Exception:  # an architecture's own code, surprised by the names
            continue
        if loaded.keys() == own.keys():
            return names
    raise _loss(shards, lost)


def add_parts(folder: Path, shards: Shards, names: dict[str, str]) -> None:
    """Add tensors of a source, as they are, to a checkpoint that mlx-lm wrote.

    Args:
        folder: The checkpoint's, with an index.
        shards: The source's weight files.
        names: From :func:`names_beside`.
    """
    if not names:
        return
    values = {names[old]: array for old, array in shards.load(names).items()}
    mx.save_safetensors(str(folder / PARTS_FILE), values, metadata={"format": "mlx"})
    index = read_object(folder / INDEX_FILE, CheckpointError, "quantize again")
    index["weight_map"] = dict(sorted((index["weight_map"] | dict.fromkeys(values, PARTS_FILE)).items()))
    index["metadata"]["total_size"] += sum(array.nbytes for array in values.values())
    write_json(folder / INDEX_FILE, index)


def refuse_loss(shards: Shards, network: nn.Module) -> None:
    """Refuse to write a checkpoint in mlx-lm's own layout where that would leave parts out.

    Raises:
        CheckpointError: It would, although config.json goes on to promise them.
    """
    lost = parts_left_out(shards, network)
    if lost:
        raise _loss(shards, lost)


def _loss(shards: Shards, lost: list[str]) -> CheckpointError:
    return CheckpointError(
        f"Written as mlx-lm names and shapes it, {shards.folder} would lose its {len(lost)} tensors for "
        f"pictures or sound ({lost[0]}, ...), which its config.json promises; choose another method, or "
        "prune its language model alone."
    )
