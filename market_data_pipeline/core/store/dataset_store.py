"""The files of one dataset: `dataset.json`, its chunks, and the manifest that vouches for them.

Belongs here: reading, publishing, listing and locking. Does not belong here: what a good chunk is (`checks`), when to
load one (`backfill`), the folders above (`store`).

The manifest is written seldom, so one rule makes it safe to be killed anywhere: **on disk it only lists chunks that
have not changed since they were listed.** A chunk that is about to be replaced is taken off the list first; a chunk on
disk that is not listed is read, checked and adopted at the next opening; a listed chunk that is gone or differs is
damage, and stays listed until it is repaired. A day that is not over is the exception: live mode replaces its chunk
each minute, so it stays listed as it once was, and a chunk that differs is adopted like one that is not listed.

No value of a minute is replaced in silence: what a chunk says otherwise than the one on disk is in the ledger of
`revisions` before it takes its place.
"""

import logging
import time
from collections import ChainMap
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from itertools import chain
from pathlib import Path

import numpy as np
from filelock import FileLock

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import Day
from market_data_pipeline.core.klines.table import open_times
from market_data_pipeline.core.store import chunk_files, layout, revisions
from market_data_pipeline.core.store.atomic import TEMPORARY_SUFFIX, FileStamp, sha256_of, stamp_of, write_whole
from market_data_pipeline.core.store.chunk_files import Chunk, NewChunk
from market_data_pipeline.core.store.dataset_file import read_dataset, write_dataset
from market_data_pipeline.core.store.manifest import Entry, ManifestFile, State
from market_data_pipeline.core.store.revisions import Revision

_log = logging.getLogger(__name__)


class DatasetStore:
    """One dataset's files. Several processes may each hold one and publish different days."""

    def __init__(self, folder: Path, dataset: Dataset, *, manifest_interval_s: float) -> None:
        """Read what is there. Nothing is written before `note_requested`, `publish` or `flush`."""
        self.folder = folder
        self.dataset = dataset
        self.warnings: list[str] = []
        self.revised: dict[str, Revision] = {}
        """What the last `publish` of each day by this object found revised."""
        self._chunks = folder / layout.CHUNKS
        self._manifest = ManifestFile(folder / layout.MANIFEST_FILE)
        self._interval_s = manifest_interval_s
        self._flushed_at = time.monotonic()
        self._lock = FileLock(folder / layout.LOCK_FILE)
        self._dataset_written_ns = 0
        self._listed: dict[str, Entry] = {}
        self._unlisted: dict[str, Entry] = {}
        # The state of each unlisted chunk's file when it was found good: to hash all of them at each look takes long.
        self._states: dict[str, FileStamp | None] = {}
        self._paths: dict[str, Path] = {}
        # The chunk that was written last and the state of its file then: live mode adds a minute to it each minute.
        self._written: tuple[Path, FileStamp | None, Chunk] | None = None
        self.refresh()

    # --- reading

    def refresh(self) -> None:
        """Take note of what other processes have written since."""
        self.warnings.clear()
        self._catch_up()
        self._listed = dict(self._manifest.entries(warn=self.warnings.append) or {})
        self._paths = chunk_files.scan(self._chunks)
        self._drop_replaced()
        for day in sorted(self._paths.keys() - self._listed.keys() - self._unlisted.keys()):
            self._adopt(day)
        for day in [day for day, entry in self._listed.items() if not entry.is_over]:
            self.is_intact(self.dataset.day(day))

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Every chunk that is there or should be, by day."""
        return ChainMap(self._unlisted, self._listed)

    @property
    def newest(self) -> Entry | None:
        """The entry of the last day that has one."""
        last = max(chain(self._listed, self._unlisted), default=None)
        return None if last is None else self.entries[last]

    def chunk_path(self, day: Day) -> Path:
        """Where the day's chunk is, or would be."""
        return self._paths.get(day.key) or self._chunks / layout.chunk_name(self.dataset, day.key)

    def read(self, day: Day) -> Chunk:
        """The day's chunk as it is on disk now.

        Raises:
            StoreError: there is none, or it is not a whole chunk of this dataset and day.
        """
        return chunk_files.read(self.chunk_path(day), self.dataset, day)

    def is_intact(self, day: Day) -> bool:
        """True if the day's chunk is on disk and is, to the byte, what its entry says."""
        if self._matches(day):
            return True
        if (entry := self.entries.get(day.key)) is None or entry.is_over:
            return False
        self._adopt(day.key)
        return self._matches(day)

    def trusted(self, day: Day) -> Chunk | None:
        """The day's chunk if it is intact; the one that this object wrote last is at hand and not read again."""
        return self._at_hand(day) or (self.read(day) if self.is_intact(day) else None)

    def revisions(self) -> list[Revision]:
        """Every revision of the dataset that anyone noticed, in that order; read from disk."""
        return revisions.read(self.folder)

    def strangers(self) -> list[Path]:
        """Files under `chunks/` that are no chunks of this dataset, or that nobody vouches for."""
        return chunk_files.strangers(self._chunks, {path for day, path in self._paths.items() if day in self.entries})

    # --- writing

    def quarantine(self, path: Path) -> Path:
        """Move a file from `chunks/` to `quarantine/`; return where it is now."""
        with self._lock:
            return chunk_files.set_aside(path)

    def note_requested(self, window: Span, start: date) -> None:
        """Note that someone asked for `window`, and let the dataset start on `start` if that is earlier.

        Also ends what a killed process may have left: an unfinished renaming, temporary files.
        """
        with self._lock:
            current = read_dataset(self.folder / layout.DATASET_FILE)
            # A dataset.json that was made anew may start after chunks that are there.
            found = chunk_files.scan(self._chunks)
            earliest = min([start, *(date.fromisoformat(day) for day in found)])
            self.dataset = current.with_requested(window).starting_on(earliest)
            if self.dataset != current:
                write_dataset(self.folder, self.dataset)
            self._chunks.mkdir(exist_ok=True)
            # Only what is written under this lock: another process may be combining.
            for folder in (self.folder, self._chunks):
                for leftover in folder.glob(f"*{TEMPORARY_SUFFIX}"):
                    leftover.unlink(missing_ok=True)
            self._paths = chunk_files.rename(found, self.dataset)
            if self._paths != found:
                self._write_manifest()

    def mark_live(self, live: bool) -> None:
        """Note in `dataset.json` whether live mode is to keep the dataset current."""
        with self._lock:
            self.dataset = replace(read_dataset(self.folder / layout.DATASET_FILE), live=live)
            write_dataset(self.folder, self.dataset)

    def publish(self, new: NewChunk) -> Entry:
        """Write the day's chunk, and vouch for it; note what it revises.

        A chunk on disk from which nothing but the source would differ stays; the entry is then its own.

        Raises:
            StoreError: the chunk on disk is intact and has minutes that the new one lacks.
        """
        day, coming = new.day, new.chunk
        entry = coming.entry
        self.revised.pop(day.key, None)
        with self._lock:
            self._catch_up()
            path = self.chunk_path(day)
            standing = self._standing(day) if path.exists() else None
            if standing and revisions.is_equal_but_for_source(standing, coming, row_group_rows=new.row_group_rows):
                entry = standing.entry.attested(entry.state, *self._attested(standing.entry))
            else:
                self._put(path, new.content, coming, standing)
            self._paths[day.key] = path
            self._unlisted[day.key], self._states[day.key] = entry, stamp_of(path)
            if standing is None and day.key in self._listed:
                # Damage stays listed until it is repaired, so it could not be taken off the list before.
                self._write_manifest()
        if time.monotonic() - self._flushed_at >= self._interval_s:
            self.flush()
        return entry

    def flush(self) -> None:
        """Write the manifest if there is anything that it does not list yet."""
        self._flushed_at = time.monotonic()
        if self._unlisted or not self._manifest.path.exists():
            with self._lock:
                self._catch_up()
                self._write_manifest()

    # --- inside

    def _attested(self, entry: Entry) -> Iterator[State]:
        """The state that the manifest has of this very chunk, which may be surer than what the chunk says."""
        known = self.entries.get(entry.day)
        if known is not None and known.sha256 == entry.sha256:
            yield known.state

    def _matches(self, day: Day) -> bool:
        entry = self.entries.get(day.key)
        try:
            return entry is not None and sha256_of(self.chunk_path(day).read_bytes()) == entry.sha256
        except OSError:
            return False

    def _catch_up(self) -> None:
        """Follow another process that moved the start: the names of all chunks have changed."""
        try:
            written_ns = (self.folder / layout.DATASET_FILE).stat().st_mtime_ns
        except FileNotFoundError:
            return
        if written_ns != self._dataset_written_ns:
            self.dataset = read_dataset(self.folder / layout.DATASET_FILE)
            self._paths = chunk_files.scan(self._chunks)
            self._dataset_written_ns = written_ns

    def _drop_replaced(self) -> None:
        """Vouch no longer for chunks that another process has replaced: it vouches for them, or they are adopted."""
        for day in list(self._unlisted):
            on = self.dataset.day(day)
            if stamp_of(self.chunk_path(on)) != self._states[day] and not self._matches(on):
                del self._unlisted[day]

    def _adopt(self, day: str) -> None:
        """Vouch for a chunk that is on disk and not listed, after checking it like a new one."""
        on = self.dataset.day(day)
        state = stamp_of(self.chunk_path(on))
        try:
            found = self.read(on)
        except StoreError as error:
            self.warnings.append(f"{error}; no manifest lists it and it is not used")
            return
        if problems := chunk_files.chunk_problems(found.klines, found.footer, on):
            self.warnings.append(f"{self.chunk_path(on).name} is not listed and not used: {'; '.join(problems)}")
        else:
            self._unlisted[day], self._states[day] = found.entry, state

    def _at_hand(self, day: Day) -> Chunk | None:
        if self._written is None:
            return None
        path, state, chunk = self._written
        is_it = chunk.entry.day == day.key and path == self.chunk_path(day) and state == stamp_of(path)
        return chunk if is_it else None

    def _standing(self, day: Day) -> Chunk | None:
        """The chunk on disk, whoever wrote it; None if it is not what the manifest lists, or breaks a rule."""
        if at_hand := self._at_hand(day):
            return at_hand
        try:
            found = self.read(day)
        except StoreError:
            return None
        listed = (self._manifest.entries() or {}).get(day.key)
        if listed is not None and listed.is_over:
            return found if found.entry.sha256 == listed.sha256 else None
        return None if chunk_files.chunk_problems(found.klines, found.footer, day) else found

    def _put(self, path: Path, content: bytes, coming: Chunk, standing: Chunk | None) -> None:
        """Write a chunk, after the one on disk was found no better, its revision noted, and taken off the list."""
        if standing:
            # Live mode's way, minute by minute: what is there stays, to the value, and something follows.
            if not coming.klines.slice(0, standing.klines.num_rows).equals(standing.klines):
                self._refuse_worse(standing, coming)
                if revision := revisions.note(self.folder, self.dataset, standing, coming):
                    self.revised[revision.day] = revision
            self._unlist(coming.entry.day)
        elif path.exists():
            # Damaged, yet someone may want to look at it.
            chunk_files.set_aside(path, keep=True)
        path.parent.mkdir(exist_ok=True)
        write_whole(path, content)
        self._written = path, stamp_of(path), coming

    def _refuse_worse(self, standing: Chunk, coming: Chunk) -> None:
        lost = np.setdiff1d(open_times(standing.klines), open_times(coming.klines), assume_unique=True)
        if lost.size:
            said = f"the exchange now lacks {lost.size} minutes that it has"
            raise StoreError(f"{self.dataset.name} {coming.entry.day} keeps its chunk: {said}")

    def _unlist(self, day: str) -> None:
        self._unlisted.pop(day, None)
        listed = (self._manifest.entries() or {}).get(day)
        if listed is not None and listed.is_over:
            self._write_manifest(without=day)

    def _write_manifest(self, without: str | None = None) -> None:
        self._drop_replaced()
        on_disk = self._manifest.entries()
        merged = {**(self._listed if on_disk is None else on_disk), **self._unlisted}
        merged.pop(without or "", None)
        self._listed, self._unlisted = merged, {}
        self._manifest.write(self.dataset, merged)
