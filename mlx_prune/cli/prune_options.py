"""What ``mlxprune prune`` was asked for: a recipe, a quantization, or both, and nothing to be ignored."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from mlx_prune.activations.calibration import Calibration
from mlx_prune.cli.terminal.options import given, parse_layers, parse_percent, refuse_ignored
from mlx_prune.registry import (
    MASK,
    QUANTIZATION,
    STRUCTURE,
    Method,
    Option,
    methods,
    modifiers,
    options_of,
)

if TYPE_CHECKING:
    from mlx_prune.labels import BitFormat
    from mlx_prune.pruning.recipe import Recipe
    from mlx_prune.pruning.structured_recipe import StructuredRecipe


@dataclass(frozen=True)
class Request:
    """What to do with a model.

    Attributes:
        recipe: How to prune it, or None to quantize the model as it is.
        quantization: How to quantize what comes of that, or None.
    """

    recipe: Recipe | StructuredRecipe | None
    quantization: BitFormat | None


def method_option() -> click.Option:
    """``--method``: one of those that there are."""
    return click.Option(
        ["-m", "--method"], type=click.Choice(list(methods())), required=True, help="What to drop."
    )


def recipe_options() -> list[click.Option]:
    """The options of all methods, made from the fields of their recipes."""
    found: dict[str, tuple[dataclasses.Field[Any], Option]] = {}
    for method in methods().values():
        fields = options_of(method.recipe)
        if "calibration" in {field.name for field in dataclasses.fields(method.recipe)}:
            fields |= options_of(Calibration)
        for name, entry in fields.items():
            found.setdefault(name, entry)
    return _ordered(found)


def click_options(settings: type[Any]) -> list[click.Option]:
    """The options of one dataclass."""
    return _ordered(options_of(settings))


def _ordered(found: dict[str, tuple[dataclasses.Field[Any], Option]]) -> list[click.Option]:
    ordered = sorted(found.items(), key=lambda item: item[1][1].order)
    return [_click_option(name, field, said) for name, (field, said) in ordered]


def read_request(context: click.Context, method: str, options: dict[str, Any]) -> Request:
    """Turn the options of the command into a request.

    Args:
        context: Of the command, which knows what was given.
        method: The name of a method.
        options: The command's options by parameter name.

    Raises:
        UsageError: An option would be ignored, or the sparsity is missing.
        RecipeError: A value is out of range or conflicts with another.
    """
    chosen = methods()[method]
    pruning = methods(MASK, STRUCTURE).values()
    formats = list(methods(QUANTIZATION).values())
    # What a quantizer that looks at a text takes as well.
    text = {*options_of(Calibration), "seed"} if given(context, "quantizer") and chosen in formats else set()
    refuse_ignored(context, {"dtype", *_taken(*pruning)} - _taken(chosen) - text, chosen.does)
    quantization = None
    for form in formats:
        if method == form.name or any(given(context, name) for name in form.options):
            measured = _measured(options) if form is chosen else {}
            quantization = form.recipe(**_values(form, options), **measured)
    if chosen in formats:
        return Request(None, quantization)
    if quantization is not None and quantization.learned:
        raise click.UsageError("--quantizer goes with -m quantize, of a dense model.", context)
    if options["sparsity"] is None and options["pattern"] is None:
        hint = " or a pattern (--pattern 2:4)" if "pattern" in chosen.options else ""
        raise click.UsageError(f"Give a sparsity (-s 50){hint}.", context)
    values = _values(chosen, options)
    values |= {name: value for name, value in _measured(options).items() if name == "calibration"}
    if values["sparsity"] is not None:
        from mlx_prune.pruning.counts import fraction_from_percent

        values["sparsity"] = fraction_from_percent(values["sparsity"])
    return Request(chosen.recipe(method=method, **values), quantization)


def _taken(*several: Method) -> set[str]:
    """The options that go with some methods."""
    found = {name for method in several for name in method.options}
    measured = {*options_of(Calibration), "dtype"}
    return found | measured if any("statistics" in method.options for method in several) else found


def _measured(options: dict[str, Any]) -> dict[str, Any]:
    """The text that was named, and the seed, as far as they were."""
    source, samples, length = (options[name] for name in options_of(Calibration))
    found: dict[str, Any] = {} if options.get("seed") is None else {"seed": options["seed"]}
    if (source, samples, length) != (None, None, None):
        found["calibration"] = Calibration(source, samples, length)
    return found


def _values(method: Method, options: dict[str, Any]) -> dict[str, Any]:
    """The fields of a recipe as they were given."""
    found = {}
    for name, (field, said) in options_of(method.recipe).items():
        if name in method.options:
            value = options[name]
            found[field.name] = None if said.nothing is not None and value == said.nothing else value
    return found


def _click_option(name: str, field: dataclasses.Field[Any], said: Option) -> click.Option:
    """One option of the command line."""
    flag = f"--{name.replace('_', '-')}"
    help_text = said.help.replace("{methods}", _takers(field.name))
    if said.metavar == "PERCENT":
        return click.Option(["-s", flag], callback=parse_percent, metavar=said.metavar, help=help_text)
    if isinstance(field.default, bool):
        return click.Option([flag], is_flag=True, default=field.default, help=help_text)
    if said.multiple:
        read = parse_layers if said.metavar == "GLOB=PERCENT" else None
        return click.Option([flag], multiple=True, metavar=said.metavar, callback=read, help=help_text)
    choices = tuple(said.choices() if callable(said.choices) else said.choices)
    if said.nothing is not None:
        words = [word.value for word in modifiers().values() if word.field == field.name]
        choices = (said.nothing, *choices, *words)
    kind: Any = said.kind
    if choices:
        whole = all(choice.isdigit() for choice in choices)
        kind = _WholeChoice(choices) if whole else click.Choice(choices)
    elif said.least is not None:
        kind = click.IntRange(min=said.least)
    elif isinstance(field.default, int | float):
        kind = type(field.default)
    default = said.nothing if field.default is None else field.default
    return click.Option(
        [flag],
        type=kind,
        default=None if field.default is dataclasses.MISSING else default,
        show_default=default is not None,
        metavar=said.metavar,
        help=help_text,
    )


class _WholeChoice(click.Choice[str]):
    """A choice of whole numbers."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As a number."""
        return int(super().convert(str(value), param, ctx))


def _takers(field: str) -> str:
    """The methods whose modifiers or own options set a field: "Wanda, SparseGPT"."""
    names = [
        str(method)
        for method in methods().values()
        if field in method.own or any(word.field == field for word in method.modifiers)
    ]
    said = ", ".join(names)
    return said[:1].upper() + said[1:]
