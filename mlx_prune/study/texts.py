"""What a study measures on a text: perplexity, and distance from the dense model, in one pass per model."""

from __future__ import annotations

from collections.abc import Callable

from mlx_prune.checkpoint.open import LoadedModel
from mlx_prune.configuration import Configuration
from mlx_prune.progress import ProgressCallback
from mlx_prune.runs.divergence import DenseReference, OtherTokensError
from mlx_prune.runs.perplexity import perplexity
from mlx_prune.study.config import StudyConfig
from mlx_prune.study.finished import lacks_distance, lacks_text
from mlx_prune.study.folder import StudyFolder
from mlx_prune.study.results import DivergenceRow, PerplexityRow


class TextMeasures:
    """The two files of a study that a text fills, and what its dense model predicts of it."""

    def __init__(self, config: StudyConfig, folder: StudyFolder) -> None:
        self._config = config
        self._perplexities = folder.perplexities
        self._divergences = folder.divergences
        self._reference: tuple[Configuration, DenseReference] | None = None

    def lacking(self, name: Configuration) -> bool:
        """Whether something is wanted of a configuration that is not there."""
        return lacks_text(self._config, self._perplexities, self._divergences, name)

    def prepare(
        self, name: Configuration, dense: Callable[[], LoadedModel], progress: ProgressCallback
    ) -> None:
        """Have the dense model's predictions at hand, if they will be wanted: before memory is another's."""
        if not self._config.divergence.enabled or not self.lacking(name):
            return
        if self._reference is None or self._reference[0] != name.dense:
            text = self._config.perplexity
            self._reference = None  # one model's at a time
            found = DenseReference.of(
                dense(),
                text=text.text,
                sequences=text.sequences,
                sequence_length=text.sequence_length,
                top=self._config.divergence.top,
                progress=progress,
            )
            self._reference = name.dense, found

    def measure(self, name: Configuration, model: LoadedModel, progress: ProgressCallback) -> None:
        """Measure what is lacking of a configuration; each figure is on the disk when this returns."""
        if not self.lacking(name):
            return
        if lacks_distance(self._config, self._divergences, name):
            self._compare(name, model, progress)
        if self._perplexities.get(name) is None:
            text = self._config.perplexity
            known = self._reference if name.is_dense else None
            found = (
                known[1].perplexity
                if known is not None
                else perplexity(
                    model,
                    text=text.text,
                    sequences=text.sequences,
                    sequence_length=text.sequence_length,
                    progress=progress,
                )
            )
            self._perplexities.put(name, PerplexityRow.of(found, text.text))

    def _compare(self, name: Configuration, model: LoadedModel, progress: ProgressCallback) -> None:
        """Both figures, of models that have the same tokens."""
        assert self._reference is not None
        reference, text, top = self._reference[1], self._config.perplexity.text, self._config.divergence.top
        try:
            distance, found = reference.compare(model, progress)
        except OtherTokensError as error:
            self._divergences.put(name, DivergenceRow(text=text, top=top, note=str(error)))
            return
        row = DivergenceRow.of(distance, reference.distributions.mean_rest, top, text)
        self._divergences.put(name, row)
        if self._perplexities.get(name) is None:
            self._perplexities.put(name, PerplexityRow.of(found, text))
