"""How long-running functions report where they are; what is shown is the caller's business."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """One report from a long-running function.

    Attributes:
        stage: What is being done ("calibrate", "answer", ...). A new stage starts a new bar.
        done: Units finished so far in this stage.
        total: Units in this stage.
        detail: A short word on the unit at hand (a layer, a category), or empty.
    """

    stage: str
    done: int
    total: int
    detail: str = ""


ProgressCallback = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """The default callback: say nothing."""
