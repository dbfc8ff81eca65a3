"""Record tables for tests, two made-up answers to each item."""

from mlx_prune.generation.interface import Answer, PromptAnswers
from mlx_prune.study.records import ModelStamp, record_table

STAMP = ModelStamp("gemma-2-9b-it", "wanda", "2:4", 50.0)


def answered(item, texts=("A", "(b) x"), elapsed=None):
    answers = tuple(
        Answer(item.item_id, seed, text, (5,) * (seed + 1), 90, elapsed) for seed, text in enumerate(texts)
    )
    return PromptAnswers(item.item_id, (0.5, 0.25, 0.125), (0.3, 0.2, 0.1), answers)


def table_of(items, skip=frozenset(), **kwargs):
    return record_table(
        STAMP, {i.item_id: i for i in items}, [answered(i, **kwargs) for i in items], set(skip)
    )
