"""mlx-lm's wired limit around everything that runs a model on a Mac's GPU, as mlx-lm's own generation has it.

Without it macOS may page out weights between uses, and a large model crawls. It is set and taken back outside
whatever is timed.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def wired_limit(*models: Any) -> Iterator[None]:
    """While open, MLX keeps as much memory resident as macOS recommends; nothing happens elsewhere.

    Args:
        *models: Those in memory as a whole. mlx-lm warns, here on stderr, if they come close to the limit.
    """
    import mlx.core as mx
    from mlx_lm.generate import generation_stream
    from mlx_lm.generate import wired_limit as limit

    with contextlib.ExitStack() as stack:
        # mlx-lm prints; stdout belongs to results.
        with contextlib.redirect_stdout(sys.stderr):
            streams = [generation_stream, mx.default_stream(mx.default_device())]
            stack.enter_context(limit(list(models), streams))
        yield
