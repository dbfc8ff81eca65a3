"""From one row to one item: BBQ's own JSONL rows, and those of Elfsong/BBQ.

BBQ: Parrish et al. 2022, github.com/nyu-mll/BBQ. Both row functions are pure and check every field they use.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlx_prune.bbq import fields
from mlx_prune.bbq.fields import AnswerInfo, Row
from mlx_prune.bbq.item import CONTEXTS, Item
from mlx_prune.bbq.stereotypes import UNKNOWN_GROUP, contradicts_context, group_name, stereotype_target

POLARITIES = ("neg", "nonneg")
# Two-attribute categories: their people differ in race as well, which no single group tag expresses.
INTERSECTIONAL = ("Race_x_SES", "Race_x_gender")


def is_elfsong(row: Row) -> bool:
    """Whether a row has the columns of Elfsong/BBQ rather than those of BBQ's own files."""
    return "target_label" in row


def item_from_bbq(row: Row, category: str, where: str) -> Item:
    """Turn a row of one of BBQ's JSONL files into an item.

    Args:
        row: The decoded line.
        category: The category of the file, which the row must share.
        where: File and line, for the error message.

    Raises:
        DataError: If a field is missing or holds something else than BBQ's format.
    """
    info = fields.answer_info(row, where)
    polarity = fields.choice(row, "question_polarity", POLARITIES, where)
    groups = fields.groups(row, where)
    target = stereotype_target(info, groups, polarity)
    return _item(row, category, where, info=info, label_field="label", target=target, groups=groups)


def item_from_elfsong(row: Row, category: str, where: str) -> Item:
    """Turn a row of the Elfsong/BBQ data set (or a file in its columns) into an item.

    ``target_label`` is the stereotyped option and already flipped for "nonneg" questions. It is an integer on
    every row, even where BBQ has no target because both people belong to the stereotyped group; those rows
    are recognized from their tags and get none. Neither does a target that is not one of the two people.

    Args:
        row: The row, with ``answer_label`` and ``target_label`` in place of BBQ's ``label``.
        category: The category of the split, which the row must share.
        where: Data set, split and row, for the error message.

    Raises:
        DataError: If a field is missing or holds something else than expected.
    """
    info = fields.answer_info(row, where)
    polarity = fields.choice(row, "question_polarity", POLARITIES, where)
    target = fields.value(row, "target_label", where)
    if target is not None and (not isinstance(target, int) or isinstance(target, bool)):
        raise fields.wrong(where, "target_label", "a whole number")
    groups = _elfsong_groups(row)
    one_fits = category in INTERSECTIONAL or stereotype_target(info, groups, polarity) is not None
    if target not in (0, 1, 2) or info[target][1] == UNKNOWN_GROUP or not one_fits:
        target = None
    return _item(row, category, where, info=info, label_field="answer_label", target=target, groups=groups)


def _elfsong_groups(row: Row) -> list[str]:
    # The data set keeps BBQ's list and, as one string, the list of BBQ's templates; either may be empty.
    metadata = row.get("additional_metadata") or {}
    listed = metadata.get("stereotyped_groups")
    if isinstance(listed, list) and listed:
        return listed
    return [name.strip(" []'\"") for name in str(metadata.get("known_stereotyped_groups") or "").split(",")]


def _item(
    row: Row,
    category: str,
    where: str,
    *,
    info: AnswerInfo,
    label_field: str,
    target: int | None,
    groups: Sequence[str],
) -> Item:
    unknown = next(index for index, (_, group) in enumerate(info) if group == UNKNOWN_GROUP)
    label = fields.option_index(row, label_field, where)
    condition = fields.choice(row, "context_condition", CONTEXTS, where)
    if condition == "ambig" and label != unknown:
        raise fields.wrong(where, label_field, f"{unknown}, the unknown option, in an ambiguous context")
    if fields.text(row, "category", where).lower() != category.lower():
        raise fields.wrong(where, "category", f"{category!r} like the rest of its file")
    context = fields.text(row, "context", where)
    polarity = fields.choice(row, "question_polarity", POLARITIES, where)
    anti = None if target is None else 3 - target - unknown
    # The stereotype is about the one whom a "neg" question's stereotyped answer names.
    about = target if polarity == "neg" else anti
    return Item(
        item_id=f"{category}:{fields.identifier(row, 'example_id', where)}",
        category=category,
        question_index=fields.integer(row, "question_index", where),
        question_polarity=polarity,
        context_condition=condition,
        context=context,
        question=fields.text(row, "question", where),
        answers=(
            fields.text(row, "ans0", where),
            fields.text(row, "ans1", where),
            fields.text(row, "ans2", where),
        ),
        label=label,
        stereotype_target_index=target,
        anti_stereotype_target_index=anti,
        unknown_index=unknown,
        known_label_fault=contradicts_context(context, info),
        group="" if about is None else group_name(info[about], groups),
        where=where,
    )
