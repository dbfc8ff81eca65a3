"""A row of somebody's own columns and words as the row BBQ would have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlx_prune.bbq import fields
from mlx_prune.bbq.fields import FieldError, Row
from mlx_prune.bbq.stereotypes import UNKNOWN_GROUP
from mlx_prune.bbq.wording import Wording

_OPTIONS = ("ans0", "ans1", "ans2")
_LISTED = {"context_condition": ("ambig", "disambig"), "question_polarity": ("neg", "nonneg")}
# Groups of rows that name the stereotyped option instead of groups.
_MEMBER, _OTHER = "stereotyped", "other"


class Translator:
    """Translates the rows of one category, one after the other."""

    def __init__(self, wording: Wording) -> None:
        self._wording = wording
        self._templates: dict[str, int] = {}

    def __call__(self, row: Row, where: str) -> Row:
        """The row in BBQ's fields and words; what the wording does not speak of stays.

        Raises:
            FieldError: A column is missing, or an option is not found by its text.
        """
        found = dict(row)
        for name, column in self._wording.columns.items():
            found[name] = _at(row, column, name, where)
        for name, words in _LISTED.items():
            found[name] = self._word(found.get(name), words)
        template = found.get("question_index")
        if isinstance(template, str) and not template.isdigit():
            # Templates with names are numbered as they come.
            found["question_index"] = self._templates.setdefault(template, len(self._templates) + 1)
        for name in ("label", "target_label"):
            if isinstance(found.get(name), str):
                found[name] = _option(found, name, where)
        if "answer_info" in found:
            found["answer_info"] = self._groups(found["answer_info"])
        if "stereotyped_groups" in found:
            found["additional_metadata"] = {"stereotyped_groups": found.pop("stereotyped_groups")}
        # Its presence would tell of Elfsong's columns, in which groups decide as well.
        target = found.pop("target_label", None)
        if "additional_metadata" not in found:
            found["answer_info"] = self._options(found, target, where)
            found["additional_metadata"] = {"stereotyped_groups": [_MEMBER]}
        return found

    def _word(self, value: Any, words: tuple[str, ...]) -> Any:
        for word in words:
            if isinstance(value, str) and _same(value, self._wording.values.get(word, [])):
                return word
        return value

    def _groups(self, info: Any) -> Any:
        """``answer_info`` with BBQ's word for the group of the option that tells nothing."""
        unknown = self._wording.values.get("unknown", [])
        if not isinstance(info, Mapping):
            return info
        return {
            name: [*pair[:-1], UNKNOWN_GROUP]
            if isinstance(pair, list) and pair and isinstance(pair[-1], str) and _same(pair[-1], unknown)
            else pair
            for name, pair in info.items()
        }

    def _options(self, row: Mapping[str, Any], target: Any, where: str) -> dict[str, list[str]]:
        """``answer_info`` of a row that names the stereotyped option, or none, instead of groups."""
        unknown = self._unknown(row, where)
        member = None
        if isinstance(target, int) and 0 <= target <= 2 and target != unknown:
            # A "nonneg" question is answered stereotypically by the other one.
            member = 3 - target - unknown if row.get("question_polarity") == "nonneg" else target
        groups = [UNKNOWN_GROUP if i == unknown else _MEMBER if i == member else _OTHER for i in range(3)]
        return {name: [str(row.get(name)), group] for name, group in zip(_OPTIONS, groups, strict=True)}

    def _unknown(self, row: Mapping[str, Any], where: str) -> int:
        info = row.get("answer_info")
        if isinstance(info, Mapping):
            told = [fields.answer_info(row, where)[i][1] == UNKNOWN_GROUP for i in range(3)]
        else:
            words = self._wording.values.get("unknown", [])
            told = [isinstance(row.get(name), str) and _same(row[name], words) for name in _OPTIONS]
        if sum(told) != 1:
            raise FieldError(
                where, "ans0, ans1, ans2", "three texts of which exactly one is among the words for unknown"
            )
        return told.index(True)


def _same(value: str, words: list[str]) -> bool:
    return value.strip().casefold() in (word.strip().casefold() for word in words)


def _at(row: Row, column: str, name: str, where: str) -> Any:
    if column in row:
        return row[column]
    value: Any = row
    for step in column.split("."):
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            raise FieldError(where, column, f"there: the wording names it for {name!r}")
    return value


def _option(row: Mapping[str, Any], name: str, where: str) -> Any:
    """The index of the option that a text names; digits stay."""
    value = row[name]
    if value.isdigit():
        return int(value)
    found = [i for i, option in enumerate(_OPTIONS) if row.get(option) == value]
    if len(found) != 1:
        raise FieldError(where, name, "0, 1 or 2, or the text of exactly one option")
    return found[0]
