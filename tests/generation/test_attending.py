"""Attention in NumPy is attention, whatever lies where."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_prune.generation import attending
from mlx_prune.generation.attending import Kept, attend, hidden
from mlx_prune.generation.quick import attention


def exact(query, scale, keys, values, seen):
    """Attention of one query (heads, size) in float64."""
    groups = len(query) // keys.shape[1]
    keys, values = (np.repeat(array[seen].astype(np.float64), groups, axis=1) for array in (keys, values))
    scores = scale * np.einsum("hd,khd->hk", query.astype(np.float64), keys)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.einsum("hk,khd->hd", weights / weights.sum(axis=1, keepdims=True), values)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([0, 1, 7]),
    st.lists(
        st.tuples(st.integers(1, 4), st.lists(st.integers(1, 9), min_size=1, max_size=3)),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from([0, 1, 3]),
    st.booleans(),
    st.sampled_from([1, 40, 1 << 16]),
)
def test_every_query_attends_to_what_it_sees(seed, heads, groups, root, pieces, alone, masked, near):
    rng = np.random.default_rng(seed)
    size, value_size, count = 5, 3, sum(rows for rows, _ in pieces)

    def kept(*shape):
        return Kept(
            rng.normal(size=(*shape, heads, size)).astype(np.float32),
            rng.normal(size=(*shape, heads, value_size)).astype(np.float32),
        )

    queries = rng.normal(scale=3, size=(count, heads * groups, size)).astype(np.float32)
    shared, own = kept(root) if root else None, kept(count, alone) if alone else None
    widest, start, places = max(sum(keys) for _, keys in pieces), 0, []
    for rows, keys in pieces:
        places.append((slice(start, start + rows), [kept(count) for count in keys]))
        start += rows
    seen = rng.random((count, root + widest)) < 0.6
    # Each sees something of its piece.
    seen[:, root] = True
    if not masked:
        seen[:] = True
    added = hidden(seen) if masked else None
    written = np.full((count, heads * groups, value_size), np.nan, np.float32)
    before, attending.NEAR = attending.NEAR, near
    try:
        attend(queries, 0.37, shared, places, own, added, written)
    finally:
        attending.NEAR = before
    for lies, piece in places:
        for row in range(lies.start, lies.stop):
            parts = [part for part in (shared, *piece, own and own[row]) if part is not None]
            keys, values = (
                np.concatenate([getattr(part, name) for part in parts]) for name in ("keys", "values")
            )
            theirs = sum(len(place.keys) for place in piece)
            sees = np.concatenate([seen[row, : root + theirs], np.ones(alone, bool)])
            expected = exact(queries[row], np.float32(0.37), keys, values, sees)
            np.testing.assert_allclose(written[row], expected, atol=2e-5)


@pytest.mark.parametrize("mask", ["causal", "none", "window", "added"])
@pytest.mark.parametrize(
    ("rows", "heads", "groups", "tokens", "keys"), [(1, 2, 3, 70, 70), (3, 1, 2, 131, 150)]
)
def test_whole_sequences_are_attended_as_mlx_does(mask, rows, heads, groups, tokens, keys):
    rng = np.random.default_rng(tokens)

    def numbers(*shape):
        return mx.array(rng.normal(size=shape).astype(np.float32))

    q, k = numbers(rows, heads * groups, tokens, 32), numbers(rows, heads, keys, 32)
    v = numbers(rows, heads, keys, 16)
    behind = np.arange(keys) - (keys - tokens) - np.arange(tokens)[:, None]
    seen = (behind <= 0) & (behind > -9)
    given = {
        "causal": "causal",
        "none": None,
        "window": mx.array(seen),
        "added": mx.where(mx.array(seen), 0.0, -np.inf)[None, None].astype(mx.float32),
    }[mask]
    found = attention(q, k, v, scale=0.2, mask=given)
    expected = mx.fast.scaled_dot_product_attention(q, k, v, scale=0.2, mask=given)
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_what_is_no_number_stays_none_without_a_warning(recwarn):
    queries = np.ones((2, 1, 4), np.float32)
    queries[1] = np.nan
    keys = np.full((3, 1, 4), np.inf, np.float32)
    written = np.zeros((2, 1, 4), np.float32)
    attend(queries, 1.0, None, [(slice(0, 2), [Kept(keys, keys)])], None, None, written)
    assert np.isnan(written[1]).all()
    assert not recwarn.list
