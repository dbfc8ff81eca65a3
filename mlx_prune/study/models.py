"""The models of a study: the dense one and what each configuration makes of it, in the memory there is."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlx_prune.activations.calibration import Calibration
from mlx_prune.activations.passes import ActivationStatistics, calibrate
from mlx_prune.cards.card import write_card
from mlx_prune.checkpoint.open import Checkpoint, LoadedModel
from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.configuration import Configuration
from mlx_prune.environment import physical_memory
from mlx_prune.latency.timing import memory_bytes
from mlx_prune.progress import ProgressCallback
from mlx_prune.pruning.in_memory import prune
from mlx_prune.pruning.mask_report import PruneReport
from mlx_prune.pruning.methods.quantize import Quantization
from mlx_prune.pruning.recipe import Recipe
from mlx_prune.shares import memory_sharers
from mlx_prune.study.candidates import describe
from mlx_prune.study.config import StudyConfig
from mlx_prune.study.folder import StudyFolder
from mlx_prune.study.recipes import recipe_of

# Of the physical memory, for two models at once; the rest is for activations and for the system.
_MEMORY_SHARE = 0.7


@dataclass(frozen=True)
class Made:
    """The model of one configuration.

    Attributes:
        loaded: Ready to be questioned.
        dense: The dense model to compare with, where both fit in memory.
        size_bytes: Of its weight files; of a mask in memory, what saving it would take.
        record: What was done to it; None for the dense model.
        report: Of a mask in memory, which can still be saved.
        folder: Where its checkpoint lies, if it was written, or was there before.
    """

    loaded: LoadedModel
    dense: LoadedModel | None
    size_bytes: int
    record: PruningRecord | None = None
    report: PruneReport | None = None
    folder: Path | None = None


@dataclass
class DenseModel:
    """The dense model of a grid, in memory as long as there is room for it.

    Attributes:
        checkpoint: Where it lies.
        dtype: Compute type.
    """

    checkpoint: Checkpoint
    dtype: str
    _loaded: LoadedModel | None = None
    _bytes: int = 0

    def loaded(self) -> LoadedModel:
        """The model, read anew if it is not in memory."""
        if self._loaded is None:
            self._loaded = self.checkpoint.load(self.dtype)
            self._bytes = memory_bytes(self._loaded.model)
        return self._loaded

    def to_prune(self) -> LoadedModel:
        """A model that may be pruned in place; where two do not fit, the dense one itself is given away."""
        dense = self.loaded()
        if not self._fits(self._bytes):
            self._loaded = None
            return dense
        network, config = self.checkpoint.network_and_config(self.dtype)
        # The second network shares every array with the dense one until pruning replaces its own.
        network.update(dense.model.parameters())
        return dataclasses.replace(dense, model=network, config=config)

    def let_go(self) -> None:
        """Free its memory until it is asked for again."""
        self._loaded = None

    def beside(self) -> LoadedModel | None:
        """The dense model if it is still in memory, to be compared with."""
        return self._loaded

    def beside_another(self, file_bytes: int) -> LoadedModel | None:
        """The dense model if it fits in memory beside one with weight files of this size; else it goes."""
        dense = self.loaded()
        # A compute type wider than the stored one; of quantized weights it widens the scales only.
        widening = self._bytes / self.checkpoint.shards.nbytes
        if self._fits(int(file_bytes * max(1.0, widening))):
            return dense
        self._loaded = None
        return None

    def _fits(self, other_bytes: int) -> bool:
        return self._bytes + other_bytes < _MEMORY_SHARE * physical_memory() / memory_sharers()


class ModelMaker:
    """Makes the models of one dense model's configurations, one at a time."""

    def __init__(self, config: StudyConfig, study: StudyFolder, dense: DenseModel) -> None:
        self._config = config
        self._study = study
        self._dense = dense
        self._statistics: dict[Calibration, ActivationStatistics] = {}
        self._work = study.work

    @contextmanager
    def made(self, name: Configuration, progress: ProgressCallback) -> Iterator[Made]:
        """Make the model of a configuration; it is gone from memory, and from disk unless kept, afterwards.

        Masks are applied in memory. What changes shapes or formats is written to a folder and loaded from
        there, so that what is measured is what a user would run.
        """
        recipe = recipe_of(self._config, name)
        if name.is_dense:
            dense = self._dense.loaded()
            yield Made(dense, None, dense.checkpoint.shards.nbytes)
        elif name.is_named:
            yield self._given(name, progress)
        elif not name.written:
            assert isinstance(recipe, Recipe)
            made = self._masked(recipe, progress)
            yield dataclasses.replace(made, record=_named(made.record, name))
        else:
            keep = self._config.save_checkpoints
            folder = self._study.checkpoint(name)
            folder = folder if keep else self._work / folder.name
            record = self._write(folder, name, progress)
            written = Checkpoint(folder, self._dense.checkpoint.trust_remote_code)
            dense_beside = self._dense.beside_another(written.shards.nbytes)
            loaded = written.load(self._dense.dtype)
            yield Made(loaded, dense_beside, written.nbytes, record, folder=folder)
            del loaded
            if not keep:
                shutil.rmtree(folder)

    def _given(self, name: Configuration, progress: ProgressCallback) -> Made:
        """A checkpoint that is there already."""
        row, dense = self._config.checkpoint(name), self._dense.checkpoint
        assert row is not None
        given = Checkpoint(row.path, dense.trust_remote_code)
        beside = self._dense.beside_another(given.shards.nbytes)
        loaded = given.load(self._dense.dtype)
        record = describe(given, loaded, dense, name, progress)
        return Made(loaded, beside, given.nbytes, record, folder=given.path)

    def _masked(self, recipe: Recipe, progress: ProgressCallback) -> Made:
        statistics = None
        if recipe.allocation is not None or recipe.masks_from_dense:
            text = recipe.calibration or Calibration()
            if text not in self._statistics:
                self._statistics[text] = calibrate(
                    self._dense.loaded(), text, seed=recipe.seed or 0, progress=progress
                )
            statistics = self._statistics[text]
        pruned = self._dense.to_prune()
        report = prune(pruned, recipe, statistics=statistics, progress=progress)
        size = pruned.checkpoint.shards.nbytes
        return Made(pruned, self._dense.beside(), size, report.record, report)

    def _write(self, folder: Path, name: Configuration, progress: ProgressCallback) -> PruningRecord:
        """Write the checkpoint of a configuration; what was done."""
        if name.label.trained:
            return self._recover(folder, name, progress)
        # Imported here, as in _recover: what only masks weights starts without.
        from mlx_prune.pruning.job import write_copy

        recipe, quantization = recipe_of(self._config, name), name.label.quantization
        model = self._dense.checkpoint
        dtype = "auto"
        if recipe is not None and recipe.calibration is not None:
            dtype = self._config.generation.dtype
        if isinstance(quantization, Quantization) and quantization.learned:
            text, seed = self._config.calibration_of(name.label), self._config.grid.seed
            quantization = dataclasses.replace(quantization, calibration=text, seed=seed)
        if quantization is not None and recipe is not None:
            # What this configuration is without the quantization may lie there already.
            pruned = self._study.checkpoint(dataclasses.replace(name, prune_method=name.label.pruned))
            if pruned.is_dir():
                model, recipe = Checkpoint(pruned, model.trust_remote_code), None
        record = write_copy(model, folder, recipe, quantization, dtype=dtype, progress=progress).record
        return record_under(name, folder, record)

    def _recover(self, folder: Path, name: Configuration, progress: ProgressCallback) -> PruningRecord:
        """Write a configuration that is trained back, each step in a folder until the next is done."""
        from mlx_prune.pruning.job import write_copy
        from mlx_prune.recovery.job import recover

        label, steps = name.label, self._config.recover
        before = dataclasses.replace(name, prune_method=str(label.untrained))
        untrained = self._folder_of(before, folder)
        if untrained.is_dir():
            record_under(before, untrained, PruningRecord.read(untrained))
        else:
            self._write(untrained, before, progress)
        # Student and teacher are in memory meanwhile.
        self._dense.let_go()
        quantization = None if label.adapted else label.quantization
        recovered = folder
        if quantization is not None:
            recovered = self._folder_of(dataclasses.replace(name, prune_method=label.unquantized), folder)
        record = recover(
            Checkpoint(untrained, self._dense.checkpoint.trust_remote_code),
            recovered,
            data=steps.data or self._config.calibration_of(label).source,
            teacher=steps.teacher or self._dense.checkpoint,
            settings=steps.settings,
            dtype=self._config.generation.dtype,
            progress=progress,
        )
        if quantization is not None:
            written = Checkpoint(recovered, self._dense.checkpoint.trust_remote_code)
            record = write_copy(written, folder, None, quantization, progress=progress).record
        for between in {untrained, recovered} - {folder}:
            if between.parent == self._work:
                shutil.rmtree(between)
        return record

    def _folder_of(self, name: Configuration, on_the_way_to: Path) -> Path:
        """Where a checkpoint lies if it is kept, or else while this process makes another of it."""
        kept = self._study.checkpoint(name)
        return kept if kept.is_dir() else self._work / f"{on_the_way_to.name}.from.{kept.name}"


def record_under(name: Configuration, folder: Path, record: PruningRecord) -> PruningRecord:
    """The record of a folder, which says by which of a study's calibration texts it was made.

    The name of a text is the study's own: what pruned the model knows the text alone.
    """
    named = _named(record, name)
    assert named is not None
    if named is not record:
        named.write(folder)
        write_card(folder)
    return named


def _named(record: PruningRecord | None, name: Configuration) -> PruningRecord | None:
    if record is None or name.label.calibration is None or record.method == name.prune_method:
        return record
    return record.with_entries(method=name.prune_method)
