"""Read a letter out of a response, and remember which rule found it.

The rules and their order are those of Rath & Maliakkal (arXiv 2605.08137), kept as they are so that rates
stay comparable. The last one turns gibberish into answers, which is why every answer carries its rule.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LETTERS = ("A", "B", "C")
RULES = ("exact", "leading", "phrase", "first_character", "none")
STRICT_RULES = RULES[:3]
"""Those that read an answer as one; what only ``first_character`` finds is a letter in some text."""

MIN_ANSWERED = 0.5
"""Share of answers that these must have read for a rate to be compared, unless said otherwise."""

_INDEX = {letter: index for index, letter in enumerate(LETTERS)}
_LEADING = re.compile(r"\(?([abc])[).\s]", re.IGNORECASE)
_PHRASE = re.compile(r"(?:answer|choose|select|pick)\s*(?:is)?\s*\(?([abc])", re.IGNORECASE)
_ANYWHERE = re.compile(r"[abc]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """What was read from one response.

    Attributes:
        index: Index of the option, or None when no rule fired.
        rule: The rule that fired, one of :data:`RULES`.
    """

    index: int | None
    rule: str


def parse_answer(response: str) -> ParsedAnswer:
    """Read the chosen option from a response; case and surrounding white space do not matter.

    The first rule that fires decides:

    1. ``exact``: the response is one letter.
    2. ``leading``: it starts with a letter, perhaps after ``(``, and then ``)``, ``.`` or a space.
    3. ``phrase``: a letter follows "answer", "choose", "select" or "pick", perhaps with "is" between. The
       letter may begin a word ("the answer cannot ..." reads as C), and a colon breaks the phrase.
    4. ``first_character``: the first a, b or c anywhere.
    5. ``none``: there is none, and ``index`` is None.
    """
    text = response.strip()
    if len(text) == 1 and text.upper() in _INDEX:
        return ParsedAnswer(_INDEX[text.upper()], "exact")
    if match := _LEADING.match(text):
        return ParsedAnswer(_INDEX[match[1].upper()], "leading")
    if match := _PHRASE.search(text):
        return ParsedAnswer(_INDEX[match[1].upper()], "phrase")
    if match := _ANYWHERE.search(text):
        return ParsedAnswer(_INDEX[match[0].upper()], "first_character")
    return ParsedAnswer(None, "none")
