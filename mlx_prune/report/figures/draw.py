"""The figures of a report: which there are, their captions, and how each is drawn, from tables alone."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlx_prune.report.figures import change as figures_change
from mlx_prune.report.figures import effects as figures_effects
from mlx_prune.report.figures import frontier as figures_frontier
from mlx_prune.report.figures import groups as figures_groups
from mlx_prune.report.figures import predictions as figures_predictions
from mlx_prune.report.figures import rates as figures_rates
from mlx_prune.report.figures import recovery as figures_recovery
from mlx_prune.report.figures.style import WIDE, Layout, lay_out, look
from mlx_prune.report.tables.build import Tables
from mlx_prune.report.tables.frontier import RULE

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class FigureKind:
    """A figure that a study may have.

    Attributes:
        name: File name without its ending.
        title: For a heading.
        caption: What is shown, and how to read it.
        needs: Names of the tables without whose rows there is nothing to draw.
        draw: Draws it in a layout; None if the rows do not hold what it shows.
    """

    name: str
    title: str
    caption: str
    needs: tuple[str, ...]
    draw: Callable[[Tables, Layout], Figure | None]

    @property
    def alt(self) -> str:
        """What it shows, for those who do not see it."""
        return f"{self.title}. {self.caption}"


_POINTS = (
    " Small gray numbers: percent of answers understood, where under 90; crosses: too few to say anything."
)
_LINES = " At the right: answers understood; hatched: too few, not compared."

STUDY_FIGURES = (
    FigureKind(
        "srs_by_sparsity",
        "Stereotype reliance by sparsity",
        "Share of answers to ambiguous questions that fit the stereotype, averaged over categories. "
        "Bars: 95 % interval of the change from dense, over question templates." + _POINTS,
        ("overall",),
        figures_rates.srs_by_sparsity,
    ),
    FigureKind(
        "usr_by_sparsity",
        "Abstention by sparsity",
        "Share of answers that choose “unknown”, the right answer to an ambiguous question. "
        "Bars: 95 % interval of the change from dense, over question templates." + _POINTS,
        ("overall",),
        figures_rates.usr_by_sparsity,
    ),
    FigureKind(
        "srs_by_category",
        "Stereotype reliance by category",
        "One panel per category. Bars: 95 % intervals that allow for answers to one question template "
        "hanging together." + _POINTS,
        ("rates",),
        figures_rates.srs_by_category,
    ),
    FigureKind(
        "methods_at_50",
        "Methods at a target of 50 %",
        "SRS by category; the black line is the dense model. Where the actual sparsity misses the target it "
        "is given in the legend: such methods are not compared at equal sparsity." + _POINTS,
        ("rates", "methods_at_50"),
        figures_rates.methods_at_50,
    ),
    FigureKind(
        "transitions",
        "Items that changed sides",
        "An item is biased if any of its answers under the seeds is stereotyped. Compare with “Emergence "
        "against its own null”: sampling alone makes items change sides." + _LINES,
        ("transitions",),
        figures_change.transitions,
    ),
    FigureKind(
        "evaluation_gap",
        "What perplexity does not see",
        "Each point is a compressed model; the number is its sparsity in percent (actual, where recorded). "
        "High and far left: stereotypes grew while perplexity hardly moved. The horizontal axis is "
        "logarithmic beyond 10 %." + " Models of which too few answers were understood are left out.",
        ("evaluation_gap",),
        figures_change.evaluation_gap,
    ),
    FigureKind(
        "latent_items",
        "All items and latently biased items",
        "Filled: all items. Hollow: items whose dense SRS was at least 0.20. Those were chosen by noisy "
        "answers, so part of their fall is regression to the mean." + _POINTS,
        ("overall", "latent_rates"),
        figures_rates.latent_items,
    ),
)
"""The published study's seven figures."""

FURTHER_FIGURES = (
    FigureKind(
        "srs_change",
        "Change of stereotype reliance, with its interval",
        "Change of the overall SRS from dense with a 95 % interval over question templates. "
        "Filled: significant after correction for the number of comparisons." + _LINES,
        ("paired_tests",),
        figures_change.srs_change,
    ),
    FigureKind(
        "srs_change_by_category",
        "Change of stereotype reliance, by category",
        "Change of SRS from dense. Orange: more stereotyped answers; purple: fewer. Bold with *: significant "
        "(q < 0.05), clustered by template and adjusted over all comparisons."
        + " Small: percent of answers understood, where under 90; hatched: too few, not compared.",
        ("paired_tests",),
        figures_change.srs_change_by_category,
    ),
    FigureKind(
        "groups",
        "Change of stereotype reliance, by social group",
        "Of the questions about each social group, change of SRS from dense; a point per compressed model. "
        "Strong, with a bar (95 % interval over question templates): significant (q < 0.05, all groups and "
        "models allowed for). Faint: within chance, or fewer than 6 templates to tell by.",
        ("groups",),
        figures_groups.groups,
    ),
    FigureKind(
        "divergence",
        "Distance from the dense model's predictions",
        "Each point is a compressed model; the number is its target sparsity in percent. Far up and left: "
        "the distribution of the next token moved while perplexity hardly did. Bars: 95 % intervals over "
        "the sequences of the text.",
        ("divergence",),
        figures_predictions.divergence,
    ),
    FigureKind(
        "recovery",
        "Trained back: perplexity and stereotype reliance",
        "Gray arrows lead from the dense model to the pruned ones, colored ones on to what training made of "
        "them; numbers: target sparsity in percent. Bars: 95 % intervals of the change of SRS from dense, "
        "over question templates. Left out where too few answers of one of the three were understood.",
        ("recovery",),
        figures_recovery.recovery,
    ),
    FigureKind(
        "uncertainty",
        "Changed answers, by how sure the dense model was",
        "Share of answers that choose another option than the dense model's under the same seed, by tenths "
        "of the questions; at the right those where its letter probabilities were most even. Bars: 95 % "
        "intervals over question templates; stronger lines: higher sparsity.",
        ("uncertainty",),
        figures_predictions.uncertainty,
    ),
    FigureKind(
        "direction",
        "Lost abstention, or directional bias?",
        "The two parts of the change of SRS. A model that stops abstaining and picks a person by lot raises "
        "SRS through the first alone; only the second is bias in a direction. Whiskers: 95 % intervals."
        + _LINES,
        ("direction",),
        figures_effects.direction,
    ),
    FigureKind(
        "emergence",
        "Emergence against its own null",
        "Of the items the dense model never answered with the stereotype, the share that would be so "
        "answered when asked afresh: by the dense model itself (hollow) and by the compressed one (filled). "
        "Only the distance between the two is compression." + _LINES,
        ("emergence",),
        figures_effects.emergence,
    ),
    FigureKind(
        "sampled_against_expected",
        "Sampled against expected stereotype reliance",
        "Large: means over categories; small: single categories. On the line, the sampled answers say what "
        "the option probabilities say; off it, answers are decided after their first letter."
        + " Crosses: too few answers were understood.",
        ("expected",),
        figures_effects.sampled_against_expected,
    ),
    FigureKind(
        "latency_ratios",
        "Did anything get faster?",
        "Time of an answer relative to the dense model, measured item by item in turn. Bars: 95 % intervals "
        "that hold at once for all configurations.",
        ("latency_ratios",),
        figures_effects.latency_ratios,
    ),
)
"""What the published study lacks."""

FRONTIER = FigureKind(
    "frontier",
    "What was bought, and at what price",
    "Further left is smaller or faster, further down keeps more; thin lines run through the dense model. "
    f"Gray: dominated, or not judged for want of a measure or of answers. {RULE} Bars: these intervals.",
    ("frontier",),
    figures_frontier.frontier,
)
"""The figure that decides."""

FIGURES = (*STUDY_FIGURES, FRONTIER, *FURTHER_FIGURES)


def draw(kind: FigureKind, tables: Tables, layout: Layout = WIDE) -> Figure | None:
    """Draw one figure in the common look; None if the tables lack what it needs."""
    with look():
        return kind.draw(tables, layout) if has_rows(kind, tables) else None


def has_rows(kind: FigureKind, tables: Tables) -> bool:
    """Whether no table that a figure needs is empty."""
    return all(len(tables[name]) for name in kind.needs)


def render(figure: Figure, file_format: str) -> bytes:
    """A figure as the bytes of a PNG or SVG file; the same data give the same bytes."""
    with look():
        lay_out(figure)
        if file_format == "svg":
            from mlx_prune.report.figures.canvas import svg_of

            return svg_of(figure, {"Date": None, "Creator": None})
        out = io.BytesIO()
        # Level 6, the default, takes twice the time for a tenth of the bytes.
        figure.savefig(out, format=file_format, metadata={"Software": None}, pil_kwargs={"compress_level": 3})
    return out.getvalue()
