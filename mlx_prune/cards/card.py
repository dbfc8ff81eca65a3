"""The model card of a pruned checkpoint, in the structure of the cards published with the study.

A card is made from ``pruning_meta.json`` alone, and made again when measurements arrive. It states what was
done and what was measured; what was not measured is said to be unmeasured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_prune.cards import sections as card_sections
from mlx_prune.cards.base import BaseModel, base_model
from mlx_prune.cards.methods import tags as method_tags
from mlx_prune.cards.results import CardResults
from mlx_prune.checkpoint.record import read_pruning_meta
from mlx_prune.errors import CheckpointError
from mlx_prune.store import write_atomically

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

META_FILE = "pruning_meta.json"
CARD_FILE = "README.md"

_REQUIRED = (
    "model",
    "method",
    "target_sparsity",
    "actual_sparsity",
    "total_prunable_params",
    "zero_params",
    "prune_time_s",
)


def read_meta(folder: Path) -> dict[str, Any]:
    """What ``pruning_meta.json`` says of a checkpoint.

    Raises:
        CheckpointError: It is absent or damaged, so the folder was not made by ``mlxprune prune``.
    """
    file = folder / META_FILE
    if not file.is_file():
        raise CheckpointError(
            f"{folder} holds no {META_FILE}, so it is not a checkpoint made by `mlxprune prune`."
        )
    meta = read_pruning_meta(file, "prune the model again")
    absent = [key for key in _REQUIRED if meta.get(key) is None]
    if absent:
        raise CheckpointError(f"{file} lacks {', '.join(absent)}; prune the model again.")
    return meta


def write_card(folder: Path, results: CardResults | None = None) -> Path:
    """Write the model card of a checkpoint folder.

    Args:
        folder: A folder with a ``pruning_meta.json``.
        results: Measurements to keep in ``pruning_meta.json`` (under "results") and to show; None shows those
            that are kept there already.

    Returns:
        The path of the README.md.

    Raises:
        CheckpointError: The folder is not a pruned checkpoint.
        RecordsError: It cannot be written.
    """
    meta = read_meta(folder)
    if results is not None:
        meta["results"] = results.to_dict()
        text = json.dumps(meta, indent=2, ensure_ascii=False, allow_nan=False)
        write_atomically(folder / META_FILE, f"{text}\n".encode())
    card = folder / CARD_FILE
    write_atomically(card, model_card(meta).encode())
    return card


def model_card(
    meta: Mapping[str, Any],
    results: CardResults | None = None,
    *,
    base: BaseModel | None = None,
    repo_id: str | None = None,
) -> str:
    """Compose a model card.

    Args:
        meta: The contents of ``pruning_meta.json``.
        results: Measurements; None takes those under "results" in ``meta``, if any.
        base: The base model; by default what ``meta`` and its own card on this machine tell.
        repo_id: Where the checkpoint is published, for the example of use.

    Returns:
        Markdown with a YAML header that the Hub accepts.

    Raises:
        CheckpointError: The metadata name no model.
        DataError: The kept results are damaged.
    """
    from huggingface_hub import ModelCard

    base = base or base_model(meta)
    if results is None:
        results = CardResults.from_dict(meta.get("results") or {})
    sections = (
        card_sections.summary(meta, base, results),
        card_sections.configuration(meta, base),
        card_sections.metrics(results),
        card_sections.caveats(meta, results),
        card_sections.use(repo_id),
        card_sections.reproduction(meta, base),
        card_sections.citation(),
    )
    header = _metadata(meta, base).to_yaml()
    body = "\n\n".join(sections)
    return str(ModelCard(f"---\n{header}\n---\n\n{body}\n"))


def _metadata(meta: Mapping[str, Any], base: BaseModel) -> ModelCardData:
    from huggingface_hub import ModelCardData

    tags = [*method_tags(meta), "bias-evaluation", "llm-compression", "arxiv:2605.08137"]
    return ModelCardData(
        license=base.license,
        license_name=base.license_name,
        license_link=base.license_link,
        base_model=base.hub_id,
        language=list(base.language) or ["en"],
        library_name="mlx",
        pipeline_tag="text-generation",
        tags=[*tags, "research-only"],
    )
