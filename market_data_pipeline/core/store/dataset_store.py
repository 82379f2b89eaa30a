"""The files of one dataset: everything that writes `dataset.json`, chunks and the manifest.

Belongs here: publishing, listing and locking. Does not belong here: reading (`chunks.listing`), what a good chunk is
(`klines.checks`), when to load one (`loading`), the folders above (`root`).

The manifest is written seldom, so one rule makes it safe to kill the process anywhere: **on disk it lists only chunks
that have not changed since they were listed.** A chunk that is about to be replaced is taken off the list first. A
chunk on disk that is not listed is read, checked and adopted at the next opening. A listed chunk that is gone or
differs is damaged, and stays listed until it is repaired. A day that is not over is the exception: live mode goes on
replacing its chunk, so its entry on disk is old, and a chunk that differs is adopted like one that is not listed.

No stored value is replaced without a trace: how a new chunk differs from the one on disk is in the ledger of
`revisions` before the new one takes its place.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import date
from functools import cached_property

from market_data_pipeline.core.counting.counts import STORE
from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import Day
from market_data_pipeline.core.store import layout, revisions
from market_data_pipeline.core.store.chunks import files as chunk_files
from market_data_pipeline.core.store.chunks.files import Chunk, NewChunk
from market_data_pipeline.core.store.chunks.first import FirstChunks
from market_data_pipeline.core.store.chunks.listing import ChunkList
from market_data_pipeline.core.store.chunks.replacing import Overtaken, refuse_worse
from market_data_pipeline.core.store.dataset_file import read_dataset_version, write_dataset
from market_data_pipeline.core.store.manifest import Entry, State
from market_data_pipeline.core.store.note_lock import LoadLocks
from market_data_pipeline.core.store.revisions import Revision
from market_data_pipeline.core.store.storage.protocol import Changed, Lock, StorePath, Version, again_if_changed

# The lock is held for one chunk, or for one look at a hundred.
_LONGEST_WAIT_S = 60


class DatasetStore(ChunkList):
    """One dataset's files. Several processes may each have one and publish different days."""

    def __init__(self, folder: StorePath, dataset: Dataset, *, manifest_interval_s: float) -> None:
        """Read the folder. Nothing is written before `note_requested`, `mark_live`, `publish`, `flush`, `quarantine`.

        Args:
            folder: the dataset's.
            dataset: what it is if there is no `dataset.json` yet.
            manifest_interval_s: the least time between two writes of the manifest by `publish`.
        """
        self.revised: dict[str, Revision] = {}
        """By day, the revision that the last `publish` of the day by this object noted."""
        self._is_together = self._is_unsynced = False
        self._interval_s = manifest_interval_s
        self._flushed_at = time.monotonic()
        self._loads = LoadLocks(folder / layout.LOADING)
        super().__init__(folder, dataset)
        self._first = FirstChunks(self._files)

    @cached_property
    def _lock(self) -> Lock:
        return self._files.lock(self.folder / layout.LOCK_FILE)

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Refresh, and keep other processes from writing until the block ends, so that what looks damaged then is.

        In a folder that this process may only read, there is no lock: it is a second look.
        """
        with ExitStack() as stack:
            if self._files.exists(self.folder):
                with suppress(OSError):
                    stack.enter_context(self._lock.acquire(timeout=_LONGEST_WAIT_S))
            self.refresh()
            yield

    @contextmanager
    def loading(self, window: Span) -> Iterator[None]:
        """Let other processes see, while the block runs, that these minutes are being loaded."""
        with self._lock:
            lock = self._loads.begin(window)
        try:
            yield
        finally:
            self._loads.end(lock)

    def being_loaded(self) -> list[Span]:
        """The minutes that loads which are under way have noted as requested; to be called in `undisturbed`."""
        return self._loads.under_way()

    def is_intact(self, day: Day) -> bool:
        """True if the day's chunk is on disk and has the sha256 of its entry; a second look decides that it is not."""
        if super().is_intact(day):
            return True
        if day.key not in self.entries:
            return False
        with self.undisturbed():
            return self._matches_or_grew(day)

    def trusted(self, day: Day) -> Chunk | None:
        """The day's chunk if it is intact, else None; the one that this object wrote last is not read again."""
        with suppress(StoreError):
            return super().trusted(day)
        with self.undisturbed():  # it was replaced or renamed after it was found intact
            return super().trusted(day)

    def strangers(self) -> list[StorePath]:
        """Files under `chunks/` that are no chunks of this dataset, or have no entry because they break a rule."""
        with self.undisturbed():
            return super().strangers()

    def quarantine(self, path: StorePath) -> StorePath | None:
        """Move a file that is no chunk of this dataset to `quarantine/`; return where it is now, None if it is one."""
        with self.undisturbed():
            return chunk_files.set_aside(path) if path in super().strangers() else None

    @again_if_changed
    def note_requested(self, window: Span, start: date, *, reused: Span | None = None) -> None:
        """Add `window` to the requested minutes, and move the dataset's start down to `start` if that is earlier.

        `reused` is noted as `Dataset.reused`, None leaves that as it is. Also cleans up after a killed process:
        finishes a renaming of chunks, removes temporary files.
        """
        with self._lock:
            current, version = read_dataset_version(self.folder / layout.DATASET_FILE)
            self.refresh()
            found = self._paths
            # What is only called like a chunk of this dataset is left alone.
            own = {day: path for day, path in found.items() if day in self.entries}
            # A dataset.json that was written anew may start after days that have chunks.
            earliest = min([start, *map(date.fromisoformat, own)])
            noted = current.with_requested(window).starting_on(earliest)
            self.dataset = replace(noted, reused=reused) if reused else noted
            if self.dataset != current:
                write_dataset(self.folder, self.dataset, version)
            self._files.make_folder(self._chunks)
            # Only of files that are written under this lock, now held.
            self._files.remove_unfinished(self.folder, {layout.DATASET_FILE, layout.MANIFEST_FILE}.__contains__)
            chunk_files.remove_unfinished(self._chunks)
            self._paths = {**found, **chunk_files.rename(own, self.dataset)}
            if self._paths != found:
                self._write_manifest()

    @again_if_changed
    def mark_live(self, live: bool) -> None:
        """Note in `dataset.json` whether live mode keeps the dataset current."""
        with self._lock:
            current, version = read_dataset_version(self.folder / layout.DATASET_FILE)
            self.dataset = replace(current, live=live)
            write_dataset(self.folder, self.dataset, version)

    @contextmanager
    def together(self, new: Sequence[NewChunk] = ()) -> Iterator[None]:
        """Publish several days under one lock, with one sync of their folder: what they are called is on disk then.

        `new` are chunks that the block publishes. In a bucket those of new days are written at once.
        """
        with self._lock:
            self._reread_dataset()
            self._is_together = True
            try:
                with self._first.begun([(self.chunk_path(each.day), each) for each in new if self._is_first(each)]):
                    yield
            finally:
                self._is_together = False
                self._sync_chunks()

    @STORE.of("publish")
    def publish(self, new: NewChunk) -> Entry:
        """Write the day's chunk and give it an entry, which is returned; note which values it revises.

        If the chunk on disk differs in nothing but its source, it stays, and its own entry is returned.

        Raises:
            Overtaken: the chunk on disk is intact and has minutes that the new one lacks, or it is another than the one
                whose klines the new one keeps.
        """
        day, chunk = new.day, new.chunk
        entry = chunk.entry
        self.revised.pop(day.key, None)
        # The lock may be taken twice, which takes as long as writing does.
        with nullcontext() if self._is_together else self._lock:
            if not self._is_together:
                self._reread_dataset()
            path, stored = self.chunk_path(day), None
            version = self._first.written(path, new) if self._is_first(new) else None
            if version:
                self._last_written = path, version, chunk
            else:
                found = self._files.version(path)
                stored = self._stored(day) if found else None
                if stored is None and day.key not in self.entries:
                    # What has the day in its name and another index is no chunk of this dataset.
                    path = self._chunks / layout.chunk_name(self.dataset, day.key)
                if stored and new.based_on not in {None, stored.entry.sha256}:
                    raise Overtaken(f"{self.dataset.name} {day.key}: another process goes on writing its chunk")
                if stored and revisions.is_equal_but_for_source(stored, chunk, row_group_rows=new.row_group_rows):
                    entry = stored.entry.attested(entry.state, *self._attested(stored.entry))
                    version = found
                else:
                    version = self._put(path, new, stored, found)
            self._paths[day.key] = path
            self._unlisted[day.key] = entry
            self._hashes.note_written(day.key, version, entry.sha256)
            if day.key in self._listed if stored is None else self._is_listed_otherwise(entry):
                # Damage stays listed until it is repaired, so it could not be taken off the list before.
                self._write_manifest()
        if time.monotonic() - self._flushed_at >= self._interval_s:
            self.flush()
        return entry

    def flush(self, *, open_days: bool = True) -> None:
        """Write the manifest if there is anything that it does not list yet.

        Without `open_days` a listed day that is not over is left out: its entry on disk may be old.
        """
        self._flushed_at = time.monotonic()
        unlisted = (day for day, new in self._unlisted.items() if open_days or new.is_over or day not in self._listed)
        if any(unlisted) or not self._files.exists(self._manifest.path):
            with self._lock:
                self._reread_dataset()
                self._write_manifest()

    def _attested(self, entry: Entry) -> Iterator[State]:
        """The state in the entry of this very chunk, if it has one; it may be surer than what the chunk alone gives."""
        known = self.entries.get(entry.day)
        if known is not None and known.sha256 == entry.sha256:
            yield known.state

    def _stored(self, day: Day) -> Chunk | None:
        """The chunk on disk, of any process; None if it is not what the manifest lists, or breaks a rule."""
        if last := self._unread(day):
            return last
        try:
            chunk = self._read_hashed(day)
        except StoreError:
            return None
        listed = (self._manifest.entries() or {}).get(day.key)
        if listed is not None and listed.is_over:
            return chunk if chunk.entry.sha256 == listed.sha256 else None
        known = self._unlisted.get(day.key)
        if known is not None and known.sha256 == chunk.entry.sha256:
            return chunk  # its rules were checked when this object published or adopted it
        return None if chunk_files.chunk_problems(chunk.klines, chunk.footer, day) else chunk

    def _put(self, path: StorePath, new: NewChunk, stored: Chunk | None, found: Version | None) -> Version | None:
        """Write the chunk's file. Before that, the stored one is compared, its revision noted, its entry unlisted."""
        if stored:
            # Live mode adds minutes to the stored ones and changes none: nothing can be lost or revised.
            if not new.chunk.klines.slice(0, stored.klines.num_rows).equals(stored.klines):
                refuse_worse(self.dataset.name, stored, new.chunk)
                if revision := revisions.note(self.folder, self.dataset, stored, new.chunk):
                    self.revised[revision.day] = revision
            self._unlist(new.day.key)
        elif self._files.exists(path):
            # It is damaged; a copy is kept for a person to look at.
            chunk_files.set_aside(path, keep=True)
        self._files.make_folder(path.parent)
        try:
            version = self._files.write(path, new.content, found, syncs=not self._is_together)
        except Changed as error:
            raise Overtaken(str(error)) from error
        self._is_unsynced |= self._is_together
        self._last_written = path, version, new.chunk
        return version

    def _is_first(self, new: NewChunk) -> bool:
        """True if no chunk of the day is known, and writing this one finds out whether there is one by now."""
        return self._files.is_conditional and new.day.key not in self._paths

    def _unlist(self, day: str) -> None:
        self._unlisted.pop(day, None)
        listed = (self._manifest.entries() or {}).get(day)
        if listed is not None and listed.is_over:
            self._write_manifest(without=day)

    def _sync_chunks(self) -> None:
        if self._is_unsynced:
            self._is_unsynced = False
            self._files.sync(self._chunks)

    def _is_listed_otherwise(self, entry: Entry) -> bool:
        """True if another process, which had not seen the new chunk yet, has listed the old one. No lock lets it."""
        listed = (self._manifest.entries() or {}).get(entry.day)
        return listed is not None and listed.is_over and listed.sha256 != entry.sha256

    def _write_manifest(self, without: str | None = None) -> None:
        def merged(on_disk: Mapping[str, Entry] | None) -> dict[str, Entry]:
            self._drop_replaced()
            entries = {**(self._listed if on_disk is None else on_disk), **self._unlisted}
            entries.pop(without or "", None)
            return entries

        self._sync_chunks()  # what the manifest lists must be there after a power cut
        self._listed, self._unlisted = self._manifest.update(self.dataset, merged), {}
