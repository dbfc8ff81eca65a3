"""The four rules that read a letter, against another statement of them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlx_prune.bbq.answers import LETTERS, RULES, ParsedAnswer, parse_answer

# Pieces that bring the rules close to each other, mixed with any text at all.
PIECES = [
    "a",
    "B",
    "c",
    "C",
    "(",
    ")",
    ".",
    " ",
    "\n",
    ":",
    "answer",
    "Answer",
    "choose",
    "is",
    "pick",
    "SELECT",
    "x",
]
responses = st.text() | st.lists(st.sampled_from(PIECES) | st.text(max_size=2), max_size=8).map("".join)


@pytest.mark.parametrize(
    ("response", "index", "rule"),
    [
        ("A", 0, "exact"),
        (" b\n", 1, "exact"),
        ("C)", 2, "leading"),
        ("(B)", 1, "leading"),
        ("a. The man", 0, "leading"),
        ("B The woman", 1, "leading"),
        ("(c) Unknown", 2, "leading"),
        ("A man", 0, "leading"),
        ("The answer is C", 2, "phrase"),
        ("I choose (B)", 1, "phrase"),
        ("I'd pick a", 0, "phrase"),
        ("My selection? SELECT B!", 1, "phrase"),
        ("answer is\nb", 1, "phrase"),
        ("the answer cannot be known", 2, "phrase"),
        ("Answer: B", 0, "first_character"),
        ("Unknown, C", 2, "first_character"),
        ("The man", 0, "first_character"),
        ("(B", 1, "first_character"),
        ("B:", 1, "first_character"),
        ("", None, "none"),
        ("??? 123", None, "none"),
        ("the word", None, "none"),
        ("Ⓐ", None, "none"),
        ("À", None, "none"),
    ],
)
def test_each_rule_reads_what_it_should(response, index, rule):
    assert parse_answer(response) == ParsedAnswer(index, rule)


def restated(response: str) -> tuple[int | None, str]:
    """The rules once more, character by character and without regular expressions."""
    text = response.strip()
    letters = {"a": 0, "b": 1, "c": 2, "A": 0, "B": 1, "C": 2}
    if text in letters:
        return letters[text], "exact"
    inside = text[1:] if text[:1] == "(" else text
    if (
        inside[:1] in letters
        and len(inside) > 1
        and (inside[1] in ").\x1c\x1d\x1e\x1f" or inside[1].isspace())
    ):
        return letters[inside[0]], "leading"
    # The long s and the Kelvin sign match s and k where case is ignored.
    folded = "".join(
        {"\u017f": "s", "\u212a": "k"}.get(char, char.lower() if char.isascii() else char) for char in text
    )
    for start in range(len(folded)):
        for word in ("answer", "choose", "select", "pick"):
            if folded.startswith(word, start):
                rest = folded[start + len(word) :].lstrip()
                for tail in (rest[2:].lstrip() if rest.startswith("is") else None, rest):
                    if tail is not None and (tail[1:2] if tail[:1] == "(" else tail[:1]) in tuple("abc"):
                        return letters[tail[1] if tail[0] == "(" else tail[0]], "phrase"
    found = [letters[char] for char in text if char in letters]
    return (found[0], "first_character") if found else (None, "none")


@given(responses)
@example("answeris a")
@example("pick is is a")
@example("choose ((a")
def test_parsing_agrees_with_an_independent_statement_of_the_rules(response):
    parsed = parse_answer(response)
    assert (parsed.index, parsed.rule) == restated(response)


@given(responses)
def test_only_offered_letters_are_returned_and_each_stands_in_the_response(response):
    parsed = parse_answer(response)
    assert parsed.rule in RULES
    assert (parsed.index is None) == (parsed.rule == "none")
    if parsed.index is not None:
        assert LETTERS[parsed.index] in response.upper()


@given(st.sampled_from(LETTERS), st.sampled_from(["{}", "({})", "{})", "{}.", " {} \n", "The answer is {}"]))
def test_a_plainly_given_letter_is_read_in_either_case(letter, form):
    for text in (form.format(letter), form.format(letter.lower())):
        assert parse_answer(text).index == LETTERS.index(letter)
