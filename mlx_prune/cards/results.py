"""What a model card may say about a checkpoint's behavior: figures that were measured, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import Any

import msgspec

from mlx_prune import words
from mlx_prune.bbq.answers import MIN_ANSWERED
from mlx_prune.errors import DataError
from mlx_prune.outside_names import plain


@dataclass(frozen=True)
class Figure:
    """One measured value and what it is compared with.

    Attributes:
        value: The pruned model's value.
        dense: The dense model's value under the same conditions; None if it was not measured.
        low: Lower limit of the 95 % interval of ``value``; None if there is none.
        high: Upper limit.
    """

    value: float
    dense: float | None = None
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        """Refuse what is not a number: an absent measurement is None in place of the figure."""
        if math.isnan(self.value) or (self.dense is not None and math.isnan(self.dense)):
            raise DataError("a model card's figure is not a number; leave out what was not measured.")


def figure(
    value: float | None, dense: float | None = None, low: float | None = None, high: float | None = None
) -> Figure | None:
    """A figure, or None where the value is absent or NaN; absent or NaN companions are left out."""
    if value is None or math.isnan(value):
        return None
    rest = (None if number is None or math.isnan(number) else number for number in (dense, low, high))
    return Figure(value, *rest)


@dataclass(frozen=True)
class CardResults:
    """Measurements of one checkpoint; whatever is None or empty does not appear on the card.

    Attributes:
        perplexity: Perplexity on ``perplexity_text``.
        perplexity_text: The text and its amount ("Tulu 3 SFT mixture, 256 x 512 tokens").
        kl: Mean KL divergence of next-token predictions from the dense model's on that text, nats per token.
        same_top: Share of its tokens of which both hold the same one for the likeliest.
        srs: Stereotype reliance score, the unweighted mean over categories, as a fraction.
        srs_by_category: The same per category; intervals are Wilson's.
        usr: Share of scored answers that choose the unknown option.
        anti_rate: Share of scored answers that choose the person against the stereotype.
        parse_failure_rate: Share of answers in which no letter was found.
        answered: Share of answers that were understood, by one of the first three parsing rules.
        answered_by_category: The same per category.
        strict_srs: SRS of these answers alone.
        emergence: Share of the items without a stereotyped dense answer that have one after pruning.
        emergence_null: The share that the dense model itself would reach if it were asked again.
        latency_s: Time of one answer in seconds.
        latency_ratio: Latency over that of the dense model; ``dense`` is left out.
        size_bytes: Size of the weights on disk.
        items: Number of BBQ items asked.
        seeds: Number of seeds each was asked under.
        temperature: Of sampling.
        bbq: Which BBQ items ("demo", "hub", a folder's name).
        device: What it was measured on.
    """

    perplexity: Figure | None = None
    perplexity_text: str = ""
    kl: Figure | None = None
    same_top: Figure | None = None
    srs: Figure | None = None
    srs_by_category: Mapping[str, Figure] = field(default_factory=dict)
    usr: Figure | None = None
    anti_rate: Figure | None = None
    parse_failure_rate: Figure | None = None
    answered: Figure | None = None
    answered_by_category: Mapping[str, Figure] = field(default_factory=dict)
    strict_srs: Figure | None = None
    emergence: float | None = None
    emergence_null: float | None = None
    latency_s: Figure | None = None
    latency_ratio: Figure | None = None
    size_bytes: Figure | None = None
    items: int | None = None
    seeds: int | None = None
    temperature: float | None = None
    bbq: str = ""
    device: str = ""

    @property
    def measured_bias(self) -> bool:
        """Whether any answer to BBQ is behind these results."""
        return self.srs is not None or bool(self.srs_by_category)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without what was not measured; infinite values are strings."""
        found: dict[str, Any] = _plain(asdict(self))
        return found

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CardResults:
        """Read what :meth:`to_dict` wrote.

        Raises:
            DataError: An entry is unknown or of another kind.
        """
        unknown = sorted(set(data) - {entry.name for entry in fields(cls)})
        if unknown:
            raise DataError(f"unknown result {unknown[0]!r} for a model card; it may be of a newer version.")
        try:
            return msgspec.convert(data, cls, strict=False)
        except msgspec.ValidationError as error:
            raise DataError(f"the results kept for the card are damaged ({error}); measure again.") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(entry) for name, entry in value.items() if entry not in (None, "", {})}
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def percent(value: float | None, digits: int | None = None) -> str:
    """A percentage without a space, as in the published cards; by default in no more digits than needed."""
    return words.percentage(value, digits).replace(" ", "")


def results_rows(results: CardResults) -> list[list[str]]:
    """The metrics as cells of a Markdown table in the published cards' columns."""
    text, share = results.perplexity_text, results.answered
    rows = [
        _compared(f"Perplexity ({text})" if text else "Perplexity", results.perplexity, _large),
        _distance("KL divergence from dense, nats per token", results.kl, words.number),
        _distance("Same top token as dense", results.same_top, words.percent),
        _rate("Answers understood", share),
        _rate("SRS (mean over categories)", results.srs, "; chance is 0.333", of=share),
        _rate("SRS, answers understood only", results.strict_srs, of=share),
        *(
            _rate(f"SRS, {name.replace('_', ' ')}", found, of=results.answered_by_category.get(name))
            for name, found in sorted(results.srs_by_category.items())
        ),
        _rate("USR (chose “unknown”)", results.usr, of=share),
        _rate("Anti-stereotyped answers", results.anti_rate, of=share),
        _rate("Answers without a letter", results.parse_failure_rate),
        _emergence(results),
        _compared("Latency of one answer", results.latency_s, words.seconds),
        _ratio(results.latency_ratio),
        _compared("Weights on disk", results.size_bytes, partial(words.size, digits=2)),
    ]
    return [[plain(text).replace("|", "\\|") for text in row] for row in rows if row]


Row = tuple[str, str, str] | None
_NO_DENSE = "dense model not measured"


def _compared(name: str, found: Figure | None, write: words.Write) -> Row:
    """A row of a measure whose change is told in percent, as far as it can be."""
    if found is None:
        return None
    if found.dense is None:
        return name, write(found.value), _NO_DENSE
    change = found.value / found.dense - 1 if found.dense and math.isfinite(found.dense) else math.nan
    relative = f" ({100 * change:+.1f}%)" if math.isfinite(change) else ""
    return name, write(found.value), f"dense {write(found.dense)}{relative}"


def _rate(name: str, found: Figure | None, note: str = "", *, of: Figure | None = None) -> Row:
    """A row of a rate; ``of`` is the share of answers behind it, of too few of which nothing is compared."""
    if found is None:
        return None
    value = words.fixed(found.value)
    if of is not None and _too_few(of):
        return name, f"~~{value}~~" if of.value < MIN_ANSWERED else value, _not_compared(of)
    if found.low is not None and found.high is not None:
        value += f" (95 % CI {words.interval(found.low, found.high)})"
    if found.dense is None:
        return name, value, _NO_DENSE + note
    return name, value, f"dense {words.fixed(found.dense)} ({words.signed(found.value - found.dense)}){note}"


def _too_few(share: Figure) -> bool:
    """Whether the answers of the checkpoint, or of its dense model, were hardly understood."""
    return share.value < MIN_ANSWERED or (share.dense is not None and share.dense < MIN_ANSWERED)


def _not_compared(share: Figure) -> str:
    mine = f"only {percent(100 * share.value, 1)} of the answers were understood"
    return f"not compared: {mine if share.value < MIN_ANSWERED else _DENSE_TOO_FEW}"


_DENSE_TOO_FEW = "few of the dense model's answers were understood"


def _emergence(results: CardResults) -> Row:
    if results.emergence is None:
        return None
    name, share, of = "New-bias-emergence rate", percent(100 * results.emergence, 2), results.answered
    if of is not None and _too_few(of):
        return name, f"~~{share}~~", _not_compared(of)
    reference = "of the items without a stereotyped answer from the dense model, the share with one now"
    if results.emergence_null is not None:
        null = percent(100 * results.emergence_null, 2)
        reference += f"; {null} if the dense model is asked anew"
    return name, share, reference


def _distance(name: str, found: Figure | None, write: words.Write) -> Row:
    if found is None:
        return None
    value = write(found.value)
    if found.low is not None and found.high is not None:
        value += f" (95 % CI {words.interval(found.low, found.high, write)})"
    return name, value, "on the same text"


def _ratio(found: Figure | None) -> Row:
    if found is None:
        return None
    reference = "1.000 is the dense model's"
    if found.low is not None and found.high is not None:
        reference += f"; simultaneous 95 % CI {words.interval(found.low, found.high)}"
    return "Latency, pruned over dense", words.fixed(found.value), reference


def _large(value: float) -> str:
    return "over any bound" if math.isinf(value) else f"{value:,.2f}" if value < 1000 else f"{value:,.0f}"
