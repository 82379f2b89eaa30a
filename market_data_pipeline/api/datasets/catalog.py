"""Datasets with all of their entries, for pages. A dataset stays open, and is read again after its files have changed.

Belongs here: the datasets that stay open, and which chunks are damaged, judged by their size. Does not belong here:
numbers of all datasets (`summaries`), the content of files (`core.store`), the check of chunks by hash (`core.proof`).
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.pair import require_same
from market_data_pipeline.core.live.freshness import since_ms
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.journal.segments import last_journaled_ms, newest_journaled
from market_data_pipeline.core.store.manifest import Entry
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.status import DatasetStatus, status_of
from market_data_pipeline.core.store.storage.ahead import in_order
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import StorePath, Version

_WATCHED = (layout.DATASET_FILE, layout.MANIFEST_FILE, layout.REVISIONS_FILE, layout.CHUNKS)
# The entries of one dataset of 2,500 days take more than a megabyte.
_MOST_OPEN = 32


class Stamps(NamedTuple):
    """What shows that a dataset has changed: versions of `_WATCHED`, and its newest kline in the journal (ms UTC)."""

    files: tuple[Version | None, ...]
    journaled_ms: int | None


@dataclass(frozen=True, slots=True)
class DatasetView:
    """A dataset at one moment: its numbers, its entries sorted by day, the first minute that it lacks (ms UTC)."""

    status: DatasetStatus
    entries: tuple[Entry, ...]
    since_ms: int | None

    @property
    def dataset(self) -> Dataset:
        """The dataset."""
        return self.status.dataset


@dataclass(frozen=True, slots=True)
class ChunkFile:
    """A chunk on disk."""

    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Inventory:
    """A dataset and its files: the chunks on disk by day, and the reason for each damaged day."""

    view: DatasetView
    files: Mapping[str, ChunkFile]
    damaged: Mapping[str, str]


def watched_of(path: StorePath) -> tuple[StorePath, ...]:
    """The files of the dataset with this `dataset.json` whose versions show that it has changed."""
    return tuple(path.with_name(name) for name in _WATCHED)


def stamps_of(watched: Sequence[StorePath]) -> Stamps:
    """What shows that a dataset has changed, from its files of `watched_of`.

    Raises:
        OSError: the disk or the object store does not tell it now.
    """
    journaled_ms = None
    with suppress(StoreError):  # reading the dataset says so
        journaled_ms = last_journaled_ms(watched[0].parent)
    return Stamps(tuple(storage_of(path).version(path) for path in watched), journaled_ms)


def stamps_of_each(paths: Sequence[StorePath]) -> list[Stamps | None]:
    """As `stamps_of`, of the datasets with these `dataset.json`; None for one that the disk or bucket refuses now.

    Each journal is read once. Several datasets are looked at at once where each request waits for a network.
    """
    newest = {journal: _newest(journal) for journal in {layout.journal_folder(path.parent) for path in paths}}

    def stamps(path: StorePath) -> Stamps | None:
        journaled = newest[layout.journal_folder(path.parent)]
        if journaled is None:
            return None
        try:
            versions = tuple(storage_of(each).version(each) for each in watched_of(path))
        except OSError:
            return None
        return Stamps(versions, journaled.get(path.parent.parent.name) or None)

    return list(in_order(stamps, paths, threads=storage_of(paths[0]).most_at_once)) if paths else []


def _newest(journal: StorePath) -> Mapping[str, int] | None:
    """What a journal has of each dataset, as `stamps_of` takes it; None if its folder cannot be listed now."""
    try:
        return newest_journaled(journal)
    except StoreError:
        return {}
    except OSError:
        return None


def are_settled(stamps: Stamps) -> bool:
    """False for stamps so new that a further change might leave the same ones."""
    return all(version.is_settled for version in stamps.files if version)


class Catalog:
    """The datasets of a data root, of which those used last stay open. Threads may share it."""

    def __init__(self, store: Store) -> None:
        """Files are read at the first call that needs them."""
        self.store = store
        self._lock = threading.Lock()
        self._open: OrderedDict[StorePath, _OpenDataset] = OrderedDict()

    def view(self, path: StorePath) -> DatasetView:
        """The dataset with this `dataset.json`.

        Raises:
            StoreError: the file is damaged.
            OSError: the disk or the object store lets nobody read it now.
        """
        return self._opened(path).view()

    def inventory(self, market: Market, pair: str) -> Inventory | None:
        """A dataset and its files, None if there is no such dataset.

        Raises:
            StoreError: its `dataset.json` is damaged.
            UsageError: the dataset has the symbol of the pair, but another base and quote.
        """
        path = self.store.folder(market, pair) / layout.DATASET_FILE
        if not storage_of(path).exists(path):
            return None
        inventory = self._opened(path).inventory()
        require_same(pair, inventory.view.dataset.pair)
        return inventory

    def _opened(self, path: StorePath) -> "_OpenDataset":
        with self._lock:
            opened = self._open.setdefault(path, _OpenDataset(self.store, path))
            self._open.move_to_end(path)
            if len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
            return opened


class _OpenDataset:
    """A dataset that stays open, so that a chunk that the manifest does not list yet is read only once."""

    def __init__(self, store: Store, path: StorePath) -> None:
        self._store, self._path = store, path
        self._watched = watched_of(path)
        self._lock = threading.Lock()
        self._files: DatasetStore | None = None
        self._view: DatasetView | None = None
        self._stamps: Stamps | None = None
        self._read_at = -1.0

    def view(self) -> DatasetView:
        """The dataset at a moment after the call began."""
        called_at = time.monotonic()
        with self._lock:
            # After waiting for the lock, take the view of the thread before if it began to read after this call.
            if self._view is None or self._read_at < called_at:
                began_at = time.monotonic()
                self._view = self._read()
                self._read_at = began_at
            return self._view

    def inventory(self) -> Inventory:
        """The dataset and its files. A chunk that seems damaged is compared twice, as it may just be being replaced."""
        view, files, suspects = self._compared()
        if suspects:
            view, files, again = self._compared()
            suspects = {day: again[day] for day in again if day in suspects and not self._adopts(day)}
        return Inventory(view, files, suspects)

    def _adopts(self, day: str) -> bool:
        """See `DatasetStore.is_successor`."""
        with self._lock:
            entry = self._files.entries.get(day) if self._files else None
            return bool(self._files and entry and self._files.is_successor(self._files.dataset.day(day), entry))

    def _compared(self) -> tuple[DatasetView, dict[str, ChunkFile], dict[str, str]]:
        view = self.view()
        files = _chunk_files(self._path.parent / layout.CHUNKS)
        return view, files, dict(_differences(view.entries, files))

    def _read(self) -> DatasetView:
        stamps = stamps_of(self._watched)
        if self._view is not None and stamps == self._stamps:
            return self._view
        dataset = self._store.read(self._path)
        if self._files is None or _identity(self._files.dataset) != _identity(dataset):
            self._files = self._store.open(dataset)
        else:
            self._files.refresh()
        view = DatasetView(status_of(self._files), tuple(self._files.by_day()), since_ms(self._files))
        # At last: after an error the view of before must not pass for that of now.
        self._stamps = stamps if are_settled(stamps) else None
        return view


def _identity(dataset: Dataset) -> tuple[str, str, str]:
    return dataset.market, dataset.pair, dataset.zone.name


def _chunk_files(folder: StorePath) -> dict[str, ChunkFile]:
    """The chunk files in a folder by the day in their names; other files are left out."""
    sizes = storage_of(folder).sizes(folder).items()
    named = ((layout.parse_chunk_name(name), ChunkFile(name, size_bytes)) for name, size_bytes in sizes)
    return {name.day: file for name, file in named if name}


def _differences(entries: tuple[Entry, ...], files: Mapping[str, ChunkFile]) -> Iterator[tuple[str, str]]:
    """The listed chunks that are missing or have another size, except of a day that is not over: it may have grown."""
    for entry in entries:
        file = files.get(entry.day)
        if file is None:
            yield entry.day, "its file is gone"
        elif entry.is_over and file.size_bytes != entry.size_bytes:
            yield entry.day, f"its file has {file.size_bytes:,} bytes, not the {entry.size_bytes:,} that were written"
