"""Klines and absences of one dataset, as they are on disk now, while others may be writing.

Belongs here: which chunks a window needs, reading them or the combined file in their place, proof that a chunk is what
the manifest lists, another look where a file was replaced or renamed meanwhile. Does not belong here: what a user's
window means (the package), formats (`formats`), how chunks are made (`core`). Nothing is written, no lock is taken.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_fixed

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.coverage import Absence, Kind, Span, explain, intersect, merge, subtract
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import day_at
from market_data_pipeline.core.klines.table import EMPTY, cut
from market_data_pipeline.core.store import chunk_files, layout
from market_data_pipeline.core.store.atomic import sha256_of
from market_data_pipeline.core.store.chunk import footer_content
from market_data_pipeline.core.store.chunk_files import Chunk
from market_data_pipeline.core.store.combined import Selection
from market_data_pipeline.core.store.dataset_file import read_dataset
from market_data_pipeline.core.store.manifest import Entry
from market_data_pipeline.core.store.manifest_file import ManifestFile

T = TypeVar("T")

_READERS = min(4, os.cpu_count() or 1)
# The combined file is read in groups of 91 days, so for a few days their chunks are faster.
_FEW_DAYS = 31
_NOT_A_FILE_OF_OURS = (OSError, ValueError, KeyError, TypeError)


@dataclass(frozen=True, slots=True)
class Listing:
    """What one look found: the manifest's entries and the chunk files, both by day."""

    entries: Mapping[str, Entry]
    paths: Mapping[str, Path]

    @property
    def days(self) -> list[str]:
        """Every day that has a chunk, or should have one, in order."""
        return sorted(self.entries.keys() | self.paths.keys())

    def vouched(self, day: str) -> Entry | None:
        """The day's entry if its chunk must be just that; until a day is over, live mode writes only the chunk."""
        entry = self.entries.get(day)
        return entry if entry is not None and entry.is_over else None

    def path(self, day: str) -> Path:
        """The day's chunk.

        Raises:
            StoreError: it is gone.
        """
        if day not in self.paths:
            raise StoreError("its chunk is missing")
        return self.paths[day]


@dataclass(frozen=True, slots=True)
class StoredDataset:
    """A dataset's files, looked at anew by each call. Several threads may use one."""

    folder: Path
    dataset: Dataset
    manifest: ManifestFile

    def days(self) -> list[str]:
        """Every day that has a chunk, or should have one, in order."""
        return _again(self._look).days

    def extent(self) -> Span:
        """From the first to the last day that is there or was asked for; nothing, at the start, where there is none."""
        dataset, days = self._dataset_now(), self.days()
        known = [
            *dataset.requested,
            *(Span(on.start_ms, on.end_ms) for on in map(dataset.day, [*days[:1], *days[-1:]])),
        ]
        start_ms = min((span.start_ms for span in known), default=dataset.first_day.start_ms)
        return Span(start_ms, max((span.end_ms for span in known), default=start_ms))

    def klines(self, window: Span, fields: Sequence[str]) -> pa.Table:
        """These fields of the klines that open within the window, as stored.

        Raises:
            StoreError: a chunk of the window is missing or damaged.
        """
        listing = _again(self._look)
        days = self._touched(listing, window)
        needed = list(dict.fromkeys(["open_time", *fields]))
        tables = [EMPTY.select(needed)]
        listed = list(takewhile(listing.vouched, days))
        if len(listed) > _FEW_DAYS:
            together = Span(self.dataset.day(listed[0]).start_ms, self.dataset.day(listed[-1]).end_ms)
            if (combined := self._combined(listing, together, needed)) is not None:
                tables.append(combined)
                days = days[len(listed) :]

        def read(day: str) -> pa.Table:
            return self._steadily(listing, day, lambda seen: self._chunk(seen, day, needed))

        with ThreadPoolExecutor(_READERS) as readers:
            tables += readers.map(read, days)
        found = pa.concat_tables(table.replace_schema_metadata(None) for table in tables)
        return cut(found, window).select(fields)

    def absences(self, window: Span) -> list[Absence]:
        """Every minute of the window that has no kline, by reason: with the klines they are the whole window.

        Raises:
            StoreError: the chunk of a day that the manifest does not know is damaged.
        """
        listing = _again(self._look)
        days = self._touched(listing, window)
        known = [absence for day in days for absence in self._steadily(listing, day, self._absences(day))]
        chunks = [Span(on.start_ms, on.end_ms) for on in map(self.dataset.day, days)]
        absent = intersect([window], merge([*(absence.span for absence in known), *subtract([window], chunks)]))
        unasked = [Absence(Kind.NOT_REQUESTED, span) for span in subtract([window], self._dataset_now().requested)]
        return explain(absent, [*known, *unasked])

    # --- inside

    def _dataset_now(self) -> Dataset:
        return _again(lambda: read_dataset(self.folder / layout.DATASET_FILE))

    def _look(self) -> Listing:
        try:
            return Listing(self.manifest.entries() or {}, chunk_files.scan(self.folder / layout.CHUNKS))
        except OSError as error:
            raise StoreError(f"{self.folder} cannot be read: {error.strerror or error}; check its rights") from None

    def _touched(self, listing: Listing, window: Span) -> list[str]:
        days = listing.days
        if not days:
            return []
        first, last = self.dataset.day(days[0]), self.dataset.day(days[-1])
        start_ms, end_ms = max(window.start_ms, first.start_ms), min(window.end_ms, last.end_ms)
        if start_ms >= end_ms:
            return []
        from_day, to_day = (day_at(self.dataset.zone, instant_ms).key for instant_ms in (start_ms, end_ms - 1))
        return [day for day in days if from_day <= day <= to_day]

    def _steadily(self, listing: Listing, day: str, read: Callable[[Listing], T]) -> T:
        """What `read` finds, if need be after looking anew: what fails may have been replaced since it was listed."""
        try:
            try:
                return read(listing)
            except StoreError:
                return _again(lambda: read(self._look()))
        except StoreError as error:
            command = f"market-data --market {self.dataset.market} --pair {self.dataset.pair} verify --repair"
            raise StoreError(f"{self.dataset.name} {day} cannot be read: {error}; run {command}") from error

    def _chunk(self, listing: Listing, day: str, fields: list[str]) -> pa.Table:
        if (entry := listing.vouched(day)) is None:
            return self._unlisted(listing, day).klines.select(fields)
        path = listing.path(day)
        try:
            # As bytes, since Windows does not let a file be replaced while it is open.
            content = path.read_bytes()
            if sha256_of(content) != entry.sha256:
                raise StoreError(f"the chunk {path.name} is not what the manifest lists")
            with pq.ParquetFile(pa.BufferReader(content), pre_buffer=False) as file:
                return file.read(columns=fields, use_threads=False).select(fields)
        except _NOT_A_FILE_OF_OURS as error:
            raise StoreError(f"the chunk {path.name} cannot be read: {type(error).__name__}") from error

    def _absences(self, day: str) -> Callable[[Listing], tuple[Absence, ...]]:
        def read(listing: Listing) -> tuple[Absence, ...]:
            return (listing.vouched(day) or self._unlisted(listing, day).entry).absences

        return read

    def _unlisted(self, listing: Listing, day: str) -> Chunk:
        """A chunk that the manifest says nothing certain of, proven by itself like any new one."""
        path, on = listing.path(day), self.dataset.day(day)
        found = chunk_files.read(path, self.dataset, on)
        if problems := chunk_files.chunk_problems(found.klines, found.footer, on):
            raise StoreError(f"the chunk {path.name} breaks a rule: {'; '.join(problems)}")
        return found

    def _combined(self, listing: Listing, span: Span, fields: list[str]) -> pa.Table | None:
        """The klines of the span from the combined file; None unless it is made of exactly the listed chunks.

        Its footer tells that, and its pages carry checksums. A damaged one is passed over, as it is only a copy.
        """
        selection = Selection.of_all(self.dataset, [listing.entries[day] for day in sorted(listing.entries)])
        path = layout.combined_path(self.folder, self.dataset.token)
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                if footer_content(file.metadata.metadata)["fingerprint"] != selection.fingerprint():
                    return None
                groups = [at for at in range(file.num_row_groups) if _meets(file.metadata.row_group(at), span)]
                return cut(file.read_row_groups(groups, columns=fields).select(fields), span)
        except _NOT_A_FILE_OF_OURS:
            return None


# A writer needs milliseconds from the first file that it replaces to the last.
@retry(retry=retry_if_exception_type(StoreError), stop=stop_after_attempt(5), wait=wait_fixed(0.05), reraise=True)
def _again(read: Callable[[], T]) -> T:
    return read()


def _meets(group: pq.RowGroupMetaData, span: Span) -> bool:
    times = group.column(0).statistics
    return bool(times.min < span.end_ms and span.start_ms <= times.max)
