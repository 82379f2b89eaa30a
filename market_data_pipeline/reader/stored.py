"""Klines and absences of one dataset from its files, while another process may be writing them.

Belongs here: which chunks a window needs, reading them or the combined file instead, checking a chunk against the
manifest, reading again when a file was replaced or renamed meanwhile. Does not belong here: what a user's window means
(`reader`), formats (`formats`), how chunks are made (`store`). The reader writes nothing and takes no lock.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Self, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from market_data_pipeline.core.again import again
from market_data_pipeline.core.errors import StoreError, StoreUnavailable, is_refusal
from market_data_pipeline.core.klines.coverage import Absence, Kind, Span, explain, intersect, merge, subtract
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import day_at
from market_data_pipeline.core.klines.flaws import Flaw, within
from market_data_pipeline.core.klines.table import EMPTY, cut
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.atomic import sha256_of
from market_data_pipeline.core.store.chunks import files as chunk_files
from market_data_pipeline.core.store.chunks.encoding import MOST_CHUNK_BYTES, parse_footer
from market_data_pipeline.core.store.chunks.files import Chunk
from market_data_pipeline.core.store.chunks.growing import grown, lacked
from market_data_pipeline.core.store.chunks.manifest_file import ManifestFile
from market_data_pipeline.core.store.chunks.replacing import lacks_minutes
from market_data_pipeline.core.store.combined import CombinedFooter, Selection, read_rows
from market_data_pipeline.core.store.dataset_file import read_dataset
from market_data_pipeline.core.store.journal.segments import Owner, journaled
from market_data_pipeline.core.store.manifest import Entry
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import StorePath
from market_data_pipeline.core.text import refusal_of_disk

T = TypeVar("T")

READERS = min(4, os.cpu_count() or 1)
"""How many files are read at once."""
# Row groups of the combined file have 91 days, so that reading the chunks is faster for up to this many days.
_FEW_DAYS = 31
_UNREADABLE = (OSError, ValueError, KeyError, TypeError)


@dataclass(frozen=True, slots=True)
class Listing:
    """The manifest's entries and the paths of the chunk files, both by day, at one moment."""

    entries: Mapping[str, Entry]
    paths: Mapping[str, StorePath]

    @property
    def days(self) -> list[str]:
        """Every day that has a chunk file or a manifest entry, in order."""
        return sorted(self.entries.keys() | self.paths.keys())

    def final_entry(self, day: str) -> Entry | None:
        """The day's entry if its chunk has to match it; None while the day is not over.

        Until then live mode writes the chunk more often than the manifest.
        """
        entry = self.entries.get(day)
        return entry if entry is not None and entry.is_over else None

    def path(self, day: str) -> StorePath:
        """The path of the day's chunk.

        Raises:
            StoreError: the chunk does not exist.
        """
        if day not in self.paths:
            raise StoreError("its chunk is missing")
        return self.paths[day]


@dataclass(frozen=True, slots=True)
class StoredDataset:
    """A dataset's files. Each call reads them anew, with so many threads. Several threads may use one object."""

    folder: StorePath
    dataset: Dataset
    manifest: ManifestFile
    readers: int = READERS

    @property
    def most_at_once(self) -> int:
        """How many files are worth reading at once, if decoding them took no time."""
        return storage_of(self.folder).most_at_once

    def unread(self) -> Self:
        """The same files, with no manifest in memory: that of a dataset with 2,000 days takes 1.2 MB."""
        return replace(self, manifest=ManifestFile(self.manifest.path, self.manifest.dataset))

    def days(self) -> list[str]:
        """Every day that has a chunk file or a manifest entry, in order."""
        return _retried(self._list_files).days

    def extent(self) -> Span:
        """From the first to the last day that is stored or was requested; an empty span if there is none."""
        dataset, days = self._dataset_now(), self.days()
        spans = [
            *dataset.requested,
            *(Span(on.start_ms, on.end_ms) for on in map(dataset.day, [*days[:1], *days[-1:]])),
        ]
        start_ms = min((span.start_ms for span in spans), default=dataset.first_day.start_ms)
        return Span(start_ms, max((span.end_ms for span in spans), default=start_ms))

    def klines(self, window: Span, fields: Sequence[str]) -> pa.Table:
        """The given fields of the klines that open within the window, as stored.

        Raises:
            StoreError: a chunk of the window is missing or damaged.
        """
        listing = _retried(self._list_files)
        days = self._days_in(listing, window)
        needed = list(dict.fromkeys(["open_time", *fields]))
        tables = [EMPTY.select(needed)]
        listed = list(takewhile(listing.final_entry, days))
        if len(listed) > _FEW_DAYS and (combined := self._combined(listing, listed, needed)) is not None:
            tables.append(combined)
            days = days[len(listed) :]

        def read(day: str) -> pa.Table:
            return self._with_retry(listing, day, lambda current: self._chunk(current, day, needed))

        if self.readers == 1:
            tables += map(read, days)
        else:
            with ThreadPoolExecutor(self.readers) as readers:
                tables += readers.map(read, days)
        klines = pa.concat_tables(table.replace_schema_metadata(None) for table in tables)
        return cut(klines, window).select(fields)

    def absences(self, window: Span) -> list[Absence]:
        """The minutes of the window that have no kline, with the kind of each absence.

        Raises:
            StoreError: a chunk that the manifest does not list yet is damaged.
        """
        listing = _retried(self._list_files)
        days = self._days_in(listing, window)

        def read(day: str) -> tuple[Absence, ...]:
            return self._with_retry(listing, day, lambda current: self._entry(current, day).absences)

        listed = [absence for day in days for absence in read(day)]
        chunks = [Span(on.start_ms, on.end_ms) for on in map(self.dataset.day, days)]
        absent = intersect([window], merge([*(absence.span for absence in listed), *subtract([window], chunks)]))
        requested = self._dataset_now().requested
        not_requested = [Absence(Kind.NOT_REQUESTED, span) for span in subtract([window], requested)]
        return explain(absent, [*listed, *not_requested])

    def flaws(self, window: Span) -> list[Flaw]:
        """The flaws of the klines that open within the window, by time.

        Raises:
            StoreError: a chunk that the manifest does not list yet is damaged.
        """
        listing = _retried(self._list_files)

        def read(day: str) -> tuple[Flaw, ...]:
            return self._with_retry(listing, day, lambda current: self._entry(current, day).flaws)

        return [flaw for day in self._days_in(listing, window) for flaw in within(read(day), [window])]

    # --- inside

    def _dataset_now(self) -> Dataset:
        return _retried(lambda: read_dataset(self.folder / layout.DATASET_FILE))

    def _list_files(self) -> Listing:
        try:
            entries = self.manifest.entries() or {}
            return Listing(entries, self._scan())
        except OSError as error:
            if isinstance(self.folder, Path):
                raise StoreUnavailable(
                    f"{self.folder} cannot be read: {error.strerror or error}; check its permissions"
                ) from None
            raise StoreUnavailable(refusal_of_disk(error)) from None

    def _scan(self) -> Mapping[str, StorePath]:
        """The chunk files by day. A folder may list what is renamed meanwhile not at all; the next listing has it."""
        files, chunks = storage_of(self.folder), self.folder / layout.CHUNKS
        before = None if files.is_conditional else files.version(chunks)
        paths = chunk_files.scan(chunks, self.dataset).paths
        if files.is_conditional or (before and before.is_settled and before == files.version(chunks)):
            return paths
        return paths | chunk_files.scan(chunks, self.dataset).paths

    def _days_in(self, listing: Listing, window: Span) -> list[str]:
        days = listing.days
        if not days:
            return []
        first, last = self.dataset.day(days[0]), self.dataset.day(days[-1])
        start_ms, end_ms = max(window.start_ms, first.start_ms), min(window.end_ms, last.end_ms)
        if start_ms >= end_ms:
            return []
        from_day, to_day = (day_at(self.dataset.zone, instant_ms).key for instant_ms in (start_ms, end_ms - 1))
        return [day for day in days if from_day <= day <= to_day]

    def _with_retry(self, listing: Listing, day: str, read: Callable[[Listing], T]) -> T:
        """The result of `read`, with new listings if it fails: the chunk may have been replaced since it was listed."""
        try:
            try:
                return read(listing)
            except StoreError:
                return _retried(lambda: read(self._list_files()))
        except StoreUnavailable:
            raise
        except OSError as error:  # of the disk or an object store
            raise StoreUnavailable(refusal_of_disk(error)) from error
        except StoreError as error:
            raise StoreError(f"{self.dataset.name} {day} cannot be read: {error}; {self._cure}") from error

    @property
    def _cure(self) -> str:
        return f"run {self.dataset.repair_command}"

    def _chunk(self, listing: Listing, day: str, fields: list[str]) -> pa.Table:
        if (entry := listing.final_entry(day)) is None:
            return self._unlisted(listing, day).klines.select(fields)
        path = listing.path(day)
        try:
            # Read whole, because Windows refuses to replace a file that is open.
            content = storage_of(path).read(path, MOST_CHUNK_BYTES)
            if sha256_of(content) != entry.sha256:
                return self._successor(listing, day, entry).klines.select(fields)
            with pq.ParquetFile(pa.BufferReader(content), pre_buffer=False) as file:
                return file.read(columns=fields, use_threads=False).select(fields)
        except _UNREADABLE as error:
            if is_refusal(error):
                raise
            raise StoreError(f"the chunk {path.name} cannot be read: {type(error).__name__}") from error

    def _successor(self, listing: Listing, day: str, listed: Entry) -> Chunk:
        """The chunk that a process has put in place of the listed one, and has not listed, see `ChunkList`."""
        path = listing.path(day)
        if storage_of(path).is_conditional:
            chunk = self._unlisted(listing, day)
            if not lacks_minutes(chunk.entry, listed):
                return chunk
        raise StoreError(f"the chunk {path.name} is not what the manifest lists")

    def _entry(self, listing: Listing, day: str) -> Entry:
        return listing.final_entry(day) or self._unlisted(listing, day).entry

    def _unlisted(self, listing: Listing, day: str) -> Chunk:
        """A chunk that has no final entry, with what only the journal has of its day.

        It is checked by the rules for a new chunk instead.
        """
        path, on = listing.path(day), self.dataset.day(day)
        # Before the chunk: klines leave the journal only after their chunk has them.
        klines = journaled(self.folder, Owner.of(self.dataset))
        chunk = chunk_files.read(path, self.dataset, on)
        if problems := chunk_files.chunk_problems(chunk.klines, chunk.footer, on):
            raise StoreError(f"the chunk {path.name} breaks a rule: {'; '.join(problems)}")
        if (new := lacked(chunk.klines, klines, on)).num_rows == 0:
            return chunk
        joined, footer = grown(chunk.klines, chunk.footer, new)
        return Chunk(replace(chunk.entry, absences=footer.absences), joined, footer)

    def _combined(self, listing: Listing, days: Sequence[str], fields: list[str]) -> pa.Table | None:
        """The klines of the days from the combined file; None if it is absent, damaged, or made from other chunks.

        The fingerprint in its footer shows from which chunks it was made, the checksums of its pages that it is whole.
        The footer itself has none, so the klines are counted.
        """
        span = Span(self.dataset.day(days[0]).start_ms, self.dataset.day(days[-1]).end_ms)
        before = sum(entry.rows for day, entry in listing.entries.items() if day < days[0])
        rows = sum(listing.entries[day].rows for day in days)
        selection = Selection.of_all(self.dataset, [listing.entries[day] for day in sorted(listing.entries)])
        path = layout.combined_path(self.folder, self.dataset.token)
        try:
            with storage_of(path).open(path) as opened, pq.ParquetFile(opened, page_checksum_verification=True) as file:
                if parse_footer(CombinedFooter, file.metadata.metadata).fingerprint != selection.fingerprint():
                    return None
                klines = cut(read_rows(file, before, rows, fields).select(fields), span)
                return klines if klines.num_rows == rows else None
        except _UNREADABLE:
            return None


def _may_be_replaced(error: BaseException) -> bool:
    return isinstance(error, StoreError) and not isinstance(error, StoreUnavailable)


def _retried(read: Callable[[], T]) -> T:
    # A writer needs only milliseconds between the first and the last of the files that it replaces together.
    return again(read, _may_be_replaced, within_s=0.2, pause_s=0.05, longest_pause_s=0.1, least_tries=4)
