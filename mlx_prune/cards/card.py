"""The model card of a pruned checkpoint, in the structure of the cards published with the study.

A card is made from the record of pruning alone (``card.md.j2``), and made again when measurements arrive. It
states what was done and what was measured; what was not measured is said to be unmeasured. What it says of a
method comes from the method's own file.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mlx_prune import words
from mlx_prune.cards.base import BaseModel, base_model
from mlx_prune.cards.citation import CITATION
from mlx_prune.cards.results import CardResults, percent, results_rows
from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.hub_data import source_name
from mlx_prune.labels import DENSE, Label, known_label
from mlx_prune.outside_names import markdown, plain
from mlx_prune.registry import MASK, QUANTIZATION, STRUCTURE, Method, methods
from mlx_prune.store import write_atomically

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

CARD_FILE = "README.md"

_LINK = re.compile(r"https?://[^\s()<>\[\]]+")
_UNITS = {
    "neurons": "MLP neurons per block",
    "groups": "Key-value groups per block",
    "blocks": "Transformer blocks",
}
_TEXTS = {"c4": "C4", "demo": "mlx-prune's invented demo text"}
_QUESTIONS = {
    "": "BBQ",
    "hub": "BBQ (Elfsong/BBQ)",
    "demo": "mlx-prune's invented demonstration set, which is not BBQ,",
}


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
    label = known_label(str(record.method))
    text = record.calibration.source if record.calibration is not None else ""
    body = _template().render(
        record=record,
        quantized=record.quantization,
        base=base,
        results=results,
        repo_id=repo_id,
        kind=_kind(label),
        title=short_title(record),
        said=_said(label),
        scope=_scope(label, record.scope or ""),
        license=_license(base),
        text=_text_name(text),
        recovered_text=_text_name(str(record.recovery.data.get("source", "")) if record.recovery else ""),
        questions=_QUESTIONS.get(results.bbq, f"BBQ ({markdown(results.bbq)})"),
        rows=results_rows(results),
    )
    return str(ModelCard(f"---\n{_header(record, label, base).to_yaml()}\n---\n\n{body}\n"))


def short_title(record: PruningRecord) -> str:
    """What was done, in a few words: "wanda pruning at 50% target sparsity (2:4 pattern), 4-bit"."""
    label = known_label(str(record.method))
    bits = "" if label is None or label.quantization is None else f"{label.quantization.bits}-bit"
    kind = _kind(label)
    if kind == QUANTIZATION:
        return f"{bits} quantization ({record.method})"
    what = f"{percent(record.target_sparsity)} {'removed' if kind == STRUCTURE else 'target sparsity'}"
    pattern = f" ({record.pattern} pattern)" if record.pattern else ""
    method = record.method if label is None else label.unquantized
    return f"{method} pruning at {what}{pattern}" + (f", {bits}" if bits else "")


def _text_name(source: str) -> str:
    return _TEXTS.get(source, markdown(source_name(source)))


@cache
def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters |= {"markdown": markdown, "plain": plain}
    environment.globals |= {"words": words, "percent": percent, "units": _UNITS, "citation": CITATION}
    return environment.get_template("card.md.j2")


def _kind(label: Label | None) -> str:
    """Of a method of another tool, zeros are all that its record tells."""
    if label is None or label.masked:
        return MASK
    return STRUCTURE if label.structured else QUANTIZATION


def _said(label: Label | None) -> list[str]:
    """What was done, in the words of the method and its modifiers."""
    if label is None or label.base == DENSE:
        return []
    method = methods()[label.base]
    return [method.words, *(word.words for word in method.modifiers if word.name in label.modifiers)]


def _scope(label: Label | None, scope: str) -> str:
    method = Method if label is None or label.base == DENSE else methods()[label.base]
    return method.scopes[scope].words if scope in method.scopes else scope


def _license(base: BaseModel) -> str:
    if base.license is None:
        return "that of the base model, which was not recorded; see there before any use."
    name = markdown(base.license_name or base.license)
    # A relative link would lead into this repository, and a parenthesis end the link.
    safe = base.license_link is not None and _LINK.fullmatch(base.license_link)
    return f"{f'[{name}]({base.license_link})' if safe else name}, that of the base model."


def _header(record: PruningRecord, label: Label | None, base: BaseModel) -> ModelCardData:
    from huggingface_hub import ModelCardData

    if label is None:
        done = ["pruning", str(record.method)]
    else:
        done = [] if label.base == DENSE else ["pruning", label.base, *label.modifiers]
        done += [] if label.quantization is None else ["quantization", label.quantization.label]
    return ModelCardData(
        license=base.license,
        license_name=base.license_name,
        license_link=base.license_link,
        base_model=base.hub_id,
        language=list(base.language) or ["en"],
        library_name="mlx",
        pipeline_tag="text-generation",
        tags=[*done, "bias-evaluation", "llm-compression", "arxiv:2605.08137", "research-only"],
    )
