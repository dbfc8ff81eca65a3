"""A study.toml with every key, its default and what it means, made from the settings themselves."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from mlx_prune.study.config import StudyConfig
from mlx_prune.study.rows import StudyCheckpoint, StudyModel

_WIDTH = 100
_MODELS = "demo"
# Of what has no default, an example that is commented out.
_EXAMPLE_LAYERS = {"*.down_proj": 30}
_EXAMPLE_TEXT = ("chat", "path/to/chat.jsonl")
_EXAMPLE_CHECKPOINT = {"name": "our-4bit", "path": "path/to/checkpoint"}

_ROLE = re.compile(r":\w+:`[~.]?([^`]*)`")
_ATTRIBUTE = re.compile(r"(\w+): (.*)")


def study_template() -> str:
    """A commented study file whose settings are the defaults, for the embedded model."""
    fields = {one.name: one for one in dataclasses.fields(StudyConfig)}
    hints = typing.get_type_hints(StudyConfig)
    config, docs = StudyConfig((StudyModel(_MODELS),)), attribute_docs(StudyConfig)
    lines = ["# A study: models, what is done to them, what they are asked, and what is measured."]
    lines += ["# Keys behind a # have no default; all others say theirs, and may be left out, except models."]
    lines += ["", *_comment(docs["models"]), f"models = {_toml([_MODELS])}"]
    sections = []
    for name in fields:
        value, kind = getattr(config, name), _section(hints[name])
        if name in ("models", "checkpoints", "layers"):
            continue
        if name == "calibrations":
            text, source = _EXAMPLE_TEXT
            sections += ["", *_comment(docs[name]), f"# [calibration.{text}]"]
            sections += [*_comment("All keys of [calibration]."), f"# source = {_toml(source)}"]
            continue
        if kind is None:
            lines += ["", *_comment(docs[name]), f"{name} = {_toml(value)}"]
        else:
            sections += ["", *_comment(summary(kind)), *_keys(name, kind, value)]
    rows = ["", *_comment(docs["checkpoints"]), "# [[checkpoints]]"]
    for key, said in attribute_docs(StudyCheckpoint).items():
        rows += _comment(said)
        rows.append(f"# {key} = {_toml(_EXAMPLE_CHECKPOINT.get(key, ''))}")
    own = [f"# {_toml(glob)} = {_toml(share)}" for glob, share in _EXAMPLE_LAYERS.items()]
    return "\n".join([*lines, *sections, *rows, "", *_comment(docs["layers"]), "# [layers]", *own, ""])


def _keys(name: str, kind: type[Any], value: Any) -> Iterator[str]:
    """A section; one that is absent by default is commented out."""
    off = "# " if value is None else ""
    yield f"{off}[{name}]"
    docs, shown = attribute_docs(kind), kind() if value is None else value
    for one in dataclasses.fields(kind):
        yield from _comment(docs[one.name])
        setting = getattr(shown, one.name)
        yield f"# {one.name} =" if setting is None else f"{off}{one.name} = {_toml(setting)}"


def attribute_docs(kind: type[Any]) -> dict[str, str]:
    """What the docstrings of a dataclass and its bases say of each attribute, as plain text."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__[:-1]):
        name = ""
        block = inspect.cleandoc(one.__doc__ or "").partition("Attributes:\n")[2].partition("\n\n")[0]
        for line in textwrap.dedent(block).splitlines():
            attribute = _ATTRIBUTE.fullmatch(line)
            if attribute and not line.startswith(" "):
                name = attribute[1]
                found[name] = attribute[2]
            else:
                found[name] += f" {line.strip()}"
    return {key: _plain(text) for key, text in found.items()}


def summary(kind: type[Any]) -> str:
    """The first paragraph of a docstring, as plain text."""
    return _plain(" ".join(inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0].split()))


def _plain(text: str) -> str:
    plain = _ROLE.sub(lambda role: role[1].rpartition(".")[2], text).replace("``", "")
    # TOML has no null.
    plain = re.sub(r"(^|\. )None (is|takes|chooses)", r"\1Left out, it \2", plain)
    return re.sub(r"\bNone (is|takes|chooses)", r"left out, it \1", plain).replace(
        "None where", "left out where"
    )


def _section(hint: Any) -> type[Any] | None:
    if typing.get_origin(hint) is types.UnionType:
        hint = next(one for one in typing.get_args(hint) if one is not type(None))
    return hint if dataclasses.is_dataclass(hint) and isinstance(hint, type) else None


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _toml(value: Any) -> str:
    """A value in one line."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, Mapping):
        raise TypeError("a table is no value in one line")
    # Strings, numbers and truth values are written as in JSON.
    return json.dumps(value, ensure_ascii=False)
