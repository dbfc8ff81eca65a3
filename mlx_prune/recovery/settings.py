"""How a pruned model is trained back: everything that the result follows from besides models and data."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mlx_prune.errors import RecipeError
from mlx_prune.registry import option

DISTILL, TEXT = "distill", "text"
AUTO, NONE, LEAST_SQUARES, EORA = "auto", "none", "least-squares", "eora"


@dataclass(frozen=True)
class Recovery:
    """Settings of a recovery.

    Attributes:
        steps: Updates of the weights at most; 0 leaves it at the first step.
        loss: "distill" (the divergence from the teacher's next-token distribution) or "text" (next-token
            loss on the text, without a teacher).
        first_step: "least-squares" fits the kept weights of masks to the dense model's outputs before
            training begins; "eora" computes updates of the rank from the difference to the dense model, to be
            merged under masks or to lie beside quantized weights. "auto" takes the first for masks and the
            second for quantized weights, where there is a dense teacher of the same shapes.
        full: Train the kept weights themselves rather than low-rank updates of them.
        rank: Of the updates.
        learning_rate: Of Adam, at its highest; None takes 1e-3 for low-rank updates, 3e-4 for those that
            EoRA began, and 1e-4 for weights.
        batch_size: Sequences per step.
        sequence_length: Tokens of each; None takes 512, or what model and text allow.
        patience: Evaluations on the held-out part without a new best after which training ends.
        seed: Of the first values of the updates and of the order of the sequences.
        mask_prompt: Learn, and judge, the assistant's last reply of each conversation alone, not the prompt
            in front of it.
        grad_checkpoint: Compute each block again in the backward pass instead of keeping its activations.
    """

    steps: int = option(100, least=0, order=20, help="Updates of the weights at most.")
    loss: str = option(
        DISTILL,
        choices=(DISTILL, TEXT),
        order=21,
        help="distill: towards the teacher's next-token distribution; text: next-token loss on the text, "
        "without a teacher.",
    )
    first_step: str = option(
        AUTO,
        choices=(AUTO, LEAST_SQUARES, EORA, NONE),
        order=21,
        help="Before training (with --steps 0 instead of it), fit the kept weights of masks to the dense "
        "model's outputs by least squares, or compute updates from the difference to it (eora); auto: the "
        "one for masks, the other for quantized weights, where the teacher has the same shapes.",
    )
    full: bool = option(
        False, order=22, help="Train the kept weights themselves, not low-rank updates of them."
    )
    rank: int = option(16, least=1, order=23, help="Rank of the updates.")
    learning_rate: float | None = option(
        None,
        order=24,
        metavar="RATE",
        kind=float,
        help="Of Adam, at its highest. [default: 0.001; 0.0001 with --full, 0.0003 where EoRA began]",
    )
    batch_size: int = option(4, least=1, order=25, help="Sequences per step.")
    sequence_length: int | None = option(
        None, least=8, order=26, help="Tokens per sequence. [default: 512, or what model and text allow]"
    )
    patience: int = option(
        3, least=1, order=27, help="End after so many evaluations without a better held-out loss."
    )
    seed: int = option(0, least=0, order=28, help="Of first values and order of the sequences.")
    mask_prompt: bool = option(
        False,
        order=28,
        help="Of conversations (messages, or prompt and completion) learn the last reply alone, as "
        "mlx_lm.lora does.",
    )
    grad_checkpoint: bool = option(
        False, order=29, help="Less memory, more time: compute activations again in the backward pass."
    )

    def __post_init__(self) -> None:
        if self.loss not in (DISTILL, TEXT):
            raise RecipeError(f"Unknown loss {self.loss!r}; choose {DISTILL} or {TEXT}.")
        if self.first_step not in (AUTO, LEAST_SQUARES, EORA, NONE):
            raise RecipeError(
                f"Unknown first step {self.first_step!r}; choose {AUTO}, {LEAST_SQUARES}, {EORA} or {NONE}."
            )
        if self.learning_rate is not None and not 0 < self.learning_rate < 1:
            raise RecipeError(f"A learning rate is between 0 and 1, not {self.learning_rate}.")
        least = {"steps": 0, "rank": 1, "batch_size": 1, "patience": 1, "seed": 0}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                said = name.replace("_", " ")
                raise RecipeError(f"The {said} cannot be {getattr(self, name)}; the least is {smallest}.")
        if self.sequence_length is not None and self.sequence_length < 8:
            raise RecipeError(
                f"Sequences need at least 8 tokens to be learned from, not {self.sequence_length}."
            )

    @property
    def rate(self) -> float:
        """The learning rate at its highest."""
        return self.learning_rate or (1e-4 if self.full else 1e-3)

    def after_eora(self) -> Recovery:
        """The same for updates that are good already: the rate for updates from nothing spoils them."""
        return replace(self, learning_rate=self.learning_rate or 3e-4)
