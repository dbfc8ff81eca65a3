"""The level of every interval and of every test."""

CONFIDENCE = 0.95
"""Of intervals, two-sided; where several hold at once, of all of them together."""

SIGNIFICANCE = 0.05
"""Level below which a p-value, or one adjusted for many tests, is called beyond chance."""

NORMAL = 1.959963984540054
"""Standard errors between the middle and an end of an interval of a normal estimate."""
