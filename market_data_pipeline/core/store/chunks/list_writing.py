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
from collections.abc import Collection, Iterable, Mapping
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

    def _to_take_off(self, days: Iterable[str]) -> list[str]:
        """Those of the days that are over and on the list on disk, which may have no other chunk while it has them."""
        listed = self._manifest.entries() or {}
        return [day for day in days if day in listed and listed[day].is_over]

    def _correct_list(self, days: Collection[str]) -> None:
        """List at once those of the days of which the list on disk has another chunk than this object has published.

        Damage stays listed until it is repaired, so it could not be taken off the list before. And another process,
        which had not seen the new chunk yet, may have listed the old one where no lock keeps it from that.
        """
        listed = (self._manifest.entries() or {}) if days else {}
        published = (self._unlisted[day] for day in days if day in self._unlisted and day in listed)
        if any(listed[new.day].is_over and listed[new.day].sha256 != new.sha256 for new in published):
            self._write_manifest()

    def _write_manifest(self, without: Collection[str] = ()) -> None:
        """List what is there, without days whose chunks are about to be replaced.

        Their entries are kept here, surer states and all: a day that keeps its chunk after all is listed again.
        """
        kept = dict[str, Entry]()

        def merged(on_disk: Mapping[str, Entry] | None) -> dict[str, Entry]:
            self._drop_replaced()
            entries = {**(self._listed if on_disk is None else on_disk), **self._unlisted}
            kept.clear()
            kept.update((day, entries.pop(day)) for day in without if day in entries)
            return entries

        self._sync_chunks()  # what the manifest lists must be there after a power cut
        start = None
        while start != self.dataset.start:  # the names in it follow from the start, which no lock keeps
            start = self.dataset.start
            self._listed, self._unlisted = self._manifest.update(self.dataset, merged), dict(kept)
            if self._files.is_conditional:
                self._reread_dataset()
