"""The ``mlxprune`` command: one module per subcommand, imported when it is asked for."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

from mlx_prune._version import __version__
from mlx_prune.cli.kept_out import keep_out
from mlx_prune.errors import MlxPruneError, one_line
from mlx_prune.outside_names import plain

# name -> module; each module defines a Click command called `command`.
COMMANDS: dict[str, str] = {
    "demo": "mlx_prune.cli.demo",
    "prune": "mlx_prune.cli.prune",
    "recover": "mlx_prune.cli.recover",
    "eval": "mlx_prune.cli.evaluate",
    "bench": "mlx_prune.cli.bench",
    "perplexity": "mlx_prune.cli.perplexity",
    "divergence": "mlx_prune.cli.divergence",
    "inspect": "mlx_prune.cli.inspect",
    "items": "mlx_prune.cli.items",
    "study": "mlx_prune.cli.study",
    "compare": "mlx_prune.cli.compare",
    "report": "mlx_prune.cli.report",
    "show": "mlx_prune.cli.show",
    "records": "mlx_prune.cli.records",
    "gate": "mlx_prune.cli.gate",
    "publish": "mlx_prune.cli.publish",
    "cache": "mlx_prune.cli.cache",
    "doctor": "mlx_prune.cli.doctor",
}


class LazyGroup(click.Group):
    """A group whose subcommands are imported on first use, in the order of :data:`COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Name the subcommands in reading order rather than alphabetically."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the module of one subcommand."""
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command = importlib.import_module(module).command
        assert isinstance(command, click.Command)
        return command


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="mlxprune")
def cli() -> None:
    """Prune language models and measure what pruning did to them: bias, perplexity, latency.

    MODEL is a folder, a Hugging Face Hub id, or "demo" (a small model that comes with the package).
    """


def run(arguments: Sequence[str]) -> int:
    """Run one command line.

    Args:
        arguments: The words after ``mlxprune``.

    Returns:
        0 done, 1 refused or failed (one sentence on stderr), 2 wrong usage, 130 interrupted.
    """
    if any("\0" in word for word in arguments):
        _fail("a name holds a NUL character, which no file can have; leave it out.")
        return 1
    try:
        result = cli.main(args=list(arguments), prog_name="mlxprune", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        return 2
    except click.ClickException as error:
        error.show()
        return 1
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return 130
    except BrokenPipeError:
        # The reader of our output (head, less) went away; leave quietly, as other tools do.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MlxPruneError as error:
        _fail(str(error))
        return 1
    except OSError as error:
        _fail(_describe_os_error(error))
        return 1
    except Exception as error:
        if os.environ.get("MLX_PRUNE_DEBUG"):
            raise
        _fail(f"unexpected {type(error).__name__}: {one_line(error)} (MLX_PRUNE_DEBUG=1 shows the traceback)")
        return 1
    return result if isinstance(result, int) else 0


def _fail(sentence: str) -> None:
    # What is quoted from a file or a name may hold line breaks and escape sequences.
    click.echo(f"Error: {plain(sentence)}", err=True)


def _describe_os_error(error: OSError) -> str:
    where = f" at {error.filename}" if error.filename else ""
    reason = error.strerror or str(error)
    return f"{reason[:1].lower()}{reason[1:]}{where}; finished work is kept and the same command carries on."


def main() -> None:
    """Entry point of the ``mlxprune`` script."""
    keep_out()
    sys.exit(run(sys.argv[1:]))
