"""Rotary positions as config.json states them, handed to mlx-lm as it reads them.

Transformers 5 writes all of them into ``rope_parameters``; most of mlx-lm's architectures read
``rope_theta``, ``rope_scaling`` and ``partial_rotary_factor`` beside it and otherwise take their defaults,
without a word. What is stated is therefore lifted before a model is built, and the model that was built is
asked whether it computes with it.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.nn as nn
from mlx_lm.utils import _get_classes

from mlx_prune.errors import CheckpointError

# What mlx-lm's architectures call them; of each, those that the architecture reads are set.
_THETA = ("rope_theta", "rotary_emb_base")
_LOCAL_THETA = ("rope_local_base_freq", "rope_local_theta", "swa_rope_theta")
_PARTIAL = ("partial_rotary_factor", "rotary_pct")
_SCALING = ("rope_scaling",)
_NUMBERS = ("rope_theta", "factor", "partial_rotary_factor")
_USUAL = frozenset({"rope_theta", "rope_scaling", "partial_rotary_factor"})

# Types without scaling: mrope differs from plain only for pictures, dynamic only beyond the longest text.
_UNSCALED = ("default", "mrope", "dynamic")


@dataclass(frozen=True)
class _Rope:
    """The rotary positions of one kind of layer; what is None is not stated."""

    theta: float | None
    kind: str
    factor: float | None
    partial: float | None

    @property
    def scaled(self) -> bool:
        return self.kind not in _UNSCALED and self.factor != 1


def lifted(config: Mapping[str, Any], file: str = "config.json") -> dict[str, Any]:
    """A config whose rotary positions stand where mlx-lm reads them, and where they stood, too.

    Values inside ``rope_parameters`` win over those beside it, as in transformers; of a dictionary per kind
    of layer, mlx-lm's names for the full and the sliding layers get theirs.

    Args:
        config: A config.json.
        file: What errors call it.

    Returns:
        The config, with entries added or replaced in itself and its ``text_config``; an equal one where
        nothing had to be lifted.

    Raises:
        CheckpointError: ``rope_parameters`` or ``rope_scaling`` is not what it has to be.
    """
    result = dict(config)
    if config.get("model_file") is None:
        result |= _entries(config, file)
    text = config.get("text_config")
    if isinstance(text, Mapping):
        result["text_config"] = {**text, **_entries(text, file)}
    return result


def check_rope(network: nn.Module, config: Mapping[str, Any], file: str = "config.json") -> None:
    """Refuse a network that would compute other rotary positions than its config states.

    Args:
        network: As mlx-lm built it.
        config: The config it was built from, lifted.
        file: What errors call it.

    Raises:
        CheckpointError: It has another base, no scaling where one is stated, or turns another part of a head.
    """
    text = config.get("text_config")
    part: Mapping[str, Any] = text if isinstance(text, Mapping) else config
    stated = _stated(part, file) or {None: {}}
    found = [module for _, module in network.named_modules() if _turns(module)]
    plain = [module for module in found if isinstance(module, nn.RoPE)]
    share = part.get("partial_rotary_factor")
    if share is not None and not _is_positive(share):
        raise _no_number(file, "partial_rotary_factor", share)
    for module in plain:
        if not _is_positive(module.base):
            raise _no_number(file, "rope_theta", module.base)
        if not isinstance(module.traditional, bool):
            raise CheckpointError(
                f"{file} gives rope_traditional as {module.traditional!r}, and it has to be true or false; "
                "correct the file or download it again."
            )
    kinds = part.get("layer_types")
    used = [key for key in stated if key is None or not isinstance(kinds, list) or key in kinds]
    ropes = [_rope(part, stated[key]) for key in used]
    scaled = [rope for rope in ropes if rope.scaled]
    wrong = ""
    if scaled and found and all(isinstance(module, nn.RoPE) and module.scale == 1 for module in found):
        wrong = f"scales rotary positions by {scaled[0].kind}"
    if part.get("rope_parameters"):
        # Without a list of kinds it is not known which of them there are.
        known = None in stated or isinstance(kinds, list)
        wrong = wrong or _wrong_base(ropes, {float(module.base) for module in plain}, all_used=known)
    head = _head_size(part)
    for rope in ropes:
        share = None if rope.kind == "proportional" else rope.partial
        if head and share is not None and plain and int(head * share) not in {m.dims for m in plain}:
            wrong = wrong or f"turns {int(head * share)} of the {head} values of a head"
    if wrong:
        raise CheckpointError(
            f"The model {wrong}, says {file}, and mlx-lm's {config.get('model_type')} computes otherwise, so "
            "every figure would be wrong; use another version of the model, or of mlx-lm."
        )


def _wrong_base(ropes: list[_Rope], bases: set[float], *, all_used: bool) -> str:
    """The stated bases, where others are computed with or one of plain positions is not; else empty."""
    thetas = {rope.theta for rope in ropes if rope.theta is not None}
    plain = {rope.theta for rope in ropes if rope.theta is not None and not rope.scaled}
    wrong = [theta for theta in plain if bases and all_used and not _among(theta, bases)]
    if wrong or (thetas and any(not _among(base, thetas) for base in bases)):
        named = " and ".join(f"{theta:g}" for theta in sorted(wrong or thetas))
        return f"has rotary positions of base {named}"
    return ""


def _entries(part: Mapping[str, Any], file: str) -> dict[str, Any]:
    """What to set in a config, or in its text_config."""
    stated = _stated(part, file)
    if not stated or not part.get("rope_parameters"):
        return {}
    fields = _fields(part)
    nested = None not in stated
    if nested and "rope_parameters" in fields:
        return {}
    full = stated.get("full_attention") or next(iter(stated.values()))
    local = stated.get("sliding_attention", {})
    kind = _kind(full)
    values: list[tuple[tuple[str, ...], Any]] = [
        (_THETA, full.get("rope_theta")),
        (_LOCAL_THETA, local.get("rope_theta")),
        (_PARTIAL, full.get("partial_rotary_factor")),
        # Both spellings of the type: phi3 reads one, internlm3 the other.
        (_SCALING, None if kind in ("default", "mrope") else {**full, "type": kind, "rope_type": kind}),
    ]
    found = {
        name: value
        for names, value in values
        for name in names
        if name in fields and (value is not None or (name == "rope_scaling" and name not in part))
    }
    return {name: value for name, value in found.items() if name not in part or part[name] != value}


def _stated(part: Mapping[str, Any], file: str) -> dict[str | None, Mapping[str, Any]]:
    """Rotary parameters by kind of layer, or of all layers under None; empty where none are stated."""
    parameters, scaling = (_dictionary(part, name, file) for name in ("rope_parameters", "rope_scaling"))
    nested: dict[str | None, Mapping[str, Any]] = {
        key: value for key, value in parameters.items() if isinstance(value, Mapping)
    }
    if nested:
        # As transformers' own classes with two kinds of layers read a scaling beside them.
        if scaling and "full_attention" in nested:
            nested["full_attention"] = {**nested["full_attention"], **scaling}
        return nested
    flat = scaling or parameters
    return {None: flat} if flat else {}


def _dictionary(part: Mapping[str, Any], name: str, file: str) -> Mapping[str, Any]:
    value = part.get(name)
    if value is not None and not isinstance(value, Mapping):
        raise CheckpointError(
            f"{file} gives {name} as {value!r}, and it has to be a JSON object; correct the file or "
            "download it again."
        )
    stated: Mapping[str, Any] = value or {}
    # One dictionary, or one per kind of layer.
    kinds = {f"{kind} of {name}": entries for kind, entries in stated.items()}
    for place, entries in {name: stated, **kinds}.items():
        for key in _NUMBERS if isinstance(entries, Mapping) else ():
            if entries.get(key) is not None and not _is_positive(entries[key]):
                raise _no_number(file, f"{key} in {place}", entries[key])
    return stated


def _is_positive(value: Any) -> bool:
    # A whole number beyond the range of floats is no base, either.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= sys.float_info.max


def _no_number(file: str, name: str, value: Any) -> CheckpointError:
    return CheckpointError(
        f"{file} gives {name} as {value!r}, and it has to be a positive number; correct the file or download "
        "it again."
    )


def _fields(part: Mapping[str, Any]) -> frozenset[str]:
    """Entries that mlx-lm's class of arguments reads; the usual ones where it has no such class."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # one architecture prints as it is imported
            _, arguments = _get_classes(dict(part))
    except (Exception, SystemExit):  # no architecture of its own, such as the text part of some models
        return _USUAL
    read = frozenset(inspect.signature(arguments).parameters)
    return _USUAL if "text_config" in read else read


def _rope(part: Mapping[str, Any], values: Mapping[str, Any]) -> _Rope:
    theta = values.get("rope_theta", part.get("rope_theta"))
    partial = values.get("partial_rotary_factor", part.get("partial_rotary_factor"))
    return _Rope(
        theta=float(theta) if isinstance(theta, int | float) else None,
        kind=_kind(values),
        factor=values.get("factor"),
        partial=float(partial) if isinstance(partial, int | float) else None,
    )


def _kind(values: Mapping[str, Any]) -> str:
    return str(values.get("rope_type") or values.get("type") or "default")


def _turns(module: nn.Module) -> bool:
    names = [kind.__name__ for kind in type(module).__mro__]
    return any(name.endswith(("RoPE", "RotaryEmbedding")) for name in names)


def _head_size(part: Mapping[str, Any]) -> int | None:
    """Values in a head, all of which could be turned; None where only a part made for it is."""
    if part.get("qk_rope_head_dim"):
        return None
    size, width, heads = (part.get(key) for key in ("head_dim", "hidden_size", "num_attention_heads"))
    if isinstance(size, int):
        return size
    return width // heads if isinstance(width, int) and isinstance(heads, int) and heads else None


def _among(value: float, others: set[float]) -> bool:
    return any(math.isclose(value, other, rel_tol=1e-6) for other in others)
