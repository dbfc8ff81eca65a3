"""Which inputs each expert of a mixture-of-experts layer receives."""

from __future__ import annotations

import mlx.core as mx
import numpy as np


def routed_inputs(x: mx.array, indices: mx.array, experts: int) -> list[mx.array]:
    """Split the inputs of a stack of experts by the expert that gets them.

    Args:
        x: What a ``SwitchLinear`` is called with: [..., rows, features], whose leading axes broadcast against
            ``indices``. mlx-lm hands over one row per token for all its experts ([..., 1, 1, features]), one
            per token and expert ([..., K, 1, features]), or pairs sorted by expert ([N, 1, features]).
        indices: The expert of each, [..., K] or [N]. Evaluated here.
        experts: Size of the stack.

    Returns:
        For each expert its inputs, [tokens, features]; no rows for one that none were routed to.
    """
    lead = x.shape[:-2]
    places = np.arange(int(np.prod(lead))).reshape(lead)
    places, chosen = np.broadcast_arrays(places, np.array(indices))
    order = np.argsort(chosen, axis=None, kind="stable")
    ends = np.cumsum(np.bincount(chosen.reshape(-1), minlength=experts))
    by_expert = np.split(places.reshape(-1)[order].astype(np.int32), ends[:-1])
    rows = x.reshape(-1, *x.shape[-2:])
    return [rows[mx.array(mine)].reshape(-1, x.shape[-1]) for mine in by_expert]
