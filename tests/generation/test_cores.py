"""What several threads compute is what one computes, and NumPy's own threads are as before."""

import threading

import mlx.core as mx
import numpy as np
import pytest

from mlx_prune import _blas
from mlx_prune.generation import cores, quick
from mlx_prune.generation.cores import all_cores, for_each


class Library:
    """Stands for NumPy's OpenBLAS on a machine of some cores."""

    def __init__(self, threads):
        self.threads = self.cores = threads

    def openblas_get_num_procs(self):
        return self.cores

    def openblas_get_num_threads(self):
        return self.threads

    def openblas_set_num_threads(self, count):
        self.threads = count


@pytest.fixture
def library(monkeypatch):
    found = Library(3)
    monkeypatch.setattr(_blas, "_numpys", lambda: (found, "", ""))
    return found


def test_parts_are_done_by_several_threads_while_the_library_has_one(library):
    # Each part waits for the two others: one thread alone would never get past the first.
    together = threading.Barrier(3, timeout=20)
    done = []

    def part(number):
        assert library.threads == 1
        together.wait()
        done.append(number)

    with all_cores():
        with all_cores():
            for_each(part, range(3))
        for_each(part, range(3))
    assert sorted(done) == [0, 0, 1, 1, 2, 2]
    assert library.threads == 3
    assert cores._threads is None


def test_an_error_in_a_part_is_raised_and_undoes_everything(library):
    def part(number):
        if number == 2:
            raise ValueError(number)

    with pytest.raises(ValueError, match="2"), all_cores():
        for_each(part, range(4))
    assert library.threads == 3
    assert cores._threads is None


@pytest.mark.parametrize("found", [(Library(1), "", ""), (object(), "", ""), None])
def test_one_thread_or_an_unknown_library_leave_everything_to_the_caller(monkeypatch, found):
    monkeypatch.setattr(_blas, "_numpys", lambda: found)
    by = set()
    with all_cores():
        for_each(lambda _: by.add(threading.get_ident()), range(3))
    assert by == {threading.get_ident()}


def test_functions_and_attention_in_threads_are_those_in_one(library):
    rng = np.random.default_rng(4)
    x = mx.array(rng.normal(size=(7, 1 << 16)).astype(np.float32))
    q, k = (mx.array(rng.normal(size=(2, heads, 300, 16)).astype(np.float32)) for heads in (6, 2))

    def computed():
        return quick.silu(x), quick.log_sum_exp(x), quick.attention(q, k, k, scale=0.25, mask="causal")

    alone = computed()
    with all_cores():
        together = computed()
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
