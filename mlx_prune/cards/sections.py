"""The sections of a model card, each a function from what is known to Markdown."""

from __future__ import annotations

import re
from pathlib import Path

from mlx_prune.cards.base import BaseModel
from mlx_prune.cards.methods import (
    caveats_of,
    command_of,
    configuration_lines,
    origin_of,
    short_title,
)
from mlx_prune.cards.results import CardResults, results_table
from mlx_prune.checkpoint.record import CalibrationText, PruningRecord
from mlx_prune.outside_names import markdown

_LINK = re.compile(r"https?://[^\s()<>\[\]]+")
PAPER = "https://arxiv.org/abs/2605.08137"

CITATION = """@inproceedings{rath2026weight,
  title         = {Weight Pruning Amplifies Bias: A Multi-Method Study of Compressed {LLMs} for Edge {AI}},
  author        = {Rath, Plawan Kumar and Maliakkal, Rahul},
  booktitle     = {Proc. IEEE AIIoT 2026},
  year          = {2026},
  eprint        = {2605.08137},
  archivePrefix = {arXiv}
}"""


def title(record: PruningRecord, base: BaseModel) -> str:
    """One line that names the checkpoint."""
    return f"{markdown(base.name)}: {short_title(record)}"


def summary(record: PruningRecord, base: BaseModel, results: CardResults) -> str:
    """Title, warning, origin and license."""
    measured = (
        "What was measured of this checkpoint is listed below."
        if results.measured_bias
        else "How biased this checkpoint is has **not** been measured."
    )
    origin = f"[{base.hub_id}](https://huggingface.co/{base.hub_id})" if base.hub_id else markdown(base.name)
    return (
        f"# {title(record, base)}\n\n"
        "> ⚠️ **A research artifact, not for production use.** Pruning can raise a language model's reliance "
        "on social stereotypes while its perplexity hardly moves "
        f"([Rath & Maliakkal, 2026]({PAPER})). {measured} "
        "Do not put it in front of users or let it decide about people.\n\n"
        f"{origin}, {origin_of(record)}. Made to study what compression does to a model.\n\n{_license(base)}"
    )


def _license(base: BaseModel) -> str:
    if base.license is None:
        return "License: that of the base model, which was not recorded; see there before any use."
    name = markdown(base.license_name or base.license)
    # A relative link would lead into this repository, and a parenthesis end the link.
    safe = base.license_link is not None and _LINK.fullmatch(base.license_link)
    linked = f"[{name}]({base.license_link})" if safe else name
    return f"License: {linked}, that of the base model."


def configuration(record: PruningRecord, base: BaseModel) -> str:
    """What was pruned, and how."""
    lines = [f"- **Base model**: {base.hub_id or markdown(base.name)}", *configuration_lines(record)]
    if record.calibration is not None:
        lines.append(f"- **Calibration**: {_calibration(record.calibration, record.statistics)}")
    if record.seed is not None:
        lines.append(f"- **Seed**: {record.seed}")
    by_projection = [f"{name} {found.sparsity:.2f}%" for name, found in (record.projections or {}).items()]
    if by_projection:
        lines.append(f"- **Sparsity by projection**: {', '.join(by_projection)}")
    lines += [f"- **Note**: {markdown(note)}" for note in record.warnings or ()]
    return "\n".join(["## Pruning configuration", "", *lines])


def _calibration(used: CalibrationText, statistics: str | None) -> str:
    amount = f"{used.samples} samples of {used.sequence_length} tokens"
    where = {
        "sequential": "; each block's inputs come from the blocks already pruned",
        "dense": "; all inputs come from the dense model",
    }.get(str(statistics), "")
    checksum = f" (SHA-256 of the text {used.sha256[:12]})" if used.sha256 else ""
    return f"{amount} from {_source_name(used.source)}{checksum}{where}"


def _source_name(source: str) -> str:
    return {"c4": "C4", "demo": "mlx-prune's invented demo text"}.get(source, markdown(Path(source).name))


def metrics(results: CardResults) -> str:
    """What was measured, or that nothing was."""
    lines = results_table(results)
    heading = "## Measured effects\n\n"
    if not lines:
        return f"{heading}None yet: neither bias nor perplexity nor latency of this checkpoint was measured."
    return heading + "\n".join(lines) + f"\n\n{_conditions(results)}".rstrip()


def _conditions(results: CardResults) -> str:
    parts = []
    if results.measured_bias:
        seeds = f" under {results.seeds} seeds" if results.seeds else ""
        warmth = f" at temperature {results.temperature:g}" if results.temperature is not None else ""
        count = f"{results.items:,} items" if results.items else "items"
        parts.append(
            f"Bias: {count} of {_items_name(results.bbq)} asked{seeds}{warmth}. SRS is the share of answers "
            "that fit the stereotype where the context does not tell. An answer is understood if it gives a "
            "letter as one; where less than half are, rates are struck out. One item's answers under several "
            "seeds are not independent."
        )
    if results.device:
        parts.append(f"Measured on {results.device}.")
    return " ".join(parts)


def _items_name(source: str) -> str:
    names = {
        "": "BBQ",
        "hub": "BBQ (Elfsong/BBQ)",
        "demo": "mlx-prune's invented demonstration set, which is not BBQ,",
    }
    return names.get(source, f"BBQ ({markdown(source)})")


def caveats(record: PruningRecord, results: CardResults) -> str:
    """What pruning does not buy."""
    size, speed = caveats_of(record)
    if results.latency_ratio is not None or results.latency_s is not None:
        speed += "; what was measured is in the table above"
    unmeasured = "" if results.perplexity is not None else " (it was not measured here)"
    return (
        "## Caveats for edge deployment\n\n"
        f"- **Size**: {size}.\n"
        f"- **Latency**: {speed}.\n"
        f"- **Perplexity**{unmeasured} is no sign of safety: in the study, the method that kept perplexity "
        "best raised the reliance on stereotypes most. Evaluate bias before any deployment."
    )


def use(repo_id: str | None) -> str:
    """How to load the checkpoint."""
    return (
        "## Use\n\n```python\nfrom mlx_lm import generate, load\n\n"
        f'model, tokenizer = load("{repo_id or "path/to/this/folder"}")\n```'
    )


def reproduction(record: PruningRecord, base: BaseModel) -> str:
    """The command that makes this checkpoint again."""
    versions = ", ".join(f"{name} {version}" for name, version in (record.versions or {}).items())
    made = f"\n\nMade with {versions}." if versions else ""
    return f"## Reproduce\n\n```sh\n{command_of(record, base)}\n```{made}"


def citation() -> str:
    """What to cite."""
    return (
        "## Citation\n\nThe method of evaluation and the warning above are those of\n\n"
        f"```bibtex\n{CITATION}\n```\n\nThis checkpoint is not one of the paper's own."
    )
