"""The questions of an evaluation and their prompts, made once for all models that share a tokenizer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mlx_prune.bbq.items import Item, load_items
from mlx_prune.bbq.prompts import PromptBuilder
from mlx_prune.bbq.subset import limit_items
from mlx_prune.bbq.wording import wording_of
from mlx_prune.bbq.words import PUBLISHED, PromptWords
from mlx_prune.chat.same_tokenizer import MadeOfTokenizer
from mlx_prune.checkpoint.limits import Limits
from mlx_prune.errors import DataError
from mlx_prune.generation.interface import Prompt
from mlx_prune.progress import Progress, ProgressCallback
from mlx_prune.runs.fingerprint import tokens_fingerprint
from mlx_prune.runs.items import items_fingerprint
from mlx_prune.runs.settings import Bbq


@dataclass(frozen=True)
class Prompts:
    """Questions as the prompts of one tokenizer.

    Attributes:
        by_id: By item id, in the order of the questions.
        fingerprint: Of their tokens.
        end_tokens: Where answers end, too, as the chat template shows.
        about: How they were built, for ``run.json``.
    """

    by_id: dict[str, Prompt]
    fingerprint: str
    end_tokens: frozenset[int]
    about: dict[str, str]


@dataclass(frozen=True)
class Questions:
    """The questions of an evaluation.

    Attributes:
        items: Those to ask, in order.
        source: How they were chosen, as fields of the configuration.
        every: All that the source holds under the same conditions, of which ``limit`` took the items.
        words: What their prompts say around them.
    """

    items: list[Item]
    source: dict[str, Any]
    every: list[Item]
    words: PromptWords = PUBLISHED
    _prompts: MadeOfTokenizer[Prompts] = field(default_factory=MadeOfTokenizer, repr=False, compare=False)

    @cached_property
    def fingerprint(self) -> str:
        """Of the items that are asked."""
        return items_fingerprint(self.items)

    @cached_property
    def available(self) -> dict[str, int]:
        """By category, the ambiguous items with a stereotyped option: what SRS could rest on at most."""
        return dict(
            Counter(
                item.category
                for item in self.every
                if item.context_condition == "ambig" and item.stereotype_target_index is not None
            )
        )

    def prompts(
        self, tokenizer: Any, thinking: str, limits: Limits, new: int, report: ProgressCallback
    ) -> Prompts:
        """The prompts of a model, those of the model before where its tokenizer and limits are the same.

        Args:
            tokenizer: The model's.
            thinking: "off" or "skip"; see :class:`~mlx_prune.bbq.prompts.PromptBuilder`.
            limits: What the model takes.
            new: Tokens of an answer.
            report: Called with stage "tokenize".

        Raises:
            CheckpointError: The chat template does not work, makes the model think, or refuses a question; or
                a token has no row in the embedding.
            DataError: A question is no text, or longer than the model takes.
        """

        def make() -> Prompts:
            builder = PromptBuilder(tokenizer, thinking, self.words)
            prompts = {}
            for number, item in enumerate(self.items, start=1):
                tokens = builder.tokens(item)
                limits.check(tokens, f"{item.where or item.item_id}: the question", new=new)
                prompts[item.item_id] = Prompt(item.item_id, tuple(tokens))
                if number % 500 == 0 or number == len(self.items):
                    report(Progress("tokenize", number, len(self.items)))
            about = {
                "system_placement": builder.system_placement,
                "thinking": builder.thinking,
                "note": builder.note,
            }
            fingerprint = tokens_fingerprint(prompt.tokens for prompt in prompts.values())
            return Prompts(prompts, fingerprint, builder.end_tokens, about)

        return self._prompts.of(tokenizer, make, thinking, limits, new)


def choose_items(questions: Bbq | Sequence[Item] | Questions, words: PromptWords | None = None) -> Questions:
    """The questions, and how they were chosen.

    Args:
        questions: Where to load them from, its source named; or the items themselves; or what this returned.
        words: Of their prompts; None takes those of the wording that belongs to the source, or the published.

    Raises:
        DataError: They cannot be loaded, there are none, or two share an id.
    """
    if isinstance(questions, Questions):
        return questions
    if isinstance(questions, Bbq):
        assert questions.source is not None
        wording = wording_of(questions.source, questions.wording)
        every = load_items(
            questions.source,
            categories=questions.categories,
            condition=questions.condition,
            exclude_label_faults=questions.exclude_label_faults,
            wording=wording,
        )
        source = {
            "bbq": questions.source if questions.source in ("demo", "hub") else Path(questions.source).name,
            "categories": None if questions.categories is None else list(questions.categories),
            "condition": questions.condition,
            "limit": questions.limit,
            "exclude_label_faults": questions.exclude_label_faults,
        }
        return Questions(limit_items(every, questions.limit), source, every, words or wording.prompt)
    chosen = list(questions)
    if not chosen:
        raise DataError("there are no items to ask; give at least one.")
    if len({item.item_id for item in chosen}) != len(chosen):
        raise DataError("two items share an item_id; ids must be unique because they key noise and records.")
    return Questions(chosen, {"bbq": "given"}, chosen, words or PUBLISHED)
