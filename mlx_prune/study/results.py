"""What a study measured beside its answers, one row per configuration: perplexity, sizes and the like."""

from __future__ import annotations

import json
from collections.abc import Callable, ItemsView, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from mlx_prune.configuration import Configuration
from mlx_prune.errors import RecordsError
from mlx_prune.json_files import read_object, to_jsonable, typed
from mlx_prune.latency.family import LatencyRow, together
from mlx_prune.stats.divergence import Divergence
from mlx_prune.stats.perplexity import Perplexity
from mlx_prune.store import taking_turns, write_atomically

T = TypeVar("T")

_ADVICE = "delete it to measure again"
# The columns that name a configuration, in their order in these files.
_NAMES = ("model", "prune_method", "sparsity", "pattern")

_Positive = Annotated[float, msgspec.Meta(gt=0, le=1e300)]
_NotNegative = Annotated[float, msgspec.Meta(ge=0, le=1e300)]
_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Named(msgspec.Struct, frozen=True):
    """The columns that name a configuration."""

    model: str
    prune_method: str
    sparsity: Annotated[float, msgspec.Meta(ge=0, le=100)]
    pattern: str | None = None


class PerplexityRow(msgspec.Struct, frozen=True, kw_only=True):
    """A perplexity and the text it was measured on; null stands for what overflowed."""

    text: str | None = None
    perplexity: _Positive | None
    standard_error: _NotNegative | None = None
    sequences: _Count | None = None
    sequence_length: _Count | None = None
    tokens: _Count | None = None
    sequence_nll: list[Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)] | None] | None = None
    sequence_hashes: list[str] | None = None

    def __post_init__(self) -> None:
        """Losses and hashes are of the same sequences; msgspec tells the sentence."""
        counts = {len(self.sequence_nll or ()), len(self.sequence_hashes or ())}
        if self.sequence_nll is not None:
            counts.add(self.sequences or 0)
        if len(counts) > 1:
            raise ValueError("sequence_nll and sequence_hashes are not one per sequence")

    @classmethod
    def of(cls, figure: Perplexity, text: str | None) -> PerplexityRow:
        """For a figure."""
        return msgspec.convert({"text": text, **to_jsonable(figure.columns)}, cls)

    @property
    def figure(self) -> Perplexity:
        """The figure."""
        return Perplexity.of(msgspec.structs.asdict(self))


class DivergenceRow(msgspec.Struct, frozen=True, kw_only=True):
    """Distance from the dense model on a text; the figures' null stands for what is not finite.

    Attributes:
        text: What the predictions are of.
        top: Tokens of which dense probabilities were to be kept.
        rest: Mean dense probability of the others.
        divergence: The figures of :class:`~mlx_prune.stats.divergence.Divergence`; None where the two models
            cannot be compared.
        note: Why they cannot.
    """

    text: str | None = None
    top: _Count
    rest: _NotNegative | None = None
    divergence: dict[str, int | float | None] | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        """No figure is absent; msgspec tells the sentence."""
        if self.divergence is not None:
            Divergence.of(self.divergence)

    @classmethod
    def of(cls, figure: Divergence, rest: float, top: int, text: str | None) -> DivergenceRow:
        """For figures.

        Args:
            figure: The figures.
            rest: Mean dense probability of what is in the bucket.
            top: Tokens of which dense probabilities were to be kept.
            text: What the predictions are of.
        """
        return cls(text=text, top=top, rest=rest, divergence=to_jsonable(figure.figures))

    @property
    def figure(self) -> Divergence | None:
        """The figures."""
        return None if self.divergence is None else Divergence.of(self.divergence)


class SizeRow(msgspec.Struct, frozen=True):
    """Bytes of the weight files, and the parameters that they hold, where these were counted."""

    size_bytes: _Count | None
    parameters: _Count | None = None

    @property
    def bits_per_weight(self) -> float | None:
        """Bits on disk over parameters, of the whole model."""
        return 8 * self.size_bytes / self.parameters if self.size_bytes and self.parameters else None


class _Rows(msgspec.Struct, frozen=True):
    """The content of a file of results."""

    results: list[dict[str, Any]]


class ResultsFile(Generic[T]):
    """Typed rows by configuration in one JSON file, ``{"results": [row, ...]}``.

    A row holds ``model``, ``prune_method``, ``sparsity`` (target, percent), ``pattern`` and figures; a figure
    that is not finite is null.
    """

    def __init__(
        self,
        path: Path,
        kind: type[T],
        *,
        to_json: Callable[[T], Mapping[str, Any]] = to_jsonable,
        together: Callable[[Iterable[T]], list[T]] = list,
    ) -> None:
        """Read the file; there are no rows where there is none.

        Args:
            path: The file.
            kind: Of its rows.
            to_json: A row's figures for the file.
            together: Makes figures that depend on all rows.

        Raises:
            RecordsError: It is damaged: not JSON, not rows, or a figure that no measurement gives.
        """
        self.path = path
        self._to_json = to_json
        self._together = together
        self._kind = kind
        self._rows: dict[Configuration, T] = {}
        self._read()

    def _read(self) -> None:
        """Take the rows of the file, where there is one."""
        if not self.path.exists():
            return
        self._rows = {}
        path = str(self.path)
        rows = typed(read_object(self.path, RecordsError, _ADVICE), _Rows, path, RecordsError, _ADVICE)
        for number, row in enumerate(rows.results, start=1):
            where = f"{path}, row {number}"
            named = typed(row, _Named, where, RecordsError, _ADVICE)
            name = Configuration(named.model, named.prune_method, named.sparsity, named.pattern)
            self._rows[name] = typed(row, self._kind, where, RecordsError, _ADVICE)
        self._arrange()

    def _arrange(self) -> None:
        try:
            self._rows = dict(zip(self._rows, self._together(self._rows.values()), strict=True))
        except OverflowError as error:
            raise RecordsError(
                f"{self.path} holds what no measurement gives ({error}); {_ADVICE}."
            ) from error

    def items(self) -> ItemsView[Configuration, T]:
        """Every configuration with its row, in the order of the file."""
        return self._rows.items()

    def get(self, name: Configuration) -> T | None:
        """The row of one configuration, or None."""
        return self._rows.get(name)

    def put(self, name: Configuration, row: T) -> None:
        """Add or replace the row of one configuration; it is on the disk when this returns.

        Rows that other processes have added meanwhile stay.

        Raises:
            RecordsError: The file cannot be written, or was damaged meanwhile.
        """
        with taking_turns(self.path):
            self._read()
            self._rows.pop(name, None)
            self._rows[name] = row
            self._arrange()
            rows = [
                {column: getattr(named, column) for column in _NAMES} | dict(self._to_json(row))
                for named, row in self._rows.items()
            ]
            text = json.dumps({"results": rows}, indent=2, ensure_ascii=False, allow_nan=False)
            write_atomically(self.path, f"{text}\n".encode())


def perplexities(folder: Path) -> ResultsFile[PerplexityRow]:
    """The ``perplexity.json`` of a study, or of a run that a gate made.

    Raises:
        RecordsError: It is damaged.
    """
    return ResultsFile(folder / "perplexity.json", PerplexityRow, to_json=msgspec.structs.asdict)


def divergences(folder: Path) -> ResultsFile[DivergenceRow]:
    """The ``divergence.json`` of a study, or of a run that a gate made.

    Raises:
        RecordsError: It is damaged.
    """
    return ResultsFile(folder / "divergence.json", DivergenceRow, to_json=msgspec.structs.asdict)


def latencies(study: Path) -> ResultsFile[LatencyRow]:
    """The ``latency.json`` of a study, with intervals that hold together and the verdicts they allow.

    Raises:
        RecordsError: It is damaged.
    """
    return ResultsFile(study / "latency.json", LatencyRow, to_json=LatencyRow.to_json, together=together)


def sizes(study: Path) -> ResultsFile[SizeRow]:
    """The ``sizes.json`` of a study.

    Raises:
        RecordsError: It is damaged.
    """
    return ResultsFile(study / "sizes.json", SizeRow, to_json=msgspec.structs.asdict)
