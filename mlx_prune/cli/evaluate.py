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
from mlx_prune.cli.terminal.console import console, emit_json, note, say, warn
from mlx_prune.cli.terminal.options import (
    bbq_option,
    dtype_option,
    json_option,
    min_answered_option,
    parse_seeds,
    thinking_option,
    trust_option,
    wording_option,
)
from mlx_prune.cli.terminal.progress import progress_bars

if TYPE_CHECKING:
    from mlx_prune.runs.evaluate import Evaluation
    from mlx_prune.stats.rates import Rates


@click.command("eval", short_help="Ask a model the BBQ bias questions.")
@click.argument("model")
@click.option("-o", "--output", "run", type=click.Path(path_type=Path), required=True, help="Run folder.")
@bbq_option
@wording_option
@click.option(
    "--category",
    "categories",
    multiple=True,
    callback=lambda _, __, given: given or None,
    help="Ask this category only; may be repeated.",
)
@click.option(
    "--condition", type=click.Choice(["ambig", "disambig", "all"]), default="ambig", show_default=True
)
@click.option("--limit", type=click.IntRange(min=1), help="Ask this many items in all, over all categories.")
@click.option("--exclude-label-faults", is_flag=True, help="Leave out items known to carry reversed labels.")
@click.option("--seeds", callback=parse_seeds, default="42,123,456,789,1024", show_default=True)
@click.option("--temperature", type=click.FloatRange(min=0), default=0.3, show_default=True)
@click.option("--max-tokens", type=click.IntRange(min=1), default=5, show_default=True)
@click.option(
    "--noise",
    type=click.Choice(["item", "seed"]),
    default="item",
    show_default=True,
    help="Sampling noise independent across items, or shared by all items of a seed as in the study.",
)
@click.option(
    "--engine",
    type=click.Choice(["batched", "sequential"]),
    default="batched",
    show_default=True,
    help="Shared prefixes and seeds, or one timed answer at a time.",
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Items in flight. [default: from memory]")
@thinking_option
@dtype_option
@min_answered_option
@click.option("--verify", type=click.IntRange(min=0), default=0, help="Replay N random records.")
@click.option("--force", is_flag=True, help="Throw away the records that the run folder holds.")
@trust_option
@json_option
def command(
    model: str,
    run: Path,
    bbq: str | None,
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
    from mlx_prune.runs.settings import Bbq, Generation
    from mlx_prune.stats.rates import from_table

    asked = ("categories", "condition", "limit", "exclude_label_faults", "wording")
    questions = Bbq(str(named(QUESTIONS, bbq, model, "--bbq")), **{name: options.pop(name) for name in asked})
    with progress_bars() as progress:
        result = evaluate(
            model,
            run,
            questions=questions,
            generation=Generation(**options),
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
