"""A folder of good things for tests to break: a model, a pruned one, a run, a study."""

from __future__ import annotations

from pathlib import Path

from tiny_models import save_tiny_model

from mlx_prune.cli.main import run

STUDY = """
models = ["{model}"]
[grid]
methods = ["magnitude"]
sparsities = [50]
[bbq]
source = "demo"
limit = 6
[generation]
seeds = [1, 2]
[perplexity]
text = "demo"
sequences = 2
sequence_length = 32
[latency]
items = 2
rounds = 2
"""


def make_good_things(folder: Path) -> Path:
    """Write them with the package's own commands, and return the folder."""
    # In sizes that can be quantized.
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "head_dim": 16}
    model = save_tiny_model(folder / "model", num_hidden_layers=2, **sizes)
    (folder / "text.txt").write_text("One two three four five. " * 80)
    (folder / "study.toml").write_text(STUDY.format(model=model))
    for words in (
        ["prune", model, "-o", folder / "pruned", "-m", "magnitude", "-s", "50"],
        ["eval", model, "-o", folder / "run", "--bbq", "demo", "--limit", "5", "--seeds", "1"],
        ["study", folder / "study.toml", "-o", folder / "study"],
    ):
        code = run([str(word) for word in words])
        assert code == 0, words
    return folder
