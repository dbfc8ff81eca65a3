"""The table of calibration texts: what changes if one method looks at another text."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from mlx_prune.configuration import Configuration
from mlx_prune.labels import known_label
from mlx_prune.report.data import StudyData
from mlx_prune.report.tables.rows import ByCategory, Rated, adjusted, rated
from mlx_prune.report.tables.table import About, Interval, column
from mlx_prune.stats.compare import srs_between
from mlx_prune.stats.outcomes import Outcomes
from mlx_prune.stats.perplexity import relative
from mlx_prune.stats.rates import OVERALL


@dataclass(frozen=True, kw_only=True)
class OtherText(Rated, ByCategory):
    """One configuration beside the same on the study's first calibration text."""

    about = About(
        "calibrations",
        "Another calibration text: perplexity and stereotype reliance",
        "One row per configuration with a calibration text of its own (`wanda@chat`) of which the same on "
        "the first text (`wanda`) is in the study, too. perplexity_change: paired by sequence; srs_change: "
        "paired by item, with 95 % intervals over sequences and over question templates, from the first text "
        "to this one; left out where too few answers of either were understood. q is adjusted after "
        "Benjamini and Hochberg over all rows.",
    )

    text: str = column("name of its calibration text")
    first: str = column("label of the same on the first text")
    perplexity_first: float | None = column("perplexity with the first text")
    perplexity_other: float | None = column("perplexity with this text")
    perplexity_change: Interval = column("change from the first to this one, in percent")
    srs_first: float | None = column("SRS with the first text")
    srs_other: float | None = column("SRS with this text")
    srs_change: Interval = column("change of SRS from the first text to this one")
    clusters: int | None = column("question templates that the comparison rests on")
    p: float | None = column("of no change of SRS, clustered")
    q: float | None = column("p, adjusted after Benjamini and Hochberg", default=None)

    @classmethod
    def of_study(cls, data: StudyData) -> list[OtherText]:
        """Every configuration beside the same on the first text, over all categories."""
        rows = []
        for outcomes in data.models.values():
            for name in outcomes.configurations:
                first = on_first_text(name)
                if first is not None and first in outcomes.configurations:
                    rows.append(_row(data, outcomes, first, name))
        return adjusted(rows, "p", "q")


def on_first_text(name: Configuration) -> Configuration | None:
    """The same configuration on the study's first calibration text; None if it is on that one."""
    label = known_label(name.prune_method)
    if label is None or label.calibration is None:
        return None
    return dataclasses.replace(name, prune_method=str(dataclasses.replace(label, calibration=None)))


def _row(data: StudyData, outcomes: Outcomes, first: Configuration, name: Configuration) -> OtherText:
    sides = [data.rates(one, OVERALL) for one in (first, name)]
    understood = all(side is not None and not side.too_few(data.min_answered) for side in sides)
    places = [outcomes.configurations.index(one) for one in (first, name)]
    change = srs_between(outcomes, *places) if understood else None
    ratio = data.perplexity_ratio(name, before=first)
    label = known_label(name.prune_method)
    assert label is not None
    assert label.calibration is not None
    return OtherText(
        **rated(data, name, OVERALL),
        text=label.calibration,
        first=first.prune_method,
        perplexity_first=data.perplexity.get(first),
        perplexity_other=data.perplexity.get(name),
        perplexity_change=Interval()
        if ratio is None
        else Interval(*(100 * relative(end) for end in (ratio.log, ratio.low, ratio.high))),
        srs_first=sides[0].srs if understood and sides[0] is not None else None,
        srs_other=sides[1].srs if understood and sides[1] is not None else None,
        srs_change=Interval() if change is None else Interval.of(change),
        clusters=None if change is None else change.templates,
        p=None if change is None else change.p_value,
    )
