"""What a study asks for, as a TOML file says it: models, recipes, checkpoints, data and measures.

Sparsities are percentages here, as on the command line; :meth:`StudyConfig.configurations` unrolls the grid.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlx_prune.activations.calibration import Calibration
from mlx_prune.bbq.words import PromptWords
from mlx_prune.configuration import Configuration
from mlx_prune.errors import DataError, RecipeError
from mlx_prune.labels import DENSE, Label, nearest, parse_label, require_text_name
from mlx_prune.pruning.counts import parse_pattern
from mlx_prune.recovery.settings import Recovery
from mlx_prune.runs.settings import Bbq, Generation
from mlx_prune.study.measures import DivergenceMeasure, LatencyMeasure, PerplexityMeasure
from mlx_prune.study.rows import StudyCheckpoint, StudyModel, require_distinct
from mlx_prune.toml_files import read_toml

DEFAULT_METHODS = ("random", "magnitude", "wanda")


@dataclass(frozen=True)
class Grid:
    """The recipes every model is put through, beside its dense self.

    Attributes:
        methods: Method labels: "wanda", "width+repair", "wanda+q4", "q4".
        sparsities: Target sparsities in percent: weights set to zero, or neurons or blocks removed. A
            quantization alone runs once, at sparsity 0.
        patterns: N:M patterns, each run once per method that sets weights to zero one by one, in addition to
            the sparsities.
        scope: "blocks" or "paper" (Wanda without o_proj and down_proj; other methods prune all linears).
        statistics: "sequential" or "dense", where activations are measured; "depth" is always dense.
        seed: Of random masks, and of the choice of calibration text.
    """

    methods: tuple[str, ...] = DEFAULT_METHODS
    sparsities: tuple[float, ...] = (10, 30, 50, 70)
    patterns: tuple[str, ...] = ()
    scope: str = "blocks"
    statistics: str = "sequential"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what is out of range, or would run one configuration twice."""
        if len(set(self.methods)) != len(self.methods):
            raise RecipeError("a method is named twice; name each once.")
        for sparsity in self.sparsities:
            if not 1 <= sparsity <= 99:
                raise RecipeError(f"sparsities are percentages from 1 to 99, not {sparsity:g}.")
        # As folders are named: 33.3333 and 33.33333 would share one.
        for named in ([f"{sparsity:g}" for sparsity in self.sparsities], self.patterns):
            twice = next((name for name in named if list(named).count(name) > 1), None)
            if twice is not None:
                raise RecipeError(f"{twice} is there twice in the grid; sparsities differ by 0.01 at least.")
        if self.seed < 0:
            raise RecipeError(f"the seed of the grid is a whole number from 0, not {self.seed}.")


@dataclass(frozen=True)
class RecoverStep(Recovery):
    """How methods with ``+recover`` are trained back (:class:`~mlx_prune.recovery.settings.Recovery`).

    Attributes:
        data: What is learned from; None takes the calibration text.
        teacher: The dense model; None takes the study's own.
    """

    data: str | None = None
    teacher: str | None = None

    @property
    def settings(self) -> Recovery:
        """Without the names of data and teacher."""
        return Recovery(**{one.name: getattr(self, one.name) for one in dataclasses.fields(Recovery)})


@dataclass(frozen=True)
class StudyConfig:
    """A whole study; every section has defaults, only ``models`` must be said.

    Attributes:
        models: Dense models: folders, Hub ids or "demo"; or a table that gives each a name of its own.
        name: Of the study, in its report.
        grid: What every model is put through.
        calibrations: Further calibration texts, by names of the user's; a method takes the one that its label
            names behind an @, "wanda@chat", and is a row of its own beside "wanda".
        recover: How methods with ``+recover`` are trained back.
        save_checkpoints: Keep each pruned model, under checkpoints/ in the study's folder.
        checkpoints: Checkpoints that are there already, of any tool, and are measured beside the grid.
        layers: By a pattern of names of matrices or blocks, the sparsity of their own in percent, of all
            methods of the grid; 0 leaves them alone.
    """

    models: tuple[StudyModel, ...]
    name: str = "study"
    grid: Grid = field(default_factory=Grid)
    calibration: Calibration = field(default_factory=Calibration)
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
    recover: RecoverStep = field(default_factory=RecoverStep)
    bbq: Bbq = field(default_factory=Bbq)
    prompt: PromptWords | None = None
    generation: Generation = field(default_factory=Generation)
    perplexity: PerplexityMeasure = field(default_factory=PerplexityMeasure)
    divergence: DivergenceMeasure = field(default_factory=DivergenceMeasure)
    latency: LatencyMeasure = field(default_factory=LatencyMeasure)
    save_checkpoints: bool = False
    checkpoints: tuple[StudyCheckpoint, ...] = ()
    layers: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        models = tuple(StudyModel(one) if isinstance(one, str) else one for one in self.models)
        object.__setattr__(self, "models", models)
        require_distinct(models, self.checkpoints)
        for name in self.calibrations:
            require_text_name(name)
            if name in {one.name for one in dataclasses.fields(Calibration)}:
                raise RecipeError(f"a calibration text cannot be called {name}, which is a key; rename it.")
        for method in self.grid.methods:
            self.calibration_of(parse_label(method))
            if parse_label(method) == Label(DENSE):
                raise RecipeError("the dense model is always part of a study; leave it out of the methods.")
            if parse_label(method).adapted and self.recover.full:
                raise RecipeError(
                    f"[recover] full trains weights, and those of {method} are quantized; leave one of the "
                    "two out."
                )
            if self.layers and not parse_label(method).masked:
                raise RecipeError(
                    f"[layers] is for methods that set single weights to zero, and {method} does not; leave "
                    "one of the two out."
                )

    @property
    def paths(self) -> tuple[str, ...]:
        """Of the dense models and the checkpoints: what is measured as it is."""
        return (*(row.path for row in self.models), *(row.path for row in self.checkpoints))

    @property
    def recovers(self) -> bool:
        """Whether a method of the grid is trained back."""
        return any(parse_label(method).trained for method in self.grid.methods)

    def calibration_of(self, label: Label) -> Calibration:
        """The calibration text of a method.

        Raises:
            RecipeError: There is none of that name.
        """
        name = label.calibration
        if name is None:
            return self.calibration
        if name not in self.calibrations:
            end = nearest(name, self.calibrations) if self.calibrations else "; add the section."
            raise RecipeError(f"{label}: there is no section [calibration.{name}]{end}")
        return self.calibrations[name]

    def checkpoint(self, name: Configuration) -> StudyCheckpoint | None:
        """The checkpoint that a configuration is, or None for one of the grid."""
        rows = (row for row in self.checkpoints if row.name == name.prune_method and name.is_named)
        return next((row for row in rows if row.model in (None, name.model)), None)

    def with_sources(
        self,
        *,
        model: str | None = None,
        bbq: str | None = None,
        calibration: str | None = None,
        text: str | None = None,
        wording: str | None = None,
    ) -> StudyConfig:
        """The same study of another model or on other data; what is None stays.

        Raises:
            DataError: A model is named, and the study has several.
        """
        if model is not None and len(self.models) != 1:
            raise DataError(f"the study has {len(self.models)} models, of which --model would replace one.")
        return dataclasses.replace(
            self,
            models=self.models if model is None else (StudyModel(model),),
            bbq=dataclasses.replace(
                self.bbq, source=bbq or self.bbq.source, wording=wording or self.bbq.wording
            ),
            calibration=dataclasses.replace(self.calibration, source=calibration or self.calibration.source),
            perplexity=dataclasses.replace(self.perplexity, text=text or self.perplexity.text),
        )

    def configurations(self, model: str) -> list[Configuration]:
        """A model's row of the grid in the order it runs: dense, method by sparsity, then checkpoints.

        Args:
            model: Its label (:attr:`.StudyModel.label`).
        """
        names = [Configuration(model)]
        for method in self.grid.methods:
            label = parse_label(method)
            if label.base == DENSE:
                names.append(Configuration(model, method))
                continue
            names += [Configuration(model, method, float(s)) for s in self.grid.sparsities]
            # A pattern fixes what an allocation would choose block by block.
            if label.masked and not label.allocated:
                names += [Configuration(model, method, pattern_sparsity(p), p) for p in self.grid.patterns]
        return names + [Configuration(model, c.name) for c in self.checkpoints if c.model in (None, model)]


def pattern_sparsity(pattern: str) -> float:
    """Percent of zeros that an N:M pattern (N kept of every M) leaves.

    Raises:
        RecipeError: If it is not of that form.
    """
    keep, size = parse_pattern(pattern)
    return 100.0 * (size - keep) / size


def read_config(path: Path) -> StudyConfig:
    """Read a study from a TOML file.

    Raises:
        DataError: If the file is missing or not TOML, a key is unknown (the nearest known one is named),
            or a value has the wrong type.
    """
    return config_from_dict(read_toml(path, "study file"), str(path))


def config_from_dict(data: dict[str, Any], where: str = "study") -> StudyConfig:
    """Build a :class:`StudyConfig` from nested dictionaries; see :func:`read_config` for the errors."""
    if "models" not in data:
        raise DataError(f"{where}: `models` is missing; name at least one, such as models = ['demo'].")
    if "calibrations" in data:
        raise DataError(f"{where}: unknown key 'calibrations'{nearest('calibrations', ['calibration'])}")
    texts = data.get("calibration")
    if isinstance(texts, dict):
        named = {name: keys for name, keys in texts.items() if isinstance(keys, dict)}
        built = {
            name: _build(Calibration, keys, f"{where}: calibration.{name}") for name, keys in named.items()
        }
        first = {key: value for key, value in texts.items() if key not in named}
        data = {**data, "calibration": first, "calibrations": built}
    config = _build(StudyConfig, data, where)
    assert isinstance(config, StudyConfig)
    return config


def config_to_dict(config: StudyConfig) -> dict[str, Any]:
    """The resolved configuration as plain dictionaries, without what is None (TOML has no null)."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strip(item) for key, item in value.items() if item is not None}
        return [strip(item) for item in value] if isinstance(value, tuple) else value

    stripped: dict[str, Any] = strip(dataclasses.asdict(config))
    # As most people write it.
    stripped["models"] = [row["path"] if list(row) == ["path"] else row for row in stripped["models"]]
    # One section for all texts.
    stripped["calibration"] |= stripped.pop("calibrations")
    for name in ("checkpoints", "layers"):
        if not stripped[name]:
            del stripped[name]
    if not config.recovers:
        del stripped["recover"]
    return stripped


def _build(kind: type[Any], data: dict[str, Any], where: str) -> Any:
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in hints:
            raise DataError(f"{where}: unknown key {key!r}{nearest(key, hints)}")
        values[key] = _convert(hints[key], value, f"{where}: {key}")
    needed = [one for one in dataclasses.fields(kind) if one.default is dataclasses.MISSING]
    for one in needed:
        if one.name not in values and one.default_factory is dataclasses.MISSING:
            raise DataError(f"{where} lacks {one.name}.")
    return kind(**values)


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if isinstance(value, typing.cast(type[Any], hint)):
            return value
        if hint is StudyModel and isinstance(value, str):
            value = {"path": value}
        if not isinstance(value, dict):
            raise DataError(f"{where} is a section, not a value.")
        return _build(typing.cast(type[Any], hint), value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Mapping:
        if not isinstance(value, dict):
            raise DataError(f"{where} is a section, not a value.")
        return {key: _convert(arguments[1], item, f"{where}: {key}") for key, item in value.items()}
    if origin is types.UnionType:
        return _convert(next(a for a in arguments if a is not type(None)), value, where)
    if origin is tuple:
        if arguments[0] is StudyModel and isinstance(value, dict):  # a table of paths by name
            value = [{"path": path, "name": name} for name, path in value.items()]
        if not isinstance(value, (list, tuple)):
            raise DataError(f"{where} is a list, not {value!r}.")
        return tuple(_convert(arguments[0], item, where) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise DataError(f"{where} must be {hint.__name__}, not {value!r}.")
    if isinstance(value, str) and "\0" in value:
        raise DataError(f"{where} holds a NUL character, which no name can have.")
    return value
