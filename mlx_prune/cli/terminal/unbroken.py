"""Text that runs over several lines and keeps numbers beside their units; apart, as Rich imports slowly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from mlx_prune.words import unparted

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.containers import Lines
    from rich.measure import Measurement


class Unbroken(Text):
    """A text that breaks between words, but not between "50" and "%"."""

    @classmethod
    def of(cls, text: Text) -> Unbroken:
        """The same text; one that is so already is returned as it is."""
        if isinstance(text, Unbroken):
            return text
        looks = {name: getattr(text, name) for name in ("style", "justify", "overflow", "no_wrap", "end")}
        return cls(text.plain, **looks, tab_size=text.tab_size, spans=list(text.spans))

    def words(self) -> list[str]:
        """What is never parted, in order."""
        return [word.replace(self._link, " ") for word in self._linked().plain.split()]

    def wrap(self, console: Console, width: int, **options: Any) -> Lines:
        """Lines of at most so many cells; what is wider than one is treated as Rich treats a long word."""
        link, linked = self._link, self._linked()
        lines = linked.wrap(console, width, **options)
        for line in lines:
            line.plain = line.plain.replace(link, " ")
        return lines

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """The width of the widest word, and of the widest line."""
        return self._linked().__rich_measure__(console, options)

    @property
    def _link(self) -> str:
        """A character for private use that the text does not have: Rich breaks at no-break spaces."""
        return next((link for link in map(chr, range(0xE000, 0xF900)) if link not in self.plain), " ")

    def _linked(self) -> Text:
        """A copy with one character in place of each space before a unit, as long as the text itself."""
        linked = self.copy()
        linked.plain = unparted(self.plain, self._link)
        return linked
