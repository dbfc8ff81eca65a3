"""How numbers and lists are written for people, everywhere: one form per kind of number, "-" for none.

Shares and rates come in as fractions of 1 unless a name says percent. Commands, tables, sentences, cards and
figures call these; JSON and CSV hold numbers in full precision instead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

NONE = "-"
UNITS = ("%", "B", "kB", "MB", "GB", "s", "ms", "min", "h")
"""What is written after a number and a space."""
_BEFORE_UNIT = re.compile(rf" (?=%)|(?<=\d) (?=(?:{'|'.join(UNITS)})(?!\w))")
Number = float | None
Write = Callable[[float], str]


def count(number: Number) -> str:
    """A whole number, thousands separated: 12,345."""
    return NONE if number is None or math.isnan(number) else f"{number:,.0f}"


def counted(number: int, one: str, many: str = "") -> str:
    """A number of things: "1 model", "1,200 models", "2 categories".

    Args:
        number: How many.
        one: The word for one.
        many: The word for more; empty adds an s.
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def fixed(value: Number, digits: int = 3) -> str:
    """A rate, ratio or mean with so many decimals (0.193); never "-0.000"."""
    return NONE if value is None or math.isnan(value) else f"{value:z.{digits}f}"


def signed(value: Number, digits: int = 3) -> str:
    """A difference of rates with its sign: +0.012; never "-0.000"."""
    return NONE if value is None or math.isnan(value) else f"{value:+z.{digits}f}"


def percent(share: Number, digits: int | None = 1, *, sign: bool = False) -> str:
    """A fraction of 1 as a percentage: 12.5 %.

    Args:
        share: 0.125.
        digits: Decimals; None writes no more than needed (50 %, 12.5 %), for targets and limits.
        sign: Whether a plus is written, as of a change.
    """
    return NONE if share is None else percentage(100 * share, digits, sign=sign)


def percentage(value: Number, digits: int | None = 1, *, sign: bool = False) -> str:
    """A value that is in percent already; see :func:`percent`."""
    if value is None or math.isnan(value):
        return NONE
    kind = "g" if digits is None else f".{digits}f"
    return f"{value:{'+' * sign}z,{kind}} %"


def percent_cell(share: Number, digits: int | None = 1) -> str:
    """:func:`percent` without its sign, for a column whose heading has it."""
    return percent(share, digits).removesuffix(" %")


def some_percent(share: float) -> str:
    """A share of many in few digits: no "0 %" for some, and no "100 %" for not all."""
    return percent(share, 1 if 0 < share < 0.1 or 0.99 < share < 1 else 0)


def percents(low: float, high: float) -> str:
    """Shares from one to another in three digits: "12.3 to 45.6 %", or "5 %" where both are written alike."""
    ends = dict.fromkeys(f"{100 * share:.3g}" for share in (low, high))
    return f"{' to '.join(ends)} %"


def rise(share: Number) -> str:
    """A relative change that may span many orders, as that of a perplexity: +1.2 %, +1,234 %, +2.50e+10 %."""
    if share is None or math.isnan(share):
        return NONE
    if abs(share) < 1e7:
        return percent(share, 1 if abs(share) < 10 else 0, sign=True)
    return f"{100 * share:+.2e} %"


def change(before: float, after: float, write: Write = count) -> str:
    """What a number has become, and its relative change: "763 (-23.7 %)" after 1,000.

    Args:
        before: The number it was; without a change in percent where it was zero or not finite.
        after: The number it is.
        write: How both are written.
    """
    if not (before and math.isfinite(before) and math.isfinite(after)):
        return write(after)
    return f"{write(after)} ({percent(after / before - 1, sign=True)})"


def before_after(before: float, after: float, write: Write = count) -> str:
    """Both numbers and the change: "1,000 -> 763 (-23.7 %)", or "1,000, unchanged"."""
    if before == after:
        return f"{write(before)}, unchanged"
    return f"{write(before)} -> {change(before, after, write)}"


def unparted(text: str, link: str = "\u00a0") -> str:
    """A text with another character in place of each space between a number and its unit.

    Args:
        text: Of any kind.
        link: The character; a page breaks no line at a no-break space, but Rich does.
    """
    return _BEFORE_UNIT.sub(link, text)


def interval(low: Number, high: Number, write: Write = fixed, between: str = " to ") -> str:
    """Both ends of an interval, or a dash where one is missing.

    Args:
        low: Lower end.
        high: Upper end.
        write: How an end is written.
        between: What stands between; "-" where a table is narrow and no end is negative.
    """
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return NONE
    return f"{write(low)}{between}{write(high)}"


def magnitude(value: Number) -> str:
    """A positive number that may span many orders, such as a perplexity: 8.94, 132.9, 1,234, 5.5e+06."""
    if value is None or math.isnan(value):
        return NONE
    if math.isinf(value):
        return "∞"
    # Short, so that one large value does not widen a table in a terminal.
    for least, digits in ((100, 2), (1000, 1), (1_000_000, 0)):
        if round(value, digits) < least:
            return f"{value:,.{digits}f}"
    return f"{value:.1e}"


def number(value: Number) -> str:
    """A number of any kind in four significant digits, for a column of which nothing else is known."""
    if value is None or math.isnan(value):
        return NONE
    if isinstance(value, int):
        return f"{value:,}"
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return f"{value:.2e}"


def size(n_bytes: Number, digits: int = 1) -> str:
    """Bytes in decimal units, as disks and the Hub count them: 3.7 MB."""
    if n_bytes is None or math.isnan(n_bytes):
        return NONE
    if n_bytes < 1000:
        return f"{n_bytes:.0f} B"
    # Where rounding would give 1000.0 kB, it is 1.0 MB.
    power = next((power for power in (1, 2) if round(n_bytes / 1000**power, digits) < 1000), 3)
    return f"{n_bytes / 1000**power:.{digits}f} {('B', 'kB', 'MB', 'GB')[power]}"


def seconds(value: Number) -> str:
    """A time that was measured: 1.234 s, 56.7 ms."""
    if value is None or math.isnan(value):
        return NONE
    return f"{value:.3f} s" if value >= 0.1 else f"{1000 * value:.1f} ms"


def duration(value: Number) -> str:
    """How long a person waits, in seconds, minutes or hours: 45 s, 12 min, 3.5 h."""
    if value is None or math.isnan(value):
        return NONE
    if value < 120:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def names(items: Sequence[str], last: str = "and", most: int | None = None) -> str:
    """A list in a sentence: "a, b and c", or "a, b and 4 more".

    Args:
        items: The names; an empty list gives an empty string.
        last: The word before the last.
        most: As of :func:`first_of`; None for any length.
    """
    *others, final = first_of(items, most or len(items)) or [""]
    return f"{', '.join(others)} {last} {final}" if others else final


def layers(percents: Mapping[str, float]) -> str:
    """Sparsities of single layers by pattern: "*.down_proj 30 %, model.layers.0 left alone"."""
    return ", ".join(
        f"{glob} {percentage(percent, None) if percent else 'left alone'}"
        for glob, percent in percents.items()
    )


def first_of(items: Sequence[str], most: int) -> list[str]:
    """A list cut to so many entries, of which the last then says how many more there are."""
    if len(items) <= most:
        return list(items)
    return [*items[: most - 1], f"{len(items) - most + 1:,} more"]


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers, neighbours drawn together: "3-5, 8" of 3, 4, 5 and 8."""
    runs: list[tuple[int, int]] = []
    for found in numbers:
        if runs and found == runs[-1][1] + 1:
            runs[-1] = runs[-1][0], found
        else:
            runs.append((found, found))
    return ", ".join(str(first) if first == final else f"{first}-{final}" for first, final in runs)
