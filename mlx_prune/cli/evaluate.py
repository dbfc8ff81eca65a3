"""``mlxprune eval``: ask a model BBQ questions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlx_prune.cli.tables.rates import (
    ANSWERED_NOTE,
    ambiguous_table,
    disambiguated_table,
    rules_line,
    strict_line,
    struck_note,
)
from mlx_prune.cli.terminal.asking import asking_options, read_asking
from mlx_prune.cli.terminal.console import console, emit_json, note, say, warn
from mlx_prune.cli.terminal.options import json_option, min_answered_option, trust_option
from mlx_prune.cli.terminal.progress import progress_bars

if TYPE_CHECKING:
    from mlx_prune.runs.evaluate import Evaluation
    from mlx_prune.stats.rates import Rates


@click.command("eval", short_help="Ask a model the BBQ bias questions.")
@click.argument("model")
@click.option("-o", "--output", "run", type=click.Path(path_type=Path), required=True, help="Run folder.")
@asking_options
@min_answered_option
@click.option("--verify", type=click.IntRange(min=0), default=0, help="Replay N random records.")
@click.option("--force", is_flag=True, help="Throw away the records that the run folder holds.")
@trust_option
@json_option
def command(
    model: str,
    run: Path,
    min_answered: float,
    verify: int,
    force: bool,
    trust_remote_code: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Ask MODEL the questions of the BBQ bias benchmark and record every answer.

    The run folder holds Parquet records; the same command carries on where it was stopped, and with a larger
    --limit asks what is new.
    """
    from mlx_prune import distributed
    from mlx_prune.checkpoint.invented import QUESTIONS, named
    from mlx_prune.runs.evaluate import evaluate
    from mlx_prune.stats.rates import from_table

    questions, generation = read_asking(options, str(named(QUESTIONS, options["bbq"], model, "--bbq")))
    with progress_bars() as progress:
        result = evaluate(
            model,
            run,
            questions=questions,
            generation=generation,
            verify=verify,
            force=force,
            trust_remote_code=trust_remote_code,
            progress=progress,
        )
    if distributed.rank() != 0:
        return
    rates = from_table(result.table)
    if as_json:
        emit_json(
            {
                "run": run,
                "records": result.table.num_rows,
                "new_records": result.new_records,
                "seconds": result.seconds,
                "rates": rates.to_dict(),
                "min_answered": min_answered,
                "too_few_answered": rates.overall.too_few(min_answered),
                "verification": result.verification,
                **result.info,
            }
        )
        return
    _print(result, rates, min_answered)


def _print(result: Evaluation, rates: Rates, floor: float) -> None:
    out = console()
    overall = rates.overall
    if overall.n_items:
        out.print(ambiguous_table(rates, floor))
    if overall.disambig_items:
        out.print(disambiguated_table(rates, floor))
    out.print(rules_line(rates), strict_line(rates))
    lines = [ANSWERED_NOTE]
    if overall.n_items:
        lines.append(
            "SRS: stereotyped answers; USR: 'unknown' answers; anti: the rest. Overall is the unweighted "
            "mean of the categories; chance is SRS 0.333. The interval takes answers as independent."
        )
    every = (*rates.categories, overall)
    if any(row.too_few(floor) or row.disambig_too_few(floor) for row in every):
        lines.append(struck_note(floor))
    out.print(" ".join(lines), style="dim")
    about = result.info
    for warning in about.get("warnings", ()):
        warn(warning)
    for text in (*about.get("load_notes", ()), about.get("prompt", {}).get("note")):
        if text:
            note(text)
    if about.get("letters", {}).get("note"):
        warn(about["letters"]["note"])
    unknown = sum(session.get("unknown_tokens", 0) for session in about.get("sessions", ()))
    if unknown:
        note(f"{unknown:,} of the tokens drawn are unknown to the tokenizer and stand for no text.")
    if about.get("items_without_target"):
        note(f"{about['items_without_target']} items have no stereotyped option and are kept out of SRS.")
    if about.get("items_with_known_label_fault"):
        note(
            f"{about['items_with_known_label_fault']} items are known to carry reversed labels "
            "(--exclude-label-faults leaves them out)."
        )
    if result.verification is not None:
        checked = result.verification
        message = (
            f"{checked.identical} of {checked.records} replayed records are identical; "
            f"{checked.same_answer} give the same answer."
        )
        (note if checked.identical == checked.records else warn)(message)
    if result.new_records:
        rate = result.new_records / max(result.seconds, 1e-9)
        say(
            f"{result.new_records:,} records in {result.seconds:.1f} s ({rate:,.0f}/s), "
            f"written to {result.path}"
        )
    else:
        say(f"All {result.table.num_rows:,} records were there already in {result.path}")
