"""The table of distances from the dense model's predictions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mlx_prune.report.data import StudyData
from mlx_prune.report.tables.rows import Configured, configured
from mlx_prune.report.tables.table import About, Interval, column
from mlx_prune.stats.divergence import Divergence
from mlx_prune.stats.perplexity import RatioOfPerplexities, relative


@dataclass(frozen=True, kw_only=True)
class Distance(Configured):
    """Distance of one compressed configuration from its dense model, token by token."""

    about = About(
        "divergence",
        "Distance from the dense model's predictions",
        "Over the tokens of the text of perplexity. kl: divergence of the next token's distribution, "
        "KL(dense || compressed), in nats. Of the dense distribution the likeliest tokens are known and the "
        "others are one bucket, so that kl is a lower bound; kl_missing estimates what its mean lacks. "
        "perplexity_change: paired by sequence. 95 % intervals over the sequences of the text.",
    )

    kl: Interval = column("mean over tokens, nats")
    kl_median: Interval = column("median over tokens, nats")
    kl_99: Interval = column("that 99 % of the tokens do not exceed, nats")
    kl_max: float | None = column("largest of any token, nats", default=None)
    kl_missing: float | None = column("what the mean is estimated to lack, nats", default=None)
    same_top: Interval = column("share of tokens of which both hold the same one for the likeliest")
    probability_rms: Interval = column("root mean square of the change of the right token's probability")
    perplexity_change: Interval = column("change of perplexity in percent of the dense model's")
    top: int | None = column("tokens of which the dense probabilities are kept", default=None)
    rest: float | None = column("mean dense probability of the others", default=None)
    note: str | None = column("why the two cannot be compared", default=None)

    @classmethod
    def of_study(cls, data: StudyData) -> Iterator[Distance]:
        """Every compressed configuration of which a distance or a paired perplexity is known."""
        for outcomes in data.models.values():
            for name in outcomes.configurations:
                row, ratio = data.divergences.get(name), data.perplexity_ratio(name)
                if name.is_dense or (row is None and ratio is None):
                    continue
                figure = None if row is None else row.figure
                yield Distance(
                    **configured(data, name),
                    kl=_interval(figure, "kl"),
                    kl_median=_interval(figure, "kl_median"),
                    kl_99=_interval(figure, "kl_99"),
                    kl_max=None if figure is None else figure.kl_max,
                    kl_missing=None if figure is None else figure.kl_missing,
                    same_top=_interval(figure, "same_top"),
                    probability_rms=_interval(figure, "probability_rms"),
                    perplexity_change=_change_of_perplexity(ratio, figure),
                    top=None if row is None else row.top,
                    rest=None if row is None else row.rest,
                    note=None if row is None else row.note,
                )


def _interval(figure: Divergence | None, name: str) -> Interval:
    return (
        Interval()
        if figure is None
        else Interval(*(getattr(figure, f"{name}{end}") for end in ("", "_low", "_high")))
    )


def _change_of_perplexity(ratio: RatioOfPerplexities | None, figure: Divergence | None) -> Interval:
    if ratio is not None:
        ends = ratio.log, ratio.low, ratio.high
    elif figure is not None:
        ends = figure.log_ratio, figure.log_ratio_low, figure.log_ratio_high
    else:
        return Interval()
    return Interval(*(100 * relative(end) for end in ends))
