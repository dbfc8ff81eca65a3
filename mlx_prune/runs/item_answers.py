"""All that one run answered to single questions: the texts under every seed, and letters' probabilities."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mlx_prune.bbq.answers import LETTERS
from mlx_prune.runs.folder import RunFolder

_PROBABILITIES = ("p_a", "p_b", "p_c")
_COLUMNS = ("item_id", "seed", "raw_response", "parsed_answer", "parse_rule", *_PROBABILITIES)


@dataclass(frozen=True)
class GivenAnswer:
    """One answer.

    Attributes:
        seed: Under which it was drawn.
        response: What the model said.
        option: Index of the option that was read; None where none was.
        rule: The parsing rule that read it.
    """

    seed: int
    response: str
    option: int | None
    rule: str


@dataclass(frozen=True)
class ItemAnswers:
    """What one run answered to one question.

    Attributes:
        probabilities: Of the three options' letters as the first token, at the run's temperature; None where
            they were not recorded.
        answers: In the order of the seeds.
    """

    probabilities: tuple[float, float, float] | None
    answers: tuple[GivenAnswer, ...]

    @property
    def elsewhere(self) -> float:
        """Probability that an answer begins with none of the letters; 0 where it was not recorded."""
        return max(0.0, 1.0 - sum(self.probabilities)) if self.probabilities else 0.0


def answers_to(run: RunFolder, items: Collection[str]) -> dict[str, ItemAnswers]:
    """What a run answered to some questions, by item id; those it was not asked are absent.

    Raises:
        RecordsError: There is no run, or a file is damaged.
    """
    table = run.records(_COLUMNS, encoded=True)
    wanted = pc.is_in(table["item_id"].cast(pa.string()), pa.array(items, pa.string()))
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in sorted(table.filter(wanted).to_pylist(), key=lambda row: row["seed"]):
        found.setdefault(row["item_id"], []).append(row)
    return {item: _of_rows(rows) for item, rows in found.items()}


def _of_rows(rows: list[Mapping[str, Any]]) -> ItemAnswers:
    a, b, c = (rows[0][name] for name in _PROBABILITIES)
    known = None not in (a, b, c)
    return ItemAnswers((a, b, c) if known else None, tuple(_answer(row) for row in rows))


def _answer(row: Mapping[str, Any]) -> GivenAnswer:
    letter = row["parsed_answer"]
    option = LETTERS.index(letter) if letter in LETTERS else None
    return GivenAnswer(row["seed"], row["raw_response"] or "", option, row["parse_rule"])
