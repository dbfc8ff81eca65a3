"""Draws what `mlxprune demo` prints as the README's picture, from a finished demo study."""

import argparse
import io
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

from mlx_prune.bbq.answers import MIN_ANSWERED
from mlx_prune.cli.demo import print_result
from mlx_prune.cli.demo_result import DemoResult
from mlx_prune.cli.tables.study import study_rows
from mlx_prune.report.data import read_study
from mlx_prune.report.open import open_study
from mlx_prune.report.write import PAGE_FILE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path, help="folder that `mlxprune demo -o` wrote")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "table.svg")
    args = parser.parse_args()
    rows = study_rows(read_study(args.study))
    result = DemoResult(rows, open_study(args.study).finding, PAGE_FILE)
    console = Console(record=True, width=100, file=io.StringIO(), highlight=False, force_terminal=True)
    console.print("[bold]$ mlxprune demo[/]")
    print_result(console, result, MIN_ANSWERED)
    console.print(f"Page: mlxprune-demo/{PAGE_FILE}", markup=False)
    console.save_svg(str(args.out), title="mlx-prune", theme=MONOKAI)


if __name__ == "__main__":
    main()
