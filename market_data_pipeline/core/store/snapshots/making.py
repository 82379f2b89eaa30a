"""Making a snapshot.

Belongs here: which chunks a dataset has to give, and that none of them was replaced before the list could be seen. Does
not belong here: what is done when one is replaced later (`keeping`).
"""

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from market_data_pipeline.core.errors import StoreError, UsageError
from market_data_pipeline.core.klines.coverage import Span, intersect
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import iso
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.chunks.manifest_file import ManifestFile
from market_data_pipeline.core.store.dataset_file import write_dataset
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.manifest import Entry
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.snapshots.lists import (
    Snapshot,
    changing,
    digest_of,
    lines_of,
    require_name,
    write_snapshot,
)
from market_data_pipeline.core.store.storage.ahead import in_order
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import Changed, StorePath, again_if_changed
from market_data_pipeline.core.store.universes import UNIVERSES_FILE
from market_data_pipeline.core.text import reason_text

_MOST_UNIVERSES_BYTES = 1_000_000
# A manifest may list a chunk that was replaced a moment ago, where no lock keeps others from writing.
_RECENT_S = 3600.0


def make_snapshot(store: Store, name: str, datasets: Iterable[Dataset]) -> Snapshot:
    """Name the chunks that datasets have now, of all days that are over.

    Raises:
        UsageError: there is such a snapshot, the name can be none, there is no chunk to name, or `market-data.toml` is
            no file that can be kept.
        StoreError: a chunk is missing, so that there is nothing to name; there is no snapshot then.
        StoreUnavailable: the disk takes no file, or another process makes or removes a snapshot.
    """
    root, folder = store.root, layout.snapshot_folder(store.root, require_name(name))
    files = storage_of(root)
    store.require_writable()
    with changing(root):
        if files.exists(folder / layout.SNAPSHOT_FILE):
            raise UsageError(f"there is a snapshot {name} already; give another name, or remove it first")
        universes = _universes_of(root)
        files.remove_all(folder)  # of one that was not finished
        files.make_folder(folder)
        if universes is not None:
            files.write(folder / UNIVERSES_FILE, universes)

        def named(dataset: Dataset) -> _Named:
            of_dataset = layout.dataset_folder(folder, dataset.market, dataset.pair)
            return _Named.of(*_name_chunks(store.open(dataset), of_dataset))

        try:
            listed = [each for each in in_order(named, datasets, threads=store.most_at_once) if each.chunks]
            if not listed:
                raise UsageError("there is no chunk of a day that is over; run market-data backfill first")
            snapshot = _snapshot(name, listed)
            write_snapshot(root, snapshot)
        except BaseException:
            # What it lists would be kept for it, though nobody sees that there is such a list.
            with suppress(OSError):
                files.remove_all(folder)
            raise
    return snapshot


@dataclass(frozen=True, slots=True)
class _Named:
    """What is kept in memory of a dataset: the lines of its chunks, how many these are, their rows and bytes."""

    lines: bytes
    chunks: int
    rows: int
    size_bytes: int

    @classmethod
    def of(cls, dataset: Dataset, entries: Sequence[Entry]) -> "_Named":
        rows, size_bytes = sum(entry.rows for entry in entries), sum(entry.size_bytes for entry in entries)
        return cls(lines_of(dataset, entries), len(entries), rows, size_bytes)


def _universes_of(root: StorePath) -> bytes | None:
    """The content of `market-data.toml`, None if there is none."""
    path = root / UNIVERSES_FILE
    try:
        return storage_of(path).read(path, _MOST_UNIVERSES_BYTES)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UsageError(f"{path} cannot be read: {reason_text(error)}") from error


def _snapshot(name: str, listed: Sequence[_Named]) -> Snapshot:
    return Snapshot(
        name=name,
        created=iso(int(time.time()) * 1000),
        datasets=len(listed),
        chunks=sum(each.chunks for each in listed),
        rows=sum(each.rows for each in listed),
        size_bytes=sum(each.size_bytes for each in listed),
        sha256=digest_of(each.lines for each in listed),
    )


@again_if_changed
def _name_chunks(store: DatasetStore, folder: StorePath) -> tuple[Dataset, list[Entry]]:
    """Write the list of a dataset's chunks, and make sure that all of them were in their place when it was there.

    Raises:
        Changed: another process has replaced one meanwhile.
        StoreError: a chunk is missing.
    """
    with store.locked():
        named = _over(store)
        if named:
            storage_of(folder).make_folder(folder)
            store.sync()  # what another process wrote may not be on disk yet
            listed, dataset = {entry.day: entry for entry in named}, _until(store.dataset, named[-1].day)
            write_dataset(folder, dataset)
            ManifestFile(folder / layout.MANIFEST_FILE, dataset).update(dataset, lambda _: listed)
            store.refresh()
            if _over(store) != named:
                raise Changed(f"{store.dataset.name} was changed while its chunks were listed")
            _require_in_place(store, named)
        return store.dataset, named


def _until(dataset: Dataset, last_day: str) -> Dataset:
    """The dataset, of which nothing after this day was requested."""
    end_ms = dataset.day(last_day).end_ms
    return replace(dataset, requested=tuple(intersect(dataset.requested, [Span(0, end_ms)])))


def _over(store: DatasetStore) -> list[Entry]:
    return [entry for entry in store.by_day() if entry.is_over]


def _require_in_place(store: DatasetStore, named: Sequence[Entry]) -> None:
    """Make sure that the chunks are there, and in a bucket that none was replaced and is still listed.

    Raises:
        Changed: one was.
        StoreError: one is missing.
    """
    days, since_ns = [store.dataset.day(entry.day) for entry in named], (time.time() - _RECENT_S) * 1e9
    has_locks = not storage_of(store.folder).is_conditional
    for day, entry, version in zip(days, named, store.versions(days), strict=True):
        is_as_long = version is not None and version.size_bytes == entry.size_bytes
        if is_as_long and version is not None and (has_locks or version.modified_ns < since_ns):
            continue
        if version is None or has_locks or not store.is_intact(day):
            cure = f"run {store.dataset.repair_command}"
            raise StoreError(f"{store.dataset.name}: the chunk of {day.key} is missing or damaged; {cure}")
        if store.entries[day.key].sha256 != entry.sha256:
            raise Changed(f"{store.dataset.name} {day.key}: another process has replaced its chunk")
