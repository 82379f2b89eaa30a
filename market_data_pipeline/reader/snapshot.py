"""A dataset's files as a snapshot has them.

Belongs here: where each chunk of a snapshot is now. Does not belong here: what a snapshot is, and keeping its chunks
(`core.store.snapshots`), reading klines (`stored`).
"""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from market_data_pipeline.core.errors import StoreError, StoreUnavailable
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.store.snapshots.keeping import read_named
from market_data_pipeline.core.store.snapshots.proving import current_paths
from market_data_pipeline.core.text import refusal_of_disk
from market_data_pipeline.reader.stored import Listing, StoredDataset


@dataclass(frozen=True, slots=True)
class SnapshotDataset(StoredDataset):
    """As `StoredDataset`: `dataset` and `manifest` are those of the snapshot, `folder` is that of the dataset today.

    Nothing is read that the snapshot does not name: no later day, and no minute of the journal.
    """

    snapshot: str = ""

    def _dataset_now(self) -> Dataset:
        return self.dataset

    def _list_files(self) -> Listing:
        try:
            entries, paths = self.manifest.entries(), current_paths(self.folder, self.dataset)
        except OSError as error:
            raise StoreUnavailable(refusal_of_disk(error)) from None
        if entries is None:
            raise StoreError(f"{self.manifest.path} is missing or damaged; {self._cure}")
        return Listing(entries, {day: path for day, path in paths.items() if day in entries})

    def _chunk(self, listing: Listing, day: str, fields: list[str]) -> pa.Table:
        content, _ = read_named(self.folder, listing.paths.get(day), listing.entries[day].sha256)
        with pq.ParquetFile(pa.BufferReader(content), pre_buffer=False) as file:
            return file.read(columns=fields, use_threads=False).select(fields)

    @property
    def _cure(self) -> str:
        name = self.snapshot
        return f"market-data verify --snapshot {name} tells what it lacks; restore the data root from a backup"
