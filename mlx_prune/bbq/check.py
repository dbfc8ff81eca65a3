"""Are questions of one's own sound? Every fault with its place, and what the questions add up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlx_prune.bbq import fields
from mlx_prune.bbq.fields import FieldError, Row
from mlx_prune.bbq.folder import category_files, item_of, rows_of
from mlx_prune.bbq.item import CONTEXTS, Item
from mlx_prune.bbq.rows import POLARITIES, is_elfsong
from mlx_prune.bbq.translation import Translator
from mlx_prune.bbq.wording import Wording
from mlx_prune.errors import DataError

_TEXTS = ("category", "context", "question", "ans0", "ans1", "ans2")


@dataclass(frozen=True)
class Fault:
    """Something that is wrong.

    Attributes:
        file: Where.
        line: Line or row in it, from 1; None for the file as a whole.
        field: Of the row, in BBQ's words; empty for the row as a whole.
        expected: What it must be, or what is wrong with the row.
    """

    file: str
    line: int | None
    field: str
    expected: str

    def __str__(self) -> str:
        """As a sentence without its full stop."""
        place = self.file if self.line is None else f"{self.file}, line {self.line}"
        return (
            f"{place}: field {self.field!r} must be {self.expected}"
            if self.field
            else f"{place}: {self.expected}"
        )


@dataclass(frozen=True)
class CategoryCounts:
    """What the sound questions of a category add up to.

    Attributes:
        category: Its name.
        items: How many there are.
        templates: Of how many ``question_index``: intervals are over these.
        neg: Of that polarity, and so on.
        nonneg: Likewise.
        ambig: Of that context, and so on.
        disambig: Likewise.
        right: How often the right option is the first, second and third.
        stereotyped: How often the stereotyped option is.
        without_target: Items in which no single option fits the stereotype; they are kept out of SRS.
        without_polarity: Items whose context has no question of the other polarity.
        without_context: Items whose question has no context of the other kind, ambiguous or not.
    """

    category: str
    items: int
    templates: int
    neg: int
    nonneg: int
    ambig: int
    disambig: int
    right: tuple[int, int, int]
    stereotyped: tuple[int, int, int]
    without_target: int
    without_polarity: int
    without_context: int


@dataclass
class Check:
    """What was found.

    Attributes:
        faults: All of them, in the order of the files.
        categories: Counts of the questions without a fault.
    """

    faults: list[Fault] = field(default_factory=list)
    categories: list[CategoryCounts] = field(default_factory=list)


def check_items(source: Path, wording: Wording) -> Check:
    """Read all questions of a folder, or of one file, and collect what is wrong rather than stop at it.

    Args:
        source: The folder or file.
        wording: What tells BBQ's fields in its rows.

    Raises:
        DataError: There is no such folder or file, or it holds no files of questions.
    """
    found = Check()
    for category, paths in category_files(source).items():
        items = list(_sound_items(category, paths, wording, found.faults))
        if items:
            found.categories.append(_counts(category, items))
        elif not any(fault.file in map(str, paths) for fault in found.faults):
            found.faults.append(Fault(str(paths[0]), None, "", "holds no items; leave it out"))
    return found


def _sound_items(
    category: str, paths: Sequence[Path], wording: Wording, faults: list[Fault]
) -> Iterator[Item]:
    translate = Translator(wording) if wording.translates else None
    seen: dict[str, str] = {}
    for path in paths:

        def note(error: DataError, path: Path = path) -> None:
            faults.append(_fault(error, path))

        try:
            for where, row in rows_of(path, note):
                found = list(_row_faults(row, category, where, translate))
                for wrong in found:
                    note(wrong)
                if found:
                    continue
                item = item_of(row if translate is None else translate(row, where), category, where)
                if item.item_id in seen:
                    first = seen[item.item_id].rpartition(", ")[2]
                    note(fields.wrong(where, "example_id", f"another than that of {first}, {item.item_id!r}"))
                    continue
                seen[item.item_id] = where
                if len({answer.strip().casefold() for answer in item.answers}) < 3:
                    note(fields.wrong(where, "ans0, ans1, ans2", "three different options"))
                    continue
                yield item
        except DataError as error:  # the file as a whole
            note(error)


def _row_faults(row: Row, category: str, where: str, translate: Translator | None) -> Iterator[DataError]:
    """What is wrong with the fields of a row, one by one; if nothing is, with all of them together."""
    if translate is not None:
        try:
            row = translate(row, where)
        except DataError as error:
            yield error
            return
    attempts: list[Callable[[], Any]] = [
        lambda: fields.identifier(row, "example_id", where),
        lambda: fields.integer(row, "question_index", where),
        lambda: fields.choice(row, "question_polarity", POLARITIES, where),
        lambda: fields.choice(row, "context_condition", CONTEXTS, where),
        lambda: fields.answer_info(row, where),
        lambda: fields.option_index(row, "answer_label" if is_elfsong(row) else "label", where),
        *(lambda name=name: fields.text(row, name, where) for name in _TEXTS),
    ]
    if not is_elfsong(row):
        attempts.append(lambda: fields.groups(row, where))
    found = [wrong for attempt in attempts if (wrong := _raised(attempt)) is not None]
    together = None if found else _raised(lambda: item_of(row, category, where))
    yield from found if together is None else [together]


def _raised(attempt: Callable[[], Any]) -> DataError | None:
    try:
        attempt()
    except DataError as error:
        return error
    return None


def _fault(error: DataError, path: Path) -> Fault:
    """An error of the loader, taken apart."""
    where = error.where if isinstance(error, FieldError) else str(error).partition(": ")[0]
    number = where.removeprefix(str(path)).rpartition(" ")[2]
    line = int(number) if where.startswith(f"{path}, ") and number.isdigit() else None
    if isinstance(error, FieldError):
        return Fault(str(path), line, error.field, error.expected)
    return Fault(str(path), line, "", str(error).removeprefix(where).lstrip(": ").rstrip("."))


def _counts(category: str, items: Sequence[Item]) -> CategoryCounts:
    polarity = Counter(item.question_polarity for item in items)
    context = Counter(item.context_condition for item in items)
    return CategoryCounts(
        category,
        len(items),
        len({item.question_index for item in items}),
        polarity["neg"],
        polarity["nonneg"],
        context["ambig"],
        context["disambig"],
        _places(item.label for item in items),
        _places(item.stereotype_target_index for item in items),
        sum(item.stereotype_target_index is None for item in items),
        _halves(items, lambda item: item.context, lambda item: item.question_polarity),
        _halves(items, lambda item: item.question, lambda item: item.context_condition),
    )


def _places(indices: Iterable[int | None]) -> tuple[int, int, int]:
    counted = Counter(indices)
    return counted[0], counted[1], counted[2]


def _halves(items: Sequence[Item], shared: Callable[[Item], str], half: Callable[[Item], str]) -> int:
    """Items whose pair misses its other half.

    Args:
        items: The items of a category.
        shared: The text that both halves share, beside the two people and the template.
        half: Which half an item is.
    """
    halves: dict[Any, set[str]] = {}

    def key(item: Item) -> Any:
        people = frozenset(item.answers) - {item.answers[item.unknown_index]}
        return item.question_index, shared(item), people

    for item in items:
        halves.setdefault(key(item), set()).add(half(item))
    return sum(len(halves[key(item)]) < 2 for item in items)
