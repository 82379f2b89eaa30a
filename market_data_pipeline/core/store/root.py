"""The datasets of a data root: finding, opening and creating them.

Belongs here: which datasets exist, and making a new one exist. Does not belong here: names and paths (`layout`), what
happens inside a dataset's folder (`dataset_store`).
"""

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import Zone
from market_data_pipeline.core.klines.pair import require_same
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.atomic import lock_of, make_folder, require_writable
from market_data_pipeline.core.store.dataset_file import read_dataset, write_dataset
from market_data_pipeline.core.store.dataset_store import DatasetStore


class Store:
    """All datasets under one data root."""

    def __init__(self, root: Path, *, manifest_interval_s: float = 300) -> None:
        """`manifest_interval_s` is the least time between two writes of a manifest while days are being loaded."""
        self.root = root
        self._manifest_interval_s = manifest_interval_s

    def require_writable(self) -> None:
        """Raise StoreError unless the data root takes files."""
        require_writable(self.root)

    def folder(self, market: Market, pair: str) -> Path:
        """The folder of a dataset, whether it exists or not."""
        return layout.dataset_folder(self.root, market, pair)

    def dataset_files(self, market: Market | None = None) -> list[Path]:
        """The `dataset.json` of every dataset, or of a market's, damaged or not, by market and pair."""
        return layout.dataset_files(self.root, market)

    def datasets(self) -> Iterator[Dataset]:
        """Every dataset under the root, by market and pair.

        Raises:
            StoreError: a `dataset.json` is damaged, or in the folder of another dataset.
        """
        yield from map(self.read, self.dataset_files())

    def read(self, path: Path) -> Dataset:
        """The dataset of one of `dataset_files`.

        Raises:
            StoreError: the file is damaged, or in the folder of another dataset.
        """
        dataset = read_dataset(path)
        if not _is_same(self.folder(dataset.market, dataset.pair), path.parent):
            raise StoreError(f"{path} says it is {dataset.name}; move its folder to where that belongs")
        return dataset

    def find(self, market: Market, pair: str) -> Dataset | None:
        """The dataset of a pair, given in any spelling that `parse_pair` returns; None if it was never created.

        Raises:
            StoreError: its `dataset.json` is damaged.
            UsageError: the dataset has the symbol of the pair, but another base and quote.
        """
        path = self.folder(market, pair) / layout.DATASET_FILE
        if not os.path.lexists(path):
            return None
        dataset = self.read(path)
        require_same(pair, dataset.pair)
        return dataset

    def open(self, dataset: Dataset) -> DatasetStore:
        """The files of a dataset, created or not."""
        folder = self.folder(dataset.market, dataset.pair)
        return DatasetStore(folder, dataset, manifest_interval_s=self._manifest_interval_s)

    def create(self, market: Market, pair: str, *, zone: Zone, start: date) -> DatasetStore:
        """Create the dataset and return its files; if it exists by then, its own zone and start are kept."""
        folder = self.folder(market, pair)
        make_folder(folder)
        with lock_of(folder / layout.LOCK_FILE):
            dataset = self.find(market, pair)
            if dataset is None:
                dataset = Dataset(market, pair, zone, start)
                write_dataset(folder, dataset)
        return self.open(dataset)


def _is_same(folder: Path, other: Path) -> bool:
    """True for one folder under two names, too: some file systems ignore case, or take letters apart."""
    return folder == other or (folder.exists() and folder.samefile(other))
