"""What the store has now, for pages: every dataset is held open and looked at again only where its files have changed.

Belongs here: remembering between requests, and which chunks are damaged as far as a glance can tell. Does not belong
here: what a file says (`core`), proving chunks by their hash (`verify`), pages (`browse`).
"""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from market_data_pipeline.core.errors import MarketDataError, StoreError
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.live.freshness import since_ms
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.atomic import stamp_of
from market_data_pipeline.core.store.dataset_file import read_dataset
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.manifest import Entry
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.status import DatasetStatus, status_of

_WATCHED = (layout.DATASET_FILE, layout.MANIFEST_FILE, layout.REVISIONS_FILE, layout.CHUNKS)
# Two changes within one tick of a file system's clock leave the same time.
_SETTLED_AFTER_NS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class DatasetView:
    """A dataset as it was at one moment: its numbers, its entries by day, the first minute that it lacks (ms UTC)."""

    status: DatasetStatus
    entries: tuple[Entry, ...]
    since_ms: int | None

    @property
    def dataset(self) -> Dataset:
        """Which one it is."""
        return self.status.dataset


@dataclass(frozen=True, slots=True)
class ChunkFile:
    """A chunk on disk."""

    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Inventory:
    """A dataset beside its files: the chunks on disk by day, and by day why a listed one is damaged."""

    view: DatasetView
    files: Mapping[str, ChunkFile]
    damaged: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A dataset that cannot be shown, and why."""

    folder: str
    problem: str


class Catalog:
    """The datasets of a data root. Threads may share it."""

    def __init__(self, store: Store) -> None:
        """Nothing is read yet."""
        self._store = store
        self._lock = threading.Lock()
        self._open: dict[Path, _OpenDataset] = {}

    def views(self, market: Market | None = None) -> Iterator[DatasetView | Unreadable]:
        """Every dataset, or those of a market, by market and pair; an unreadable one hides no other."""
        for path in self._store.dataset_files(market):
            try:
                yield self._opened(path).view()
            except (MarketDataError, OSError) as error:
                folder = path.parent.relative_to(self._store.root).as_posix()
                yield Unreadable(folder, " ".join(str(error).split()))

    def inventory(self, market: Market, pair: str) -> Inventory | None:
        """A dataset beside its files; None if there is no such dataset.

        Raises:
            StoreError: its `dataset.json` is damaged.
        """
        path = self._store.folder(market, pair) / layout.DATASET_FILE
        return self._opened(path).inventory() if path.exists() else None

    def _opened(self, path: Path) -> "_OpenDataset":
        with self._lock:
            return self._open.setdefault(path, _OpenDataset(self._store, path))


class _OpenDataset:
    """One dataset, held open: a chunk that no manifest lists yet is read once, not at every look."""

    def __init__(self, store: Store, path: Path) -> None:
        self._store, self._path = store, path
        self._lock = threading.Lock()
        self._files: DatasetStore | None = None
        self._view: DatasetView | None = None
        self._seen: object = None
        self._looked_at = -1.0

    def view(self) -> DatasetView:
        """The dataset as it is now, or was at some moment since the call."""
        asked_at = time.monotonic()
        with self._lock:
            # Who waited while another looked takes what that one saw, if it began to look after the question.
            if self._view is None or self._looked_at < asked_at:
                began_at = time.monotonic()
                self._view = self._look()
                self._looked_at = began_at
            return self._view

    def inventory(self) -> Inventory:
        """The dataset beside its files. A chunk that is just being replaced looks damaged once, not twice."""
        view, files, suspects = self._compared()
        if suspects:
            view, files, again = self._compared()
            suspects = {day: problem for day, problem in again.items() if day in suspects}
        return Inventory(view, files, suspects)

    def _compared(self) -> tuple[DatasetView, dict[str, ChunkFile], dict[str, str]]:
        view = self.view()
        files = _chunk_files(self._path.parent / layout.CHUNKS)
        return view, files, dict(_differences(view.entries, files))

    def _look(self) -> DatasetView:
        stamps = [stamp_of(self._path.with_name(name)) for name in _WATCHED]
        if self._view is not None and stamps == self._seen:
            return self._view
        dataset = read_dataset(self._path)
        if self._store.folder(dataset.market, dataset.pair) != self._path.parent:
            raise StoreError(f"{self._path} says it is {dataset.name}; move its folder to where that belongs")
        if self._files is None or _identity(self._files.dataset) != _identity(dataset):
            self._files = self._store.open(dataset)
        else:
            self._files.refresh()
        newest_ns = max(stamp.modified_ns for stamp in stamps if stamp)
        self._seen = stamps if time.time_ns() - newest_ns > _SETTLED_AFTER_NS else None
        entries = tuple(sorted(self._files.entries.values(), key=lambda entry: entry.day))
        return DatasetView(status_of(self._files), entries, since_ms(self._files))


def _identity(dataset: Dataset) -> tuple[str, str, str]:
    return dataset.market, dataset.pair, dataset.zone.name


def _chunk_files(folder: Path) -> dict[str, ChunkFile]:
    """The chunk files of a folder, by the day in their names; other files are left out."""
    files: dict[str, ChunkFile] = {}
    try:
        with os.scandir(folder) as found:
            for file in found:
                # A temporary file is gone a moment later, and so is a chunk that gets another name.
                if name := layout.parse_chunk_name(file.name):
                    with suppress(FileNotFoundError):
                        files[name.day] = ChunkFile(file.name, file.stat().st_size)
    except FileNotFoundError:
        return {}
    return files


def _differences(entries: tuple[Entry, ...], files: Mapping[str, ChunkFile]) -> Iterator[tuple[str, str]]:
    """Which chunks are not what is listed, as far as sizes tell; a day that is not over may have grown since."""
    for entry in entries:
        file = files.get(entry.day)
        if file is None:
            yield entry.day, "its file is gone"
        elif entry.is_over and file.size_bytes != entry.size_bytes:
            yield entry.day, f"its file has {file.size_bytes:,} bytes, not the {entry.size_bytes:,} that were written"
