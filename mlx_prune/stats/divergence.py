"""How far a model's predictions of a text lie from those of its dense self, token by token.

With dense probabilities P and the model's Q of the next token, at every position of a text:

- KL divergence in nats, ``KL(P || Q) = sum_i P_i (ln P_i - ln Q_i)``: what the model's predictions cost more
  than the dense ones where the dense ones are true;
- the change of the probability of the token that stands there, ``Q_right - P_right``, whose root mean square
  is reported;
- whether both hold the same token for the likeliest;
- ``ln P_right - ln Q_right``, whose mean is the logarithm of the ratio of perplexities.

These are the figures of llama.cpp's ``perplexity --kl-divergence``. Of P only the ``k`` likeliest tokens are
kept, and the mass of the rest in one bucket. Drawing outcomes together never raises a divergence (the log
sum inequality, Cover & Thomas, Elements of Information Theory, theorem 2.7.1), so that the figure is a lower
bound of the divergence over the whole vocabulary. What is missing, ``P_rest KL(P | rest || Q | rest)``, is
estimated without bias from one token in the rest, drawn from P, at every fourth position.

Tokens of one sequence hang together: sequences are what was sampled, and every interval rests on one number
per sequence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlx_prune.stats.perplexity import mean_added

Floats = NDArray[np.float64]
Logs = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class TokenDivergences:
    """Two models' predictions of every token of a text, each array (sequences, positions).

    Attributes:
        kl: Lower bound of the divergence in nats.
        missing: Unbiased estimates of what the bound lacks, in nats; NaN where none was made.
        dense_log: ln P of the token that stands there.
        model_log: ln Q of it.
        same_top: Whether both hold the same token for the likeliest.
    """

    kl: Floats
    missing: Floats
    dense_log: Floats
    model_log: Floats
    same_top: NDArray[np.bool_]


@dataclass(frozen=True)
class Divergence:
    """Distance of a model from its dense self on a text; ``_low`` and ``_high`` are ends of 95 % intervals.

    Attributes:
        kl: Mean KL divergence in nats per token, a lower bound (see the module).
        kl_low: NaN with fewer than 6 sequences, as ``kl_high``.
        kl_high: Of its interval.
        kl_median: Half of the tokens have at most this.
        kl_median_low: By Woodruff's method, as those of ``kl_99``; NaN with a single sequence.
        kl_median_high: Of its interval.
        kl_99: 99 % of the tokens have at most this.
        kl_99_low: Of its interval.
        kl_99_high: Of its interval.
        kl_max: The largest of any token.
        kl_missing: Estimate of what the mean lacks; 0 where every token was kept.
        kl_missing_error: Its standard error over sequences; NaN with a single one.
        probability_rms: Root mean square of the change of the probability of the right token, 0 to 1.
        probability_rms_low: NaN with fewer than 6 sequences, as ``probability_rms_high``.
        probability_rms_high: Of its interval.
        same_top: Share of tokens of which both models hold the same one for the likeliest.
        same_top_low: NaN with a single sequence, as ``same_top_high``.
        same_top_high: Of its interval.
        log_ratio: ln of the ratio of perplexities, the model's to the dense one's.
        log_ratio_low: NaN with a single sequence, as ``log_ratio_high``.
        log_ratio_high: Of its interval.
        sequences: How many.
        tokens: Predicted in all.
    """

    kl: float
    kl_low: float
    kl_high: float
    kl_median: float
    kl_median_low: float
    kl_median_high: float
    kl_99: float
    kl_99_low: float
    kl_99_high: float
    kl_max: float
    kl_missing: float
    kl_missing_error: float
    probability_rms: float
    probability_rms_low: float
    probability_rms_high: float
    same_top: float
    same_top_low: float
    same_top_high: float
    log_ratio: float
    log_ratio_low: float
    log_ratio_high: float
    sequences: int
    tokens: int

    @classmethod
    def of(cls, figures: Mapping[str, float | None]) -> Divergence:
        """From the figures of a JSON file, where null stands for what is infinite, or for an end not known.

        Raises:
            ValueError: One is absent.
        """
        lacking = next((field.name for field in fields(cls) if field.name not in figures), None)
        if lacking is not None:
            raise ValueError(f"{lacking} is absent")
        found: dict[str, Any] = {
            field.name: (math.nan if field.name.endswith(_ENDS) else math.inf)
            if figures[field.name] is None
            else figures[field.name]
            for field in fields(cls)
        }
        return cls(**found | {name: int(found[name]) for name in ("sequences", "tokens")})

    @property
    def figures(self) -> dict[str, float]:
        """By name, as a JSON file holds them."""
        return asdict(self)


# Of the names of figures that are not known where they are null.
_ENDS = ("_low", "_high", "_error")


def kl_with_bucket(log_p: Logs, log_q: Logs, rest_p: Logs, rest_q: Logs) -> Floats:
    """KL divergence of distributions of which some outcomes are known, the others drawn together.

    Args:
        log_p: ln P of the known outcomes (..., k).
        log_q: ln Q of the same ones.
        rest_p: ln of the mass of P on the others (...); minus infinity where there is none.
        rest_q: Likewise of Q.

    Returns:
        In nats (...), infinite where Q rules out what P does not. Rounding of the logarithms can make the sum
        of two equal distributions negative by about 1e-6; that is returned as 0.
    """
    known = _terms(log_p, log_q).sum(axis=-1)
    return np.asarray(np.maximum(known + _terms(rest_p, rest_q), 0.0), np.float64)


def _terms(log_p: Logs, log_q: Logs) -> Floats:
    p, q = np.asarray(log_p, np.float64), np.asarray(log_q, np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(p == -np.inf, 0.0, np.exp(p) * (p - q)))


def divergence_of(found: TokenDivergences) -> Divergence:
    """Reduce every token's figures to the text's."""
    change = np.exp(found.model_log) - np.exp(found.dense_log)
    mean, low, high = _mean(found.kl)
    median, upper = (_quantile(found.kl, share) for share in (0.5, 0.99))
    rms = [math.sqrt(max(end, 0.0)) if not math.isnan(end) else end for end in _mean(change**2)]
    missing, error = _missing(found.missing)
    ratio = mean_added((found.dense_log - found.model_log).mean(axis=1))
    return Divergence(
        mean,
        max(low, 0.0) if not math.isnan(low) else low,
        high,
        *median,
        *upper,
        float(found.kl.max()),
        missing,
        error,
        rms[0],
        rms[1],
        rms[2],
        float(found.same_top.mean()),
        *_share(found.same_top),
        ratio.log,
        ratio.low,
        ratio.high,
        *(int(size) for size in (len(found.kl), found.kl.size)),
    )


def _mean(values: Floats) -> tuple[float, float, float]:
    """Mean over tokens of what is not negative, and its interval over sequences."""
    value = float(values.mean())
    if not values.any():
        return value, value, value
    if not math.isfinite(value):
        return value, math.nan, math.nan
    # Imported here, since what reads a study's files need not wait for SciPy.
    from mlx_prune.stats.clustered import paired_difference

    sums, counts = values.sum(axis=1), np.full(len(values), float(values.shape[1]))
    found = paired_difference(np.zeros_like(sums), counts, sums, counts, bounded=False)
    return value, float(found.low[0]), float(found.high[0])


def _share(hits: NDArray[np.bool_]) -> tuple[float, float]:
    """Wilson's interval of a share of tokens, over sequences."""
    from mlx_prune.stats.clustered import clustered_wilson

    low, high = clustered_wilson(hits.sum(axis=1).astype(float), np.full(len(hits), float(hits.shape[1])))
    return float(low), float(high)


def _quantile(values: Floats, share: float) -> tuple[float, float, float]:
    """A quantile over tokens; its interval ends where that of the share below it does (Woodruff 1952)."""
    value = float(np.quantile(values, share, method="inverted_cdf"))
    ends = _share(values <= value)
    if any(math.isnan(end) for end in ends):
        return value, math.nan, math.nan
    low, high = (float(np.quantile(values, end, method="inverted_cdf")) for end in ends)
    return value, min(low, value), max(high, value)


def _missing(estimates: Floats) -> tuple[float, float]:
    made = estimates[:, ~np.isnan(estimates).all(axis=0)]
    if not made.size:
        return 0.0, 0.0
    by_sequence = made.mean(axis=1)
    error = float(by_sequence.std(ddof=1)) / math.sqrt(len(made)) if len(made) > 1 else math.nan
    return float(by_sequence.mean()), error
