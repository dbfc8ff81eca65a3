"""A checkpoint that a study was given: what it is beside its dense model, and whether it still is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from mlx_prune import words
from mlx_prune.chat.same_tokenizer import CHAT_TEMPLATE, differences
from mlx_prune.checkpoint.inspection import inspect
from mlx_prune.checkpoint.matrices import block_modules, dense_matrix, other_projections
from mlx_prune.checkpoint.open import Checkpoint, LoadedModel
from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.configuration import Configuration
from mlx_prune.errors import RecordsError
from mlx_prune.paths import expanded, looks_like_hub_id
from mlx_prune.progress import ProgressCallback
from mlx_prune.study.config import StudyConfig
from mlx_prune.study.folder import StudyFolder


def require_there(paths: Iterable[str]) -> None:
    """Refuse folders of models that are not there, before the first is loaded; the Hub is not asked.

    Raises:
        CheckpointError: One is absent, or no model's folder.
    """
    for path in paths:
        if expanded(path).exists() or not looks_like_hub_id(path):
            Checkpoint.open(path)


def describe(
    checkpoint: Checkpoint,
    loaded: LoadedModel,
    dense: Checkpoint,
    name: Configuration,
    progress: ProgressCallback,
) -> PruningRecord:
    """What is known of a checkpoint: its own record where it has one, and its zeros counted where not.

    Args:
        checkpoint: Where it lies.
        loaded: The same, loaded.
        dense: The dense model that it is compared with.
        name: Its configuration.
        progress: Told about the count of zeros.

    Returns:
        A record with an entry "checkpoint": its path, the hash of its weights, and what makes it hard to
        compare, as sentences.
    """
    found = PruningRecord.find(checkpoint.path)
    if found is None or found.actual_sparsity is None:
        found = _counted(checkpoint, dense, progress)
    cutting = differences(loaded.tokenizer, dense.tokenizer().tokenizer)
    return found.without("results").with_entries(
        model=name.model,
        checkpoint={
            "path": str(checkpoint.given),
            "hash": checkpoint.quick_hash,
            "warnings": list(_warnings(loaded, dense, name, cutting)),
            "other_tokens": cutting not in ([], [CHAT_TEMPLATE]),
        },
    )


def require_unchanged(study: StudyFolder, config: StudyConfig, name: Configuration, *, trust: bool) -> None:
    """Refuse a checkpoint whose weights are no longer those that a finished run was measured on.

    Raises:
        RecordsError: They differ.
    """
    row, record = config.checkpoint(name), study.run(name).pruned
    if row is None or record is None:
        return
    recorded, given = record.checkpoint, row.path
    if recorded is None or (recorded.path == given and not expanded(given).is_dir()):
        return  # the Hub's is not fetched to be compared
    if recorded.hash != Checkpoint(given, trust).quick_hash:
        raise RecordsError(
            f"{given} holds other weights than those that {name.name} was measured on; give the checkpoint "
            f"another name, or delete {study.run(name).path} to measure it again."
        )


def _counted(checkpoint: Checkpoint, dense: Checkpoint, progress: ProgressCallback) -> PruningRecord:
    """Zeros of a checkpoint that tells nothing of itself; what the dense model had more is removed."""
    matrices = inspect(
        checkpoint.path, trust_remote_code=checkpoint.trust_remote_code, progress=progress
    ).matrices
    here, zeros = sum(m.params for m in matrices), sum(m.zeros for m in matrices)
    total = max(here, _prunable(dense))
    content: dict[str, Any] = {"total_prunable_params": total, "zero_params": zeros}
    if total:
        content["actual_sparsity"] = round(100 * (total - here + zeros) / total, 6)
    return PruningRecord.of(content)


def _prunable(checkpoint: Checkpoint) -> int:
    """Weights of the linear layers in the blocks; nothing is read of them."""
    network = checkpoint.network()
    left_out = other_projections(network)
    found = (dense_matrix(module) for _, _, part, module in block_modules(network) if part not in left_out)
    return sum(weight.size for weight in found if weight is not None)


def _warnings(
    loaded: LoadedModel, dense: Checkpoint, name: Configuration, cutting: list[str]
) -> Iterator[str]:
    """What makes two models hard to compare, as sentences; in ``cutting`` their tokenizers differ."""
    kind, before = (model.config.get("model_type") for model in (loaded, dense))
    if kind != before:
        yield (
            f"{name.name} is of another architecture ({kind}) than {name.model} ({before}): the two differ "
            "by more than what was done to one model."
        )
    if cutting:
        told = "it reads the same questions as other prompts"
        if cutting != [CHAT_TEMPLATE]:
            told += ", and its perplexity is per other tokens, so it is not compared"
        yield f"{name.name} has another {words.names(cutting)} than {name.model}: {told}."
