"""Draws what `mlxprune demo` prints as the README's picture, from a finished demo study."""

import argparse
import io
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

from mlx_prune.bbq.answers import MIN_ANSWERED
from mlx_prune.cli.tables.study import legend, study_rows, study_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path, help="folder that `mlxprune demo -o` wrote")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "table.svg")
    args = parser.parse_args()
    rows = study_rows(args.study, MIN_ANSWERED)
    console = Console(record=True, width=116, file=io.StringIO(), highlight=False, force_terminal=True)
    console.print("[bold]$ mlxprune demo[/]")
    console.print(study_table(rows))
    console.print(legend(rows, MIN_ANSWERED), style="dim", markup=False)
    console.save_svg(str(args.out), title="mlx-prune", theme=MONOKAI)


if __name__ == "__main__":
    main()
