"""Repository names in the pattern of the study's collection: ``<base>-<method>-s<sparsity>-pia``."""

from __future__ import annotations

import re

from mlx_prune.errors import PublishError, one_line

_SUFFIX = "pia"  # pruning impact analysis, as in the published names
_LONGEST = 96


def repository_name(base: str, method: str, sparsity: float, pattern: str | None = None) -> str:
    """Name a checkpoint's repository, without the owner.

    Args:
        base: Hub id or short name of the base model.
        method: Method label.
        sparsity: Target sparsity in percent.
        pattern: N:M pattern, if any.

    Returns:
        For instance ``gemma-2-9b-it-wanda-s50-pia``, or ``gemma-2-9b-it-wanda-s50-2of4-pia``.

    Raises:
        PublishError: The name would be longer than the Hub allows.
    """
    words = [base.rstrip("/").split("/")[-1].lower(), method]
    if sparsity:  # a model that was only quantized has none
        words.append(f"s{sparsity:g}")
    if pattern:
        words.append(pattern.replace(":", "of"))
    # The Hub allows letters, digits, "_", "-" and ".", and neither "--" nor "..".
    name = re.sub(r"[^a-z0-9_.-]+", "-", "-".join([*words, _SUFFIX]))
    name = re.sub(r"[-.]*-[-.]*", "-", re.sub(r"\.{2,}", ".", name)).strip("-.")
    if len(name) > _LONGEST:
        raise PublishError(
            f"{name} is longer than the {_LONGEST} characters that the Hub allows; give owner/name."
        )
    return name


def check_repo_id(repo_id: str) -> None:
    """Check that the Hub would accept a repository id "owner/name".

    Raises:
        PublishError: It would not.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    if "/" not in repo_id:
        raise PublishError(f"{repo_id!r} is not a repository id; give owner/name.")
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise PublishError(
            f"{repo_id!r} is not a repository id that the Hub accepts ({one_line(error)})."
        ) from error
