"""What a study cannot show: standing limits, and those that its own figures give away."""

from __future__ import annotations

from mlx_prune.labels import DENSE
from mlx_prune.report.figures.panels import Tables, name_of, number
from mlx_prune.report.tables.table import Row
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


def _found(tables: Tables, about: StudyAbout) -> list[str]:
    found = []
    if about.settings.get("bbq") == "demo":
        found.append(
            "The questions are this package's own demonstration items, not BBQ: they show the tool at work "
            "and are no evidence about language models."
        )
    failing = _worst(tables["parse_failures"].rows, "parse_fail_rate")
    if failing and failing[0] >= MANY_FAILURES:
        found.append(
            f"Up to {100 * failing[0]:.0f} % of answers held no letter ({name_of(failing[1])}); rates are "
            "shares of the rest."
        )
    guessed = [
        (count / total, row)
        for row in tables["parse_failures"].rows
        if (count := number(row["rule_first_character"])) is not None and (total := number(row["total"]))
    ]
    if guessed and (most := max(guessed, key=lambda pair: pair[0]))[0] >= MANY_GUESSED:
        found.append(
            f"Up to {100 * most[0]:.0f} % of answers were read off their first a, b or c "
            f"({name_of(most[1])}), which turns gibberish into answers."
        )
    masses = [
        (mass, row) for row in tables["expected"].rows if (mass := number(row["letter_mass"])) is not None
    ]
    if masses and (least := min(masses, key=lambda pair: pair[0]))[0] < LETTER_MASS_NEEDED:
        found.append(
            f"Some models hardly open with a letter (probability {least[0]:.2f} for {name_of(least[1])}); "
            "figures from option probabilities are left out or weak there."
        )
    clusters = [int(c) for row in tables["paired_tests"].rows if (c := number(row["clusters"])) is not None]
    if clusters and min(clusters) < FEW_TEMPLATES:
        found.append(
            f"Some comparisons rest on {min(clusters)} question templates only, which leaves tests by "
            "category little power."
        )
    without = max((int(number(row["n_without_target"]) or 0) for row in tables["overall"].rows), default=0)
    if without:
        found.append(f"{without} items have no single stereotyped option and are kept out of the rates.")
    if any(row["actual_sparsity"] is None for row in tables["overall"].rows if row["prune_method"] != DENSE):
        found.append("The actual sparsity of some models was not recorded; the target stands in for it.")
    if any(row["perplexity_low"] is not None for row in tables["frontier"].rows):
        found.append(
            "Intervals of perplexity take the tokens of a text as independent, which makes them too narrow; "
            "that all versions read the same text, which makes differences surer than they show, is not used."
        )
    if not len(tables["evaluation_gap"]):
        found.append("Perplexity was not measured.")
    return found


def _worst(rows: tuple[Row, ...], column: str) -> tuple[float, Row] | None:
    known = [(value, row) for row in rows if (value := number(row[column])) is not None]
    return max(known, key=lambda pair: pair[0]) if known else None
