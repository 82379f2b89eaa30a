"""`dataset.json`: reading and writing it.

Belongs here: the file. Does not belong here: what it says (`dataset`), who may write it when (`dataset_store`).
"""

import json
from pathlib import Path

from market_data_pipeline.core.errors import StoreError, UsageError
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.store.atomic import write_whole
from market_data_pipeline.core.store.layout import DATASET_FILE


def read_dataset(path: Path) -> Dataset:
    """The dataset that a `dataset.json` describes.

    Raises:
        StoreError: the file is damaged.
    """
    try:
        return Dataset.from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UsageError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise StoreError(f"{path} is damaged ({reason}); restore it, or move it away and run backfill again") from error


def write_dataset(folder: Path, dataset: Dataset) -> None:
    """Write `dataset.json`; the caller holds the folder's lock."""
    write_whole(folder / DATASET_FILE, (json.dumps(dataset.to_json(), indent=2) + "\n").encode())
