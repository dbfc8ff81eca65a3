"""Names from outside (models, categories, answers, paths) where they are shown: they never act as markup.

HTML has its own escape in the standard library, YAML in its writer; these are for the other surfaces.
"""

from __future__ import annotations

import re
import unicodedata

# What Markdown gives a meaning anywhere in a line; "-", "." and "#" only have one at its start.
_MARKDOWN = re.compile(r"([\\`*\[\]<>|~&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
_FORMULA = ("=", "+", "-", "@")
# Line separators, and what turns the direction of the text after it.
_UNSEEN = {"Cc", "Cs", "Zl", "Zp"}
_TURNING = set("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def plain(text: str, keep: str = "") -> str:
    r"""A text without control characters, which a terminal would obey: each becomes its escape (``\x1b``).

    Args:
        text: Anything.
        keep: Control characters that mean what they say here, such as the line breaks of a message.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char if char in keep or not _is_control(char) else char.encode("unicode_escape", "replace").decode()
        for char in text
    )


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in _UNSEEN or char in _TURNING


def markdown(text: str) -> str:
    """A text that Markdown shows as it is, inside a line or a table's cell."""
    return _MARKDOWN.sub(r"\\\1", plain(text))


def csv_cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula: what looks like one gets an apostrophe in front.

    See OWASP, "CSV Injection".
    """
    clean = plain(text)
    return f"'{clean}" if clean.startswith(_FORMULA) else clean
