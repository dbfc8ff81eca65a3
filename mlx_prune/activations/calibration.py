"""Which text activations are measured on, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlx_prune.errors import RecipeError
from mlx_prune.registry import option


@dataclass(frozen=True)
class Calibration:
    """The text that activations are measured on.

    Attributes:
        source: "demo" (invented text that comes with the package), "c4" (from the Hub, pinned revision),
            another data set of the Hub (hub:ORG/NAME[@REVISION][:CONFIG][/SPLIT][#COLUMN]), or a text or
            JSONL file. None is "demo" for the embedded model; any other needs a name.
        samples: Number of sequences; None takes what the text holds, at most 128.
        sequence_length: Tokens per sequence; None takes what the text and the model allow, at most 2048.
    """

    source: str | Path | None = option(
        None,
        name="calibration",
        metavar="SOURCE",
        order=81,
        help="Where activations are measured: c4, hub:ORG/NAME (another data set; further "
        "[@REVISION][:CONFIG][/SPLIT][#COLUMN]), a text or JSONL file, or demo, an invented text and the "
        "default of the embedded model only.",
    )
    samples: int | None = option(
        None, least=1, order=82, help="Calibration sequences. [default: 128, or all there are]"
    )
    sequence_length: int | None = option(
        None,
        least=2,
        order=83,
        help="Tokens per sequence. [default: 2048, or what the model and the text allow]",
    )

    def __post_init__(self) -> None:
        if self.samples is not None and self.samples < 1:
            raise RecipeError(f"Calibration needs at least one sample, not {self.samples}.")
        if self.sequence_length is not None and self.sequence_length < 2:
            raise RecipeError(f"Calibration sequences need at least 2 tokens, not {self.sequence_length}.")
