"""The folder a checkpoint is written to: whole under its name, or not there at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlx_prune import words
from mlx_prune.checkpoint.record import META_FILE
from mlx_prune.checkpoint.shards import INDEX_FILE
from mlx_prune.errors import CheckpointError
from mlx_prune.paths import expanded
from mlx_prune.store import lock

# What stock mlx-lm and transformers need besides the weights, and what a licence asks to go along.
_SIDE_FILES = (
    "*.json",
    "*.jinja",
    "*.txt",
    "*.model",
    "*.tiktoken",
    "*.py",
    "LICENSE*",
    "NOTICE*",
    "COPYING*",
)
_NOT_COPIED = (INDEX_FILE, META_FILE)


@dataclass(frozen=True)
class OutputFolder:
    """A checkpoint folder in the making.

    Attributes:
        final: Its name once complete.
        partial: The hidden folder beside it, where everything is written first.
    """

    final: Path
    partial: Path

    def publish(self) -> None:
        """Give the finished folder its name, in place of what had it before."""
        old = self.final.with_name(f".{self.final.name}.replaced")
        if old.exists():
            shutil.rmtree(old)
        if self.final.exists():
            self.final.rename(old)
        self.partial.rename(self.final)
        if old.exists():
            shutil.rmtree(old)

    def restart(self) -> None:
        """Throw away what an earlier attempt left."""
        self.discard()
        self.partial.mkdir()

    def check_space(self, nbytes: int) -> None:
        """Refuse to start what cannot be finished.

        Args:
            nbytes: Bytes of the weight files.

        Raises:
            CheckpointError: The disk has less room than they need.
        """
        free = shutil.disk_usage(self.final.parent).free
        if free < nbytes:
            raise CheckpointError(
                f"{self.final} needs {words.size(nbytes)} and its disk has {words.size(free)} free; "
                "free some space or choose another disk."
            )

    def discard(self) -> None:
        """Leave nothing of what was not published."""
        if self.partial.exists():
            shutil.rmtree(self.partial)


@contextmanager
def output_folder(out: Path, *, source: Path, force: bool) -> Iterator[OutputFolder]:
    """Hold a checkpoint folder for this process.

    Args:
        out: Its final name.
        source: The folder that is read.
        force: What is in the folder already may be replaced.

    Yields:
        The folder. Nothing appears under its final name before :meth:`OutputFolder.publish`.

    Raises:
        CheckpointError: Another process writes it or has just written it, it is the source, or the disk is
            full or cannot be written.
    """
    out = expanded(out).absolute()
    if out.exists() and out.samefile(source):
        raise CheckpointError(f"{out} is the model to prune; give another output folder.")
    lock_file = out.with_name(f".{out.name}.lock")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            held = lock(lock_file)
        except BlockingIOError as error:
            raise CheckpointError(
                f"Another process is writing {out}; wait for it or give another output folder."
            ) from error
        try:
            if out.exists() and not force:
                raise CheckpointError(f"{out} has just been written by another process.")
            yield OutputFolder(out, out.with_name(f".{out.name}.partial"))
        finally:
            lock_file.unlink(missing_ok=True)
            os.close(held)
    except OSError as error:
        raise CheckpointError(_explain(error, out)) from error


def _explain(error: OSError, out: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk is full, so {out} could not be finished; free some space and run the same command "
            "again, it carries on where it stopped."
        )
    return f"{out} could not be written: {error.strerror or error} ({error.filename or out})."


def copy_side_files(source: Path, target: Path) -> None:
    """Copy config, tokenizer, chat template, generation config and licence, byte for byte."""
    for pattern in _SIDE_FILES:
        for file in sorted(source.glob(pattern)):
            if file.is_file() and file.name not in _NOT_COPIED:
                shutil.copyfile(file, target / file.name)
