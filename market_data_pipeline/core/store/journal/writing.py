"""Writing the journal of a market, and taking over what a process that was killed left in it.

Belongs here: segments of this process, when they are begun and removed, segments of others that have ended. Does not
belong here: the format (`segments`), folding (`loading.fold`).

Each process has segments of its own, and a lock that the operating system frees when it ends. A segment whose lock is
free belongs to nobody: who finds it brings its klines into their chunks, and then removes it.
"""

import errno
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from market_data_pipeline.core.klines.table import Bits
from market_data_pipeline.core.store.atomic import make_folder, sync_folder
from market_data_pipeline.core.store.journal.segments import Owner, read_segment, record, segments
from market_data_pipeline.core.store.layout import JOURNAL_SUFFIX

# All datasets are folded once in this time, so that a segment is empty soon after the next one has begun.
_SEGMENT_S = 720
_MOST_SEGMENT_BYTES = 64_000_000


@dataclass(slots=True)
class _Segment:
    path: Path
    began_s: float
    size_bytes: int = 0
    owners: set[Owner] = field(default_factory=set)
    """Whose klines in it may not be in a chunk yet."""


class JournalWriter:
    """What one process writes into the journal of a market. Threads may share it."""

    def __init__(self, folder: Path) -> None:
        """Touch no file. `folder` is the journal's."""
        self._folder = folder
        self._id = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._held: FileLock | None = None
        self._segments: list[_Segment] = []
        self._open: _Segment | None = None

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
                # Unbuffered: what could not be written must not be tried again when the file is closed.
                with segment.path.open("ab", buffering=0) as file:
                    if file.write(content) != len(content):
                        raise OSError(errno.ENOSPC, "the record was not written whole", str(segment.path))
                    os.fsync(file.fileno())
                if segment.size_bytes == 0:
                    sync_folder(self._folder)
            except BaseException:
                # What follows a record that is not whole would never be read.
                self._open = None
                with suppress(OSError):
                    os.truncate(segment.path, segment.size_bytes)
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
                        Path(self._held.lock_file).unlink(missing_ok=True)
            self._held, self._segments = None, []

    def take_over(self, fold: Callable[[Owner, list[Bits]], bool]) -> None:
        """Remove the segments of processes that have ended, once `fold` says that all klines in them are in chunks.

        Args:
            fold: called with what such a process left of each dataset; True if its chunk has all of that now.

        Raises:
            OSError, StoreError: a segment cannot be read or removed.
        """
        left: dict[str, list[Path]] = {}
        for path in segments(self._folder):
            left.setdefault(_writer_of(path), []).append(path)
        left.pop(self._id, None)
        for writer, paths in left.items():
            lock = FileLock(_lock_of(self._folder, writer), thread_local=False)
            with suppress(Timeout), lock.acquire(timeout=0):
                rows: dict[Owner, list[Bits]] = {}
                for path in paths:
                    for owner, found in read_segment(path).rows.items():
                        rows.setdefault(owner, []).extend(found)
                if all([fold(owner, found) for owner, found in rows.items()]):
                    for path in paths:
                        path.unlink(missing_ok=True)
            if not any(path.exists() for path in paths):
                with suppress(OSError):
                    _lock_of(self._folder, writer).unlink(missing_ok=True)

    # --- inside

    def _segment_for(self, size_bytes: int) -> _Segment:
        now_s = time.monotonic()
        if self._open:
            is_old = now_s - self._open.began_s >= _SEGMENT_S
            if is_old or self._open.size_bytes + size_bytes > _MOST_SEGMENT_BYTES:
                self._open = None
                self._remove_empty()
        if self._open is None:
            make_folder(self._folder)
            if self._held is None:
                held = FileLock(_lock_of(self._folder, self._id), thread_local=False)
                held.acquire(timeout=0)
                self._held = held
            path = self._folder / f"{time.time_ns() // 1_000_000:013d}-{self._id}{JOURNAL_SUFFIX}"
            self._open = _Segment(path, now_s)
            self._segments.append(self._open)
        return self._open

    def _remove_empty(self) -> None:
        for segment in list(self._segments):
            if segment is not self._open and not segment.owners:
                with suppress(PermissionError):  # on Windows, while someone reads it; the next call finds it
                    segment.path.unlink(missing_ok=True)
                    self._segments.remove(segment)


def _writer_of(path: Path) -> str:
    return path.stem.partition("-")[2]


def _lock_of(folder: Path, writer: str) -> Path:
    return folder / f"{writer}.lock"
