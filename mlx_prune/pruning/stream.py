"""Prune a checkpoint from folder to folder, one block in memory at a time; a killed prune carries on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten

from mlx_prune.checkpoints import (
    PrunableLinear,
    blocks,
    load_network,
    load_tokenizer,
    other_projections,
    prunable_linears,
    resolve,
)
from mlx_prune.environment import device, versions
from mlx_prune.errors import CheckpointError
from mlx_prune.progress import ProgressCallback, silent
from mlx_prune.pruning.calibration import BlockSteps
from mlx_prune.pruning.calibration_text import CalibrationTokens, calibration_tokens
from mlx_prune.pruning.embeddings import embeddings_from_disk
from mlx_prune.pruning.engine import Stopwatch, check_fits, peak_rss_bytes, prune_blocks
from mlx_prune.pruning.folder import OutputFolder, output_folder, write_json
from mlx_prune.pruning.hashes import quick_hash
from mlx_prune.pruning.hidden import HiddenStates, saved_blocks
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.pruning.report import MatrixZeros, PruneReport, read_meta, report_from_json
from mlx_prune.pruning.saving import check_space, finish
from mlx_prune.pruning.writer import CheckpointWriter, layout_of, plan
from mlx_prune.shards import Shards, open_shards

STATE_FILE = "prune-state.json"
HIDDEN_LIMIT = 4 << 30


def prune_checkpoint(
    model: str | Path,
    out: str | Path,
    recipe: Recipe,
    *,
    dtype: str = "auto",
    trust_remote_code: bool = False,
    force: bool = False,
    hidden_limit: int = HIDDEN_LIMIT,
    progress: ProgressCallback | None = None,
) -> PruneReport:
    """Prune a checkpoint into a new folder, holding one block of it in memory at a time.

    Masks are decided on the checkpoint's own values, and every unpruned tensor keeps its bytes. State is
    written after each block: the same call after a kill carries on, to a byte-identical checkpoint. A
    folder that already holds this very prune is left as it is.

    Args:
        model: A folder, a Hub id, or "demo".
        out: The folder to write; it appears whole or not at all.
        recipe: What to prune.
        dtype: Compute type of the calibration, as in :func:`mlx_prune.checkpoints.load`.
        trust_remote_code: Run Python files of the checkpoint.
        force: Replace what is in the folder already, and start from the first block.
        hidden_limit: Hidden states above this many bytes are kept on disk, beside the folder.
        progress: Told after each block, stage "prune".

    Returns:
        What was done, as recorded in the folder's pruning_meta.json.

    Raises:
        RecipeError: The recipe does not fit the model.
        CheckpointError: The model is incomplete, damaged or quantized; the folder holds something else, is in
            use or cannot be written; weights or activations are not finite.
        DataError: The calibration text cannot be read or is too short.
    """
    out = Path(out)
    path = resolve(model, trust_remote_code=trust_remote_code)
    shards = open_shards(path)
    network, config, compute = load_network(
        path, dtype=dtype, lazy=True, shards=shards, trust_remote_code=trust_remote_code
    )
    linears = prunable_linears(network)
    check_fits(recipe, linears)
    data = None
    if recipe.method == "wanda":
        tokenizer = load_tokenizer(path, trust_remote_code=trust_remote_code)
        assert recipe.calibration is not None
        assert recipe.seed is not None
        data = calibration_tokens(recipe.calibration, tokenizer, config, recipe.seed)
    fingerprint = _fingerprint(recipe, shards, data, compute)
    if out.exists() and not force:
        meta = read_meta(out)
        if meta is None or meta.get("fingerprint") != fingerprint:
            raise CheckpointError(
                f"{out} exists and holds something else; give another folder, or use force to replace it."
            )
        return report_from_json(meta, recipe, linears)
    with output_folder(out, source=path) as folder:
        layout = layout_of(shards, linears)
        stored: dict[str, mx.array] = {}
        if layout == "mlx":
            other, _, _ = load_network(
                path, dtype="stored", lazy=True, shards=shards, trust_remote_code=trust_remote_code
            )
            stored = dict(tree_flatten(other.parameters()))
            del other
        job = _Job(
            folder=folder,
            writer=plan(folder.partial, layout, shards, stored),
            shards=shards,
            stored=stored,
            network=network,
            linears=linears,
            recipe=recipe,
            fingerprint=fingerprint,
        )
        return job.run(str(model), config, data, compute, force, hidden_limit, progress or silent)


class _Job:
    """One streamed prune; the engine's :class:`~mlx_prune.pruning.engine.Weights`."""

    def __init__(
        self,
        *,
        folder: OutputFolder,
        writer: CheckpointWriter,
        shards: Shards,
        stored: dict[str, mx.array],
        network: nn.Module,
        linears: list[PrunableLinear],
        recipe: Recipe,
        fingerprint: str,
    ) -> None:
        self._folder = folder
        self._writer = writer
        self._shards = shards
        self._stored = stored
        self._network = network
        self._linears = linears
        self._recipe = recipe
        self._fingerprint = fingerprint
        self._watch = Stopwatch()
        self._zeros: list[int] = []
        self._done = 0
        self._seconds_before: dict[str, float] = {}
        self._steps: BlockSteps | None = None
        self._left_out = other_projections(network)

    def run(
        self,
        name: str,
        config: dict[str, Any],
        data: CalibrationTokens | None,
        compute: str,
        force: bool,
        hidden_limit: int,
        progress: ProgressCallback,
    ) -> PruneReport:
        """Carry on from where an earlier attempt stopped, to the end."""
        mx.reset_peak_memory()
        if force or not self._resume():
            self._folder.restart()
            check_space(self._writer, self._folder)
            rewritten = {f"{linear.name}.weight" for linear in self._linears if self._touches(linear)}
            self._writer.create(rewritten, self._stored)
            self._record()
        described = None
        if data is not None:
            self._steps = BlockSteps(self._network, self._linears, data, config=config)
            described = {**data.describe(), "batch_size": self._steps.batch_size}
            with self._watch.timing("calibrate"):
                self._begin(self._steps, data, hidden_limit)
        prune_blocks(
            self._linears,
            self._recipe,
            self,
            steps=self._steps,
            known={},
            measured=lambda _block, _sums: None,
            start=self._done,
            watch=self._watch,
            progress=progress,
        )
        seconds = self._seconds()
        report = PruneReport(
            model=name,
            recipe=self._recipe,
            matrices=tuple(
                MatrixZeros.of(linear, zeros)
                for linear, zeros in zip(self._linears, self._zeros, strict=True)
            ),
            prune_time_s=round(sum(seconds.values()), 3),
            calibration_time_s=round(seconds.get("calibrate", 0.0), 3),
            peak_memory_bytes=mx.get_peak_memory(),
            peak_rss_bytes=peak_rss_bytes(),
            dtype=compute,
            calibration=described,
            versions=versions(),
            device=dict(device()),
            fingerprint=self._fingerprint,
            left_out=self._left_out,
        )
        self._clean()
        return finish(self._folder, self._writer, self._shards.folder, report)

    def enter(self, block: int) -> None:
        """Bring the block's weights into memory, one after the other."""
        if self._steps is not None:
            for _, values in tree_flatten(blocks(self._network)[block].parameters()):
                mx.eval(values)

    def original(self, linear: PrunableLinear) -> mx.array:
        """The weight in its stored type, read from the source."""
        name = f"{linear.name}.weight"
        return self._stored[name] if self._stored else self._shards.load([name])[name]

    def pruned(self, linear: PrunableLinear, weight: mx.array) -> None:
        """Write it to its place, and let the block run with it."""
        self._writer.write(f"{linear.name}.weight", weight)
        if self._steps is not None:
            linear.module.weight = weight.astype(linear.module.weight.dtype)
            mx.eval(linear.module.weight)

    def leave(self, block: int, zeros: list[MatrixZeros]) -> None:
        """Record the block as done and let its memory go."""
        self._zeros += [matrix.zeros for matrix in zeros]
        self._done = block + 1
        self._record()
        for linear in self._linears:
            if linear.block == block:
                self._stored.pop(f"{linear.name}.weight", None)
        self._release(block)
        if self._steps is not None:
            self._steps.states.forget_before(self._done)

    def _release(self, block: int) -> None:
        inside = blocks(self._network)[block]
        names = [name for name, _ in tree_flatten(inside.parameters())]
        inside.update(tree_unflatten([(name, mx.zeros((0,))) for name in names]))
        mx.clear_cache()

    def _begin(self, steps: BlockSteps, data: CalibrationTokens, hidden_limit: int) -> None:
        """Bring the hidden states to the first block that is still to be pruned."""
        width = self._hidden_bytes(data)
        states = HiddenStates(len(steps.batches), folder=self._folder.partial, on_disk=width > hidden_limit)
        saved = [block for block in saved_blocks(self._folder.partial) if block <= self._done]
        with embeddings_from_disk(self._network, self._shards):
            steps.begin(states, filled=bool(saved))
        at = 0
        if saved:
            at = saved[-1]
            states.restore(at)
        for block in range(at, min(self._done, steps.count - 1)):
            self.enter(block)
            if self._recipe.statistics == "sequential":
                for linear in self._linears:
                    if linear.block == block and self._touches(linear):
                        weight = self._writer.read(f"{linear.name}.weight")
                        linear.module.weight = weight.astype(linear.module.weight.dtype)
            steps.advance(block)
            self._release(block)

    def _hidden_bytes(self, data: CalibrationTokens) -> int:
        first = next(linear for linear in self._linears)
        width = max(linear.in_features for linear in self._linears if linear.projection == first.projection)
        return int(data.tokens.size) * width * int(first.module.weight.dtype.size)

    def _touches(self, linear: PrunableLinear) -> bool:
        return self._recipe.prunes(linear.projection)

    def _seconds(self) -> dict[str, float]:
        parts = set(self._seconds_before) | set(self._watch.seconds)
        return {part: self._seconds_before.get(part, 0.0) + self._watch.get(part) for part in parts}

    def _record(self) -> None:
        state = {
            "fingerprint": self._fingerprint,
            "blocks_done": self._done,
            "zeros": self._zeros,
            "seconds": self._seconds(),
        }
        write_json(self._folder.partial / STATE_FILE, state)

    def _resume(self) -> bool:
        file = self._folder.partial / STATE_FILE
        if not file.is_file():
            return False
        state = json.loads(file.read_text(encoding="utf-8"))
        if state.get("fingerprint") != self._fingerprint:
            return False
        self._done = int(state["blocks_done"])
        self._zeros = list(state["zeros"])
        self._seconds_before = dict(state["seconds"])
        return True

    def _clean(self) -> None:
        """Remove what a finished checkpoint does not hold."""
        for folder in self._folder.partial.glob("hidden-*"):
            shutil.rmtree(folder)
        (self._folder.partial / STATE_FILE).unlink(missing_ok=True)


def _fingerprint(recipe: Recipe, shards: Shards, data: CalibrationTokens | None, compute: str) -> str:
    """What a prune follows from: recipe, source, calibration tokens, and compute type where it matters."""
    content: dict[str, Any] = {
        "recipe": {k: v for k, v in dataclasses.asdict(recipe).items() if k != "calibration"},
        "source": quick_hash(shards),
    }
    if data is not None:
        content |= {"tokens": data.tokens_sha256, "dtype": compute}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
