"""What transformers makes of a config.json, so that a smaller model means the same there.

Transformers derives the kind of each block (sliding or full attention) from its index where the file does
not list the kinds; after blocks have gone, they must be listed.
"""

from __future__ import annotations

import copy
import json
import tempfile
import warnings
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

from mlx_prune.checkpoint.dimensions import BLOCK_LISTS, as_long, depth_of, without_lists
from mlx_prune.errors import RecipeError


def lists_per_block(config: dict[str, Any]) -> frozenset[str]:
    """Names of the lists of a config that have an entry per block.

    Known ones; and those that transformers, which is not told any, makes as long as the model is deep.
    """
    deep = depth_of(config)
    made = {depth: _understood(without_lists(config, depth))[0] for depth in (deep, deep + 1)}
    found = [
        {
            name
            for part in (values or {}, (values or {}).get("text_config") or {})
            for name, value in part.items()
            if as_long(value, depth)
        }
        for depth, values in made.items()
    ]
    return BLOCK_LISTS | set.intersection(*found)


def with_block_kinds(
    config: dict[str, Any], changed: dict[str, Any], kept: Sequence[int], lists: Container[str]
) -> dict[str, Any]:
    """List the kinds of blocks that transformers would derive wrongly.

    Args:
        config: Of the whole model.
        changed: Of the model with the kept blocks.
        kept: Indices of the blocks that stay.
        lists: From :func:`lists_per_block`.

    Returns:
        ``changed``, with every list that transformers derives otherwise than it did for these blocks. Just
        ``changed`` where transformers does not read the model.

    Raises:
        RecipeError: Transformers reads the original config and not the changed one.
    """
    before, _ = _understood(config)
    if before is None:
        return changed
    now = check_readable(config, changed)
    found = copy.deepcopy(changed)
    for name in ("", "text_config"):
        was, will, part = ((c.get(name) if name else c) for c in (before, now, found))
        if isinstance(was, dict) and isinstance(will, dict) and isinstance(part, dict):
            count = depth_of(config)
            kinds = {key: value for key, value in was.items() if key in lists and as_long(value, count)}
            wanted = {key: [value[old] for old in kept] for key, value in kinds.items()}
            part |= {key: value for key, value in wanted.items() if will.get(key) != value}
    check_readable(config, found)
    return found


def check_readable(config: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    """Refuse a config that transformers does not read although it reads the original.

    Returns:
        What transformers makes of the changed one; empty where it does not read the original.

    Raises:
        RecipeError: With the reason transformers gives.
    """
    if _understood(config)[0] is None:
        return {}
    now, reason = _understood(changed)
    if now is None:
        raise RecipeError(
            f"Transformers, which reads this model, would not read the smaller one ({reason}); "
            "remove another share."
        )
    return now


def _understood(config: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """The config with all that transformers derives from it; or None, and why it cannot be read."""
    from transformers import AutoConfig
    from transformers.utils import logging

    level = logging.get_verbosity()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        (Path(folder) / "config.json").write_text(json.dumps(config), encoding="utf-8")
        logging.set_verbosity_error()
        warnings.simplefilter("ignore")
        try:
            return dict(AutoConfig.from_pretrained(folder, trust_remote_code=False).to_dict()), ""
        except Exception as error:  # an unknown type of model, or whatever its class makes of the values
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            return None, lines[-1].rstrip(".") if lines else type(error).__name__
        finally:
            logging.set_verbosity(level)
