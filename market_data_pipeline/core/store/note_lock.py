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

from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.days import iso
from market_data_pipeline.core.store.records import parse
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import Hold, StorePath

_MOST_BYTES, _MOST_CHARACTERS = 4096, 255
# Nobody else knows the name of a new lock.
_LONGEST_WAIT_S = 60


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
    """The lock `NAME.lock` and the note `NAME.json` in a folder. The lock is free once its holder has ended."""

    def __init__(self, folder: StorePath, name: str, who: str) -> None:
        """Do not acquire the lock yet. `who` is the name that other processes show for this one."""
        self.holder_was_killed = False
        """Whether the last holder ended without releasing the lock. Valid once the lock is acquired."""
        self._who = who
        self._files = storage_of(folder)
        self._path = folder / f"{name}.lock"
        self._lock = self._files.hold(self._path)
        # Not in the lock's own file: on Windows no other process can read a file that is locked.
        self._note = folder / f"{name}.json"

    @property
    def is_mine(self) -> bool:
        """True if this object has the lock. Where it may run out, no longer than that is certain."""
        return self._lock.is_mine

    def acquire(self, *, within_s: float = 0) -> bool:
        """Acquire the lock, waiting so long at most, and write the note; False if another process holds it."""
        if not self._lock.acquire(within_s=within_s):
            return False
        self.holder_was_killed = self._files.is_file(self._note)
        now = iso(round(time.time() * 1000))
        holder = _Holder(self._who, socket.gethostname(), os.getpid(), now)
        try:
            self._files.write(self._note, json.dumps(asdict(holder)).encode())
        except BaseException:
            self._lock.release()
            raise
        return True

    def release(self) -> None:
        """Remove the note and release the lock, if this object holds it; the lock also if that is not certain now.

        Raises:
            OSError: the note could not be removed, or the release not be told; this object holds the lock no more.
        """
        try:
            if self._lock.is_mine:
                self._files.remove(self._note)
        finally:
            self._lock.release()

    def held_by(self) -> str | None:
        """As `holder`, None if no process holds the lock. It is tried only if there is a note."""
        if not self._files.is_file(self._note) or not self._files.is_held(self._path):
            return None
        return self.holder()

    def holder(self) -> str:
        """The process that holds the lock, in words, from its note."""
        # The holder may be about to write its note, or to release the lock.
        with suppress(OSError, ValueError):
            holder = parse(_Holder, self._files.read(self._note, _MOST_BYTES))
            return f"{holder.who} (process {holder.pid} on {holder.host}, since {holder.since})"
        return "another process"


_LOAD_LOCK = re.compile(r"(?P<start_ms>\d+)-(?P<end_ms>\d+)-[0-9a-f]{32}\.lock")


class LoadLocks:
    """The locks of the loads of one dataset that are under way, any number at a time, in a folder.

    The caller holds the dataset's lock whenever it calls `begin` or `under_way`: both try whether a lock is free.
    """

    def __init__(self, folder: StorePath) -> None:
        """`folder` need not exist."""
        self._folder, self._files = folder, storage_of(folder)

    def begin(self, window: Span) -> Hold:
        """Acquire a lock whose name has these minutes, which its release removes; remove those of killed loads."""
        self._files.make_folder(self._folder)
        for path, _ in self._found():
            if self._files.is_held(path):
                continue
            with suppress(PermissionError):  # it is of another user
                left = self._files.hold(path)
                if left.acquire():  # in a bucket that ends the session of its process, too
                    left.release()
                    self._files.remove(path)
        path = self._folder / f"{window.start_ms}-{window.end_ms}-{uuid.uuid4().hex}.lock"
        lock = self._files.hold(path, is_own=True)
        lock.acquire(within_s=_LONGEST_WAIT_S)
        return lock

    def held(self) -> Iterator[tuple[StorePath, Span]]:
        """The lock and the minutes of each load that is under way. A lock is tried, for which nobody waits."""
        return ((path, window) for path, window in self._found() if self._files.is_held(path))

    def under_way(self) -> list[Span]:
        """The minutes of each load whose process has neither ended it nor ended itself."""
        return [window for _, window in self.held()]

    def _found(self) -> Iterator[tuple[StorePath, Span]]:
        for name in self._files.names(self._folder):
            if match := _LOAD_LOCK.fullmatch(name):
                yield self._folder / name, Span(int(match["start_ms"]), int(match["end_ms"]))
