"""The page's section of answers that changed: one card per question, as many as the page has room for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from mlx_prune import words
from mlx_prune.bbq.answers import LETTERS
from mlx_prune.configuration import Configuration
from mlx_prune.report.changed import MOST, ChangedAnswers, ChangedBy, ChangedItem
from mlx_prune.runs.item_answers import GivenAnswer, ItemAnswers
from mlx_prune.stats.moves import MOVED

HEADING = "Answers that changed"
ROLES = ("stereotyped", "other person", "unknown")
"""What an option is, in the order of their CSS classes."""

_CLASSES = ("s", "o", "u", "n")
# Shares of answers that begin with no letter are shown from here on.
_SOME = 0.005
Cards = dict[tuple[Configuration, str], Markup]
# A category and its headings, beside its cards, in bytes.
_AROUND = 400


@dataclass(frozen=True)
class Option:
    """One option on a card: its CSS class, letter, text and role, and both probabilities in percent."""

    style: str
    letter: str
    text: str
    role: str
    dense: float
    now: float

    @property
    def change(self) -> str:
        """Both, for reading."""
        return f"{words.fixed(self.dense, 0)} → {words.fixed(self.now, 0)} %"


@dataclass(frozen=True)
class Said:
    """One answer on a card: its CSS class, and what is shown of it."""

    style: str
    text: str


@dataclass(frozen=True)
class Column:
    """The cards of one direction in one category."""

    heading: str
    cards: list[Markup]


def role_of(changed: ChangedItem, option: int | None) -> int:
    """Index in :data:`ROLES` of an option; 3 where no option was read."""
    item = changed.item
    if option is None:
        return 3
    places = (item.stereotype_target_index, item.anti_stereotype_target_index, item.unknown_index)
    return places.index(option)


def options(changed: ChangedItem) -> list[Option]:
    """The options of a card in the order they were asked, and what begins with none of their letters."""
    found = []
    dense, now = (side.probabilities or (0.0, 0.0, 0.0) for side in (changed.dense, changed.now))
    for place, (letter, text) in enumerate(zip(LETTERS, changed.item.answers, strict=True)):
        role = role_of(changed, place)
        found.append(Option(_CLASSES[role], letter, text, ROLES[role], 100 * dense[place], 100 * now[place]))
    other = changed.dense.elsewhere, changed.now.elsewhere
    if max(other) >= _SOME:
        found.append(Option("n", "", "none of these letters", "", 100 * other[0], 100 * other[1]))
    return found


def said(changed: ChangedItem, side: ItemAnswers) -> list[Said]:
    """The answers of one side, seed by seed; where sentences were said, each once, with how often."""
    found = [Said(_CLASSES[role_of(changed, one.option)], _text(one)) for one in side.answers]
    if all(len(one.text) == 1 for one in found):
        return found
    return [
        one if times == 1 else Said(one.style, f"{times} × {one.text}")
        for one, times in Counter(found).items()
    ]


def _text(answer: GivenAnswer) -> str:
    """The letter that was read; before it what was said, where that is more than the letter."""
    letter = "–" if answer.option is None else LETTERS[answer.option]
    spoken = " ".join(answer.response.split())
    return letter if spoken == letter else f"“{spoken}” {letter}"


def fitting(changed: ChangedAnswers, render: Callable[[ChangedBy, ChangedItem], str], room: int) -> Cards:
    """Cards by configuration and item: the first of every list, then the second, as far as they fit.

    Args:
        changed: What there is to show.
        render: Makes a card.
        room: Bytes.
    """
    every = [(by, one) for by in changed.by for one in by.items]
    every.sort(key=lambda pair: (pair[1].rank, -pair[1].distance))
    cards: Cards = {}
    categories: set[tuple[Configuration, str]] = set()
    for by, one in every:
        card = render(by, one)
        place = by.configuration, one.item.category
        room -= len(card.encode()) + (0 if place in categories else _AROUND)
        if room < 0:
            break
        categories.add(place)
        cards[by.configuration, one.item.item_id] = Markup(card)
    return cards


def grouped(by: ChangedBy, cards: Cards) -> list[tuple[str, list[Column]]]:
    """The cards of one configuration by category: those that lean more to the stereotype, and less."""
    found = []
    for category in dict.fromkeys(one.item.category for one in by.items):
        mine = [one for one in by.items if one.item.category == category]
        columns = [
            Column(
                heading,
                [
                    cards[by.configuration, one.item.item_id]
                    for one in mine
                    if (one.lean > 0) == up and (by.configuration, one.item.item_id) in cards
                ],
            )
            for heading, up in (("More to the stereotype", True), ("Less to the stereotype", False))
        ]
        if any(column.cards for column in columns):
            found.append((category.replace("_", " "), columns))
    return found


def summary(by: ChangedBy, cards: Cards) -> str:
    """How all questions of one configuration moved, so that those shown are seen as what they are."""
    shown = sum((by.configuration, one.item.item_id) in cards for one in by.items)
    return (
        f"median move {words.fixed(by.median, 2)}; of {words.counted(by.questions, 'question')} {by.up:,} "
        f"lean more to the stereotype by {words.fixed(MOVED, 1)} or more, {by.down:,} less; {shown:,} shown"
    )


def note(changed: ChangedAnswers) -> str:
    """How the questions were chosen, and how to read them."""
    seeds = max((len(one.dense.answers) for by in changed.by for one in by.items), default=0)
    several = len({one.model for one in changed.silent}) > 1
    silent = words.names([one.full_name if several else one.name for one in changed.silent])
    left_out = f" Left out, since too few answers were understood: {silent}." if silent else ""
    return (
        f"For every compressed model and category, up to {MOST} ambiguous questions each way whose "
        "first-token probabilities moved farthest from the dense model's (total variation, 0 to 1, at the "
        f"temperature of the run; {MOVED} or more), no question template twice in a list, as many as keep "
        "this page under 4 MB. They are the extremes; the line of each model tells how all of its questions "
        "moved. To lean more means that the stereotyped option gained on the other person. Upper bars: "
        f"dense; lower bars: compressed. Answers stand as they were given under "
        f"{words.counted(seeds, 'seed')}; a letter behind a quotation is what was read from it.{left_out}"
    )
