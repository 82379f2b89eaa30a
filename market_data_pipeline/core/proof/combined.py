"""Prove the combined file: it holds the klines of its chunks, in their order, or it is older than they are.

Belongs here: comparing the combined file of all chunks with them. Does not belong here: building it (`store.combined`),
whether the chunks are good (`verify`).
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

import pyarrow.parquet as pq

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.combined import ChunkRows, Selection, read_combined, select
from market_data_pipeline.core.store.dataset_store import DatasetStore


class Agreement(StrEnum):
    """How a combined file stands to its chunks."""

    ABSENT = "not built"
    EQUAL = "equal"
    OLDER = "older than its chunks"
    DAMAGED = "damaged"
    UNKNOWN = "cannot be compared"


class CombinedProof(NamedTuple):
    """How the combined file stands to its chunks; `detail` is one line on where or since when it differs, or empty."""

    agreement: Agreement
    detail: str = ""


def combined_agreement(store: DatasetStore) -> CombinedProof:
    """Compare the combined file of all chunks with them; both are read unless the file is known to be older."""
    if not store.entries:
        return CombinedProof(Agreement.ABSENT)
    selection = select(store)
    path = layout.combined_path(store.folder, store.dataset.token, selection.suffix)
    if not path.exists():
        return CombinedProof(Agreement.ABSENT)
    current = read_combined(path)
    if current is not None and current.fingerprint != selection.fingerprint():
        return CombinedProof(Agreement.OLDER)
    try:
        problem = next(differences(store, selection), None)
    except StoreError as error:
        return CombinedProof(Agreement.UNKNOWN, str(error))
    return CombinedProof(Agreement.EQUAL) if problem is None else CombinedProof(Agreement.DAMAGED, problem)


def differences(store: DatasetStore, selection: Selection) -> Iterator[str]:
    """Where the combined file does not hold the klines of its chunks, in their order; nothing if it does.

    Raises:
        StoreError: a chunk is damaged.
    """
    path = layout.combined_path(store.folder, store.dataset.token, selection.suffix)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield from _row_differences(file, ChunkRows(store, selection))
    except (OSError, ValueError) as error:
        yield f"{path.name} cannot be read ({' '.join(str(error).split())}); run market-data combine"


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
        yield f"the combined file ends after {at} rows, the chunks do not"
