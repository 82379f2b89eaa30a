"""Writing the chunks of one dataset, and the manifest that lists them.

Belongs here: publishing and listing. Does not belong here: `dataset.json`, quarantine (`store.dataset_store`), reading
(`listing`), what a good chunk is (`klines.checks`).

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
from contextlib import contextmanager, nullcontext
from functools import cached_property

from market_data_pipeline.core.counting.counts import STORE
from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import Day
from market_data_pipeline.core.store import layout, revisions
from market_data_pipeline.core.store.chunks import files as chunk_files
from market_data_pipeline.core.store.chunks.files import Chunk, NewChunk
from market_data_pipeline.core.store.chunks.first import FirstChunks
from market_data_pipeline.core.store.chunks.listing import ChunkList
from market_data_pipeline.core.store.chunks.replacing import Overtaken, refuse_worse
from market_data_pipeline.core.store.manifest import Entry, State
from market_data_pipeline.core.store.revisions import Revision
from market_data_pipeline.core.store.storage.protocol import Changed, Lock, StorePath, Version


class ChunkWriter(ChunkList):
    """The chunks of one dataset, to read and to write. Several processes may each have one."""

    def __init__(self, folder: StorePath, dataset: Dataset, *, manifest_interval_s: float) -> None:
        """Read the folder; `manifest_interval_s` is the least time between two writes of the manifest by `publish`."""
        self.revised: dict[str, Revision] = {}
        """By day, the revision that the last `publish` of the day by this object noted."""
        self._is_together = self._is_unsynced = False
        self._interval_s = manifest_interval_s
        self._flushed_at = time.monotonic()
        super().__init__(folder, dataset)
        self._first = FirstChunks(self._files)

    @cached_property
    def _lock(self) -> Lock:
        return self._files.lock(self.folder / layout.LOCK_FILE)

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
                    self._know(stored)
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
        if listed is not None and listed.sha256 == chunk.entry.sha256:
            return chunk
        # Without a lock, the list may have the chunk that another process has just replaced.
        if listed is not None and listed.is_over and not self._files.is_conditional:
            return None
        known = self._unlisted.get(day.key)
        if known is not None and known.sha256 == chunk.entry.sha256:
            return chunk  # its rules were checked when this object published or adopted it
        return None if chunk_files.chunk_problems(chunk.klines, chunk.footer, day) else chunk

    def _put(self, path: StorePath, new: NewChunk, stored: Chunk | None, found: Version | None) -> Version | None:
        """Write the chunk's file. Before that, the stored one is compared, its revision noted, its entry unlisted."""
        if stored:
            # Live mode adds minutes to the stored ones and changes none: nothing can be lost or revised.
            if not new.chunk.klines.slice(0, stored.klines.num_rows).equals(stored.klines):
                self._refuse_worse(stored, new.chunk)
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

    def _refuse_worse(self, stored: Chunk, new: Chunk) -> None:
        try:
            refuse_worse(self.dataset.name, stored, new)
        except Overtaken:
            self._know(stored)
            raise

    def _know(self, stored: Chunk) -> None:
        """Give the chunk that another process wrote an entry, so that the new one can be made again with its klines."""
        day = stored.entry.day
        self._paths[day] = self.chunk_path(self.dataset.day(day))
        listed = (self._manifest.entries() or {}).get(day)
        if listed is not None and listed.sha256 == stored.entry.sha256:
            self._unlisted.pop(day, None)
            self._listed[day] = listed
        else:
            self._unlisted[day] = stored.entry.attested(*self._attested(stored.entry))

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
