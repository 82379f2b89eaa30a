"""The datasets of a data root: finding, opening and creating them.

Belongs here: which datasets exist, and making a new one exist. Does not belong here: names and paths (`layout`), what
happens inside a dataset's folder (`dataset_store`).
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import date

from market_data_pipeline.core.errors import StoreError, StoreUnavailable, UsageError
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import Zone
from market_data_pipeline.core.klines.pair import require_same
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.dataset_file import read_dataset, write_dataset
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.storage.ahead import in_order
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import Changed, Storage, StorePath


class Store:
    """All datasets under one data root."""

    def __init__(self, root: StorePath, *, manifest_interval_s: float = 300) -> None:
        """`manifest_interval_s` is the least time between two writes of a manifest while days are being loaded."""
        self.root = root
        self._manifest_interval_s = manifest_interval_s

    @property
    def _files(self) -> Storage[StorePath]:
        """Not kept: a store goes to other processes, the connections of a bucket do not."""
        return storage_of(self.root)

    def require_writable(self) -> None:
        """Raise StoreError unless the data root takes files."""
        self._files.require_writable(self.root)

    def folder(self, market: Market, pair: str) -> StorePath:
        """The folder of a dataset, whether it exists or not."""
        return layout.dataset_folder(self.root, market, pair)

    def dataset_files(self, market: Market | None = None) -> list[StorePath]:
        """The `dataset.json` of every dataset, or of a market's, damaged or not, by market and pair."""
        return layout.dataset_files(self.root, market)

    def files_of(self, market: Market, pairs: Iterable[str]) -> list[StorePath]:
        """The `dataset.json` of each of these pairs, damaged or not, in any spelling that `parse_pair` returns.

        Raises:
            UsageError: a pair has none.
        """
        files = []
        for pair in pairs:
            with suppress(StoreError):  # it is one of those that are damaged
                if self.find(market, pair) is None:
                    raise self.lacks(market, pair)
            files.append(self.folder(market, pair) / layout.DATASET_FILE)
        return files

    def pairs(self, market: Market, is_meant: Callable[[str], bool] = lambda _symbol: False) -> list[str]:
        """The pairs of a market that have a dataset. Damaged ones are left out, but for those whose symbol is meant.

        Raises:
            StoreError: the `dataset.json` of such a one is damaged.
        """

        def pair_of(path: StorePath) -> str | None:
            try:
                return self.read(path).pair
            except StoreError:
                if is_meant(layout.owner_of(path)[-1]):
                    raise
                return None

        found = in_order(pair_of, self.dataset_files(market), threads=self.most_at_once)
        return [pair for pair in found if pair is not None]

    def datasets(self, market: Market | None = None) -> Iterator[Dataset]:
        """Every dataset under the root, or of a market, by market and pair.

        Raises:
            StoreError: a `dataset.json` is damaged, or in the folder of another dataset.
        """
        yield from self.read_each(self.dataset_files(market))

    def marked(self, market: Market | None = None) -> tuple[list[Dataset], dict[str, StoreError]]:
        """The datasets under the root, or of a market, that are marked live, by market and pair.

        Returns:
            Them, and the error of each `dataset.json` that cannot be read, by `exchange_id/PAIR_TOKEN`: whether such a
            dataset is marked is not known.

        Raises:
            StoreUnavailable, OSError: a bucket is away.
        """

        def tried(path: StorePath) -> Dataset | StoreError:
            try:
                return self.read(path)
            except StoreError as error:
                if self.is_away(error):
                    raise
                return error

        paths, marked, damaged = self.dataset_files(market), list[Dataset](), dict[str, StoreError]()
        for path, found in zip(paths, in_order(tried, paths, threads=self.most_at_once), strict=True):
            if isinstance(found, StoreError):
                damaged["/".join(layout.owner_of(path))] = found
            elif found.live:
                marked.append(found)
        return marked, damaged

    def is_away(self, error: Exception) -> bool:
        """True if the error is that of a bucket that is away: it is so for all datasets, each would wait for it."""
        return isinstance(error, StoreUnavailable | OSError) and self._files.is_conditional

    def read_each(self, paths: Iterable[StorePath]) -> Iterator[Dataset]:
        """As `read`, of several: some at once where reading waits for a network."""
        return in_order(self.read, paths, threads=self.most_at_once)

    def open_each(self, datasets: Iterable[Dataset]) -> Iterator[DatasetStore]:
        """As `open`, of several: some at once where reading waits for a network."""
        return in_order(self.open, datasets, threads=self.most_at_once)

    @property
    def most_at_once(self) -> int:
        """How many datasets are worth reading at once."""
        return self._files.most_at_once

    def read(self, path: StorePath) -> Dataset:
        """The dataset of one of `dataset_files`.

        Raises:
            StoreError: the file is damaged, or in the folder of another dataset.
        """
        dataset = read_dataset(path)
        if not self._files.is_same(self.folder(dataset.market, dataset.pair), path.parent):
            raise StoreError(f"{path} says it is {dataset.name}; move its folder to where that belongs")
        return dataset

    def find(self, market: Market, pair: str) -> Dataset | None:
        """The dataset of a pair, given in any spelling that `parse_pair` returns; None if it was never created.

        Raises:
            StoreError: its `dataset.json` is damaged.
            UsageError: the dataset has the symbol of the pair, but another base and quote.
        """
        path = self.folder(market, pair) / layout.DATASET_FILE
        if not self._files.exists(path):
            return None
        dataset = self.read(path)
        require_same(pair, dataset.pair)
        return dataset

    def lacks(self, market: Market, pair: str) -> UsageError:
        """The error of a request for a dataset that is not stored; it says how to load it.

        Raises:
            OSError: the data root's bucket was there and is gone, which looks the same to a question about one dataset.
        """
        self._files.names(self.root)
        return UsageError(
            f"there is no {market} {pair} under {self.root}; market-data status lists what is stored, "
            f"market-data --market {market} --pair {pair} backfill loads it if the exchange has it"
        )

    def open(self, dataset: Dataset) -> DatasetStore:
        """The files of a dataset, created or not."""
        folder = self.folder(dataset.market, dataset.pair)
        return DatasetStore(folder, dataset, manifest_interval_s=self._manifest_interval_s)

    def create(self, market: Market, pair: str, *, zone: Zone, start: date) -> DatasetStore:
        """Create the dataset and return its files; if it exists by then, its own zone and start are kept."""
        folder = self.folder(market, pair)
        self._files.make_folder(folder)
        with self._files.lock(folder / layout.LOCK_FILE):
            dataset = self.find(market, pair)
            if dataset is None:
                dataset = Dataset(market, pair, zone, start)
                try:
                    write_dataset(folder, dataset, expected=None)
                except Changed:  # another process has just created it
                    dataset = self.find(market, pair) or dataset
        return self.open(dataset)
