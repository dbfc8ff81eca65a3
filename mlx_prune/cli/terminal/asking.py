"""The options that say what a model is asked and how it answers, for all commands that ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mlx_prune.cli.terminal.options import (
    bbq_option,
    dtype_option,
    seeds_option,
    thinking_option,
    wording_option,
)

if TYPE_CHECKING:
    from mlx_prune.runs.settings import Bbq, Generation

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    bbq_option,
    wording_option,
    click.option(
        "--category",
        "categories",
        multiple=True,
        callback=lambda _, __, given: given or None,
        help="Ask this category only; may be repeated.",
    ),
    click.option(
        "--condition",
        type=click.Choice(["ambig", "disambig", "all"]),
        default="ambig",
        show_default=True,
        help="Contexts that do not tell who it was (ambig), that do (disambig), or both.",
    ),
    click.option(
        "--limit", type=click.IntRange(min=1), help="Ask this many items in all, over all categories."
    ),
    click.option(
        "--exclude-label-faults", is_flag=True, help="Leave out items known to carry reversed labels."
    ),
    seeds_option,
    click.option(
        "--temperature",
        type=click.FloatRange(min=0),
        default=0.3,
        show_default=True,
        help="Of the sampling; 0 takes the likeliest token.",
    ),
    click.option(
        "--max-tokens",
        type=click.IntRange(min=1),
        default=5,
        show_default=True,
        help="Tokens of an answer at most.",
    ),
    click.option(
        "--noise",
        type=click.Choice(["item", "seed"]),
        default="item",
        show_default=True,
        help="Sampling noise independent across items, or shared by all items of a seed as in the study.",
    ),
    click.option(
        "--engine",
        type=click.Choice(["batched", "sequential"]),
        default="batched",
        show_default=True,
        help="Shared prefixes and seeds, or one timed answer at a time.",
    ),
    click.option("--batch-size", type=click.IntRange(min=1), help="Items in flight. [default: from memory]"),
    thinking_option,
    dtype_option,
)
ASKING = (
    *("bbq", "categories", "condition", "limit", "exclude_label_faults", "wording", "seeds"),
    *("temperature", "max_tokens", "noise", "engine", "batch_size", "thinking", "dtype"),
)
"""Names of the parameters that :func:`asking_options` adds."""


def asking_options(function: F) -> F:
    """Add the options; :func:`read_asking` reads them."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def read_asking(options: dict[str, Any], source: str | None) -> tuple[Bbq, Generation]:
    """What is asked and how it is answered.

    Args:
        options: The command's parameters by name.
        source: Of the questions.

    Raises:
        DataError: A value is out of its range.
    """
    from mlx_prune.runs.settings import Bbq, Generation

    asked = ("categories", "condition", "limit", "exclude_label_faults", "wording")
    drawn = [name for name in ASKING if name not in asked and name != "bbq"]
    return (
        Bbq(source, **{name: options[name] for name in asked}),
        Generation(**{name: options[name] for name in drawn}),
    )
