"""Writing the manifest that lists the chunks of one dataset.

Belongs here: when the list is written, and what may be on it. Does not belong here: writing chunks (`publishing`),
reading (`listing`), the manifest's file (`manifest_file`).

The manifest is written seldom, so one rule makes it safe to kill the process anywhere: **on disk it lists only chunks
that have not changed since they were listed.** A chunk that is about to be replaced is taken off the list first. A
chunk on disk that is not listed is read, checked and adopted at the next opening. A listed chunk that is gone or
differs is damaged, and stays listed until it is repaired. A day that is not over is the exception: live mode goes on
replacing its chunk, so its entry on disk is old, and a chunk that differs is adopted like one that is not listed.
"""

import time
from collections.abc import Mapping
from functools import cached_property

from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.chunks.listing import ChunkList
from market_data_pipeline.core.store.manifest import Entry
from market_data_pipeline.core.store.storage.protocol import Lock, StorePath


class ListWriter(ChunkList):
    """The chunks of one dataset, to read and to list."""

    def __init__(self, folder: StorePath, dataset: Dataset, *, manifest_interval_s: float) -> None:
        """Read the folder; after `manifest_interval_s` without a `flush` one is due."""
        self._interval_s = manifest_interval_s
        self._flushed_at = time.monotonic()
        super().__init__(folder, dataset)

    @cached_property
    def _lock(self) -> Lock:
        return self._files.lock(self.folder / layout.LOCK_FILE)

    def sync(self) -> None:
        """Make sure that the chunks that are there survive a power cut, whoever has written them."""
        self._files.sync(self._chunks)

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

    @property
    def _is_flush_due(self) -> bool:
        return time.monotonic() - self._flushed_at >= self._interval_s

    def _sync_chunks(self) -> None:
        if self._is_unsynced:
            self._files.sync(self._chunks)
            self._is_unsynced = False

    def _unlist(self, day: str) -> None:
        self._unlisted.pop(day, None)
        listed = (self._manifest.entries() or {}).get(day)
        if listed is not None and listed.is_over:
            self._write_manifest(without=day)

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
        start = None
        while start != self.dataset.start:  # the names in it follow from the start, which no lock keeps
            start = self.dataset.start
            self._listed, self._unlisted = self._manifest.update(self.dataset, merged), {}
            if self._files.is_conditional:
                self._reread_dataset()
