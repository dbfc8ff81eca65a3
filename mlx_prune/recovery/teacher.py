"""The dense model that a pruned one is trained towards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlx_prune.chat.same_tokenizer import contents
from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.checkpoint.record import META_FILE, PruningRecord
from mlx_prune.errors import CheckpointError


def teacher_of(
    student: Checkpoint, record: PruningRecord, teacher: Checkpoint | str | Path | None
) -> Checkpoint:
    """The model that was named, or the one that the student was pruned from.

    Raises:
        CheckpointError: It cannot be found or reached, is the student itself, or has another tokenizer.
    """
    if teacher is None:
        teacher = record.model or ""
        try:
            found = Checkpoint.open(teacher, trust_remote_code=student.trust_remote_code)
        except CheckpointError as error:
            raise CheckpointError(
                f"The dense model {teacher}, from which {META_FILE} says that {student.given} was pruned, "
                f"cannot be opened ({str(error).rstrip('.')}); give it with --teacher."
            ) from error
    else:
        found = Checkpoint.open(teacher, trust_remote_code=student.trust_remote_code)
    if found.path.samefile(student.path):
        raise CheckpointError(f"{found.given} is the model to recover itself; give the dense one.")
    return found


def check_same_words(student: Checkpoint, teacher: Checkpoint, tokenizer: Any) -> None:
    """Refuse a teacher whose logits are of other tokens.

    Raises:
        CheckpointError: The vocabularies differ.
    """
    theirs = teacher.tokenizer().tokenizer
    same = contents(tokenizer) == contents(theirs) or tokenizer.get_vocab() == theirs.get_vocab()
    sizes = [model.config.get("vocab_size") for model in (student, teacher)]
    if not same or sizes[0] != sizes[1]:
        raise CheckpointError(
            f"{teacher.given} and {student.given} have different vocabularies, so the one cannot teach the "
            "other; give the dense model it was pruned from, or train on the text alone (--loss text)."
        )
