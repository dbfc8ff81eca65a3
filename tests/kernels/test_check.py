"""The kernels are compared with the portable operations before they are trusted, and nothing fools that."""

from __future__ import annotations

import json

import mlx.core as mx
import numpy as np
import pytest
from shimmed_kernels import pretend_gpu, shim

from mlx_prune import diagnostics
from mlx_prune.cli import doctor as doctor_command
from mlx_prune.cli.main import run as run_command
from mlx_prune.kernels import check, choice, launch

COMPILER_SAYS = """[metal::Device] Unable to build metal library from source
program_source:7:3: warning: unused variable 'a'
program_source:12:5: error: use of undeclared identifier 'simd_sum' [-Wundeclared]
  simd_sum(total[/x]);
program_source:13:5: error: another one
"""


def returning(change, function):
    """The kernels, one of which has its result changed."""

    def run(name, *arguments):
        found = shim("metal")(name, *arguments)
        return change(found) if name == function else found

    return run


def refused(*_):
    raise RuntimeError(COMPILER_SAYS)


@pytest.mark.parametrize("dialect", ["metal", "cuda"])
@pytest.mark.parametrize("name", check.FUNCTIONS)
def test_sound_kernels_agree(dialect, name, monkeypatch):
    pretend_gpu(monkeypatch, dialect)
    assert check.check(name, mx.bfloat16).agrees


def test_the_checked_shapes_run_what_real_matrices_run(monkeypatch):
    """Inputs in both of MLX's address spaces, several slabs and chunks, groups in both directions."""
    seen: dict[str, list[tuple[list[int], tuple[int, int]]]] = {}

    def watched(name, inputs, template, groups, shape, dtype):
        seen.setdefault(name, []).append(([values.size for values in inputs], groups))
        return shim("metal")(name, inputs, template, groups, shape, dtype)

    pretend_gpu(monkeypatch, run=watched)
    assert all(check.check(name, mx.float16).agrees for name in check.FUNCTIONS)
    always_small = {"select_rows": {2}, "digit_counts": {1}, "apply_threshold": {1}, "select_groups": {2}}
    for name, calls in seen.items():
        for place in range(len(calls[0][0])):
            sizes = [inputs[place] for inputs, _ in calls]
            assert min(sizes) < 8  # in `constant` memory
            assert max(sizes) >= 8 or place in always_small.get(name, ())  # in `device` memory
        assert max(groups[0] for _, groups in calls) > 1
    assert max(groups[1] for _, groups in seen["square_sums"]) == 3
    assert max(groups[1] for _, groups in seen["select_groups"]) > 1


@pytest.mark.parametrize("name", check.FUNCTIONS)
def test_nan_agrees_with_nothing(name, monkeypatch):
    def one_nan(values):
        bits = np.array(values.astype(mx.float32)).reshape(-1)
        bits[-1] = np.nan
        return mx.array(bits.reshape(values.shape)).astype(values.dtype)

    pretend_gpu(monkeypatch, run=lambda *call: one_nan(mx.zeros(call[4], call[5])))
    results = [check.check(name, dtype) for dtype in check.TYPES]
    assert not any(result.agrees for result in results)
    everything = returning(lambda found: found * mx.array(np.nan, found.dtype), "square_sums")
    pretend_gpu(monkeypatch, run=everything)
    assert not check.check("sum_of_squares", mx.float32).agrees


def test_one_nan_hides_no_other_error_and_is_no_error_itself_hidden(monkeypatch):
    def last_one(found):
        return mx.concatenate([found[..., :-1], mx.full((*found.shape[:-1], 1), np.nan)], axis=-1)

    pretend_gpu(monkeypatch, run=returning(last_one, "square_sums"))
    result = check.check("sum_of_squares", mx.float32)
    assert not result.agrees
    assert "1 of 3 sums" in result.detail


def test_selections_are_compared_on_bits(monkeypatch):
    def negative_zeros(found):
        return mx.where(found == 0, mx.array(-0.0, found.dtype), found)

    pretend_gpu(monkeypatch, run=returning(negative_zeros, "select_groups"))
    result = check.check("prune_groups", mx.float32)
    assert not result.agrees
    assert "differ" in result.detail


def test_sums_may_differ_in_their_last_digits_and_no_more(monkeypatch):
    pretend_gpu(monkeypatch, run=returning(lambda found: found * (1 + 4e-6), "square_sums"))
    assert check.check("sum_of_squares", mx.float32).agrees
    pretend_gpu(monkeypatch, run=returning(lambda found: found * (1 + 4e-5), "square_sums"))
    assert not check.check("sum_of_squares", mx.float32).agrees


def test_a_difference_at_the_larger_shapes_alone_is_found(monkeypatch):
    def wrong_in_later_slabs(found):
        return mx.concatenate([found[:1], 2 * found[1:]])

    pretend_gpu(monkeypatch, run=returning(wrong_in_later_slabs, "square_sums"))
    result = check.check("sum_of_squares", mx.float32)
    assert not result.agrees
    assert "131 x 1021" in result.detail


def test_each_kernel_is_judged_by_itself_in_each_type(monkeypatch):
    def half_the_types(name, inputs, template, *rest):
        if name == "select_groups" and inputs[0].dtype == mx.float16:
            refused()
        return shim("metal")(name, inputs, template, *rest)

    pretend_gpu(monkeypatch, run=half_the_types)
    found = {dtype: check.check("prune_groups", dtype).agrees for dtype in check.TYPES}
    assert found == {mx.bfloat16: True, mx.float16: False, mx.float32: True}
    with pytest.warns(choice.KernelWarning, match="prune_groups is not used for float16"):
        assert not choice.usable("prune_groups", mx.float16)
    assert choice.usable("prune_groups", mx.float32)
    assert choice.usable("sum_of_squares", mx.float16)


def test_the_compilers_error_is_shown_and_kept_whole(monkeypatch):
    pretend_gpu(monkeypatch, run=refused)
    result = check.check("prune_rows", mx.float32)
    assert result.detail == COMPILER_SAYS.splitlines()[2]
    assert result.text == COMPILER_SAYS


@pytest.mark.parametrize(
    ("said", "line"), [("", "ValueError"), ("\n out of memory\nmore", "out of memory more")]
)
def test_an_error_that_is_no_compilers_is_told_on_one_line(said, line):
    assert check.summary(ValueError(said)) == line


@pytest.fixture
def doctor(monkeypatch, capsys):
    """Doctor on a pretended GPU, looking at the kernels alone."""

    def look(*options: str) -> tuple[int, str]:
        monkeypatch.setattr(diagnostics, "backend", lambda: "metal")
        quick = check.compare
        monkeypatch.setattr(check, "compare", lambda shapes: quick(shapes=check.SHAPES[:1]))
        monkeypatch.setattr(
            diagnostics,
            "diagnose",
            lambda: [diagnostics.Check("kernels", *diagnostics._kernels())],
        )
        code = run_command(["doctor", *options])
        return code, capsys.readouterr().out

    return look


def test_doctor_shows_what_the_compiler_says_brackets_and_all(monkeypatch, doctor):
    pretend_gpu(monkeypatch, run=refused)
    code, shown = doctor()
    assert code == 1
    assert "[-Wundeclared]" in "".join(shown.split())
    assert "prune_rows of bfloat16" in " ".join(shown.split())
    assert doctor_command.command.name == "doctor"


def test_doctor_prints_markup_that_is_none(monkeypatch, capsys):
    odd = diagnostics.Check("kernels", "failure", "closing [/x] and [red]opening[/] \\")
    monkeypatch.setattr(diagnostics, "diagnose", lambda: [odd])
    assert run_command(["doctor"]) == 1
    assert "closing [/x] and [red]opening[/] \\" in capsys.readouterr().out


def test_doctor_json_holds_the_compilers_whole_output(monkeypatch, doctor):
    pretend_gpu(monkeypatch, run=refused)
    code, shown = doctor("--json")
    (kernels,) = json.loads(shown)["checks"]
    assert code == 1
    assert COMPILER_SAYS in kernels["text"]
    assert kernels["text"].count("another one") == len(check.FUNCTIONS) * len(check.TYPES)


def test_doctor_is_content_with_sound_kernels_and_says_if_they_are_switched_off(monkeypatch, doctor):
    pretend_gpu(monkeypatch)
    code, shown = doctor("--json")
    assert (code, json.loads(shown)["checks"][0]["status"]) == (0, "ok")
    monkeypatch.setenv(choice.VARIABLE, "0")
    code, shown = doctor("--json")
    assert (code, json.loads(shown)["checks"][0]["status"]) == (0, "warning")
    assert "MLX_PRUNE_KERNELS=0" in shown


def test_the_thorough_shapes_hold_those_of_every_start():
    assert check.THOROUGH_SHAPES[: len(check.SHAPES)] == check.SHAPES
    assert check.THOROUGH_SHAPES[-1][0] * check.THOROUGH_SHAPES[-1][1] > 200 * launch.CHUNK
