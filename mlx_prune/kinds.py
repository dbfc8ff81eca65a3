"""What kind of method a label names, and what follows from that: groups, order, and what can be compared.

Records may come from other tools: an unknown method is a kind of its own. Nothing here needs MLX.
"""

from __future__ import annotations

import re

from mlx_prune.labels import DENSE, QUANTIZED, known_label
from mlx_prune.registry import MASK, STRUCTURE, methods


def families() -> tuple[str, ...]:
    """Kinds of methods in the order of a report; what is quantized and nothing else is a kind of its own."""
    return (DENSE, *methods(MASK), *methods(STRUCTURE), QUANTIZED)


def family(method: str) -> str:
    """The kind of a method: its base, "quantized" for a quantization alone, or an unknown method itself."""
    label = known_label(method)
    if label is None:
        return method
    return QUANTIZED if label.base == DENSE and label.quantization is not None else label.base


def only_quantized(method: str) -> bool:
    """Whether the model was quantized and nothing else, so that no sparsity goes with its name."""
    return family(method) == QUANTIZED


def removes_weights(method: str) -> bool:
    """Whether neurons, heads or blocks are gone, so that the target is a share of these."""
    label = known_label(method)
    return label is not None and label.structured


def keeps_form(method: str) -> bool:
    """Whether the model computes with the dense model's shapes and types, so that it cannot differ in time.

    So it is where single weights were set to zero and nothing else was done; of unknown methods nobody knows.
    """
    label = known_label(method)
    return label is not None and not label.structured and label.quantization is None


def leaves_dose(method: str) -> bool:
    """Whether the target sparsity is a share of weights set to zero, comparable between methods.

    Not so for removed neurons or blocks, nor where quantization came on top.
    """
    label = known_label(method)
    return label is None or (label.masked and label.quantization is None)


def method_order(method: str) -> tuple[int, bool, str, str, bool, int, str]:
    """Sort key: by family, plain before modified, unquantized before quantized, many bits before few.

    Of one method and its modifiers, the first calibration text comes before the others.

    What is no label comes last, by name, numbers in names by their size.
    """
    label = known_label(method)
    if label is None:
        by_size = re.sub(r"\d+", lambda number: number[0].zfill(20), method.casefold())
        return len(families()), False, by_size, "", False, 0, method
    quantization = label.quantization
    bits = 0 if quantization is None else quantization.bits or 0
    return (
        families().index(family(method)),
        bool(label.modifiers),
        "+".join(label.modifiers),
        label.calibration or "",
        quantization is not None,
        -bits,
        method,
    )
