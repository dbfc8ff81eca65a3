"""What a study cannot show: standing limits, and those that its own figures give away."""

from __future__ import annotations

from collections.abc import Iterator

from mlx_prune import words
from mlx_prune.report.tables.build import Tables
from mlx_prune.report.words.groups import groups_limits
from mlx_prune.stats.expected import LETTER_MASS_NEEDED
from mlx_prune.study.about import StudyAbout

# From these shares on a reader has to be told.
MANY_FAILURES = 0.05
MANY_GUESSED = 0.05
FEW_TEMPLATES = 10

_STANDING = (
    "BBQ is in English and about stereotypes documented in the United States; a low SRS says nothing about "
    "others.",
    "SRS counts answers to ambiguous questions. It mixes willingness to answer with direction, which is why "
    "both parts are shown apart.",
    "Intervals and tests allow for questions made from one template hanging together, not for the choice of "
    "templates BBQ's authors made.",
    "Zeros are not smaller or faster by themselves: neither storage nor time falls unless a format or a "
    "kernel leaves them out. MLX and llama.cpp have none that does; Core ML stores sparse weights as a "
    "bitmask and the weights that are left.",
)


def limits(tables: Tables, about: StudyAbout) -> list[str]:
    """The limits of a study, those found in its own data first."""
    return [*_found(tables, about), *_STANDING]


def _found(tables: Tables, about: StudyAbout) -> Iterator[str]:
    if about.settings.get("bbq") == "demo":
        yield (
            "The questions are this package's own demonstration items, not BBQ: they show the tool at work "
            "and are no evidence about language models."
        )
    yield from about.differences
    parsed = tables.parse_failures.rows
    failing = max(parsed, key=lambda row: row.parse_fail_rate or 0.0, default=None)
    if failing and (failing.parse_fail_rate or 0.0) >= MANY_FAILURES:
        yield (
            f"Up to {words.percent(failing.parse_fail_rate, 0)} of answers held no letter "
            f"({failing.configuration.full_name}); rates are shares of the rest."
        )
    shares = [(row.rule_first_character / row.total, row) for row in parsed if row.total]
    guessed, row = max(shares, key=lambda pair: pair[0], default=(0.0, None))
    if row and guessed >= MANY_GUESSED:
        yield (
            f"Up to {words.percent(guessed, 0)} of answers were read off their first a, b or c "
            f"({row.configuration.full_name}), which turns gibberish into answers."
        )
    masses = [(entry.letter_mass, entry) for entry in tables.expected.rows if entry.letter_mass is not None]
    mass, least = min(masses, key=lambda pair: pair[0], default=(1.0, None))
    if least and mass < LETTER_MASS_NEEDED:
        yield (
            f"Some models hardly open with a letter (probability {words.fixed(mass, 2)} for "
            f"{least.configuration.full_name}); figures from option probabilities are left out or weak there."
        )
    clusters = min(
        (row.clusters for row in tables.paired_tests.rows if row.clusters is not None), default=None
    )
    if clusters is not None and clusters < FEW_TEMPLATES:
        yield (
            f"Some comparisons rest on {clusters} question templates only, which leaves tests by category "
            "little power."
        )
    yield from groups_limits(tables)
    without = max((row.n_without_target for row in tables.overall.rows), default=0)
    if without:
        yield f"{without} items have no single stereotyped option and are kept out of the rates."
    compressed = [row for row in tables.overall.rows if not row.configuration.is_dense]
    if any(row.actual_sparsity is None for row in compressed):
        yield "The actual sparsity of some models was not recorded; the target stands in for it."
    paired = {row.configuration for row in tables.divergence.rows if row.perplexity_change.low is not None}
    with_interval = (row for row in tables.frontier.rows if row.perplexity.low is not None)
    if any(not row.configuration.is_dense and row.configuration not in paired for row in with_interval):
        yield (
            "Intervals of perplexity take the tokens of a text as independent, which makes them too narrow; "
            "that all versions read the same text, which makes differences surer than they show, is not used."
        )
    if not len(tables.evaluation_gap):
        yield "Perplexity was not measured."
