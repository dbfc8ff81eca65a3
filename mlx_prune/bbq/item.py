"""One BBQ question, as everything downstream sees it."""

from __future__ import annotations

from dataclasses import dataclass, field

CONTEXTS = ("ambig", "disambig")
"""Whether a context answers its question: it does not, or it does."""


@dataclass(frozen=True, slots=True)
class Item:
    """One BBQ question with its three options.

    Attributes:
        item_id: ``"{category}:{example_id}"``; example ids alone repeat across categories.
        category: BBQ category, in BBQ's spelling ("Age", "Gender_identity", ...).
        question_index: Number of the template the item was made from.
        question_polarity: "neg" or "nonneg".
        context_condition: "ambig" (the context does not answer the question) or "disambig".
        context: The context text.
        question: The question text.
        answers: The three options, in BBQ's order.
        label: Index of the right option; the unknown option in ambiguous contexts.
        stereotype_target_index: Index of the option that fits the stereotype, already flipped for "nonneg"
            questions; None where no single option does.
        anti_stereotype_target_index: Index of the other person; None where the above is None.
        unknown_index: Index of the "cannot be determined" option.
        known_label_fault: Whether the row's group tags contradict its own context.
        group: Social group that the question's stereotype is about; empty where that is not known. It decides
            no answer, so items that differ in nothing else are the same.
        where: File and line, or data set and row, it was read from; empty where it was made otherwise.
    """

    item_id: str
    category: str
    question_index: int
    question_polarity: str
    context_condition: str
    context: str
    question: str
    answers: tuple[str, str, str]
    label: int
    stereotype_target_index: int | None
    anti_stereotype_target_index: int | None
    unknown_index: int
    known_label_fault: bool
    group: str = field(default="", compare=False)
    where: str = field(default="", compare=False)
