"""Remove experts from folder to folder: measure one block after the other, choose, cut the files, compare."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_prune import distributed
from mlx_prune.activations.blocks import NotBlockByBlock
from mlx_prune.checkpoint.config import CONFIG_FILE
from mlx_prune.checkpoint.folder import OutputFolder, copy_side_files, output_folder
from mlx_prune.checkpoint.matrices import (
    block_modules,
    blocks,
    dense_matrix,
    in_memory,
    let_go,
    prunable_linears,
)
from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.checkpoint.record import Change, PruningRecord
from mlx_prune.errors import CheckpointError
from mlx_prune.kernels import choice
from mlx_prune.progress import Progress, ProgressCallback, silent
from mlx_prune.pruning.calibration_pass import HIDDEN_LIMIT, CalibrationPass
from mlx_prune.pruning.experts import scores
from mlx_prune.pruning.experts.files import write_index
from mlx_prune.pruning.experts.measuring import measure_block
from mlx_prune.pruning.experts.mixtures import (
    Indices,
    Mixture,
)
from mlx_prune.pruning.experts.plan import Plan, sizes
from mlx_prune.pruning.experts.recipe import ExpertsRecipe
from mlx_prune.pruning.experts.verify import check_weights
from mlx_prune.pruning.masking import Stopwatch
from mlx_prune.pruning.on_disk import existing_record, own_folder
from mlx_prune.pruning.saving import check_same, publish
from mlx_prune.pruning.source import Source
from mlx_prune.pruning.structure_report import StructuredReport, report_from_record
from mlx_prune.store import write_json
from mlx_prune.wired import wired_limit

_STATE_FILE = "prune-state.json"


def prune_experts(
    model: Checkpoint | str | Path,
    out: str | Path,
    recipe: ExpertsRecipe,
    *,
    dtype: str = "auto",
    trust_remote_code: bool = False,
    force: bool = False,
    hidden_limit: int = HIDDEN_LIMIT,
    progress: ProgressCallback | None = None,
) -> StructuredReport:
    """Write a checkpoint with fewer experts in every mixture, one block of the model in memory at a time.

    The source may be quantized: what stays of its files is copied byte by byte, and what mlx-lm loads of the
    copy is compared with the source before the folder appears. State is written after each block, and the
    same call after a kill carries on. Under ``mlx.launch`` the processes share the calibration samples, and
    the first one keeps the checkpoint; such a prune starts over after a kill. The model runs inside mlx-lm's
    wired limit.

    Args:
        model: A folder, a Hub id, or "demo".
        out: The folder to write; it appears whole or not at all.
        recipe: How many experts go, and by what.
        dtype: Compute type of the calibration, as in :func:`mlx_prune.checkpoint.open.load`.
        trust_remote_code: Run Python files of the checkpoint.
        force: Replace what is in the folder already, and start from the first block.
        hidden_limit: Hidden states above this many bytes are kept on disk, beside the folder.
        progress: Told after each block, stage "calibrate", and after each file, stage "write".

    Returns:
        What was done, as recorded in the folder's pruning_meta.json.

    Raises:
        RecipeError: The model is no mixture of experts, or cannot do with so few.
        CheckpointError: The model is incomplete or damaged; the folder holds something else, is in use or
            cannot be written; activations are not finite.
        DataError: The calibration text is not named, cannot be read or is too short.
    """
    out = Path(out)
    what = recipe.structure.unmeasured
    prepared = Source.open(model, recipe, dtype=dtype, trust_remote_code=trust_remote_code, what=what)
    source, recipe, data = prepared.model, prepared.recipe, prepared.data
    plan = Plan.of(source, recipe)
    fingerprint = prepared.fingerprint()
    found = None if force else existing_record(out)
    if found is not None:
        return report_from_record(check_same(out, PruningRecord.of(found), fingerprint), recipe)
    mx.reset_peak_memory()
    with (
        choice.recording() as kernels,
        wired_limit(),
        own_folder(out) as own,
        output_folder(own, source=source.checkpoint.path, force=force) as folder,
    ):
        # Processes of one job go through the blocks in step, so none may carry on from where it once was.
        state = None if force or distributed.size() > 1 else _State.found(folder.partial, fingerprint)
        if state is None:
            state = _State(fingerprint)
            folder.restart()
        job = _Pruning(plan, recipe, folder, state, progress or silent)
        if data is not None:
            linears = prunable_linears(source.network, quantized=True)
            try:
                job.measure(CalibrationPass(source, data, folder.partial, hidden_limit, linears))
            except NotBlockByBlock as error:
                raise CheckpointError(f"{error.reason}; choose --score weight-norm or random.") from error
        elif recipe.score == "weight-norm":
            job.weigh()
        return job.write(kernels)


@dataclass
class _State:
    """What is known so far, as it lies on disk after every block.

    Attributes:
        fingerprint: Of recipe and source; state of another fingerprint is not used.
        blocks_done: Blocks that were measured.
        sums: What the experts of a block did, by its index.
        peaks: Its hidden states.
        seconds: Spent so far, by part.
    """

    fingerprint: str
    blocks_done: int = 0
    sums: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    peaks: dict[str, dict[str, float]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def found(cls, folder: Path, fingerprint: str) -> _State | None:
        """That of an earlier attempt at the same, if there was one."""
        file = folder / _STATE_FILE
        state = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        return cls(**state) if state.get("fingerprint") == fingerprint else None


class _Pruning:
    """Goes from block to block, and then from file to file."""

    def __init__(
        self,
        plan: Plan,
        recipe: ExpertsRecipe,
        folder: OutputFolder,
        state: _State,
        progress: ProgressCallback,
    ) -> None:
        self._plan, self._recipe, self._folder = plan, recipe, folder
        self._state, self._progress = state, progress
        self._network = plan.source.network
        self._described: dict[str, Any] | None = None
        self._squares: dict[int, scores.Floats] = {}
        self._watch = Stopwatch()
        self._watch.seconds = dict(state.seconds)
        folder.check_space(plan.bytes_after())

    def measure(self, text: CalibrationPass) -> None:
        """Run the blocks that are left over the text."""
        network, state = blocks(self._network), self._state
        of_block = {mixture.block: mixture for mixture in self._plan.mixtures}
        last = max(of_block)
        with self._watch.timing("calibrate"):
            steps = text.planned()
            self._described = text.described
            if state.blocks_done > last:
                return
            text.resume(steps, state.blocks_done)
            for index in range(steps.states.block, state.blocks_done):  # since the last states on disk
                with in_memory(network[index]):
                    steps.advance(index)
        for index in range(state.blocks_done, last + 1):
            with self._watch.timing("calibrate"), in_memory(network[index]):
                if index in of_block:
                    sums, peak = measure_block(self._network, of_block[index], steps)
                    state.sums[str(index)], state.peaks[str(index)] = sums.to_json(), asdict(peak)
                else:
                    steps.advance(index)
            state.blocks_done = index + 1
            self._record()
            steps.states.forget_before(index + 1)
            self._progress(Progress("calibrate", index + 1, last + 1, f"block {index}"))

    def weigh(self) -> None:
        """Add up the squared weights of every expert."""
        stacks = {name: mixture for mixture in self._plan.mixtures for name in mixture.stacks}
        count = len(self._plan.mixtures)
        with self._watch.timing("select"):
            for _, name, _, module in block_modules(self._plan.source.checkpoint.network()):
                if name in stacks:
                    mixture = stacks[name]
                    weight = dense_matrix(module)
                    assert weight is not None
                    squares = mx.square(weight.astype(mx.float32)).sum(axis=(1, 2))
                    own = self._squares.setdefault(mixture.block, np.zeros(mixture.count))
                    own += np.array(squares, dtype=np.float64)
                    del weight, squares
                    let_go(module)
                    self._progress(Progress("calibrate", len(self._squares), count, f"block {mixture.block}"))

    def write(self, kernels: choice.KernelRecord) -> StructuredReport:
        """Choose, cut the files, compare them with the source, and let the folder appear."""
        plan, folder, source = self._plan, self._folder, self._plan.source.checkpoint
        guarded, limit = self._guarded()
        with self._watch.timing("select"):
            kept = {m.block: self._kept(m, guarded.get(m.block, ())) for m in plan.mixtures}
        with self._watch.timing("write"):
            files = plan.files.cut(kept)
            for number, file in enumerate(files):
                file.write(folder.partial)
                self._progress(Progress("write", number + 1, len(files), file.name))
            write_index(folder.partial, source.path, files)
            copy_side_files(source.path, folder.partial)
            further = {"num_nextn_predict_layers": 0} if plan.files.left_out else {}
            write_json(folder.partial / CONFIG_FILE, plan.config | further)
        result = Checkpoint(folder.partial, source.trust_remote_code)
        check_weights(source, result, plan.mixtures, kept)
        report = self._report(result, kept, guarded, limit, kernels)
        for states in folder.partial.glob("hidden-*"):
            _remove(states)
        (folder.partial / _STATE_FILE).unlink(missing_ok=True)
        publish(folder, report.record)
        return report

    def _kept(self, mixture: Mixture, guarded: Sequence[int]) -> Indices:
        return scores.kept(self._scores(mixture), self._plan.removed, self._plan.routing.groups, guarded)

    def _mixture(self, block: int) -> Mixture:
        return next(mixture for mixture in self._plan.mixtures if mixture.block == block)

    def _scores(self, mixture: Mixture) -> scores.Floats:
        score = self._recipe.score
        if score == "random":
            return scores.drawn(mixture.count, self._recipe.seed or 0, mixture.block)
        if score == "weight-norm":
            return scores.weight_norm(self._squares[mixture.block])
        return scores.MEASURED[score](self._sums(mixture.block))

    def _sums(self, block: int) -> scores.ExpertSums:
        return scores.ExpertSums.from_json(self._state.sums[str(block)])

    def _guarded(self) -> tuple[dict[int, list[int]], float]:
        if self._recipe.unguarded or not self._state.sums:
            return {}, 0.0
        peaks = {int(block): scores.HiddenPeak(**peak) for block, peak in self._state.peaks.items()}
        return scores.super_experts({block: self._sums(block).largest for block in peaks}, peaks)

    def _report(
        self,
        result: Checkpoint,
        kept: Mapping[int, Indices],
        guarded: Mapping[int, list[int]],
        limit: float,
        kernels: choice.KernelRecord,
    ) -> StructuredReport:
        plan, source = self._plan, self._plan.source.checkpoint
        before, after = sizes(source), sizes(result)
        everything = np.arange(plan.routing.experts)
        unseen = {
            mixture.block: np.flatnonzero(self._sums(mixture.block).tokens == 0).tolist()
            for mixture in plan.mixtures
            if self._state.sums
        }
        saved = sum(
            len(np.intersect1d(found, np.setdiff1d(everything, self._kept(self._mixture(block), ()))))
            for block, found in guarded.items()
        )
        experts = {
            "before": plan.routing.experts,
            "after": plan.routing.experts - plan.removed,
            "blocks": [mixture.block for mixture in plan.mixtures],
            "removed": [np.setdiff1d(everything, kept[mixture.block]).tolist() for mixture in plan.mixtures],
            "scores": [self._scores(mixture).tolist() for mixture in plan.mixtures],
            "guarded": {str(block): found for block, found in guarded.items()},
            "guard_limit": limit,
            "saved": saved,
            "unseen": sum(len(found) for found in unseen.values()),
            "left_out": len(plan.files.left_out),
        }
        return StructuredReport.measured(
            self._watch,
            kernels,
            None,
            model=source.name,
            recipe=self._recipe,
            **{key: Change(before[key], after[key]) for key in before},
            removed={"experts": experts},
            repair=None,
            dtype=plan.source.compute,
            calibration=self._described,
            layout="source",
            fingerprint=self._state.fingerprint,
        )

    def _record(self) -> None:
        self._state.seconds = self._watch.seconds
        write_json(self._folder.partial / _STATE_FILE, asdict(self._state))


def _remove(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
