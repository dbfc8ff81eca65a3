"""What publishing a checkpoint would do, decided and checked before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_prune.cards.base import DEMO_MODEL, BaseModel, base_model, card_metadata, shown_name, with_card
from mlx_prune.cards.card import CARD_FILE, model_card
from mlx_prune.cards.results import CardResults
from mlx_prune.checkpoint.record import META_FILE, PruningRecord
from mlx_prune.errors import PublishError
from mlx_prune.hub_data import is_hub
from mlx_prune.paths import expanded
from mlx_prune.publishing.folder import publishable_files
from mlx_prune.publishing.names import check_repo_id, repository_name
from mlx_prune.store import RECORDS_FOLDER
from mlx_prune.study.card_results import results_of_study

if TYPE_CHECKING:
    from huggingface_hub import HfApi


@dataclass(frozen=True)
class PublishPlan:
    """One checkpoint on its way to the Hub.

    Attributes:
        folder: The checkpoint folder, which is left as it is.
        repo_id: The repository, "owner/name".
        private: Whether the repository is private.
        collection: Title or slug of the collection to add it to, or None.
        files: Files uploaded as they stand.
        texts: Files written anew for the Hub: the model card, and ``pruning_meta.json`` without local paths.
        record: What the published ``pruning_meta.json`` says.
        warnings: What the publisher should know, one sentence each.
    """

    folder: Path
    repo_id: str
    private: bool
    collection: str | None
    files: tuple[Path, ...]
    texts: Mapping[str, bytes]
    record: PruningRecord
    warnings: tuple[str, ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of every file that is uploaded, by name."""
        sizes = {path.name: path.stat().st_size for path in self.files}
        return dict(sorted((sizes | {name: len(text) for name, text in self.texts.items()}).items()))


def plan_publication(
    folder: Path,
    target: str,
    *,
    public: bool = False,
    collection: str | None = None,
    results: CardResults | None = None,
    api: HfApi | None = None,
) -> PublishPlan:
    """Check a checkpoint and decide what is uploaded where; nothing is sent.

    Args:
        folder: A checkpoint made by ``mlxprune prune``.
        target: "owner/name", or an owner for a name in the pattern of the published collection.
        public: Make the repository public.
        collection: Title of a collection of the owner (created if absent), or the slug of any collection.
        results: Measurements for the card; None takes those that the checkpoint keeps.
        api: The Hub, asked for the base model's license where it is not known here; None does not ask.

    Raises:
        CheckpointError: The folder is not a complete, clean checkpoint of this tool.
        PublishError: The repository's name is not one the Hub accepts.
    """
    folder = expanded(folder)
    files = publishable_files(folder)
    record = PruningRecord.read(folder)
    if results is not None:
        record = record.with_entries(results=results.to_dict())
    base = base_model(record)
    if api is not None and base.license is None and base.hub_id is not None:
        base = _ask_hub(api, base)
    if "/" not in target:
        name = repository_name(base.name, str(record.method), record.target_sparsity or 0.0, record.pattern)
        target = f"{target}/{name}"
    check_repo_id(target)
    warnings = []
    if base.license is None:
        warnings.append(
            f"The license of {base.hub_id or base.name} is not known, so the card names none; add it there."
        )
    if not record.results:
        warnings.append("Nothing was measured on this checkpoint yet, and its card says so.")
    published = _without_paths(record, base)
    texts = {
        CARD_FILE: model_card(published, base=base, repo_id=target).encode(),
        META_FILE: published.to_bytes(),
    }
    return PublishPlan(
        folder, target, not public, collection, tuple(files), texts, published, tuple(warnings)
    )


def plan_grid(
    root: Path,
    owner: str,
    *,
    public: bool = False,
    collection: str | None = None,
    api: HfApi | None = None,
) -> list[PublishPlan]:
    """Plan every checkpoint in a folder, each under its name in the published pattern.

    Args:
        root: A checkpoint, or a folder that holds checkpoints at any depth. If it is a study, the cards show
            what the study measured of them.
        owner: User or organization on the Hub.
        public: As in :func:`plan_publication`.
        collection: As in :func:`plan_publication`.
        api: As in :func:`plan_publication`.

    Raises:
        CheckpointError: A checkpoint is not fit to be published.
        PublishError: There is none, or two would have the same name.
    """
    root = expanded(root)
    folders = find_checkpoints(root)
    if not folders:
        raise PublishError(f"{root} holds no checkpoint made by `mlxprune prune`.")
    plans = [
        plan_publication(
            folder,
            owner,
            public=public,
            collection=collection,
            results=results_of_study(root, PruningRecord.read(folder)),
            api=api,
        )
        for folder in folders
    ]
    taken: dict[str, Path] = {}
    for plan in plans:
        other = taken.setdefault(plan.repo_id, plan.folder)
        if other != plan.folder:
            raise PublishError(
                f"{other} and {plan.folder} would both be {plan.repo_id}; publish one by one, as owner/name."
            )
    return plans


def find_checkpoints(root: Path) -> list[Path]:
    """Folders at or below ``root`` with a ``pruning_meta.json``, by path.

    Hidden folders are passed over, and so are run folders, which hold that file without a model.
    """
    return sorted(
        folder
        for folder in {file.parent for file in root.rglob(META_FILE)}
        if not any(part.startswith(".") for part in folder.relative_to(root).parts)
        and not (folder / RECORDS_FOLDER).is_dir()
    )


def _ask_hub(api: HfApi, base: BaseModel) -> BaseModel:
    assert base.hub_id is not None
    try:
        card = Path(api.hf_hub_download(base.hub_id, CARD_FILE))
    except Exception:
        # A license that cannot be looked up is one that is not known; the plan warns of it.
        return base
    return with_card(base, card_metadata(card))


def _without_paths(record: PruningRecord, base: BaseModel) -> PruningRecord:
    """The record as it may be shown to anyone: names in place of this machine's paths."""
    shown: dict[str, Any] = {}
    if record.model != DEMO_MODEL:
        shown["model"] = base.hub_id or base.name
    if record.calibration is not None:
        name = Path(record.calibration.source).name
        shown["calibration"] = {**record.entries["calibration"], "source": name}
    if record.recovery is not None:
        found = record.recovery
        teacher = None if found.teacher is None else shown_name(found.teacher)
        source = str(found.data.get("source", ""))
        data = {**found.data, "source": source if is_hub(source) else Path(source).name}
        shown["recovery"] = {**record.entries["recovery"], "teacher": teacher, "data": data}
    return record.with_entries(**shown)
