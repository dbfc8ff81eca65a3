"""The table of bad inputs: what is broken, how, and the command that meets it.

Each case copies what it needs from a folder of good things (:mod:`good_things`), breaks one thing, and names
the words of a command. Cases are made from small tables of damages, so that a new kind is one line.
"""

from __future__ import annotations

from bad_models import config_values, model_files, templates, weights
from bad_options import numbers, places
from bad_sources import bbq_lines, texts, tomls
from bad_studies import records, study_files
from damages import (
    Case,
)


def cases() -> list[Case]:
    """The whole table."""
    groups = (
        model_files,
        config_values,
        weights,
        templates,
        bbq_lines,
        texts,
        tomls,
        numbers,
        study_files,
        records,
        places,
    )
    return [case for group in groups for case in group()]
