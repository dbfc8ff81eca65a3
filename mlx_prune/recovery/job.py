"""Recover a pruned checkpoint from folder to folder; a killed recovery carries on."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlx_prune import distributed
from mlx_prune.cards.card import write_card
from mlx_prune.checkpoint.adapters import add_adapters
from mlx_prune.checkpoint.config import is_quantized
from mlx_prune.checkpoint.folder import OutputFolder, output_folder
from mlx_prune.checkpoint.invented import CALIBRATION_TEXT, named
from mlx_prune.checkpoint.matrices import PrunableLinear, prunable_linears
from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.checkpoint.pruned_files import PrunedFiles
from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.errors import CheckpointError, RecipeError
from mlx_prune.generation.dequantized import dequantized
from mlx_prune.json_files import fingerprint
from mlx_prune.kernels.zeroing import all_finite
from mlx_prune.progress import ProgressCallback, silent
from mlx_prune.pruning.saving import add_side_files, check_same
from mlx_prune.recovery.beside import check_beside, write_beside
from mlx_prune.recovery.data import TrainingData, training_data
from mlx_prune.recovery.files import FIRST_STEP_FILE, STATE_FILE
from mlx_prune.recovery.first_step import FirstStep, fits, take_first_step
from mlx_prune.recovery.layers import adapt, merged, with_zeros_of
from mlx_prune.recovery.losses import HeldOut, held_out_losses
from mlx_prune.recovery.report import recovered_record
from mlx_prune.recovery.settings import DISTILL, Recovery
from mlx_prune.recovery.state import Progressed
from mlx_prune.recovery.teacher import check_same_words, teacher_of
from mlx_prune.recovery.training import Training
from mlx_prune.wired import wired_limit


@dataclass(frozen=True)
class Job:
    """What is recovered, and from what.

    Attributes:
        student: The pruned checkpoint.
        record: Its record.
        teacher: The dense model; None where the loss is on the text.
        data: Sequences.
        settings: How.
        compute: Type that both models compute in.
    """

    student: Checkpoint
    record: PruningRecord
    teacher: Checkpoint | None
    data: TrainingData
    settings: Recovery
    compute: str

    @property
    def beside(self) -> bool:
        """Whether updates are adapters that stay beside the weights, which are quantized."""
        return is_quantized(self.student.path, self.student.config)

    @property
    def fingerprint(self) -> str:
        """What the result follows from: both models, tokens, settings and compute type."""
        return fingerprint(
            {
                "recovery": dataclasses.asdict(self.settings),
                "student": self.student.quick_hash,
                "teacher": None if self.teacher is None else self.teacher.quick_hash,
                "tokens": self.data.tokens_sha256,
                "dtype": self.compute,
            }
        )


def recover(
    model: Checkpoint | str | Path,
    out: str | Path,
    *,
    data: str | Path | None = None,
    teacher: Checkpoint | str | Path | None = None,
    settings: Recovery | None = None,
    dtype: str = "auto",
    trust_remote_code: bool = False,
    force: bool = False,
    progress: ProgressCallback | None = None,
) -> PruningRecord:
    """Train a pruned checkpoint back into a new folder; every zero of its blocks stays a zero, bit for bit.

    Of a quantized one the weights stay as they are, and mlx-lm's low-rank adapters are trained beside them.

    Student, teacher and the state of the optimizer are in memory. The state of the training is written beside
    the folder once a minute: the same call after a kill carries on, to the same weights. A folder that holds
    this very recovery already is left as it is.

    Args:
        model: A folder that ``mlxprune prune`` wrote; whole or smaller than the dense model, in floats or
            quantized.
        out: The folder to write; it appears whole or not at all.
        data: The text to learn from: "demo", "c4", a file, or ``hub:ORG/NAME``; None is "demo" for what was
            pruned from the embedded model.
        teacher: The dense model; None takes the one that the record names.
        settings: How to train.
        dtype: Compute type, as in :func:`mlx_prune.checkpoint.open.load`.
        trust_remote_code: Run Python files of the checkpoints.
        force: Replace what is in the folder already, and start from the first step.
        progress: Told after each step, stage "recover".

    Returns:
        What is recorded in the folder's pruning_meta.json: the pruning, and the recovery as an entry.

    Raises:
        CheckpointError: A model cannot be read, or does not fit the other; the folder holds something else,
            is in use or cannot be written.
        DataError: The text is not named, cannot be read or is too short; a loss is not a number.
        RecipeError: A setting would be ignored, or several processes share the job.
    """
    settings, out = settings or Recovery(), Path(out)
    if distributed.size() > 1:
        raise RecipeError("recover runs in one process; start it without a launcher.")
    job = _open(model, data, teacher, settings, dtype, trust_remote_code)
    if out.exists() and not force:
        found = PruningRecord.find(out)
        recovery = None if found is None else found.recovery
        known = None if recovery is None else recovery.fingerprint
        return check_same(out, found and found.with_entries(fingerprint=known), job.fingerprint)
    with wired_limit(), output_folder(out, source=job.student.path, force=force) as folder:
        if force:
            folder.restart()
        folder.partial.mkdir(exist_ok=True)
        return _run(job, folder, progress or silent)


def _open(
    model: Checkpoint | str | Path,
    data: str | Path | None,
    teacher: Checkpoint | str | Path | None,
    settings: Recovery,
    dtype: str,
    trust_remote_code: bool,
) -> Job:
    student = Checkpoint.open(model, trust_remote_code=trust_remote_code)
    record = PruningRecord.read(student.path)
    if is_quantized(student.path, student.config):
        check_beside(settings, student)
    if record.recovery is not None:
        raise CheckpointError(
            f"{student.path} was recovered already; recover the pruned checkpoint it was made from, with "
            "more --steps."
        )
    if settings.loss != DISTILL and teacher is not None:
        raise RecipeError("--teacher would be ignored with --loss text; leave one of them out.")
    source = named(CALIBRATION_TEXT, data, student.path, "--data (in Python, data)")
    tokenizer = student.tokenizer().tokenizer
    opened = None
    if settings.loss == DISTILL:
        opened = teacher_of(student, record, teacher)
        check_same_words(student, opened, tokenizer)
    sequences = training_data(source, tokenizer, student.config, settings)
    return Job(student, record, opened, sequences, settings, student.compute_dtype(dtype))


def _run(job: Job, folder: OutputFolder, progress: ProgressCallback) -> PruningRecord:
    started = time.monotonic()
    mx.reset_peak_memory()
    teacher = None if job.teacher is None else job.teacher.network(job.compute, lazy=False)
    done = _train(job, folder, teacher, progress)
    mx.clear_cache()
    # Measured on what was written, as it is stored.
    written = Checkpoint(folder.partial, job.student.trust_remote_code).network(job.compute, lazy=False)
    if job.beside:
        add_adapters(written, folder.partial)
    with dequantized(written):
        losses = {"pruned": done.before, "recovered": _measured(job, written, teacher)}
    if teacher is not None:
        losses["teacher"] = _measured(job, teacher, None)
    record = recovered_record(
        job.record,
        job.settings,
        teacher=None if job.teacher is None else job.teacher.name,
        student=job.student.name,
        data=job.data,
        progressed=done.progressed,
        first=done.first,
        rate=done.rate,
        adapter_bytes=done.adapter_bytes,
        losses=losses,
        seconds=done.earlier + time.monotonic() - started,
        compute=job.compute,
        fingerprint=job.fingerprint,
    )
    record.write(folder.partial)
    write_card(folder.partial)
    # The last step but one: until then the same call carries on from it.
    for file in (STATE_FILE, FIRST_STEP_FILE):
        (folder.partial / file).unlink(missing_ok=True)
    folder.publish()
    return record


@dataclass(frozen=True)
class _Done:
    """What training leaves besides weights.

    Attributes:
        progressed: How it went.
        first: What was done before it.
        before: The first losses.
        earlier: Seconds of earlier attempts.
        rate: The learning rate at its highest.
        adapter_bytes: Of adapters that were written beside the weights.
    """

    progressed: Progressed
    first: FirstStep | None
    before: HeldOut
    earlier: float
    rate: float
    adapter_bytes: int | None


def _train(job: Job, folder: OutputFolder, teacher: Any, progress: ProgressCallback) -> _Done:
    """Train, and write the weights."""
    network = job.student.network(job.compute, lazy=False)
    first, written = None, None
    with dequantized(network):
        linears = prunable_linears(network, quantized=job.beside)
        begins = fits(job.settings, linears, _dense_matrices(job, teacher))
        layers = adapt(network, job.settings, beside=True) if job.beside else None
        if begins:
            place = folder.partial, job.fingerprint
            first = take_first_step(
                network, teacher, job.data, job.settings, job.student.config, place, progress, layers
            )
        layers = layers or adapt(network, job.settings)
        start = None if first is None else first.left
        settings = job.settings
        if job.beside and first is not None and first.taken:
            settings = settings.after_eora()
        training = Training(network, teacher, job.data, settings, folder.partial, job.fingerprint, start)
        earlier = training.progressed.seconds
        training.run(progress)
    if job.beside:
        written = write_beside(job.student, folder, network, layers)
    else:
        _write(job, folder, layers)
    before = training.before if first is None else first.before
    return _Done(training.progressed, first, before, earlier, settings.rate, written)


def _dense_matrices(job: Job, teacher: Any) -> list[PrunableLinear] | None:
    """The teacher's matrices, for a model that has zeros or is quantized."""
    if (
        job.teacher is None
        or not (job.record.zero_params or job.beside)
        or is_quantized(job.teacher.path, job.teacher.config)
    ):
        return None
    return prunable_linears(teacher)


def _measured(job: Job, network: Any, teacher: Any) -> HeldOut:
    data = job.data
    return held_out_losses(network, data.held_out, job.settings.batch_size, teacher, data.held_out_marks)


def _write(job: Job, folder: OutputFolder, layers: dict[str, nn.Module]) -> None:
    """The files of the student with its matrices as they are now, each in the type that it was stored in."""
    source = job.student
    network = source.network()
    linears = prunable_linears(network)
    files = PrunedFiles(source, network, linears, folder)
    files.create(linears)
    for linear in linears:
        original = files.original(linear)
        weight = merged(layers[linear.layer])
        weight = with_zeros_of(original, weight if linear.expert is None else weight[linear.expert])
        if not all_finite(weight):
            raise CheckpointError(
                f"{linear.name} has become infinite or not a number in training; try a smaller "
                "--learning-rate or --dtype float32."
            )
        files.write(linear, weight)
    add_side_files(folder, source)
