"""The registry of methods: what it tells of the built-in ones, and that telling needs no MLX."""

from __future__ import annotations

import subprocess
import sys

from mlx_prune.registry import (
    MASK,
    STRUCTURE,
    cached,
    forget,
    methods,
    modifiers,
    of_this_process,
    register,
    scopes,
    with_modifier,
)


def test_methods_come_by_kind_in_the_order_of_reports():
    assert list(methods(MASK)) == ["random", "magnitude", "wanda", "sparsegpt"]
    assert list(methods(STRUCTURE)) == ["width", "depth", "experts"]
    assert list(methods()) == [*methods(MASK, STRUCTURE), "quantize"]


def test_modifiers_and_scopes_are_those_of_the_methods():
    assert list(modifiers()) == [
        *("owl", "heads", "both", "contiguous", "repair"),
        *("ean", "frequency", "weight-norm", "random", "unguarded"),
    ]
    assert with_modifier("owl") == ["wanda", "sparsegpt"]
    assert with_modifier("repair") == ["width", "depth"]
    assert list(scopes()) == ["blocks", "paper"]


def test_every_method_can_be_told_of_and_drawn():
    for method in methods().values():
        assert method.words
        assert method.look.marker
        assert set(method.own) <= set(method.options)
        assert all(field.name for field in method.modifiers)


def test_what_was_remembered_of_a_label_is_forgotten_with_the_methods():
    @cached
    def count(_: str) -> int:
        return len(methods())

    class Other(type(methods()["random"])):
        name = "other"

    before = count("any")
    register(Other())
    try:
        assert count("any") == before + 1
        assert of_this_process() == ["other"]
    finally:
        forget("other")
    assert count("any") == before
    assert of_this_process() == []


def test_names_words_and_options_need_neither_mlx_nor_numpy():
    script = (
        "import sys; from mlx_prune.registry import methods, options_of\n"
        "assert all(options_of(method.recipe) for method in methods().values())\n"
        "raise SystemExit(' '.join({'mlx', 'numpy', 'scipy'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert told.stderr == "\n"
