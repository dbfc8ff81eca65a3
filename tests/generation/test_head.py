"""The vocabulary head run where a token is drawn, and nowhere else."""

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models.cache import make_prompt_cache
from tiny_models import ARCHITECTURES, save_tiny_model

from mlx_prune.checkpoint import open as checkpoints
from mlx_prune.generation.head import find_backbone, head_only_at, logits_at


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_one_position_per_row_has_the_logits_of_the_whole(tmp_path, architecture):
    model = checkpoints.load(save_tiny_model(tmp_path, architecture)).model
    backbone = find_backbone(model)
    assert backbone is model.model
    tokens = mx.array(np.random.default_rng(0).integers(0, 300, (3, 7)))
    last = mx.array([6, 0, 3])
    whole = model(tokens, cache=make_prompt_cache(model))
    expected = np.stack([np.array(whole[row, position]) for row, position in enumerate([6, 0, 3])])
    kind = type(backbone)
    found = logits_at(model, backbone, tokens, make_prompt_cache(model), last)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with head_only_at(backbone, last):
        assert model(tokens).shape[1] == 1
    assert type(backbone) is kind
    np.testing.assert_allclose(
        logits_at(model, None, tokens, make_prompt_cache(model), last), expected, atol=1e-5
    )


def test_the_backbone_is_itself_again_after_an_error(tmp_path):
    model = checkpoints.load(save_tiny_model(tmp_path)).model
    backbone = find_backbone(model)
    with pytest.raises(RuntimeError), head_only_at(backbone, mx.array([0])):
        raise RuntimeError
    assert model(mx.array([[1, 2, 3]])).shape[1] == 3


def test_a_model_without_blocks_has_no_backbone():
    import mlx.nn as nn

    assert find_backbone(nn.Linear(2, 2)) is None
