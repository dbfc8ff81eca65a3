"""Read one field of a row, or say which row and field is wrong."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from mlx_prune.bbq.stereotypes import UNKNOWN_GROUP
from mlx_prune.errors import DataError
from mlx_prune.text import is_text

Row = Mapping[str, Any]
_LARGEST = 2**31 - 1  # as records hold them
_MOST_DIGITS = 20
_LONGEST_NAME = 100
AnswerInfo = tuple[tuple[str, str], tuple[str, str], tuple[str, str]]


class FieldError(DataError):
    """A field of a row that is not what it should be.

    Attributes:
        where: File and line, or data set and row.
        field: Its name.
        expected: What it must be, to follow "must be".
    """

    def __init__(self, where: str, field: str, expected: str, sentence: str = "") -> None:
        """An error with a sentence of its own, or the usual one."""
        super().__init__(sentence or f"{where}: field {field!r} must be {expected}.")
        self.where, self.field, self.expected = where, field, expected


def wrong(where: str, field: str, expected: str) -> FieldError:
    """The error for a field that is not what it should be."""
    return FieldError(where, field, expected)


def value(row: Row, field: str, where: str) -> Any:
    """The field's value, which must be there."""
    if field not in row:
        sentence = f"{where}: field {field!r} is missing; give rows of BBQ's own files or of Elfsong/BBQ."
        raise FieldError(where, field, "there", sentence)
    return row[field]


def text(row: Row, field: str, where: str) -> str:
    """A string that is not blank, as it stands."""
    found = value(row, field, where)
    if not isinstance(found, str) or not found.strip():
        raise wrong(where, field, "a text that is not empty")
    if not is_text(found):
        raise wrong(where, field, "made of whole characters, without lone surrogates")
    return found


def choice(row: Row, field: str, allowed: Collection[str], where: str) -> str:
    """One of a few strings."""
    found = value(row, field, where)
    if not isinstance(found, str) or found not in allowed:
        raise wrong(where, field, " or ".join(repr(option) for option in allowed))
    return found


def integer(row: Row, field: str, where: str) -> int:
    """A whole number of at least 0, possibly written as a string of digits, as BBQ's question_index is."""
    found = value(row, field, where)
    if isinstance(found, str) and found.isascii() and found.isdigit() and len(found) <= _MOST_DIGITS:
        found = int(found)
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= _LARGEST:
        raise wrong(where, field, f"a whole number from 0 to {_LARGEST}")
    return found


def identifier(row: Row, field: str, where: str) -> int | str:
    """A whole number, or a short text on one line."""
    found = value(row, field, where)
    if isinstance(found, str) and not found.isdigit():
        if not found.strip() or not found.isprintable() or len(found) > _LONGEST_NAME:
            raise wrong(
                where, field, f"a whole number, or a text of 1 to {_LONGEST_NAME} characters on one line"
            )
        return found.strip()
    return integer(row, field, where)


def option_index(row: Row, field: str, where: str) -> int:
    """The index of an option: 0, 1 or 2."""
    found = integer(row, field, where)
    if found > 2:
        raise wrong(where, field, "0, 1 or 2")
    return found


def answer_info(row: Row, where: str) -> AnswerInfo:
    """The name and group of each option; exactly one group must be "unknown"."""
    infos = value(row, "answer_info", where)
    if not isinstance(infos, Mapping):
        raise wrong(where, "answer_info", "an object with ans0, ans1 and ans2")

    def pair(option: str) -> tuple[str, str]:
        info = value(infos, option, where)
        if not isinstance(info, list | tuple) or len(info) < 2 or not all(isinstance(x, str) for x in info):
            raise wrong(where, f"answer_info.{option}", "a list of a name and a group")
        return info[0], info[-1]

    pairs = (pair("ans0"), pair("ans1"), pair("ans2"))
    if sum(group == UNKNOWN_GROUP for _, group in pairs) != 1:
        raise wrong(where, "answer_info", 'exactly one option in the group "unknown"')
    return pairs


def groups(row: Row, where: str) -> list[str]:
    """additional_metadata.stereotyped_groups, which must name at least one group."""
    metadata = value(row, "additional_metadata", where)
    if not isinstance(metadata, Mapping):
        raise wrong(where, "additional_metadata", "an object")
    found = value(metadata, "stereotyped_groups", where)
    if not isinstance(found, list) or not found or not all(isinstance(group, str) for group in found):
        raise wrong(where, "additional_metadata.stereotyped_groups", "a list of group names")
    return found
