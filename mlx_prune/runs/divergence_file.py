"""The figures of ``mlxprune divergence``: one JSON object, and a file of it that carries on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from mlx_prune.checkpoint.open import LoadedModel
from mlx_prune.errors import RecordsError
from mlx_prune.json_files import read_object, to_jsonable, typed
from mlx_prune.progress import ProgressCallback
from mlx_prune.runs.distributions import identity
from mlx_prune.runs.divergence import DenseReference
from mlx_prune.stats.divergence import Divergence
from mlx_prune.store import write_json

_ADVICE = "delete it, or give --force to measure again"


class ModelRow(msgspec.Struct, frozen=True):
    """A model's distance from the dense one.

    Attributes:
        model: What it was called.
        identity: Hash of its weights and configuration.
        perplexity: None where it overflowed.
        divergence: The figures of :class:`~mlx_prune.stats.divergence.Divergence`, null where not finite.
    """

    model: str
    identity: str
    perplexity: Annotated[float, msgspec.Meta(gt=0)] | None
    divergence: dict[str, int | float | None]

    def __post_init__(self) -> None:
        """No figure is absent; msgspec tells the sentence."""
        Divergence.of(self.divergence)

    @property
    def figure(self) -> Divergence:
        """The figures."""
        return Divergence.of(self.divergence)


class DivergenceContent(msgspec.Struct, frozen=True):
    """What the command prints as JSON.

    Attributes:
        dense: The dense model.
        text: What the predictions are of.
        dtype: The type that the dense model computed in.
        sequences: How many.
        sequence_length: Tokens of each.
        vocabulary: Tokens that the models tell apart.
        top: Tokens of which dense probabilities were kept.
        rest: Mean dense probability of the others.
        dense_perplexity: None where it overflowed.
        cache_file: Where the dense predictions are kept; its name follows from all that they follow from.
        cache_bytes: Its size.
        models: The rows.
    """

    dense: str
    text: str
    dtype: str
    sequences: int
    sequence_length: int
    vocabulary: int
    top: int
    rest: float
    dense_perplexity: float | None
    cache_file: str
    cache_bytes: int
    models: list[ModelRow]


class DivergenceFile:
    """Rows that are measured once, in memory or in a file."""

    def __init__(
        self, file: Path | None, reference: DenseReference, dense: LoadedModel, text: str, *, force: bool
    ) -> None:
        """Read what is there.

        Args:
            file: Where to keep the rows; None keeps them in memory.
            reference: What models are compared with.
            dense: The dense model.
            text: What the text is called.
            force: Leave what is there out of account, and replace it.

        Raises:
            RecordsError: The file is damaged, or holds distances from something else.
        """
        self._file, self._reference = file, reference
        known = reference.distributions
        assert known.file is not None
        self._content = DivergenceContent(
            dense=dense.name,
            text=text,
            dtype=dense.dtype,
            sequences=len(reference.tokens),
            sequence_length=int(reference.tokens.shape[1]),
            vocabulary=known.vocabulary,
            top=known.top,
            rest=known.mean_rest,
            dense_perplexity=to_jsonable(reference.perplexity.value),
            cache_file=str(known.file),
            cache_bytes=known.cached_bytes,
            models=[],
        )
        if file is not None and file.exists() and not force:
            there = typed(
                read_object(file, RecordsError, _ADVICE), DivergenceContent, str(file), RecordsError, _ADVICE
            )
            if Path(there.cache_file).name != known.file.name:
                raise RecordsError(
                    f"{file} holds distances from {there.dense} on {there.text}, measured "
                    "otherwise; choose another file, or give --force to replace it."
                )
            self._content.models.extend(there.models)

    def measure(self, name: str, load: Callable[[], LoadedModel], progress: ProgressCallback) -> None:
        """Measure a model, unless it is there; its row is on the disk when this returns."""
        model = load()
        found = identity(model)
        rows = self._content.models
        if any(row.model == name and row.identity == found for row in rows):
            return
        distance, perplexity = self._reference.compare(model, progress)
        rows[:] = [row for row in rows if row.model != name]
        rows.append(ModelRow(name, found, to_jsonable(perplexity.value), to_jsonable(distance.figures)))
        if self._file is not None:
            write_json(self._file, msgspec.to_builtins(self._content))

    def content(self, models: Sequence[str]) -> DivergenceContent:
        """The rows of some models, in their order."""
        by_name = {row.model: row for row in self._content.models}
        return msgspec.structs.replace(self._content, models=[by_name[name] for name in models])
