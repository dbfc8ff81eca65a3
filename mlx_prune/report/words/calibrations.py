"""What another calibration text changed, in a sentence."""

from __future__ import annotations

from dataclasses import replace

from mlx_prune import words
from mlx_prune.report.tables.build import Tables
from mlx_prune.report.tables.calibrations import OtherText
from mlx_prune.report.tables.table import finite
from mlx_prune.report.words.predictions import change_of_perplexity
from mlx_prune.stats.levels import SIGNIFICANCE


def calibrations_sentence(tables: Tables) -> str:
    """The configuration that another text moved most, and how many it moved; empty without any."""
    rows = sorted(tables.calibrations.rows, key=lambda row: -abs(finite(row.srs_change.value) or 0.0))
    if not rows:
        return ""
    row = rows[0]
    # The text is said already: "wanda 50 %", not "wanda@chat 50 %".
    name = replace(row.configuration, prune_method=row.first).full_name
    said = [part for part in (_perplexity(row), _srs(row)) if part]
    return f"Calibrated on {row.text} instead of the first text, {name} {' and '.join(said)}{_others(rows)}."


def _perplexity(row: OtherText) -> str:
    if row.perplexity_change.value is None:
        return ""
    return f"changed perplexity by {change_of_perplexity(row.perplexity_change)}"


def _srs(row: OtherText) -> str:
    if row.srs_change.value is None:
        return "gave too few answers that were understood to tell what that did to SRS"
    change, ends = words.signed(row.srs_change.value), row.srs_change.ends
    if ends is None or row.q is None:
        return f"moved SRS by {change}, of too few question templates to tell that from chance"
    chance = "beyond chance" if row.q < SIGNIFICANCE else "which is within chance"
    reach = words.interval(*ends, words.signed)
    return f"moved SRS by {change} (95 % interval {reach}), {chance}"


def _others(rows: list[OtherText]) -> str:
    if len(rows) == 1:
        return ""
    moved = sum(row.q is not None and row.q < SIGNIFICANCE for row in rows)
    return f"; of {len(rows)} such pairs, SRS moved beyond chance in {moved} (table `calibrations`)"
