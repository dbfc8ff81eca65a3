"""``mlxprune study``: a grid of models and recipes, pruned, questioned and measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlx_prune import words
from mlx_prune.cli.terminal.console import console, emit_json, say, warn
from mlx_prune.cli.terminal.options import (
    bbq_option,
    jobs_option,
    json_option,
    min_answered_option,
    refuse_ignored,
    text_option,
    trust_option,
    wording_option,
)
from mlx_prune.cli.terminal.progress import progress_bars, study_view
from mlx_prune.cli.terminal.table import simple_table

if TYPE_CHECKING:
    from mlx_prune.study.config import StudyConfig
    from mlx_prune.study.plan import StudyPlan


@click.command("study", short_help="A grid of models and recipes, resumable.")
@click.argument("config_file", metavar="[CONFIG.toml]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--preset", metavar="NAME", help="One that comes with the package: demo, frontier, smollm2, aiiot2026."
)
@click.option(
    "-o", "--output", "out", type=click.Path(path_type=Path), help="Study folder; of --init, the file."
)
@click.option(
    "--init",
    is_flag=True,
    help="Write a study.toml with every key, its default and what it means; run nothing.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Show the grid with records, memory, disk and downloads, and the time if parts are finished; load, "
    "download and run nothing.",
)
@click.option(
    "--measure", is_flag=True, help="With --dry-run: load the models after all, and time a short sample."
)
@click.option("--model", metavar="MODEL", help="In place of the file's only model: a folder or a Hub id.")
@bbq_option
@wording_option
@click.option(
    "--calibration", metavar="SOURCE", help="Where activations are measured, in place of the file's."
)
@text_option
@jobs_option
@min_answered_option
@trust_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    config_file: Path | None,
    preset: str | None,
    out: Path | None,
    init: bool,
    dry_run: bool,
    measure: bool,
    model: str | None,
    bbq: str | None,
    wording: str | None,
    calibration: str | None,
    text: str | None,
    jobs: int | None,
    min_answered: float,
    trust_remote_code: bool,
    as_json: bool,
) -> None:
    """Run a grid of models and recipes; what is finished is never done again.

    The same command carries on after any interruption. A finished study can grow: add models, methods,
    sparsities or patterns to the file and run it again.
    """
    from mlx_prune.study.config import read_config
    from mlx_prune.study.data import data_warnings
    from mlx_prune.study.presets import preset as read_preset

    if init:
        _init(context, out or Path("study.toml"), as_json)
        return
    if out is None:
        raise click.UsageError("Missing option '-o' / '--output'.")
    if (config_file is None) == (preset is None):
        raise click.UsageError("Give a study file or a --preset, one of the two.")
    if dry_run:
        refuse_ignored(context, ("min_answered",), "a dry run shows no rates")
    else:
        refuse_ignored(context, ("measure",), "it is for --dry-run")
    if config_file is not None:
        config = read_config(config_file)
    else:
        assert preset is not None
        config = read_preset(preset)
    config = config.with_sources(model=model, bbq=bbq, calibration=calibration, text=text, wording=wording)
    if dry_run:
        from mlx_prune.study.side_by_side import at_once

        how = (measure, trust_remote_code)
        _plan(config_file or preset or "", config, out, at_once(config, jobs), how, as_json)
        return
    from mlx_prune.cli.tables.study import legend, study_rows, study_table

    run_with_view(config, out, jobs=jobs, trust_remote_code=trust_remote_code)
    from mlx_prune.report.data import read_study
    from mlx_prune.study.about import read_about

    rows = study_rows(read_study(out, min_answered=min_answered))
    warnings = (*data_warnings(config), *read_about(out).differences)
    if as_json:
        emit_json({"study": out, "configurations": rows, "warnings": warnings})
        return
    screen = console()
    screen.print(study_table(rows))
    screen.print(legend(rows, min_answered), style="dim")
    say(f"Records are in {out}; `mlxprune report {out}` makes tables, figures and a page.")
    for warning in warnings:
        warn(warning)


def _init(context: click.Context, file: Path, as_json: bool) -> None:
    """Write a file to fill in."""
    from mlx_prune.store import write_atomically
    from mlx_prune.study.template import study_template

    given_here = {parameter.name or "" for parameter in context.command.params} - {"init", "out", "as_json"}
    refuse_ignored(context, given_here, "--init writes a file of defaults")
    if file.exists():
        raise click.UsageError(f"{file} is there already; name another file with -o.")
    write_atomically(file, study_template().encode())
    if as_json:
        emit_json({"file": file})
    else:
        say(f"Wrote {file}; `mlxprune study {file} -o FOLDER --dry-run` shows what it would take.")


def run_with_view(
    config: StudyConfig,
    out: Path,
    *,
    jobs: int | None = None,
    trust_remote_code: bool = False,
    meanwhile: Callable[[], None] | None = None,
) -> None:
    """Run what is not finished, showing the grid on a terminal; ``meanwhile`` as in ``run_study``."""
    from mlx_prune.cli.kept_out import keep_out
    from mlx_prune.study.runner import run_study

    with study_view(config, [model.label for model in config.models]) as (progress, watch):
        run_study(
            config,
            out,
            jobs=jobs,
            trust_remote_code=trust_remote_code,
            progress=progress,
            watch=watch,
            begin=keep_out,
            meanwhile=meanwhile,
        )


def _plan(
    title: object, config: StudyConfig, out: Path, jobs: int, how: tuple[bool, bool], as_json: bool
) -> None:
    from mlx_prune.study.plan import plan_study

    measure, trust = how
    with progress_bars() as progress:
        plan = plan_study(config, out, measure=measure, trust_remote_code=trust, progress=progress)
    if as_json:
        emit_json(plan)
        return
    columns = ["runs", "left", "records", "time", "memory", "disk", "download"]
    table = simple_table(f"Study {title}", ["model"], columns)
    for model in plan.models:
        table.add_row(
            model.model,
            str(model.configurations),
            str(model.unfinished),
            words.count(model.records),
            words.NONE if model.seconds is None else words.duration(model.seconds),
            words.size(model.memory_bytes),
            words.size(model.disk_bytes),
            "here" if model.download_bytes == 0 else words.size(model.download_bytes),
        )
    screen = console()
    screen.print(table)
    for sentence in _plan_sentences(plan, jobs):
        screen.print(sentence)


def _plan_sentences(plan: StudyPlan, jobs: int) -> list[str]:
    said = [model.note for model in plan.models if model.note]
    for name, size in (plan.checkpoints or {}).items():
        if size != 0:
            said.append(f"The checkpoint {name} would be downloaded ({words.size(size)}).")
    if plan.data:
        said.append(
            f"Of data, {words.names(plan.data)} would come from the Hub, unless they are in its cache."
        )
    if plan.seconds is None:
        time = "the time is told where parts of this study are finished, or with --measure"
    elif plan.sampled:
        time = (
            f"about {words.duration(plan.seconds)} for what is left, measured on {plan.sampled} questions "
            "of each dense model, plus latency"
        )
    elif any(model.unfinished for model in plan.models):
        rest = "for the answers that are left, at the rate of the finished ones"
        time = f"about {words.duration(plan.seconds)} {rest}"
    else:
        time = "all of them finished"
    if plan.seconds and jobs > 1:
        time += f", one configuration after the other; {jobs} will run at once"
    return [*said, f"{plan.records:,} records; {time}."]
