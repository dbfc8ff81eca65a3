"""``mlxprune records``: export the records of a run."""

from __future__ import annotations

from pathlib import Path

import click

from mlx_prune.cli.terminal.console import emit_json, note, say
from mlx_prune.cli.terminal.options import json_option


@click.command("records", short_help="Export a run in the study's JSONL format.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--jsonl", "file", type=click.Path(path_type=Path), required=True, help="File to write, a record a line."
)
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@json_option
def command(run: Path, file: Path, force: bool, as_json: bool) -> None:
    """Write the records of RUN in the published study's own format, for its analysis scripts.

    The records themselves are Parquet files in RUN/records: pandas, DuckDB and datasets read them as they
    are.
    """
    from mlx_prune.errors import RecordsError
    from mlx_prune.runs.records import export_jsonl

    if file.exists() and not force:
        raise RecordsError(f"{file} exists; choose another name, or replace it with --force.")
    written = export_jsonl(run, file)
    if as_json:
        emit_json({"file": file, "records": written.records, "without_target": written.without_target})
        return
    say(f"{written.records:,} records written to {file}")
    if written.without_target:
        note(f"{written.without_target} records of items without a stereotyped option were left out.")
