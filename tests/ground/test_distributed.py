"""Shares of several processes."""

import mlx.core as mx
import pytest

from mlx_prune import distributed


def test_one_process_is_the_plain_case():
    assert (distributed.rank(), distributed.size()) == (0, 1)
    array = mx.array([1.5, 2.0])
    assert distributed.all_sum(array) is array
    assert distributed.share([3, 1, 2]) == [3, 1, 2]
    assert distributed.gather_integers(7) == [7]
    assert distributed.gather_bytes(b"abc") == [b"abc"]
    distributed.barrier()


@pytest.mark.parametrize("block", [1, 3, 16])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_shares_hold_every_value_once_in_whole_blocks(monkeypatch, size, block):
    values = list(range(47))
    shares = []
    monkeypatch.setattr(distributed, "size", lambda: size)
    for rank in range(size):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shares.append(distributed.share(values, block))
    assert sorted(value for share in shares for value in share) == values
    for share in shares:
        for value in share:
            assert value // block % size == shares.index(share)
