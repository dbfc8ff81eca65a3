"""The work on one configuration of a study: its model is made, questioned, measured, and all of it kept."""

from __future__ import annotations

import dataclasses
from functools import cached_property

import mlx.core as mx

from mlx_prune.bbq.items import Item, load_items
from mlx_prune.checkpoint.open import Checkpoint
from mlx_prune.checkpoint.record import PruningRecord
from mlx_prune.configuration import Configuration
from mlx_prune.latency.family import LatencyRow
from mlx_prune.latency.run import bench
from mlx_prune.latency.settings import BenchSettings
from mlx_prune.progress import Progress, ProgressCallback
from mlx_prune.runs.evaluate import evaluate
from mlx_prune.runs.questions import Questions, choose_items
from mlx_prune.study.config import StudyConfig
from mlx_prune.study.data import wording
from mlx_prune.study.finished import is_kept
from mlx_prune.study.folder import StudyFolder
from mlx_prune.study.models import DenseModel, Made, ModelMaker, record_under
from mlx_prune.study.results import SizeRow
from mlx_prune.study.rows import StudyModel
from mlx_prune.study.texts import TextMeasures


class Work:
    """What is done with each configuration, and what is kept from one to the next."""

    def __init__(
        self,
        config: StudyConfig,
        folder: StudyFolder,
        trust_remote_code: bool,
        progress: ProgressCallback,
    ) -> None:
        self.config = config
        self.folder = folder
        self.trust_remote_code = trust_remote_code
        self.progress = progress
        self.texts = TextMeasures(config, folder)
        self.latencies = folder.latencies
        self.sizes = folder.sizes
        self._made_of: tuple[StudyModel, DenseModel, ModelMaker] | None = None

    @cached_property
    def questions(self) -> Questions:
        """Asked of every configuration."""
        return choose_items(self.config.bbq, self.config.prompt)

    @cached_property
    def timed(self) -> list[Item]:
        """The questions that the clock runs over."""
        assert self.config.bbq.source is not None
        return load_items(
            self.config.bbq.source, limit=self.config.latency.items, wording=wording(self.config)
        )

    def run(self, model: StudyModel, name: Configuration) -> None:
        """Make the model of a configuration, measure it, and let it go.

        Raises:
            MlxPruneError: A model, a text or the items cannot be read, or a recipe does not fit.
        """
        if self._made_of is None or self._made_of[0] != model:
            self._made_of = None  # one model's at a time
            dense = DenseModel(Checkpoint(model.path, self.trust_remote_code), self.config.generation.dtype)
            self._made_of = model, dense, ModelMaker(self.config, self.folder, dense)
        _, dense, maker = self._made_of
        # The dense model may have to leave the memory to the other one.
        self.texts.prepare(name, dense.loaded, self._named(name.dense))
        with maker.made(name, self._named(name)) as made:
            self._measure(made, name)
            if is_kept(self.config, name):
                self._keep(made, name)
        # The model must be gone before the next one is made.
        del made
        mx.clear_cache()

    def _keep(self, made: Made, name: Configuration) -> None:
        """Keep the checkpoint, with a card that shows what was measured."""
        # Imported here, since starting a process would take a third longer with them.
        from mlx_prune.cards.card import write_card
        from mlx_prune.pruning.saving import save
        from mlx_prune.study.card_results import results_of_study

        target = self.folder.checkpoint(name)
        if made.report is not None and not target.exists():
            save(made.loaded, target, made.report)
            record_under(name, target, PruningRecord.read(target))
        write_card(target, results_of_study(self.folder.path, PruningRecord.read(target)))

    def _measure(self, made: Made, name: Configuration) -> None:
        """Questions first, then perplexity, then the clock; each is kept as soon as it is there."""
        config, run, named = self.config, self.folder.run(name).path, self._named(name)
        if made.record is not None:
            # Results that a kept checkpoint already shows are another measurement's.
            made.record.without("results").with_entries(model=name.model).write(run)
        parameters = made.loaded.checkpoint.costs(made.loaded.model).parameters
        self.sizes.put(name, SizeRow(made.size_bytes, parameters))
        evaluate(
            made.loaded,
            run,
            questions=self.questions,
            generation=config.generation,
            stamp=name,
            progress=named,
        )
        self.texts.measure(name, made.loaded, named)
        if config.latency.enabled and made.record is not None and self.latencies.get(name) is None:
            self._time(made, name, named)

    def _time(self, made: Made, name: Configuration, progress: ProgressCallback) -> None:
        if made.dense is None:
            reason = "dense and pruned do not fit in memory together; compare saved checkpoints with bench"
            self.latencies.put(name, LatencyRow(ratio=None, note=reason))
            return
        latency = self.config.latency
        result = bench(
            [made.dense, dataclasses.replace(made.loaded, name=f"{name.model}-{name.folder}")],
            BenchSettings(
                rounds=latency.rounds,
                items=latency.items,
                cooldown_s=0.0,
                bbq=self.config.bbq.source,
                wording=wording(self.config),
                sizes=False,
            ),
            questions=self.timed,
            progress=progress,
        )
        if result.interrupted:
            raise KeyboardInterrupt
        self.latencies.put(name, LatencyRow.of(result))

    def _named(self, name: Configuration) -> ProgressCallback:
        def report(step: Progress) -> None:
            self.progress(dataclasses.replace(step, stage=f"{name.folder}: {step.stage}"))

        return report
