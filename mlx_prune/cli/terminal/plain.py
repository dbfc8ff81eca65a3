"""The console that results are printed on; apart, because Rich takes long to import."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from mlx_prune.cli.terminal.unbroken import Unbroken
from mlx_prune.outside_names import plain


class PlainConsole(Console):
    """Shows strings as they are: no brackets act as markup, no escape sequences reach the terminal.

    What needs a style is a ``Text``. Lines do not end between a number and its unit.
    """

    def __init__(self, *, width: int | None = None, stderr: bool = False) -> None:
        """A console on stdout or stderr; a width of None is the terminal's."""
        super().__init__(highlight=False, markup=False, emoji=False, width=width, stderr=stderr)

    def render_str(self, text: str, **options: Any) -> Text:
        """Turn a string into text to be shown."""
        return super().render_str(plain(text, keep="\n"), **(options | {"markup": False}))

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Turn what is printed into segments of lines."""
        return super().render(
            Unbroken.of(renderable) if isinstance(renderable, Text) else renderable, options
        )
