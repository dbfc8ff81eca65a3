"""``mlxprune doctor``: is this machine ready, and is it computing correctly?"""

from __future__ import annotations

import click

from mlx_prune.cli.terminal.console import console, emit_json
from mlx_prune.cli.terminal.options import json_option

_STYLES = {"ok": "green", "warning": "yellow", "failure": "bold red"}


@click.command("doctor", short_help="Is this machine ready and computing correctly?")
@json_option
def command(as_json: bool) -> int:
    """Check this machine: versions, device, speed, disk, kernels and the embedded model."""
    from mlx_prune.diagnostics import FAILURE, diagnose

    checks = diagnose()
    failed = any(check.status == FAILURE for check in checks)
    if as_json:
        emit_json({"ok": not failed, "checks": checks})
        return int(failed)
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for check in checks:
        # As text, not markup: what other programs say may hold brackets.
        table.add_row(Text(check.status, _STYLES[check.status]), check.name, Text(check.detail))
    console().print(table)
    return int(failed)
