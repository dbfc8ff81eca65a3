"""Whichever BLAS answers, MLX computes the same; and what cannot be put in place leaves MLX as it is."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="MLX uses Accelerate there")

SCIPY = importlib.util.find_spec("scipy")
WHEEL = Path(str(SCIPY.origin)).parents[1] / "scipy.libs" if SCIPY else Path("nowhere")
needs_wheel = pytest.mark.skipif(
    not any(WHEEL.glob("libscipy_openblas*")), reason="no wheel of SciPy 1.14 or newer"
)

# Every function that MLX calls in BLAS and LAPACK, in results that do not depend on signs or on an order.
RESULTS = """
import sys
import numpy as np
import mlx_prune
import mlx.core as mx
from mlx_prune import _blas

random = np.random.default_rng(0)
results = {}

def keep(name, *arrays):
    results.update({f"{name}_{number}": np.array(array) for number, array in enumerate(arrays)})

def matrix(*shape, dtype="float32"):
    drawn = random.standard_normal(shape)
    if dtype == "complex64":
        drawn = drawn + 1j * random.standard_normal(shape)
    return mx.array(drawn.astype(dtype), dtype=getattr(mx, dtype))

with mx.stream(mx.cpu):
    for dtype in ("float32", "float64", "complex64"):
        for m, k, n in ((1, 1, 1), (3, 7, 5), (1, 129, 33), (67, 1, 31), (65, 257, 127), (300, 301, 5)):
            a, b = matrix(m, k, dtype=dtype), matrix(k, n, dtype=dtype)
            keep(f"product_{dtype}_{m}_{k}_{n}", a @ b)
            left, right = matrix(k, m, dtype=dtype), matrix(n, k, dtype=dtype)
            keep(f"transposed_{dtype}_{m}_{k}_{n}", left.T @ b, a @ right.T, left.T @ right.T)
        a, b = matrix(2, 3, 17, 9, dtype=dtype), matrix(3, 9, 21, dtype=dtype)
        keep(f"batched_{dtype}", a @ b, a[:, ::2] @ b[::2], a.swapaxes(-1, -2) @ matrix(17, 4, dtype=dtype))
        keep(f"part_{dtype}", matrix(40, 40, dtype=dtype)[3:20, 5:30] @ matrix(50, 60, dtype=dtype)[:25, 1:8])
        keep(f"empty_{dtype}", mx.zeros((3, 0), getattr(mx, dtype)) @ mx.zeros((0, 4), getattr(mx, dtype)))
    c, a, b = matrix(13, 11), matrix(13, 19), matrix(19, 11)
    keep("addmm", mx.addmm(c, a, b, alpha=0.5, beta=2.0))
    a = matrix(5, 7, dtype="complex64")
    keep("conjugate", a @ mx.conjugate(a).T)
    keep("convolution", mx.conv2d(matrix(2, 9, 9, 3), matrix(5, 3, 3, 3)))
    for dtype in ("float32", "float64"):
        a = matrix(3, 12, 8, dtype=dtype)
        q, r = mx.linalg.qr(a)
        keep(f"qr_{dtype}", q @ r, mx.abs(r), q.swapaxes(-1, -2) @ q)
        square = matrix(3, 20, 20, dtype=dtype) + 9 * mx.eye(20, dtype=getattr(mx, dtype))
        positive = square @ square.swapaxes(-1, -2)
        keep(f"inv_{dtype}", mx.linalg.inv(square), mx.linalg.solve(square, square[..., :3]))
        keep(f"cholesky_{dtype}", mx.linalg.cholesky(positive), mx.linalg.cholesky(positive, upper=True))
        keep(f"cholesky_inv_{dtype}", mx.linalg.cholesky_inv(mx.linalg.cholesky(positive)))
        keep(f"triangular_{dtype}", mx.linalg.tri_inv(mx.tril(square)))
    for dtype in ("float32", "float64", "complex64"):
        a = matrix(2, 11, 6, dtype=dtype)
        u, s, vt = mx.linalg.svd(a)
        keep(f"svd_{dtype}", s, (u[..., :6] * s[:, None]) @ vt)
        square = matrix(12, 12, dtype=dtype)
        values, vectors = mx.linalg.eigh(square + mx.conjugate(square).T)
        keep(f"eigh_{dtype}", values, (vectors * values) @ mx.conjugate(vectors).T)
        keep(f"eig_{dtype}", np.sort_complex(np.array(mx.linalg.eigvals(square))))
    mx.eval(a)
np.savez(sys.argv[1], **results)
print(_blas.status()[1])
"""


def python(program: str, *words: str, openblas: str | None = None, **variables: str) -> str:
    """What a new process prints."""
    inherited = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    environment = {**inherited, "MLX_PRUNE_OPENBLAS": openblas or "1", **variables}
    done = subprocess.run(
        [sys.executable, "-c", program, *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@needs_wheel
def test_scipys_openblas_computes_what_mlxs_own_blas_computes(tmp_path: Path) -> None:
    said, found = {}, {}
    for choice in ("0", "scipy"):
        said[choice] = python(RESULTS, str(tmp_path / f"{choice}.npz"), openblas=choice)
        found[choice] = np.load(tmp_path / f"{choice}.npz")
    assert said["0"] == "switched off by MLX_PRUNE_OPENBLAS=0"
    assert said["scipy"].startswith("SciPy's OpenBLAS (")
    assert said["scipy"].endswith(") answers MLX's matrix products")
    for name in found["0"].files:
        own, other = found["0"][name], found["scipy"][name]
        assert other.dtype == own.dtype
        rounding = 4e-14 if own.dtype in (np.float64, np.complex128) else 2e-5
        scale = np.abs(own).max(initial=1.0)
        np.testing.assert_allclose(other, own, rtol=0, atol=rounding * scale, err_msg=name)
    assert len(found["0"].files) > 100


PRODUCT = """
import mlx.core as mx
a = mx.arange(12.0).reshape(3, 4)
assert (a @ a.T).tolist() == [[14, 38, 62], [38, 126, 214], [62, 214, 366]]
"""


@needs_wheel
def test_mlx_may_be_imported_first() -> None:
    said = python(
        f"{PRODUCT}\nimport mlx_prune\nfrom mlx_prune import _blas\n{PRODUCT}\nprint(_blas.status()[1])",
    )
    assert said.startswith("SciPy's OpenBLAS (")


def test_the_systems_own_is_not_looked_for_elsewhere() -> None:
    said = python(
        f"{PRODUCT}\nimport mlx_prune\nfrom mlx_prune import _blas\nprint(_blas.status()[1])",
        openblas="system",
    )
    assert said == "mlx was imported before mlx_prune; import mlx_prune first"


def test_neither_mlx_nor_scipy_nor_its_openblas_is_loaded_before_mlx_is_asked_for() -> None:
    said = python(
        "import sys, mlx_prune\n"
        "from mlx_prune import _blas\n"
        "print(_blas.status()[1])\n"
        "print(sorted({'mlx', 'scipy', 'numpy', 'mlx_prune._elf'} & set(sys.modules)))\n"
        "print('openblas' in open('/proc/self/maps').read())",
        openblas="scipy",
    )
    assert said.splitlines() == ["SciPy's OpenBLAS is put in place when MLX is imported", "[]", "False"]


@needs_wheel
def test_a_core_is_left_to_python_unless_the_environment_says_otherwise() -> None:
    program = "import mlx_prune, mlx.core\nfrom mlx_prune import _blas\nprint(_blas.status()[1])"
    cores = len(os.sched_getaffinity(0))
    assert f", {max(1, min(cores, 64) - 1)} thread" in python(program, openblas="scipy")
    assert ", 1 thread)" in python(program, openblas="scipy", OPENBLAS_NUM_THREADS="1")
    if cores > 1:
        assert ", 2 threads)" in python(program, openblas="scipy", OPENBLAS_NUM_THREADS="2")


THREADS = """
import mlx_prune
from mlx_prune import _blas
threads = _blas._answering[0].openblas_get_num_threads
before = threads()
with _blas.leaving_a_core():
    inside = threads()
    with _blas.leaving_a_core():
        assert threads() == inside
    assert threads() == inside
assert threads() == before
print(before, inside)
"""


def test_the_systems_threads_leave_a_core_while_asked_to() -> None:
    if not python("import mlx_prune\nfrom mlx_prune import _blas\nprint(_blas._loaded)").startswith("lib"):
        pytest.skip("no OpenBLAS of the system")
    before, inside = map(int, python(THREADS).split())
    cores = len(os.sched_getaffinity(0))
    assert inside == (cores - 1 if before == cores > 1 else before)
    if cores > 1:
        assert python(THREADS, OPENBLAS_NUM_THREADS="2") == "2 2"


NUMPYS = """
import mlx_prune
from mlx_prune import _blas
library, prefix, suffix = _blas._numpys()
threads = getattr(library, f"{prefix}openblas_get_num_threads{suffix}")
before = threads()
with _blas.leaving_a_core():
    print(before, threads())
assert threads() == before
"""


def test_numpys_own_has_one_thread_meanwhile() -> None:
    if python("import numpy\nfrom mlx_prune import _blas\nprint(_blas._numpys())") == "None":
        pytest.skip("this NumPy brings no OpenBLAS")
    before, inside = map(int, python(NUMPYS).split())
    assert inside == 1 <= before
    if before > 1:
        assert python(NUMPYS, OPENBLAS_NUM_THREADS="2") == "2 2"


def test_another_blas_keeps_its_threads() -> None:
    program = (
        "import mlx_prune\nfrom mlx_prune import _blas\nwith _blas.leaving_a_core():\n    print('inside')"
    )
    assert python(program, openblas="0") == "inside"


FAILURES = {
    "the processor is not known": "monkeypatch(_elf, 'ADDRESS_KINDS', {})",
    "memory cannot be looked at": "monkeypatch(_elf, 'MAPS', '/nowhere/maps')",
    "a function is missing": "monkeypatch(_blas, '_FUNCTIONS', re.compile(r'cblas_\\w+|malloc'))",
    "MLX has no such calls": "monkeypatch(_blas, '_FUNCTIONS', re.compile('none'))",
    "SciPy is not from a wheel": "monkeypatch(_blas, '_PREFIX', 'none_')",
    "its integers have 64 bits": "monkeypatch(_blas, '_wide_integers', lambda *_: True)",
    "two of MLX are loaded": "monkeypatch(_elf, 'regions', lambda: [*real(), second(real())])",
    "slots lie elsewhere": "monkeypatch(_elf, 'calls', lambda *_: {'cblas_sgemm': [8]})",
    "slots hold no addresses": "monkeypatch(_elf, 'calls', lambda *_: {'cblas_sgemm': [id(None)]})",
}


@needs_wheel
def test_whatever_fails_leaves_mlx_as_it_is() -> None:
    program = f"""
import json, os, re, sys
import mlx_prune
from mlx_prune import _blas, _elf
real = _elf.regions
second = lambda regions: regions[0]._replace(path="/elsewhere/libmlx.so")
reasons = {{}}
for name, change in json.loads(sys.argv[1]).items():
    before = {{**vars(_elf)}}, {{**vars(_blas)}}
    monkeypatch = setattr
    exec(change)
    {PRODUCT.strip().replace(chr(10), chr(10) + "    ")}
    assert _blas.preload() is None and not _blas.status()[0]
    reasons[name] = _blas.status()[1]
    vars(_elf).update(before[0]), vars(_blas).update(before[1])
{PRODUCT}
reasons["none"] = _blas.preload()
{PRODUCT}
print(json.dumps(reasons))
"""
    reasons = json.loads(python(program, json.dumps(FAILURES), openblas="scipy"))
    assert reasons.pop("none") == "SciPy's OpenBLAS"
    assert list(reasons) == list(FAILURES)
    for reason in reasons.values():
        assert reason.startswith("SciPy's OpenBLAS could not be put in place (")
        assert reason.endswith("MLX's own BLAS answers, far slower; install OpenBLAS (libopenblas.so.0)")
    assert "ELF machine" in reasons["the processor is not known"]
    assert "/nowhere/maps" in reasons["memory cannot be looked at"]
    assert "it lacks malloc" in reasons["a function is missing"]
    assert "2 files named libmlx.so" in reasons["two of MLX are loaded"]


@needs_wheel
def test_forked_children_multiply_too() -> None:
    program = """
import os
import mlx_prune, mlx.core, scipy.linalg.blas
import numpy as np
a = np.ones((600, 600), np.float32, order="F")
assert scipy.linalg.blas.sgemm(1.0, a, a)[0, 0] == 600
for _ in range(3):
    child = os.fork()
    if not child:
        import mlx.core as mx
        with mx.stream(mx.cpu):
            assert (mx.ones((600, 600)) @ mx.ones((600, 600)))[5, 7].item() == 600
        assert scipy.linalg.blas.sgemm(1.0, a, a)[0, 0] == 600
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print("done")
"""
    assert python(program, openblas="scipy", OPENBLAS_NUM_THREADS="2") == "done"


@needs_wheel
def test_doctor_says_which_one_answers() -> None:
    program = (
        "from mlx_prune import diagnostics\n"
        "import mlx.core as mx\n"
        "mx.set_default_device(mx.cpu)\n"
        "diagnostics.matmul_gflops = lambda size: 1.0\n"
        "print(*diagnostics._matrix_products())"
    )
    said = {choice: python(program, openblas=choice) for choice in ("scipy", "0")}
    assert "GFLOP/s on the CPU; SciPy's OpenBLAS (" in said["scipy"]
    assert said["scipy"].startswith("ok ")
    assert said["0"].startswith("warning ")
    assert said["0"].endswith("switched off by MLX_PRUNE_OPENBLAS=0")
