"""Writing the journal of a market, and taking over what a process that was killed left in it.

Belongs here: segments of this process, when they are begun and removed, segments of others that have ended. Does not
belong here: the format (`segments`), folding (`loading.fold`).

Each process has segments of its own, and a lock that the operating system frees when it ends. A segment whose lock is
free belongs to nobody: who finds it brings its klines into their chunks, and then removes it.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from market_data_pipeline.core.counting.counts import STORE
from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.table import Bits
from market_data_pipeline.core.store.journal.segments import Owner, read_segment, record, segments
from market_data_pipeline.core.store.layout import JOURNAL_SUFFIX
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import Hold, StorePath

# All datasets are folded once in this time, so that a segment is empty soon after the next one has begun.
_SEGMENT_S = 840
_MOST_SEGMENT_BYTES = 64_000_000


@dataclass(slots=True)
class _Segment:
    path: StorePath
    began_s: float
    size_bytes: int = 0
    owners: set[Owner] = field(default_factory=set)
    """Whose klines in it may not be in a chunk yet."""


class JournalWriter:
    """What one process writes into the journal of a market. Threads may share it."""

    def __init__(self, folder: StorePath) -> None:
        """Touch no file. `folder` is the journal's."""
        self._folder, self._files = folder, storage_of(folder)
        self._id = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._held: Hold | None = None
        self._segments: list[_Segment] = []
        self._open: _Segment | None = None
        self._began_ms = 0

    @STORE.of("journal")
    def append(self, klines: Iterable[tuple[Owner, Bits]]) -> None:
        """Append klines of several datasets; they are on disk when this returns.

        Raises:
            OSError: they are not; nobody reads what may have been written of them.
        """
        klines = list(klines)
        content = record(klines)
        with self._lock:
            segment = self._segment_for(len(content))
            try:
                self._files.append_at(segment.path, content, segment.size_bytes)
            except BaseException:
                # What follows a record that is not whole would never be read.
                self._open = None
                with suppress(OSError):
                    self._remove_empty()
                raise
            segment.size_bytes += len(content)
            segment.owners.update(owner for owner, _ in klines)

    def note_folded(self, owner: Owner) -> None:
        """Note that all klines of a dataset are in its chunk; remove the segments that are not needed any more."""
        with self._lock:
            for segment in self._segments:
                segment.owners.discard(owner)
            self._remove_empty()

    def close(self) -> None:
        """Release the lock. Segments with klines that are in no chunk stay for whoever follows the dataset next."""
        with self._lock:
            self._open = None
            self._remove_empty()
            if self._held:
                self._held.release()
                if not self._segments:
                    with suppress(OSError):
                        self._files.remove(_lock_of(self._folder, self._id))
            self._held, self._segments = None, []

    def take_over(self, fold: Callable[[Owner, list[Bits]], bool]) -> None:
        """Remove the segments of processes that have ended, once `fold` says that all klines in them are in chunks.

        Args:
            fold: called with what such a process left of each dataset; True if its chunk has all of that now.

        Raises:
            OSError, StoreError: a segment cannot be read or removed; those of other processes are taken over.
        """
        left: dict[str, list[StorePath]] = {}
        for path in segments(self._folder):
            left.setdefault(_writer_of(path), []).append(path)
        left.pop(self._id, None)
        failed: OSError | StoreError | None = None
        for writer, paths in left.items():
            try:
                self._take_over_from(writer, paths, fold)
            except (OSError, StoreError) as error:  # such as a lock of another user
                if self._files.is_conditional:
                    raise
                failed = failed or error
        if failed:
            raise failed

    # --- inside

    def _take_over_from(self, writer: str, paths: list[StorePath], fold: Callable[[Owner, list[Bits]], bool]) -> None:
        if not (lock := self._files.hold(_lock_of(self._folder, writer))).acquire():
            return
        try:
            self._bring_into_chunks(paths, fold)
        finally:
            lock.release()
        if not self._files.existing(paths):
            with suppress(OSError):
                self._files.remove(_lock_of(self._folder, writer))

    def _bring_into_chunks(self, paths: list[StorePath], fold: Callable[[Owner, list[Bits]], bool]) -> None:
        rows: dict[Owner, list[Bits]] = {}
        for path in paths:
            for owner, found in read_segment(path).rows.items():
                rows.setdefault(owner, []).extend(found)
        if all([fold(owner, found) for owner, found in rows.items()]):
            for path in paths:
                self._files.remove(path)

    def _segment_for(self, size_bytes: int) -> _Segment:
        now_s = time.monotonic()
        if self._held and not self._held.is_mine and not self._held.acquire():
            # Another process brings what this one has written into chunks, and removes it.
            self._id, self._held, self._segments, self._open = uuid.uuid4().hex, None, [], None
        if self._open:
            is_old = now_s - self._open.began_s >= _SEGMENT_S or not self._files.appends
            if is_old or self._open.size_bytes + size_bytes > _MOST_SEGMENT_BYTES:
                self._open = None
                self._remove_empty()
        if self._open is None:
            self._files.make_folder(self._folder)
            if self._held is None:
                held = self._files.hold(_lock_of(self._folder, self._id))
                held.acquire()
                self._held = held
            self._began_ms = max(self._began_ms + 1, time.time_ns() // 1_000_000)
            path = self._folder / f"{self._began_ms:013d}-{self._id}{JOURNAL_SUFFIX}"
            self._open = _Segment(path, now_s)
            self._segments.append(self._open)
        return self._open

    def _remove_empty(self) -> None:
        for segment in list(self._segments):
            if segment is not self._open and not segment.owners:
                with suppress(PermissionError):  # on Windows, while someone reads it; the next call finds it
                    self._files.remove(segment.path)
                    self._segments.remove(segment)


def _writer_of(path: StorePath) -> str:
    return path.stem.partition("-")[2]


def _lock_of(folder: StorePath, writer: str) -> StorePath:
    return folder / f"{writer}.lock"
