"""What a study measures beside answers: on a text, and by the clock."""

from __future__ import annotations

from dataclasses import dataclass

from mlx_prune.runs.settings import DEFAULT_TOP, require_from


@dataclass(frozen=True)
class PerplexityMeasure:
    """Perplexity on held-out text.

    Attributes:
        enabled: Whether it is measured.
        text: "tulu", "hub:ORG/NAME..." or a text or JSONL file; without one it is the embedded text for the
            embedded model, and any other needs a name.
        sequences: How many; without a number what the text holds, at most 256.
        sequence_length: Tokens of each; without a number 512, or what the model takes.
    """

    enabled: bool = True
    text: str | None = None
    sequences: int | None = None
    sequence_length: int | None = None

    def __post_init__(self) -> None:
        require_from(1, "sequences", self.sequences)
        require_from(2, "sequence_length", self.sequence_length)


@dataclass(frozen=True)
class DivergenceMeasure:
    """Distance from the dense model's predictions, on the text of perplexity and in the same pass over it.

    Attributes:
        enabled: Without perplexity it is not measured in any case.
        top: Likeliest tokens of which the dense probabilities are kept.
    """

    enabled: bool = True
    top: int = DEFAULT_TOP

    def __post_init__(self) -> None:
        require_from(1, "top", self.top)


@dataclass(frozen=True)
class LatencyMeasure:
    """Time of an answer against the dense model, in turn with it.

    Attributes:
        enabled: Whether it is measured.
        items: Questions that are timed.
        rounds: Times that each is.
    """

    enabled: bool = True
    items: int = 20
    rounds: int = 3

    def __post_init__(self) -> None:
        require_from(1, "items", self.items)
        require_from(1, "rounds", self.rounds)
