"""Prove the combined file: it holds the klines of its chunks, in their order, or it is older than they are.

Belongs here: comparing the combined file of all chunks with them. Does not belong here: building it (`store.combined`),
whether the chunks are good (`verify`).
"""

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import NamedTuple

import pyarrow.parquet as pq

from market_data_pipeline.core.errors import StoreError, is_refusal
from market_data_pipeline.core.klines.days import iso
from market_data_pipeline.core.klines.table import open_times
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.combined import (
    ChunkReplaced,
    ChunkRows,
    Selection,
    read_combined,
    read_rows,
    select,
)
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import StorePath, Version
from market_data_pipeline.core.text import count_text

_MOST_LOOKS = 5


class Agreement(StrEnum):
    """How a combined file stands to its chunks."""

    ABSENT = "not built"
    EQUAL = "equal"
    OLDER = "older than its chunks"
    DAMAGED = "damaged"
    UNKNOWN = "cannot be compared"


class CombinedProof(NamedTuple):
    """How the combined file stands to its chunks; `detail` is one line: where it differs, or since when it is older."""

    agreement: Agreement
    detail: str = ""


def never(_version: Version) -> bool:
    """No file is known."""
    return False


def combined_agreement(store: DatasetStore, is_known: Callable[[Version], bool] = never) -> CombinedProof:
    """Compare the combined file of all chunks with them; both are read unless the file is known to be older.

    Args:
        store: the dataset's files.
        is_known: whether a file of this version, made of these very chunks, needs no comparison of its klines.
    """
    path = layout.combined_path(store.folder, store.dataset.token)
    if not store.entries or storage_of(path).version(path) is None:
        return CombinedProof(Agreement.ABSENT)
    looks = (_agreement(store, is_known) for _ in range(_MOST_LOOKS))
    changing = CombinedProof(Agreement.UNKNOWN, "other processes write its chunks, or the file, faster than it is read")
    return next((found for found in looks if found is not None), changing)


def _agreement(store: DatasetStore, is_known: Callable[[Version], bool]) -> CombinedProof | None:
    """What one look gives; None if another process wrote the file or one of its chunks meanwhile."""
    selection = select(store)
    path = layout.combined_path(store.folder, store.dataset.token, selection.suffix)
    files = storage_of(path)
    if (version := files.version(path)) is None:
        return CombinedProof(Agreement.ABSENT)
    current = read_combined(path)
    if current is not None and current.fingerprint != selection.fingerprint():
        return CombinedProof(Agreement.OLDER, _lag(store, selection, path))
    if current is not None and is_known(version):
        return CombinedProof(Agreement.EQUAL)
    try:
        problem = next(differences(store, selection), None)
    except ChunkReplaced:
        return None
    except StoreError as error:
        return CombinedProof(Agreement.UNKNOWN, str(error))
    if problem is None:
        return CombinedProof(Agreement.EQUAL)
    return CombinedProof(Agreement.DAMAGED, problem) if files.version(path) == version else None


def differences(store: DatasetStore, selection: Selection) -> Iterator[str]:
    """Where the combined file does not hold the klines of its chunks, in their order; nothing if it does.

    Raises:
        StoreError: a chunk is damaged.
        OSError: the disk or the object store lets nobody read a file now.
    """
    path = layout.combined_path(store.folder, store.dataset.token, selection.suffix)
    try:
        with storage_of(path).open(path) as opened, pq.ParquetFile(opened, page_checksum_verification=True) as file:
            yield from _row_differences(file, ChunkRows(store, selection))
    except (OSError, ValueError) as error:
        if is_refusal(error):
            raise
        yield f"{path.name} cannot be read ({' '.join(str(error).split())}); run market-data combine"


def _lag(store: DatasetStore, selection: Selection, path: StorePath) -> str:
    """How far the combined file goes and how far its chunks go, and which of them were written after it."""
    parts, files = [], storage_of(path)
    held_ms = _last_open_ms(path)
    newest_ms = max((entry.last_open_time or 0 for entry in selection.entries), default=0)
    if held_ms is not None and held_ms < newest_ms:
        parts.append(f"it holds klines up to {iso(held_ms)}, its chunks go on to {iso(newest_ms)}")
    written = files.version(path)
    days = [store.dataset.day(entry.day) for entry in selection.entries]
    versions = zip(days, store.versions(days), strict=True)
    newer = [day.key for day, version in versions if version and written and version.modified_ns > written.modified_ns]
    if newer:
        parts.append(f"{count_text(len(newer), 'chunk')} written after it, the first of {newer[0]}")
    return "; ".join(parts) or "it was made of other chunks than those that are stored now"


def _last_open_ms(path: StorePath) -> int | None:
    """The open time of the last kline of a combined file, ms UTC; None if that cannot be read, or has none."""
    try:
        with storage_of(path).open(path) as opened, pq.ParquetFile(opened) as file:
            last = read_rows(file, max(0, file.metadata.num_rows - 1), 1, ["open_time"])
            return int(open_times(last)[-1]) if last.num_rows else None
    except (OSError, ValueError, KeyError):
        return None


def _row_differences(file: pq.ParquetFile, chunks: ChunkRows) -> Iterator[str]:
    at = 0
    for group in range(file.num_row_groups):
        combined = file.read_row_group(group)
        expected = chunks.take(combined.num_rows)
        if not combined.equals(expected):
            yield f"rows {at} to {at + combined.num_rows} differ from the chunks"
            return
        at += combined.num_rows
    if chunks.take(1).num_rows:
        yield f"the combined file ends after {count_text(at, 'row')}, the chunks do not"
