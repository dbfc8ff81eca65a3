"""Items from Elfsong/BBQ on the Hugging Face Hub, the copy of BBQ that the study used."""

from __future__ import annotations

from collections.abc import Sequence

from mlx_prune.bbq.folder import BBQ_CATEGORIES, STUDY_CATEGORIES, canonical_category
from mlx_prune.bbq.item import Item
from mlx_prune.bbq.rows import item_from_elfsong
from mlx_prune.errors import DataError, one_line
from mlx_prune.hub_data import quiet_datasets

HUB_DATASET = "Elfsong/BBQ"
# The data files have not changed since their upload; pinned so that they cannot change under a study either.
HUB_REVISION = "56cd2dcb60a10288b4f1a9c8cff6cf120141c08a"
HUB_CATEGORIES = BBQ_CATEGORIES
# Questions by category, half of them ambiguous (Parrish et al. 2022, table 2).
_COUNTS = dict(
    zip(
        BBQ_CATEGORIES,
        (3680, 1556, 5672, 3080, 1576, 6880, 11160, 15960, 1200, 6864, 864),
        strict=True,
    )
)
# Of those, how many carry reversed labels, half of them ambiguous (:mod:`mlx_prune.bbq.stereotypes`).
_FAULTS = {"Gender_identity": 200, "SES": 240}


def read_hub_category(
    category: str, *, path: str = HUB_DATASET, revision: str | None = HUB_REVISION
) -> list[Item]:
    """Read all items of one category through the ``datasets`` library, which caches what it downloads.

    Args:
        category: One of :data:`HUB_CATEGORIES`; its split is named in lower case.
        path: The data set: a Hub id, or a local folder in the same layout.
        revision: Commit of the Hub data set; None for a local folder.

    Raises:
        DataError: If the data set cannot be loaded, or a row is malformed or occurs twice.
    """
    split = category.lower()
    with quiet_datasets() as datasets:
        try:
            rows = datasets.load_dataset(path, split=split, revision=revision)
        except Exception as error:  # the library raises its own, fsspec's, httpx's and pyarrow's errors
            raise DataError(
                f"the {split!r} split of {path} could not be loaded ({one_line(error)}); "
                "check the network, or give a folder of BBQ JSONL files instead."
            ) from error
    items = [
        item_from_elfsong(row, category, f"{path} {split}, row {n}") for n, row in enumerate(rows, start=1)
    ]
    if len({item.item_id for item in items}) != len(items):
        raise DataError(f"{path} {split} holds the same example_id twice; give another copy.")
    return items


def hub_count(
    categories: Sequence[str] | None, condition: str, limit: int | None, exclude_label_faults: bool
) -> int:
    """How many questions of the data set are asked, without reading it; see :func:`.load_items`."""
    chosen = [canonical_category(name) for name in categories or STUDY_CATEGORIES]
    faults = _FAULTS if exclude_label_faults else {}
    total = sum(_COUNTS.get(name, 0) - faults.get(name, 0) for name in dict.fromkeys(chosen))
    total = total if condition == "all" else total // 2
    return total if limit is None else min(limit, total)
