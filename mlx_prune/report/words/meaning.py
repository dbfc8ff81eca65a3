"""What a finding means for whoever decides on a release, in plain words, computed from the same tables."""

from __future__ import annotations

from collections.abc import Sequence

from mlx_prune import words
from mlx_prune.report.tables.build import Tables
from mlx_prune.report.tables.change import PairedTest
from mlx_prune.report.tables.rates import Overall
from mlx_prune.report.tables.table import finite
from mlx_prune.stats.rates import OVERALL

# Below this rise in percent a release check on perplexity would hardly stop a model.
UNNOTICED_PERPLEXITY = 10.0
# Longer lists are cut; the tables have all.
_MOST_NAMES = 6


def perplexity_changes(tables: Tables, rises: Sequence[PairedTest]) -> list[tuple[float, PairedTest]]:
    """The change of perplexity in percent beside each rise of SRS, where it was measured."""
    known = {row.configuration: finite(row.ppl_pct_change) for row in tables.evaluation_gap.rows}
    return [(change, row) for row in rises if (change := known.get(row.configuration)) is not None]


def meaning_of(
    tables: Tables, changes: Sequence[PairedTest], rises: Sequence[PairedTest], falls: Sequence[PairedTest]
) -> tuple[str, ...]:
    """What the finding means, sentence by sentence.

    Args:
        tables: Of the study.
        changes: The overall changes of SRS that are compared with their dense model.
        rises: Those beyond chance that go up.
        falls: Those beyond chance that go down.
    """
    if not changes:
        return _nothing_to_compare(tables)
    said: list[str] = []
    if rises:
        said += [_more_stereotypes(tables, rises), _leaning(tables, rises), _perplexity_check(tables, rises)]
    if falls:
        said.append(
            f"{_names(tables, falls)} {_verb(falls, 'gives', 'give')} the stereotyped answer less often than "
            "before. That alone is no gain in fairness: look at what is answered instead."
        )
    said += [_not_shown(tables, len(changes) - len(rises) - len(falls), len(changes)), _no_answers(tables)]
    return tuple(filter(None, said))


def _nothing_to_compare(tables: Tables) -> tuple[str, ...]:
    rows = tables.overall.rows
    dense = [row for row in rows if row.configuration.is_dense]
    if any(row.too_few_answered for row in dense):
        return (
            "Nothing can be decided: the answers are not understood before pruning either. Look at some of "
            "them, and at the model's chat template, first.",
        )
    if len(dense) == len(rows):
        return ("No pruned model was asked, so there is nothing to decide on yet.",)
    if not dense:
        return ("Nothing can be decided before the model they were made from is asked the same questions.",)
    if silent := _no_answers(tables):
        return (silent,)
    return ("Nothing can be decided: too few questions were asked. Ask more.",)


def _more_stereotypes(tables: Tables, rises: Sequence[PairedTest]) -> str:
    return (
        f'Where nothing tells who it was and "unknown" is right, {_names(tables, rises)} '
        f"{_verb(rises, 'gives', 'give')} the stereotyped answer more often than {_before(tables)}, "
        "by more than luck explains."
    )


def _leaning(tables: Tables, rises: Sequence[PairedTest]) -> str:
    lows = {
        row.configuration: row.direction_part.low for row in tables.direction.where(category=OVERALL).rows
    }
    leaning = [row for row in rises if (lows.get(row.configuration) or 0.0) > 0]
    guessing = [row for row in rises if row not in leaning]
    if len(rises) == 1:
        return f"It {_leans(rises) if leaning else _guesses(rises)}."
    said = [f"{_names(tables, leaning)} {_leans(leaning)}"] if leaning else []
    if guessing:
        said.append(f"{_names(tables, guessing)} {_guesses(guessing)}")
    return f"Of these, {'; '.join(said)}."


def _leans(rows: Sequence[PairedTest]) -> str:
    return f"{_verb(rows, 'leans', 'lean')} further towards the stereotype"


def _guesses(rows: Sequence[PairedTest]) -> str:
    return f"{_verb(rows, 'guesses', 'guess')} more often, with no further leaning that could be shown"


def _perplexity_check(tables: Tables, rises: Sequence[PairedTest]) -> str:
    known = perplexity_changes(tables, rises)
    if not known:
        return ""
    passing = [row for change, row in known if change < UNNOTICED_PERPLEXITY]
    check = f"A release check that lets perplexity rise by {words.percentage(UNNOTICED_PERPLEXITY, None)}"
    if not passing:
        return f"{check} would have stopped {'it' if len(known) == 1 else f'all {len(known)}'} here."
    return (
        f"{check} would have passed {_names(tables, passing)}; a check that asks such questions "
        "(`mlxprune gate`) can stop it."
    )


def _given(tables: Tables) -> bool:
    """Whether checkpoints were given, of which nobody knows what was done to them."""
    return any(row.configuration.is_named for row in tables.overall.rows)


def _before(tables: Tables) -> str:
    return "the dense model" if _given(tables) else "the model before pruning"


def _not_shown(tables: Tables, left: int, total: int) -> str:
    """Of the models without a change beyond chance: absence of evidence is not evidence of absence."""
    if not left:
        return ""
    if left < total:
        others = "the other one" if left == 1 else f"the other {left}"
        return f"For {others}, no change was shown; that does not prove that there is none."
    kind = "changed" if _given(tables) else "pruned"
    who = f"the {kind} model" if total == 1 else f"any of the {total} {kind} models"
    return (
        f"These questions show no change of stereotyped answers in {who}. That does not prove that there is "
        "none: `mlxprune gate` tells how many questions a limit of yours takes."
    )


def _no_answers(tables: Tables) -> str:
    """Models that lost the ability to answer: their bias is unknown, and their use doubtful."""
    silent: list[Overall] = [
        row for row in tables.overall.rows if row.too_few_answered and not row.configuration.is_dense
    ]
    if not silent:
        return ""
    return (
        f"{_names(tables, silent)} mostly {_verb(silent, 'gives', 'give')} no answer that is understood; "
        "whether bias grew there cannot be told, and whether such a model is of use is the first question."
    )


def _names(tables: Tables, rows: Sequence[PairedTest | Overall]) -> str:
    """Configurations by name, with the model where there are several."""
    several = len({row.configuration.model for row in tables.overall.rows}) > 1
    names = [row.configuration.full_name if several else row.configuration.name for row in rows]
    return words.names(names, most=_MOST_NAMES)


def _verb(rows: Sequence[PairedTest | Overall], one: str, many: str) -> str:
    return one if len(rows) == 1 else many
