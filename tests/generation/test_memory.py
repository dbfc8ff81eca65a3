"""Batches fit the memory that is free."""

import pytest
from tiny_models import save_tiny_model

from mlx_prune.checkpoint import open as checkpoints
from mlx_prune.generation import memory


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return checkpoints.load(save_tiny_model(tmp_path_factory.mktemp("model"))).model


def choose(model, **changes):
    arguments = {
        "cache_bytes_per_token": 1000,
        "prompt_tokens": 100,
        "vocabulary": 330,
        "seeds": 5,
        **changes,
    }
    return memory.choose_batch_size(model, **arguments)


def test_free_memory_is_some_but_not_more_than_the_machine_has():
    from mlx_prune.environment import physical_memory

    assert 1e6 < memory.free_memory() <= physical_memory()


def test_batches_shrink_with_the_memory_and_with_what_an_item_needs(model, monkeypatch):
    sizes = []
    for free in (10**6, 3 * 10**7, 10**8, 10**12):
        monkeypatch.setattr(memory, "free_memory", lambda free=free: free)
        sizes.append(choose(model))
    assert sizes == sorted(sizes)
    assert sizes[0] == 1
    assert 1 < sizes[1] < sizes[2] < sizes[3]
    monkeypatch.setattr(memory, "free_memory", lambda: 10**8)
    for change in (
        {"cache_bytes_per_token": 9000},
        {"prompt_tokens": 800},
        {"vocabulary": 10**6},
        {"seeds": 50},
    ):
        assert choose(model, **change) < choose(model)
