"""Locks that tell other processes something about their holder: who it is, or which minutes it loads.

Belongs here: the lock files, the notes, and what both leave behind when the holder is killed. Does not belong here:
what a lock protects (`live.market`, `services.lock`), what follows from a load that is under way (`proof.verify`).
"""

import json
import os
import re
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.days import iso
from market_data_pipeline.core.store.atomic import read_file, write_whole
from market_data_pipeline.core.store.records import parse

_MOST_BYTES, _MOST_CHARACTERS = 4096, 255


@dataclass(slots=True)
class _Holder:
    """Who holds the lock, as the note has it."""

    who: str
    host: str
    pid: int
    since: str

    def __post_init__(self) -> None:
        if not all(text.isprintable() and len(text) <= _MOST_CHARACTERS for text in (self.who, self.host, self.since)):
            raise ValueError("a text that no holder writes")
        if self.pid <= 0:
            raise ValueError("no process id")


class NoteLock:
    """The lock `NAME.lock` and the note `NAME.json` in a folder.

    The operating system frees the lock when its holder ends, however that happens.
    """

    def __init__(self, folder: Path, name: str, who: str) -> None:
        """Do not acquire the lock yet. `who` is the name that other processes show for this one."""
        self.holder_was_killed = False
        """Whether the last holder ended without releasing the lock. Valid once the lock is acquired."""
        self._who = who
        self._lock = FileLock(folder / f"{name}.lock", thread_local=False)
        # Not in the lock's own file: on Windows no other process can read a file that is locked.
        self._note = folder / f"{name}.json"

    def acquire(self, *, within_s: float = 0) -> bool:
        """Acquire the lock, waiting so long at most, and write the note; False if another process holds it."""
        try:
            self._lock.acquire(timeout=within_s)
        except Timeout:
            return False
        self.holder_was_killed = self._note.exists()
        now = iso(round(time.time() * 1000))
        holder = _Holder(self._who, socket.gethostname(), os.getpid(), now)
        try:
            write_whole(self._note, json.dumps(asdict(holder)).encode())
        except BaseException:
            self._lock.release()
            raise
        return True

    def release(self) -> None:
        """Remove the note and release the lock, if this object holds it."""
        if self._lock.is_locked:
            self._note.unlink(missing_ok=True)
            self._lock.release()

    def holder(self) -> str:
        """The process that holds the lock, in words, from its note."""
        # The holder may be about to write its note, or to release the lock.
        with suppress(OSError, ValueError):
            holder = parse(_Holder, read_file(self._note, _MOST_BYTES))
            return f"{holder.who} (process {holder.pid} on {holder.host}, since {holder.since})"
        return "another process"


_LOAD_LOCK = re.compile(r"(?P<start_ms>\d+)-(?P<end_ms>\d+)-[0-9a-f]{32}\.lock")


class LoadLocks:
    """The locks of the loads of one dataset that are under way, any number at a time, in a folder.

    The caller holds the dataset's lock whenever it calls `begin` or `under_way`: both try whether a lock is free.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` need not exist."""
        self._folder = folder

    def begin(self, window: Span) -> FileLock:
        """Acquire a lock whose name has these minutes; remove those of loads that were killed."""
        self._folder.mkdir(exist_ok=True)
        for path, _ in self._found():
            if not _is_held(path):
                path.unlink(missing_ok=True)
        lock = FileLock(self._folder / f"{window.start_ms}-{window.end_ms}-{uuid.uuid4().hex}.lock", thread_local=False)
        lock.acquire()
        return lock

    @staticmethod
    def end(lock: FileLock) -> None:
        """Release a lock that `begin` returned, and remove its file."""
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)

    def under_way(self) -> list[Span]:
        """The minutes of each load whose process has neither ended it nor ended itself."""
        return [window for path, window in self._found() if _is_held(path)]

    def _found(self) -> Iterator[tuple[Path, Span]]:
        for path in sorted(self._folder.glob("*.lock")):
            if match := _LOAD_LOCK.fullmatch(path.name):
                yield path, Span(int(match["start_ms"]), int(match["end_ms"]))


def _is_held(path: Path) -> bool:
    """Whether a process holds the lock; False, too, if this one may not try."""
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False
