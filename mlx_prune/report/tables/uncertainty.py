"""The table of changed answers by the dense model's own uncertainty."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mlx_prune.report.data import StudyData
from mlx_prune.report.tables.rows import Rated, rated
from mlx_prune.report.tables.table import About, Interval, column
from mlx_prune.stats.uncertainty import DECILES, changes_by_decile


@dataclass(frozen=True, kw_only=True)
class Uncertainty(Rated):
    """Answers of one compressed configuration to a tenth of the questions."""

    about = About(
        "uncertainty",
        "Changed answers, by how sure the dense model was",
        "Ambiguous questions are ranked by the entropy of the dense model's probabilities of the letters A, "
        "B and C (at temperature 1, scaled to sum to 1) and cut into tenths; 10 is where it was least sure. "
        "changed: share of answers that choose another option than the dense model's at the same item and "
        "seed, with a 95 % interval over question templates.",
    )

    decile: int = column("tenth of the questions, 1 where the dense model was surest")
    entropy_low: float = column("smallest entropy of its questions, in bits (1.585 at most)")
    entropy_high: float = column("largest entropy of its questions, in bits")
    n_items: int = column("questions whose answers could be compared")
    answers: int = column("pairs of answers, both understood")
    changed: Interval = column("share of these that choose another option")

    @classmethod
    def of_study(cls, data: StudyData) -> Iterator[Uncertainty]:
        """Every compressed configuration and tenth, where the dense model's probabilities are known."""
        for outcomes in data.paired:
            known = data.entropies(outcomes.configurations[0])
            entropy = np.array([known.get(item, np.nan) for item in outcomes.item_ids.tolist()], np.float64)
            found = changes_by_decile(outcomes, entropy)
            if found is None:
                continue
            for number, configuration in enumerate(outcomes.configurations):
                if configuration.is_dense:
                    continue
                for part in range(DECILES):
                    cell = number, part
                    yield Uncertainty(
                        **rated(data, configuration),
                        decile=part + 1,
                        entropy_low=found.entropy[0, part],
                        entropy_high=found.entropy[1, part],
                        n_items=found.items[cell],
                        answers=found.answers[cell],
                        changed=Interval(found.changed[cell], found.low[cell], found.high[cell]),
                    )
