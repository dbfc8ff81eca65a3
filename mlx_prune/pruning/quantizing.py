"""Quantize a checkpoint, dense or pruned, through mlx-lm's own quantizer."""

from __future__ import annotations

import contextlib
import hashlib
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map_with_path
from mlx_lm.utils import quantize_model, save_config, save_model

from mlx_prune.activations.text import CalibrationTokens, calibration_tokens, for_model
from mlx_prune.checkpoint.config import CONFIG_FILE, is_quantized
from mlx_prune.checkpoint.dimensions import build
from mlx_prune.checkpoint.folder import OutputFolder, copy_side_files, output_folder
from mlx_prune.checkpoint.matrices import other_projections
from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.checkpoint.other_parts import add_parts, names_beside
from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.errors import CheckpointError, RecipeError
from mlx_prune.labels import DENSE, BitFormat, extend
from mlx_prune.progress import ProgressCallback, silent
from mlx_prune.pruning.methods.quantize import Quantization
from mlx_prune.pruning.quantization_report import Conversion, QuantizationReport, quantization_record
from mlx_prune.pruning.saving import check_same, publish
from mlx_prune.pruning.zero_survival import compare_zeros

_NOTHING_LEARNED = (
    "DWQ learned nothing that the stored type holds: the scales are those of rounding. Its steps are small, "
    "one for each batch of the text; give it thousands of --samples."
)
_STORED_TYPES = ("float16", "bfloat16", "float32")


@dataclass(frozen=True)
class _Quantized:
    """What the quantizer left: the network, its configuration, and which layers it touched."""

    network: nn.Module
    config: dict[str, Any]
    layers: int
    left: tuple[str, ...]
    indivisible: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def bits_used(self) -> list[int]:
        """Of the layers, ascending."""
        return sorted({module.bits for _, module in self.network.named_modules() if "scales" in module})


def quantize_checkpoint(
    model: Checkpoint | str | Path,
    out: str | Path,
    quantization: BitFormat,
    *,
    trust_remote_code: bool = False,
    force: bool = False,
    origin: str | None = None,
    progress: ProgressCallback | None = None,
) -> QuantizationReport:
    """Write a quantized copy of a checkpoint, the one that ``mlx_lm.convert -q`` would write.

    Linear layers and embeddings are quantized where the group size divides their input size and the
    architecture does not object; the others stay as they are, and are reported. A folder that holds this very
    quantization already is left as it is.

    Args:
        model: A folder (a pruned one, too: its record is carried on), a Hub id, or "demo".
        out: The folder to write; it appears whole or not at all.
        quantization: The format.
        trust_remote_code: Run Python files that come with the model.
        force: Replace what is in the folder already.
        origin: What stands for the source when a finished folder is recognized; None takes its weights.
        progress: Told about the count of zeros, stage "count zeros".

    Returns:
        What was done, with the zeros before and after.

    Raises:
        CheckpointError: The model cannot be read or is quantized already, or the folder cannot be written or
            holds something else.
        RecipeError: No layer's input size is a multiple of the group size.
    """
    checkpoint, out = Checkpoint.open(model, trust_remote_code=trust_remote_code), Path(out)
    _ = checkpoint.shards
    if is_quantized(checkpoint.path, checkpoint.config):
        raise quantized_already(checkpoint.path)
    source = PruningRecord.find(checkpoint.path)
    label = extend(DENSE if source is None else source.method or "", quantization)
    origin = origin or f"{checkpoint.quick_hash} {source and source.fingerprint}"
    text = _text(checkpoint, quantization)
    if text is not None:
        origin += f" {text.tokens_sha256} {getattr(quantization, 'seed', None)}"
    if out.exists() and not force:
        return finished(out, origin, quantization)
    started = time.perf_counter()
    with output_folder(out, source=checkpoint.path, force=force) as folder:
        folder.restart()
        done = _quantize(checkpoint, quantization, text, progress or silent)
        _write_weights(folder, checkpoint, done)
        written = Checkpoint(folder.partial, checkpoint.trust_remote_code)
        before, after = checkpoint.network(), written.network()
        # Counted first: zeros are compared block by block, and each is let go afterwards.
        left_out, costs = other_projections(before), checkpoint.costs(before)
        survivals = compare_zeros(before, after, progress or silent)
        conversion = Conversion(
            quantization=quantization,
            layers=done.layers,
            left=done.left,
            indivisible=done.indivisible,
            survivals=[survival for survival in survivals if survival.after.projection not in left_out],
            left_out=left_out,
            costs=costs,
            bytes_after=written.shards.nbytes,
            seconds=round(time.perf_counter() - started, 3),
            text=None if text is None else text.describe(),
            bits_used=done.bits_used,
            notes=done.notes,
        )
        record = quantization_record(
            source,
            conversion,
            model=checkpoint.name,
            label=label,
            fingerprint=_fingerprint(origin, quantization),
        )
        publish(folder, record)
    return QuantizationReport(record)


def _text(source: Checkpoint, quantization: BitFormat) -> CalibrationTokens | None:
    """What the quantizer looks at; None where it rounds."""
    if not isinstance(quantization, Quantization) or quantization.calibration is None:
        return None
    calibration = for_model(quantization.calibration, source.given)
    return calibration_tokens(
        calibration, source.tokenizer().tokenizer, source.config, quantization.seed or 0
    )


def _quantize(
    source: Checkpoint, quantization: BitFormat, text: CalibrationTokens | None, progress: ProgressCallback
) -> _Quantized:
    """The quantized network; where it is rounded, nothing of it is evaluated yet."""
    if text is not None:
        return _learned(source, cast(Quantization, quantization), text, progress)
    network, config = _stored(source)
    layers = dict(_quantizable(network))
    group = quantization.group_size
    assert group is not None
    indivisible = [name for name, module in layers.items() if module.weight.shape[-1] % group]
    if len(indivisible) == len(layers):
        raise RecipeError(
            f"No layer of {source.path} has an input size that is a multiple of {group}, so nothing would be "
            "quantized; choose a smaller group size or another mode."
        )
    network, config = _rounded(source, quantization)
    kept = [name for name, _ in _quantizable(network)]
    return _Quantized(network, config, len(layers) - len(kept), tuple(kept), tuple(indivisible))


def _stored(source: Checkpoint) -> tuple[nn.Module, dict[str, Any]]:
    """The dense network in the type of its files, and a configuration that tells of no quantization."""
    network, config = source.network_and_config("stored")
    if any("scales" in module for _, module in network.named_modules()):
        raise quantized_already(source.path)
    config = {key: value for key, value in config.items() if key != "quantization"}  # null, if there at all
    _store_as_declared(network, config)
    return network, config


def _rounded(source: Checkpoint, quantization: BitFormat) -> tuple[nn.Module, dict[str, Any]]:
    """The network rounded by mlx-lm, and its configuration."""
    network, config = _stored(source)
    # It prints to stdout, which is the caller's.
    with contextlib.redirect_stdout(io.StringIO()):
        found: tuple[nn.Module, dict[str, Any]] = quantize_model(
            network, config, quantization.group_size, quantization.bits, mode=quantization.mode
        )
    return found


def _learned(
    source: Checkpoint, quantization: Quantization, text: CalibrationTokens, progress: ProgressCallback
) -> _Quantized:
    """By one of the quantizers that look at a text, in the type of the source's files again."""
    from mlx_prune.pruning.learned import quantize_learned

    count = len(dict(_quantizable(source.network())))
    network, config = quantize_learned(source, quantization, text.tokens, progress)
    network.set_dtype(getattr(mx, source.stored_dtype))
    _store_as_declared(network, config)
    mx.eval(network.parameters())
    kept = [name for name, _ in _quantizable(network)]
    notes: tuple[str, ...] = ()
    if quantization.quantizer == "dwq" and _as_rounded(source, network, quantization):
        notes = (_NOTHING_LEARNED,)
    return _Quantized(network, config, count - len(kept), tuple(kept), (), notes)


def _as_rounded(source: Checkpoint, network: nn.Module, quantization: Quantization) -> bool:
    """Whether a network holds the very scales and offsets that rounding gives."""
    rounded = dict(tree_flatten(_rounded(source, quantization)[0].parameters()))
    return all(
        bool(mx.array_equal(rounded[name], value)) for name, value in tree_flatten(network.parameters())
    )


def _quantizable(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The layers that have a quantized form and are not quantized, in the model's order."""
    for name, module in reversed(network.named_modules()):
        if hasattr(module, "to_quantized") and "weight" in module:
            yield name, module


def _store_as_declared(network: nn.Module, config: dict[str, Any]) -> None:
    """Take the type that config.json declares, as mlx-lm's conversion does; most files hold it already."""
    declared = config.get("torch_dtype") or (config.get("text_config") or {}).get("dtype")
    if declared not in _STORED_TYPES:
        return
    wanted, may_cast = getattr(mx, declared), getattr(network, "cast_predicate", lambda _: True)

    def convert(name: str, value: mx.array) -> mx.array:
        return value.astype(wanted) if may_cast(name) and mx.issubdtype(value.dtype, mx.floating) else value

    network.update(tree_map_with_path(convert, network.parameters()))


def _write_weights(folder: OutputFolder, source: Checkpoint, done: _Quantized) -> None:
    parts = names_beside(source.shards, done.network, build(source.config))
    needed = sum(array.nbytes for _, array in tree_flatten(done.network.parameters()))
    folder.check_space(needed + sum(source.shards.tensors[name].nbytes for name in parts))
    # Models with a vision tower cannot be built without its part of the configuration.
    has_vision = bool(parts) or "vision_tower" in getattr(done.network, "model", {})
    save_model(folder.partial, done.network, donate_model=True)
    add_parts(folder.partial, source.shards, parts)
    copy_side_files(source.path, folder.partial)
    save_config(done.config, folder.partial / CONFIG_FILE, keep_vision_config=has_vision)


def quantized_already(path: Path) -> CheckpointError:
    """What refuses to quantize a model once more."""
    return CheckpointError(
        f"{path} is quantized already; quantize the dense or pruned checkpoint it was made from."
    )


def finished(folder: Path, origin: str, quantization: BitFormat) -> QuantizationReport:
    """The report of a folder that holds this very quantization.

    Raises:
        CheckpointError: It holds something else.
    """
    return QuantizationReport(
        check_same(folder, PruningRecord.find(folder), _fingerprint(origin, quantization))
    )


def _fingerprint(origin: str, quantization: BitFormat) -> str:
    return hashlib.sha256(f"{origin} {quantization.label}".encode()).hexdigest()
