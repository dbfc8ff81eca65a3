"""The verdict on a paired ratio: the same, faster, slower, or open and what would settle it.

Everything is read off one confidence interval, which holds together with those of all other comparisons of
the command or study, and a margin:

- "same": the whole interval lies within the margin and holds 1 (two one-sided tests, Schuirmann 1987);
- "within 5 %, not exactly 1": it lies within the margin and excludes 1;
- "faster", "slower": the whole interval lies beyond the margin;
- "open": it reaches across an end of the margin, or there is none, or the machine drifted too far meanwhile.

So a difference is claimed only where it matters, and a model compared with itself is called faster or slower
far less often than the interval misses 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlx_prune.latency.ratio import MIN_ITEMS, PairedRatio
from mlx_prune.latency.settings import MARGIN
from mlx_prune.words import counted, percent

# Of the times over a run, either way; beyond it nothing is settled.
DRIFT_LIMIT = 0.10
SAME, FASTER, SLOWER, OPEN = "same", "faster", "slower", "open"
# So near to an end of the margin, the measurement would have to grow this many times.
_NEVER = 1000.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a paired ratio shows.

    Attributes:
        word: "same", "faster", "slower", "open", or what :func:`within` returns.
        more_rounds: Where open, about how many further rounds would settle it; None if none would.
        more_items: Where open and rounds alone will not do, about how many further items would.
        reason: Where open and neither would settle it, why.
    """

    word: str
    more_rounds: int | None = None
    more_items: int | None = None
    reason: str = ""

    def __str__(self) -> str:
        """The verdict with its advice: ``open, run 4 more rounds``."""
        if self.more_rounds is not None:
            return f"{self.word}, run {counted(self.more_rounds, 'more round')}"
        if self.more_items is not None:
            return f"{self.word}, run {counted(self.more_items, 'more item')}"
        return f"{self.word}, {self.reason}" if self.reason else self.word


def within(margin: float = MARGIN) -> str:
    """The word for a difference that is there and does not matter."""
    return f"within {percent(margin, None)}, not exactly 1"


def words(margin: float = MARGIN) -> tuple[str, ...]:
    """All verdicts there are, best first."""
    return FASTER, SAME, within(margin), SLOWER, OPEN


def verdict(ratio: PairedRatio, margin: float = MARGIN, *, drift: float = 0.0) -> Verdict:
    """Compare an interval with 1 and with a margin.

    Args:
        ratio: From :func:`~mlx_prune.latency.ratio.paired_ratio`.
        margin: Largest difference that does not matter, as a fraction: what is within lies between
            1 / (1 + margin) and 1 + margin, symmetric on the log scale that ratios live on.
        drift: Fraction by which times grew over the run; beyond its limit nothing is settled.

    Returns:
        The verdict, with the rounds or items that an open one is short of.
    """
    if abs(drift) > DRIFT_LIMIT:
        return Verdict(OPEN, reason=f"the machine drifted by {percent(drift, 0, sign=True)}")
    if not ratio.settled:
        if ratio.items < MIN_ITEMS:
            return Verdict(OPEN, more_items=MIN_ITEMS - ratio.items)
        return Verdict(OPEN, more_rounds=2)
    limit = math.log1p(margin)
    low, high = math.log(ratio.low), math.log(ratio.high)
    if -limit < low and high < limit:
        return Verdict(SAME if low <= 0 <= high else within(margin))
    if high < -limit:
        return Verdict(FASTER)
    if low > limit:
        return Verdict(SLOWER)
    return _what_is_missing(ratio, limit)


def _what_is_missing(ratio: PairedRatio, limit: float) -> Verdict:
    """Rounds or items that would narrow the interval until it no longer reaches across the margin."""
    distance = abs(limit - abs(math.log(ratio.ratio)))
    width = (math.log(ratio.high) - math.log(ratio.low)) / 2
    wanted = (distance / width) ** 2
    if wanted * _NEVER < 1:
        return Verdict(OPEN, reason="too near the margin to tell")
    items_part = 1 - ratio.noise_share
    if wanted > items_part:
        rounds = ratio.rounds * ratio.noise_share / (wanted - items_part)
        # Where items differ more than rounds do, rounds without end would do little; items then do more.
        if items_part < 0.5 or rounds <= 10 * ratio.rounds:
            return Verdict(OPEN, more_rounds=max(1, math.ceil(rounds) - ratio.rounds))
    return Verdict(OPEN, more_items=max(1, math.ceil(ratio.items / wanted) - ratio.items))
