"""Options that several commands take, and how their values are read."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

import click

from mlx_prune.bbq.answers import MIN_ANSWERED
from mlx_prune.dtypes import DTYPES

F = TypeVar("F", bound=Callable[..., Any])


def json_option(function: F) -> F:
    """Add ``--json``: one JSON object on stdout and nothing else there."""
    option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
    return option(function)


def dtype_option(function: F) -> F:
    """Add ``--dtype``: the type a model computes in."""
    option = click.option(
        "--dtype",
        type=click.Choice(DTYPES),
        default="auto",
        show_default=True,
        help="auto: as stored on a GPU, float32 on a CPU.",
    )
    return option(function)


def seeds_option(function: F) -> F:
    """Add ``--seeds``: of the answers to a question."""
    option = click.option(
        "--seeds",
        callback=parse_seeds,
        default="42,123,456,789,1024",
        show_default=True,
        help="Every question is answered once under each.",
    )
    return option(function)


def bbq_option(function: F) -> F:
    """Add ``--bbq``: where questions come from."""
    option = click.option(
        "--bbq",
        metavar="hub|DIR|demo",
        help="Questions: BBQ from the Hub, a folder of its JSONL files, or invented ones, the default of the "
        "embedded model only.",
    )
    return option(function)


def wording_option(function: F) -> F:
    """Add ``--wording``: how the questions and their prompts are written."""
    option = click.option(
        "--wording",
        metavar="FILE",
        help="TOML file with the prompt's words and the questions' columns, for other languages and other "
        "files.  [default: questions.toml beside the questions, or BBQ's]",
    )
    return option(function)


def text_option(function: F) -> F:
    """Add ``--text``: what perplexity is measured on."""
    option = click.option(
        "--text",
        metavar="tulu|hub:...|FILE|demo",
        help="For perplexity: allenai/tulu-3-sft-mixture from the Hub, "
        "hub:ORG/NAME (another data set; further [@REVISION][:CONFIG][/SPLIT][#COLUMN]), a text or JSONL "
        "file, or an invented text, the default of the embedded model only.",
    )
    return option(function)


def sequences_options(function: F) -> F:
    """Add ``--sequences`` and ``--sequence-length``: how much of a text is measured."""
    number = click.option(
        "--sequences",
        type=click.IntRange(min=1),
        help="Number of sequences. [default: 256, or as many as the text holds]",
    )
    length = click.option(
        "--sequence-length",
        type=click.IntRange(min=2),
        help="Tokens per sequence. [default: 512, or what the model allows]",
    )
    return number(length(function))


def thinking_option(function: F) -> F:
    """Add ``--thinking``: what to do about a model that reasons before it answers."""
    option = click.option(
        "--thinking",
        type=click.Choice(["off", "skip"]),
        default="off",
        show_default=True,
        help="Of a model that reasons: leave thinking out as its chat template can, or close it empty.",
    )
    return option(function)


def trust_option(function: F) -> F:
    """Add ``--trust-remote-code``, off by default."""
    option = click.option(
        "--trust-remote-code",
        is_flag=True,
        help="Run Python code that comes with the model or its tokenizer.",
    )
    return option(function)


def jobs_option(function: F) -> F:
    """Add ``--jobs``: configurations of a study to run at once."""
    option = click.option(
        "--jobs",
        metavar="N",
        type=click.IntRange(1),
        help="Configurations to run at once, each in a process of its own: by default what cores and memory "
        "allow, and one at a time where times are measured or a GPU computes.",
    )
    return option(function)


def min_answered_option(function: F) -> F:
    """Add ``--min-answered``: the share of answers a rate needs, a percentage, as the fraction it is."""
    option = click.option(
        "--min-answered",
        type=click.FloatRange(0, 100),
        default=100 * MIN_ANSWERED,
        show_default=True,
        callback=lambda _, __, value: value / 100,
        help="Percent of answers that must be understood; below, a rate is struck out and not compared.",
    )
    return option(function)


def given(context: click.Context, name: str) -> bool:
    """Whether the user gave a parameter, rather than leaving its default."""
    source = context.get_parameter_source(name)
    return source not in (click.core.ParameterSource.DEFAULT, click.core.ParameterSource.DEFAULT_MAP)


def refuse_ignored(context: click.Context, names: Collection[str], reason: str) -> None:
    """Refuse what was given of these parameters, which would have no effect.

    Raises:
        UsageError: One was given.
    """
    for parameter in context.command.get_params(context):
        if parameter.name in names and given(context, parameter.name):
            raise click.UsageError(f"{parameter.opts[-1]} would be ignored: {reason}.", context)


def parse_percent(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """Callback of ``--sparsity``: a percentage such as 50 or 12.5; a fraction is refused with a hint."""
    if value is None:
        return None
    try:
        number = float(value.removesuffix("%"))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a number.") from None
    if 0 < number < 1:
        raise click.BadParameter(
            f"sparsity is a percentage; did you mean {number * 100:g} instead of {value}?"
        )
    if not 1 <= number <= 99:
        raise click.BadParameter(f"{value} is not between 1 and 99 percent.")
    return number


def parse_layers(
    _: click.Context, __: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, float], ...]:
    """Callback of ``--layer``: pairs of a pattern and a fraction, of ``*.down_proj=30`` for one."""
    found = []
    for value in values:
        glob, given_, percent = value.rpartition("=")
        try:
            number = float(percent.removesuffix("%"))
        except ValueError:
            given_ = ""
        if not given_ or not glob:
            raise click.BadParameter(f"{value!r} is not GLOB=PERCENT, such as '*.down_proj=30'.")
        if not (number == 0 or 1 <= number <= 99):
            raise click.BadParameter(f"{percent} is not 0 or between 1 and 99 percent.")
        found.append((glob, number / 100))
    return tuple(found)


def whole_numbers(value: str) -> tuple[int, ...]:
    """The numbers of ``42,123``.

    Raises:
        BadParameter: It is something else.
    """
    try:
        return tuple(int(word) for word in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a comma-separated list of whole numbers.") from None


def parse_seeds(_: click.Context, __: click.Parameter, value: str) -> tuple[int, ...]:
    """Callback of ``--seeds``: ``42,123`` to ``(42, 123)``."""
    seeds = whole_numbers(value)
    if len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise click.BadParameter("seeds must be distinct and not negative.")
    return seeds
