"""The model card of a pruned checkpoint, in the structure of the cards published with the study.

A card is made from ``pruning_meta.json`` alone, and made again when measurements arrive. It states what was
done and what was measured; what was not measured is said to be unmeasured.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlx_prune.cards import sections as card_sections
from mlx_prune.cards.base import BaseModel, base_model
from mlx_prune.cards.methods import tags as method_tags
from mlx_prune.cards.results import CardResults
from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.store import write_atomically

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

CARD_FILE = "README.md"


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
    record = PruningRecord.read(folder)
    if results is not None:
        record = record.with_entries(results=results.to_dict())
        record.write(folder)
    card = folder / CARD_FILE
    write_atomically(card, model_card(record).encode())
    return card


def model_card(
    record: PruningRecord,
    results: CardResults | None = None,
    *,
    base: BaseModel | None = None,
    repo_id: str | None = None,
) -> str:
    """Compose a model card.

    Args:
        record: What was done.
        results: Measurements; None takes those that the record keeps, if any.
        base: The base model; by default what the record and its own card on this machine tell.
        repo_id: Where the checkpoint is published, for the example of use.

    Returns:
        Markdown with a YAML header that the Hub accepts.

    Raises:
        CheckpointError: The record names no model.
        DataError: The kept results are damaged.
    """
    from huggingface_hub import ModelCard

    base = base or base_model(record)
    if results is None:
        results = CardResults.from_dict(record.results or {})
    sections = (
        card_sections.summary(record, base, results),
        card_sections.configuration(record, base),
        card_sections.metrics(results),
        card_sections.caveats(record, results),
        card_sections.use(repo_id),
        card_sections.reproduction(record, base),
        card_sections.citation(),
    )
    header = _metadata(record, base).to_yaml()
    body = "\n\n".join(sections)
    return str(ModelCard(f"---\n{header}\n---\n\n{body}\n"))


def _metadata(record: PruningRecord, base: BaseModel) -> ModelCardData:
    from huggingface_hub import ModelCardData

    tags = [*method_tags(record), "bias-evaluation", "llm-compression", "arxiv:2605.08137"]
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
