"""What a study folder holds, reduced to what its tables need; reads files only, MLX not needed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mlx_prune.bbq.answers import MIN_ANSWERED
from mlx_prune.configuration import Configuration
from mlx_prune.errors import RecordsError
from mlx_prune.latency.family import LatencyRow
from mlx_prune.runs.folder import COMPLETE, RunFolder
from mlx_prune.stats.compare import Comparison, comparable, compare
from mlx_prune.stats.counting import NEEDED_COLUMNS, UNSCALED, RunData, count_run
from mlx_prune.stats.levels import CONFIDENCE
from mlx_prune.stats.outcomes import Outcomes, assemble
from mlx_prune.stats.perplexity import Perplexity, RatioOfPerplexities, paired_ratio
from mlx_prune.stats.rates import CategoryRates
from mlx_prune.study.folder import StudyFolder
from mlx_prune.study.questions import AskedItems, asked_items
from mlx_prune.study.results import DivergenceRow
from mlx_prune.study.states import RunState, run_states


@dataclass(frozen=True, eq=False)
class StudyData:
    """A study, counted.

    Attributes:
        runs: Sorted by model, dense first, then by method, sparsity and pattern.
        models: Answers by model.
        perplexity: Where it was measured, on the tokens that the dense model's is measured on.
        perplexity_interval: Its 95 % interval, the figure itself twice where no standard error was recorded;
            infinite where the perplexity overflowed.
        size_bytes: Size on disk, where there is a checkpoint.
        latencies: Rows of ``latency.json``, where a time was measured.
        bits_per_weight: Bits on disk over parameters, where these were counted.
        min_answered: Share of answers that must be understood for a rate to be compared.
        states: How far every configuration is; those that are not complete are not among the runs.
        asked: The questions' texts, as far as they are known.
        perplexities: As they were measured, by sequence.
        divergences: Rows of ``divergence.json``.
    """

    runs: tuple[RunData, ...]
    models: Mapping[str, Outcomes]
    perplexity: Mapping[Configuration, float]
    perplexity_interval: Mapping[Configuration, tuple[float, float]]
    size_bytes: Mapping[Configuration, float]
    latencies: Mapping[Configuration, LatencyRow]
    bits_per_weight: Mapping[Configuration, float] = field(default_factory=dict)
    min_answered: float = MIN_ANSWERED
    states: tuple[RunState, ...] = ()
    asked: AskedItems = field(default_factory=lambda: AskedItems({}))
    perplexities: Mapping[Configuration, Perplexity] = field(default_factory=dict)
    divergences: Mapping[Configuration, DivergenceRow] = field(default_factory=dict)

    def actual_sparsity(self, configuration: Configuration) -> float | None:
        """Percent of zeros among the prunable weights, or None if it was not recorded."""
        return self._by_configuration[configuration].actual_sparsity

    def perplexity_ratio(
        self,
        configuration: Configuration,
        confidence: float = CONFIDENCE,
        *,
        before: Configuration | None = None,
    ) -> RatioOfPerplexities | None:
        """Of a configuration to another (its dense model), paired by sequence; None where nobody can tell."""
        sides = before or configuration.dense, configuration
        first, after = (self.perplexities.get(one) for one in sides)
        if first is None or after is None:
            return None
        if not all(map(math.isfinite, (first.value, after.value))):
            return None
        return paired_ratio(first, after, confidence)

    def entropies(self, configuration: Configuration) -> Mapping[str, float]:
        """Uncertainty of its answers in bits, by item; see :class:`~mlx_prune.stats.counting.RunData`."""
        return self._by_configuration[configuration].entropies

    def rates(self, configuration: Configuration, category: str) -> CategoryRates | None:
        """Rates of one category or "overall"; None where the configuration was not asked it."""
        run = self._by_configuration.get(configuration)
        return None if run is None else run.rates.get(category)

    def compared(self, configuration: Configuration, category: str) -> bool:
        """Whether enough answers were understood, of the dense model too, to compare the two."""
        sides = (configuration, configuration.dense)
        return comparable([self.rates(side, category) for side in sides], self.min_answered)

    @cached_property
    def paired(self) -> tuple[Outcomes, ...]:
        """Answers of the models that have a dense and at least one other configuration."""
        every = self.models.values()
        return tuple(one for one in every if one.dense is not None and len(one.configurations) > 1)

    @cached_property
    def comparisons(self) -> tuple[tuple[Comparison, ...], ...]:
        """Each of these models' configurations against the dense one."""
        return tuple(compare(outcomes) for outcomes in self.paired)

    @cached_property
    def groups(self) -> dict[str, str]:
        """The social group that each question is about, by item id."""
        return {name: item.group for name, item in self.asked.by_id.items()}

    @cached_property
    def _by_configuration(self) -> dict[Configuration, RunData]:
        return {run.configuration: run for run in self.runs}


def read_study(folder: Path, *, min_answered: float = MIN_ANSWERED) -> StudyData:
    """Read the complete runs of a study, ``runs/<model>/<configuration>/``, and the measures beside them.

    Args:
        folder: The study.
        min_answered: Share of answers that must be understood for a rate to be compared.

    Raises:
        RecordsError: If there are no records, no run is complete, or a file is damaged.
    """
    runs, complete, states = [], [], run_states(folder)
    incomparable = set()
    for state in states:
        if state.path is not None and state.state == COMPLETE:
            # One run at a time in memory; what is kept of it is about ten bytes a record.
            run = RunFolder(state.path)
            complete.append(run)
            needed = (*NEEDED_COLUMNS, *UNSCALED) if run.configuration.is_dense else NEEDED_COLUMNS
            table, pruned = run.records(needed, encoded=True), run.pruned
            runs.append(count_run(table, None if pruned is None else pruned.actual_sparsity))
            if pruned is not None and pruned.checkpoint is not None and pruned.checkpoint.other_tokens:
                incomparable.add(run.configuration)
    if not runs:
        begun = sum(state.answers > 0 for state in states)
        if begun:
            raise RecordsError(
                f"none of the {len(states)} configurations of {folder} is complete; run the study again to "
                "carry on."
            )
        raise RecordsError(f"{folder} holds no records; run the study first, or choose its folder.")
    runs.sort(key=lambda run: run.configuration.order)
    models = dict.fromkeys(run.configuration.model for run in runs)
    study = StudyFolder(folder)
    perplexities = {name: row for name, row in study.perplexities.items() if name not in incomparable}
    return StudyData(
        runs=tuple(runs),
        models={
            name: assemble([run.outcomes for run in runs if run.configuration.model == name])
            for name in models
        },
        perplexity={name: row.perplexity for name, row in perplexities.items() if row.perplexity is not None},
        perplexity_interval={name: row.figure.interval for name, row in perplexities.items()},
        size_bytes={name: row.size_bytes for name, row in study.sizes.items() if row.size_bytes is not None},
        latencies=dict(study.latencies.items()),
        bits_per_weight={
            name: row.bits_per_weight for name, row in study.sizes.items() if row.bits_per_weight is not None
        },
        min_answered=min_answered,
        states=tuple(states),
        asked=asked_items(complete, study),
        perplexities={name: row.figure for name, row in perplexities.items()},
        divergences=dict(study.divergences.items()),
    )
