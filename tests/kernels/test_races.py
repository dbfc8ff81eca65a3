"""Kernels with a real thread for each of a GPU's, under sanitizers: no race, no access outside an array."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from shimmed_kernels import instances, translation_unit
from threaded_kernels import SanitizerError, build, threaded

from mlx_prune.kernels import SIGNATURES, check, launch, portable

KIND = ("bfloat_type",)
# Small, but with several groups, rows and slabs, and ties of which only some may go.
SHAPES = {
    "sum_of_squares": (65, 33),
    "prune_rows": (2, 700),
    "prune_matrix": (2, 8200),
    "prune_groups": (3, 515),
}
CALLS = {
    "digit_counts": "prune_matrix",
    "select_rows": "prune_rows",
    "apply_threshold": "prune_matrix",
}


def matrix(shape):
    values = np.round(np.random.default_rng(1).normal(size=shape) * 8) / 8
    return mx.array(values.astype(np.float32)).astype(mx.bfloat16)


def run(function):
    """Call a function on the kernels; its result must be the portable one's."""
    weight, scale = matrix(SHAPES[function]), mx.ones(SHAPES[function][1])
    found = check.FUNCTIONS[function](launch, weight, scale)
    wanted = check.FUNCTIONS[function](portable, weight, scale)
    np.testing.assert_allclose(
        np.array(found.astype(mx.float32)), np.array(wanted.astype(mx.float32)), rtol=1e-5
    )


@pytest.mark.parametrize("dialect", ["metal", pytest.param("cuda", marks=pytest.mark.long)])
@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
@pytest.mark.parametrize("function", SHAPES)
def test_kernels_are_sound_with_real_threads(function, sanitizer, dialect, monkeypatch):
    monkeypatch.setattr(launch, "_run", threaded(sanitizer, dialect, KIND, tuple(SIGNATURES)))
    run(function)


# Where a body's barriers stand in its translation unit: first the two of the group's prefix sum.
@pytest.mark.parametrize(
    ("body", "barrier"),
    [
        ("digit_counts", 2),
        pytest.param("digit_counts", 3, marks=pytest.mark.long),
        *(pytest.param("select_rows", barrier, marks=pytest.mark.long) for barrier in range(5)),
        *(pytest.param("apply_threshold", barrier, marks=pytest.mark.long) for barrier in range(2)),
    ],
)
def test_a_barrier_that_is_left_out_is_missed(body, barrier, monkeypatch):
    pieces = translation_unit("metal", KIND, (body,)).split("MP_BARRIER;")
    unit = "MP_BARRIER;".join(pieces[: barrier + 1]) + "(void)0;" + "MP_BARRIER;".join(pieces[barrier + 1 :])
    broken = build("thread", unit, instances(KIND, (body,)))
    sound = threaded("thread", "metal", KIND, tuple(SIGNATURES))
    monkeypatch.setattr(launch, "_run", lambda name, *rest: (broken if name == body else sound)(name, *rest))
    with pytest.raises((SanitizerError, AssertionError)):
        run(CALLS[body])


@pytest.mark.long
def test_an_access_outside_an_array_is_seen(monkeypatch):
    unit = translation_unit("metal", KIND, ("square_sums",)).replace(
        "feature < features", "feature <= features", 1
    )
    monkeypatch.setattr(launch, "_run", build("address,undefined", unit, instances(KIND, ("square_sums",))))
    with pytest.raises(SanitizerError, match="heap-buffer-overflow"):
        run("sum_of_squares")
