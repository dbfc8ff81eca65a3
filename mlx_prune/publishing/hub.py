"""Send a planned checkpoint to the Hub: repository, files, collection.

Weights go up one file at a time and are stored by their hash, and one commit then makes all files visible
together. An upload that was interrupted therefore shows nothing, and the same call sends what is missing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from mlx_prune._version import __version__
from mlx_prune.cards.card import CARD_FILE, short_title
from mlx_prune.checkpoint.record import META_FILE, PruningRecord
from mlx_prune.checkpoint.shards import INDEX_FILE, WEIGHT_FILES
from mlx_prune.errors import CheckpointError, MlxPruneError, PublishError, one_line
from mlx_prune.progress import Progress, ProgressCallback, silent
from mlx_prune.publishing.plan import PublishPlan

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# What tells one checkpoint from another in its pruning_meta.json.
_IDENTITY = ("model", "method", "target_sparsity", "pattern", "scope")
_NEW_REPOSITORY = (".gitattributes", ".gitignore", CARD_FILE)
_SLUG = re.compile(r"[^/\s]+/[^/\s]+-[0-9a-f]{16,24}")
_LOGIN = "log in with `hf auth login`, or set HF_TOKEN, with a token that may write"


@dataclass(frozen=True)
class Publication:
    """A checkpoint on the Hub.

    Attributes:
        repo_id: Its repository.
        url: Where to look at it.
        private: Whether only its owner sees it.
        commit: Id of the commit that holds it.
        changed: Whether anything was new; False if the same files were there already.
        collection: URL of the collection it was added to, or None.
    """

    repo_id: str
    url: str
    private: bool
    commit: str
    changed: bool
    collection: str | None


def hub_api() -> HfApi:
    """A client of the Hub (``HF_ENDPOINT``) with the token of ``hf auth login`` or ``HF_TOKEN``, if any."""
    from huggingface_hub import HfApi

    return HfApi(library_name="mlx-prune", library_version=__version__)


def publish(
    plan: PublishPlan, *, api: HfApi | None = None, progress: ProgressCallback = silent
) -> Publication:
    """Create the repository if need be, upload what is missing, and add it to the collection.

    Args:
        plan: From :func:`mlx_prune.publishing.plan.plan_publication`.
        api: A client of the Hub; by default :func:`hub_api`.
        progress: Called with bytes uploaded, file by file.

    Raises:
        PublishError: Nobody is logged in, the repository holds something else or has another visibility, or
            the Hub refused or went away; the same call resumes.
    """
    api = api or hub_api()
    _require_token(api)
    with _hub_errors(f"Creating {plan.repo_id}"):
        api.create_repo(plan.repo_id, private=plan.private, exist_ok=True)
        info = api.model_info(plan.repo_id)
        present = [file.rfilename for file in info.siblings or []]
        _require_same_visibility(plan, private=bool(info.private))
        _require_same_checkpoint(plan, api, present)
    with _hub_errors(f"Uploading to {plan.repo_id}"):
        commit = _upload(plan, api, present, progress)
    collection = None
    if plan.collection is not None:
        with _hub_errors(f"{plan.repo_id} is published, but adding it to {plan.collection!r}"):
            collection = _add_to_collection(api, plan.collection, plan.repo_id, private=plan.private)
    url = f"{api.endpoint}/{plan.repo_id}"
    return Publication(plan.repo_id, url, plan.private, commit, commit != info.sha, collection)


def _require_token(api: HfApi) -> None:
    from huggingface_hub import get_token

    if not api.token and not get_token():
        raise PublishError(f"Nobody is logged in to the Hub: {_LOGIN}.")


def _require_same_visibility(plan: PublishPlan, *, private: bool) -> None:
    if private == plan.private:
        return
    if plan.private:
        raise PublishError(
            f"{plan.repo_id} exists and is public; ask for that (--public), or choose another name."
        )
    raise PublishError(
        f"{plan.repo_id} exists and is private; make it public in its settings, or leave --public out."
    )


def _require_same_checkpoint(plan: PublishPlan, api: HfApi, present: Collection[str]) -> None:
    if META_FILE not in present:
        others = sorted(set(present).difference(_NEW_REPOSITORY))
        if others:
            raise PublishError(
                f"{plan.repo_id} exists and holds something else ({others[0]}); choose another name."
            )
        return
    try:
        there = PruningRecord.find(Path(api.hf_hub_download(plan.repo_id, META_FILE)).parent)
    except CheckpointError:
        there = None
    for key in _IDENTITY:
        found, here = getattr(there, key, None), getattr(plan.record, key)
        if found != here:
            raise PublishError(
                f"{plan.repo_id} holds another checkpoint ({key} {found}, here {here}); "
                "choose another name, or delete that repository first."
            )


def _upload(plan: PublishPlan, api: HfApi, present: Collection[str], progress: ProgressCallback) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    sizes = plan.sizes
    total, done = sum(sizes.values()), 0
    additions = [CommitOperationAdd(path.name, path) for path in plan.files]
    additions += [CommitOperationAdd(name, text) for name, text in plan.texts.items()]
    for addition in additions:
        progress(Progress("upload", done, total, addition.path_in_repo))
        api.preupload_lfs_files(plan.repo_id, additions=[addition], free_memory=False)
        done += sizes[addition.path_in_repo]
    # Weights of an earlier upload that are left over would be loaded along with the new ones.
    weights = (name for name in present if fnmatch(name, WEIGHT_FILES) or name == INDEX_FILE)
    stale = [name for name in weights if name not in sizes]
    commit = api.create_commit(
        plan.repo_id,
        operations=[*additions, *(CommitOperationDelete(name) for name in stale)],
        commit_message=f"{short_title(plan.record)} with mlx-prune",
    )
    progress(Progress("upload", total, total))
    return str(commit.oid)


def _add_to_collection(api: HfApi, collection: str, repo_id: str, *, private: bool) -> str:
    """Add a repository to a collection, given by slug or by title; being there already is fine."""
    if _SLUG.fullmatch(collection):
        slug = collection
    else:
        owner = repo_id.split("/")[0]
        mine = (known for known in api.list_collections(owner=owner) if known.title == collection)
        found = next(mine, None) or api.create_collection(
            collection, namespace=owner, private=private, exists_ok=True
        )
        slug = found.slug
    return api.add_collection_item(slug, repo_id, "model", exists_ok=True).url


@contextmanager
def _hub_errors(doing: str) -> Iterator[None]:
    """Turn whatever huggingface_hub and its HTTP client raise into one sentence."""
    try:
        yield
    except MlxPruneError:
        raise
    except Exception as error:
        raise PublishError(_sentence(doing, error)) from error


def _sentence(doing: str, error: Exception) -> str:
    # Uploads run in threads, and what went wrong there comes wrapped.
    cause: BaseException | None = error
    while cause is not None and getattr(cause, "response", None) is None:
        cause = cause.__cause__
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if status == 401:
        return f"{doing} failed because the Hub does not accept the token; {_LOGIN}."
    if status == 403:
        return f"{doing} failed because the token may not do that; {_LOGIN}."
    reason = f"HTTP {status}" if status else type(error).__name__
    detail = f"{reason}: {one_line(cause or error)}"
    return f"{doing} failed ({detail}); what was sent is kept, and the same command resumes."
