"""How large a model is as GGUF, which mlx-lm exports of some architectures."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_prune.checkpoint.config import is_quantized
from mlx_prune.checkpoint.matrices import weights_of
from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.errors import one_line

# The architectures that mlx_lm.fuse --export-gguf accepts.
GGUF_TYPES = ("llama", "mistral", "mixtral")


@dataclass(frozen=True, slots=True)
class GgufSize:
    """Bytes of a model as GGUF, or why there is no such figure."""

    n_bytes: int | None
    note: str = ""


def gguf_size(checkpoint: Checkpoint) -> GgufSize:
    """Export to GGUF through mlx-lm into a temporary folder, and measure the file.

    Args:
        checkpoint: What to export.

    Returns:
        The size, or a note on why mlx-lm does not export this checkpoint.

    Raises:
        CheckpointError: The checkpoint cannot be loaded.
    """
    folder, config = checkpoint.path, checkpoint.config
    kind = config.get("model_type")
    if kind not in GGUF_TYPES:
        return GgufSize(None, f"mlx-lm does not export {kind} to GGUF")
    if is_quantized(folder, config):
        return GgufSize(None, "mlx-lm does not export quantized models to GGUF")
    # GGUF holds fp16 or fp32: never more than twice a 16-bit checkpoint.
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < 2.2 * checkpoint.shards.nbytes:
        return GgufSize(None, f"{tempfile.gettempdir()} has too little room to export to GGUF")
    model, config = checkpoint.network_and_config(checkpoint.stored_dtype)
    with tempfile.TemporaryDirectory(prefix="mlx-prune-gguf-") as scratch:
        target = Path(scratch) / "model.gguf"
        failure = _export(folder, model, config, target)
        if failure:
            return GgufSize(None, f"mlx-lm could not export to GGUF: {failure}")
        return GgufSize(target.stat().st_size)


def _export(folder: Path, model: Any, config: dict[str, Any], target: Path) -> str:
    from mlx_lm.gguf import convert_to_gguf

    # The exporter prints, and stdout is the caller's; what it raises depends on tokenizer and config.
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            convert_to_gguf(folder, weights_of(model), config, str(target))
    except Exception as error:
        return f"{type(error).__name__}: {one_line(error)}"
    return ""
