"""Without Metal: what MLX would give it is what Metal takes, and what Metal refuses is refused here."""

from __future__ import annotations

import math
from dataclasses import dataclass

import metal_compiler
import metal_text
import pytest
from metal_sources import recorded

from mlx_prune.kernels import SIGNATURES

TEXT = "text"


@dataclass(frozen=True)
class Mutant:
    """A change to a sound kernel that Metal would refuse.

    Attributes:
        old: A part of the kernel.
        new: What takes its place.
        by: The checks that must refuse it.
        kernel: Body, with its type and the memory of its inputs.
    """

    old: str
    new: str
    by: tuple[str, ...]
    kernel: str = "select_rows__bfloat16_t_bfloat16_t_float_"


CPP = ("c++14", "c++17")
ALL = (*CPP, "opencl")
FIRST = "uint wanted = k[0];"
MUTANTS = {
    "a pointer without an address space": Mutant(FIRST, f"{FIRST} const T* kept = weight; (void)kept;", CPP),
    "a device pointer kept as threadgroup": Mutant(
        FIRST, f"{FIRST} threadgroup const T* kept = weight; (void)kept;", ALL
    ),
    "a constant pointer kept as device": Mutant(
        FIRST, f"{FIRST} const device int* kept = weight_shape; (void)kept;", ALL
    ),
    "an input written to": Mutant("pruned[row + column] =", "weight[row + column] =", ALL),
    "a float stored as bfloat unasked": Mutant("static_cast<T>(0.0f)", "0.0f", ALL),
    "arithmetic in bfloat": Mutant("MP_MAGNITUDE(weight[row + column])", "(weight[row + column])", ALL),
    "min of signed and unsigned": Mutant(FIRST, "uint wanted = MP_MIN(k[0], 3);", ALL),
    "a counter added to like a number": Mutant(
        "MP_ADD(bins[(key >> shift) & 255u], 1u)", "bins[0] += 1u", ALL
    ),
    "a counter read like a number": Mutant("MP_GET(bins[tid])", "bins[tid]", ALL),
    "an atomic addition to an input": Mutant(FIRST, f"{FIRST} MP_ADD(scale[0], 1u);", ALL),
    "threadgroup memory in a block": Mutant(
        FIRST, f"{FIRST} {{ MP_SHARED uint late[4]; late[tid & 3u] = wanted; }}", ("opencl",)
    ),
    "an array as long as a row": Mutant(FIRST, f"{FIRST} uint many[columns]; many[0] = wanted;", ("opencl",)),
    "a SIMD sum of 64 bits": Mutant("MP_SIMD_SCAN(value);", "MP_SIMD_SCAN(static_cast<size_t>(value));", ALL),
    "bits of another size": Mutant(FIRST, f"{FIRST} wanted += MP_BITS(weight[0]);", ALL),
    "a builtin that is not passed": Mutant(FIRST, f"{FIRST} wanted += threads_per_grid.x;", ALL),
    "a shape that is not passed": Mutant("weight_shape[1]", "scale_shape[0]", ALL),
    "a shift by all bits": Mutant(FIRST, "uint wanted = k[0] >> 32;", CPP),
    "a variable without a value": Mutant(FIRST, f"uint never; {FIRST} wanted += never;", ALL),
    "a name hidden by another": Mutant("const uint here =", "const uint wanted = 1; const uint here =", ALL),
    "an exception": Mutant(FIRST, f"{FIRST} if (wanted == 7u) throw 1;", ALL),
    "double": Mutant(FIRST, f"{FIRST} const double half_way = 0.5; wanted += half_way > 1;", (TEXT,)),
    "a jump": Mutant(FIRST, f"{FIRST} if (wanted == 7u) goto end; end: wanted += 0;", (TEXT,)),
    "a lambda": Mutant(FIRST, f"{FIRST} wanted += [&]() {{ return 0u; }}();", (TEXT,)),
    "a word of Metal as a name": Mutant(FIRST, f"{FIRST} uint fragment = 0; wanted += fragment;", (TEXT,)),
    "a macro of MLX as a name": Mutant(FIRST, f"{FIRST} uint MTL_CONST = 0; wanted += MTL_CONST;", (TEXT,)),
    "too much threadgroup memory": Mutant("bins[256]", "bins[9000]", (TEXT,)),
    "a character that is not ASCII": Mutant("// Zero the k", "// Zero the k \N{EM DASH}", (TEXT,)),
    "a chunk's counts kept as device": Mutant(
        "uint before = 0;",
        "uint before = 0; const device uint* kept = take; (void)kept;",
        ALL,
        "apply_threshold__bfloat16_t_16384_bfloat16_t_uint32_tc_uint32_tc_uint32_tc_",
    ),
}


def source(kernel: str) -> str:
    (found,) = (text for name, text in recorded().sources.items() if kernel in name)
    return found


def test_every_kernel_is_recorded_in_every_type_and_memory():
    names = recorded().sources
    for body in SIGNATURES:
        for kind in ("bfloat16_t", "float16_t", "float"):
            mine = [text for name, text in names.items() if f"_{body}__{kind}_" in name]
            assert any(f"const device {kind}* " in text for text in mine)
            assert any(f"const constant {kind}* " in text for text in mine)


@pytest.mark.parametrize("standard", metal_compiler.STANDARDS)
def test_every_source_compiles(standard):
    assert metal_compiler.faults(standard, recorded().sources) == ""


def test_no_source_holds_what_only_metal_refuses():
    found = {name: metal_text.faults(text) for name, text in recorded().sources.items()}
    assert not {name: faults for name, faults in found.items() if faults}


def test_every_launch_has_whole_threadgroups_of_the_size_that_bodies_count_on():
    assert recorded().launches
    for launch in recorded().launches:
        assert launch["threadgroup"] == [256, 1, 1]
        assert launch["grid"][0] % 256 == 0
        assert math.prod(launch["grid"]) < 1 << 31


@pytest.mark.parametrize("name", MUTANTS)
def test_what_metal_refuses_is_refused(name):
    mutant = MUTANTS[name]
    sound = source(mutant.kernel)
    changed = sound.replace(mutant.old, mutant.new, 1)
    assert changed != sound
    if "MLX" in name and "MTL_CONST" not in metal_text.preamble_macros():
        pytest.skip("this installation of MLX has no headers")
    for check in mutant.by:
        if check == TEXT:
            assert metal_text.faults(changed)
        else:
            assert "error:" in metal_compiler.faults(check, {name: changed})
