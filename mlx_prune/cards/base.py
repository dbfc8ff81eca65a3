"""Which model a checkpoint was pruned from, as far as a card may say it: name, Hub id, license, languages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.errors import CheckpointError
from mlx_prune.paths import expanded, looks_like_hub_id

DEMO_MODEL = "demo"
_CACHED = re.compile(r"models--([^/\\]+)--([^/\\]+)[/\\]snapshots[/\\]")


@dataclass(frozen=True)
class BaseModel:
    """The dense model a checkpoint comes from.

    Attributes:
        name: Its short name; never a path.
        hub_id: Its id on the Hub, or None for a local folder.
        license: License identifier as on the Hub ("mit", "gemma", "other"), or None if unknown.
        license_name: Name of a license that has no identifier.
        license_link: Where that license stands.
        language: Language codes.
    """

    name: str
    hub_id: str | None = None
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    language: tuple[str, ...] = ()


def shown_name(model: str) -> str:
    """What a card and a command call a model: its Hub id, or the name of its folder without the path.

    Args:
        model: What the user called it; a folder in the Hub's cache is its Hub id.
    """
    cached = _CACHED.search(model)
    if cached:
        return f"{cached[1]}/{cached[2]}"
    local = expanded(model).exists()
    return (
        model
        if model == DEMO_MODEL or (looks_like_hub_id(model) and not local)
        else expanded(model).resolve().name
    )


def base_model(record: PruningRecord) -> BaseModel:
    """The base model that a record names, with the license its own card declares.

    The card is looked for in the model's folder and in the Hub's local cache; nothing is downloaded.

    Raises:
        CheckpointError: The record names no model.
    """
    source = record.model
    if not source:
        raise CheckpointError("pruning_meta.json names no model; prune the model again.")
    if source == DEMO_MODEL:
        return BaseModel("mlx-prune-demo", license="mit", language=("en",))
    shown = shown_name(source)
    hub_id = shown if "/" in shown else None
    card = expanded(source) / "README.md"
    if not card.is_file() and hub_id:
        card = _cached_card(hub_id) or card
    return with_card(
        BaseModel(shown.rpartition("/")[2], hub_id), card_metadata(card) if card.is_file() else {}
    )


def with_card(base: BaseModel, card: Mapping[str, Any]) -> BaseModel:
    """Take over what the metadata of the base model's own card say of license and language."""
    languages = card.get("language") or ()
    languages = [languages] if isinstance(languages, str) else languages
    return BaseModel(
        name=base.name,
        hub_id=base.hub_id,
        license=_text(card.get("license")) or base.license,
        license_name=_text(card.get("license_name")) or base.license_name,
        license_link=_text(card.get("license_link")) or base.license_link,
        language=tuple(str(language) for language in languages) or base.language,
    )


def card_metadata(card: Path) -> dict[str, Any]:
    """The YAML metadata of a README.md; empty where it has none or they are malformed."""
    import yaml  # type: ignore[import-untyped]
    from huggingface_hub.repocard import metadata_load

    try:
        return metadata_load(card) or {}
    except (yaml.YAMLError, ValueError):
        # Somebody else's card: without readable metadata the license is simply not known.
        return {}


def _cached_card(hub_id: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub_id, "README.md")
    return Path(found) if isinstance(found, str) else None


def _text(value: Any) -> str | None:
    # A list of licenses is valid on the Hub; the first one stands for the model.
    first = value[0] if isinstance(value, list) and value else value
    return first if isinstance(first, str) and first else None
