"""What a model card says of the method: which zeros, what was removed, how many bits."""

from __future__ import annotations

import shlex
from pathlib import Path

from mlx_prune.cards.base import DEMO_MODEL, BaseModel
from mlx_prune.checkpoint.record import PruningRecord, Quantized
from mlx_prune.labels import DENSE, Label, known_label
from mlx_prune.outside_names import plain
from mlx_prune.registry import Method, methods, options_of

_UNITS = {
    "neurons": "MLP neurons per block",
    "groups": "Key-value groups per block",
    "blocks": "Transformer blocks",
}
_SCOPES = {
    "blocks": "all linear layers inside the transformer blocks (attention and MLP projections)",
    "paper": "linear layers inside the transformer blocks but o_proj and down_proj, as in the study's Wanda",
}


def label_of(record: PruningRecord) -> Label | None:
    """The method taken apart, or None for a method of another tool."""
    return known_label(str(record.method))


def tags(record: PruningRecord) -> list[str]:
    """Words by which the Hub finds the checkpoint."""
    label = label_of(record)
    if label is None:
        return ["pruning", str(record.method)]
    found = [] if label.base == DENSE else ["pruning", label.base, *label.modifiers]
    if label.quantization is not None:
        found += ["quantization", label.quantization.label]
    return found


def short_title(record: PruningRecord) -> str:
    """What was done, in a few words: "wanda pruning at 50% target sparsity (2:4 pattern), 4-bit"."""
    label = label_of(record)
    pattern = f" ({record.pattern} pattern)" if record.pattern else ""
    bits = "" if label is None or label.quantization is None else f"{label.quantization.bits}-bit"
    if label is not None and label.base == DENSE:
        return f"{bits} quantization ({record.method})"
    method = record.method if label is None else label.pruned
    target = f"{record.target_sparsity:g}%"
    what = f"{target} removed" if label is not None and label.structured else f"{target} target sparsity"
    return f"{method} pruning at {what}{pattern}" + (f", {bits}" if bits else "")


def origin_of(record: PruningRecord) -> str:
    """What became of the base model, as the rest of a sentence that begins with its name."""
    label = label_of(record)
    done = record.quantization
    bits = "" if done is None else f"quantized to {done.bits_per_weight:.2f} bits per weight"
    if label is not None and label.base == DENSE:
        return f"{bits} by mlx-prune"
    if label is not None and label.structured:
        sizes = record.parameters
        assert sizes is not None
        made = f"made smaller by mlx-prune: {sizes.after:,} of its {sizes.before:,} parameters are left"
    else:
        zeros = record.zero_params if done is None else done.zeros_before
        made = f"pruned by mlx-prune: {zeros:,} of its weights {'were set to' if done else 'are'} zero"
    return f"{made}, then {bits}" if bits else made


def configuration_lines(record: PruningRecord) -> list[str]:
    """The list of what was done: method, targets, what is left, bits."""
    label = label_of(record)
    lines = [f"- **Method**: `{record.method}`{_explained(label)}"]
    if label is None or label.masked:
        if record.pattern:
            kept, _, group = str(record.pattern).partition(":")
            lines.append(f"- **Pattern**: {record.pattern} ({kept} of every {group} consecutive inputs kept)")
        lines += _sparsity(record)
        lines.append(
            f"- **Zeroed parameters**: {record.zero_params:,} of {record.total_prunable_params:,} prunable"
        )
    elif label.structured:
        lines += _sparsity(record)
        for unit, found in (record.removed or {}).items():
            gone = ""
            if unit == "blocks" and found.removed:
                gone = f" (without {', '.join(map(str, found.removed))})"
            lines.append(f"- **{_UNITS.get(unit, unit)}**: {found.before} before, {found.after} now{gone}")
    if record.quantization is not None:
        lines += _quantization(record.quantization)
    lines += _costs(record)
    lines.append(
        f"- **{'Prune time' if label is None or label.base != DENSE else 'Time'}**: "
        f"{record.prune_time_s:.1f} s"
    )
    if record.scope:
        named = _SCOPES.get(record.scope, record.scope)
        left = "".join(f", {projection}" for projection in record.left_out or ())
        lines.append(f"- **Scope**: {named}; embeddings, LM head, norms{left} are untouched by pruning")
    return lines


def _explained(label: Label | None) -> str:
    if label is None or label.base == DENSE:
        return ""
    method = methods()[label.base]
    said = [word.words for word in method.modifiers if word.name in label.modifiers]
    return f": {'; '.join([method.words, *said])}"


def _sparsity(record: PruningRecord) -> list[str]:
    return [
        f"- **Target sparsity**: {record.target_sparsity:g}%",
        f"- **Actual sparsity**: {record.actual_sparsity:.2f}%"
        + (" of the blocks' weights, removed or zero" if record.smaller else ""),
    ]


def _quantization(done: Quantized) -> list[str]:
    lines = [
        f"- **Quantization**: {done.mode}, {done.bits} bits in groups of {done.group_size}, "
        f"{done.layers:,} layers; {done.bits_per_weight:.2f} bits per weight over the whole model"
    ]
    if done.left:
        lines.append(f"- **Not quantized**: {len(done.left):,} layers ({done.left[0]} the first)")
    if done.zeros_before:
        share = 100 * done.zeros_kept / done.zeros_before
        lines.append(
            f"- **Zeros that survive quantization**: {done.zeros_kept:,} of {done.zeros_before:,} "
            f"({share:.2f}%)"
        )
    return lines


def _costs(record: PruningRecord) -> list[str]:
    lines = []
    for key, name in (
        ("parameters", "Parameters"),
        ("weight_bytes", "Bytes of the weight files"),
        ("flops_per_token", "FLOPs per token"),
    ):
        found = getattr(record, key)
        if found and found.before != found.after:
            share = 100 * found.after / found.before
            lines.append(f"- **{name}**: {found.before:,} before, {found.after:,} now ({share:.1f}%)")
    return lines


def caveats_of(record: PruningRecord) -> tuple[str, str]:
    """What the checkpoint costs to hold and to run, as the ends of two sentences."""
    label = label_of(record)
    if label is not None and (label.structured or label.quantization is not None):
        sizes = record.weight_bytes
        size = (
            f"the weight files hold {100 * sizes.after / sizes.before:.1f}% of the dense model's bytes"
            if sizes
            else "the files are smaller than the dense model's"
        )
        speed = "measure on the device it is for: " + (
            "fewer multiplications usually take less time, though seldom in proportion"
            if label.quantization is None
            else "fewer bytes are read per token, and whether that is faster depends on the kernels there"
        )
        return size, speed
    size = (
        "the files are as large as the dense model's, because safetensors stores a zero like any weight; a "
        "sparse form such as Core ML's (one bit per weight, and the weights that are left) would take less"
    )
    if record.pattern:
        return size, f"MLX has no kernels for {record.pattern} sparsity and multiplies by the zeros"
    return (
        size,
        "MLX multiplies by zeros as by any other weight, so no answer is expected to come sooner there",
    )


def command_of(record: PruningRecord, base: BaseModel) -> str:
    """The command that makes the checkpoint again."""
    label = label_of(record)
    model = DEMO_MODEL if record.model == DEMO_MODEL else base.hub_id or base.name
    method = str(record.method) if label is None else "quantize" if label.base == DENSE else label.base
    words = ["mlxprune prune", shlex.quote(plain(model)), "-o OUT", f"-m {method}"]
    if method != "quantize":
        target = f"--pattern {record.pattern}" if record.pattern else f"-s {record.target_sparsity:g}"
        words.append(target)
    chosen = None if label is None else methods().get(label.base)
    if label is not None and chosen is not None:
        words += _own_options(chosen, label, record)
    if record.scope not in (None, "blocks"):
        words.append(f"--scope {record.scope}")
    if record.statistics and (chosen is None or "statistics" in chosen.settings):
        words.append(f"--statistics {record.statistics}")
    used = record.calibration
    if used is not None:
        source = used.source if used.source in ("demo", "c4") else Path(used.source).name
        words.append(f"--calibration {shlex.quote(plain(source))} --samples {used.samples}")
        words.append(f"--sequence-length {used.sequence_length}")
    if record.seed is not None:
        words.append(f"--seed {record.seed}")
    if label is not None and label.quantization is not None:
        words.append(label.quantization.arguments)
    return " ".join(words)


def _own_options(method: Method, label: Label, record: PruningRecord) -> list[str]:
    """Options of the method away from their defaults: those of its modifiers, and others of its own."""
    set_by = {word.field: word.argument for word in method.modifiers if word.name in label.modifiers}
    modifying = {word.field for word in method.modifiers}
    words = []
    for name, (field, _) in options_of(method.recipe).items():
        value = record.entries.get(field.name)
        if field.name in set_by:
            words.append(set_by[field.name])
        elif name in method.own and field.name not in modifying and value not in (None, field.default):
            words.append(f"--{name.replace('_', '-')} {value}")
    return words
