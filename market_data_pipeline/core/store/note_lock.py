"""A lock that one process holds at a time, with a note beside it that names the holder.

Belongs here: the lock file, the note, and what both leave behind when the holder is killed. Does not belong here: what
the lock protects (`live.market`, `services.lock`).
"""

import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from market_data_pipeline.core.klines.days import iso
from market_data_pipeline.core.store.atomic import write_whole


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
        holder = {"who": self._who, "host": socket.gethostname(), "pid": os.getpid(), "since": now}
        try:
            write_whole(self._note, json.dumps(holder).encode())
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
        with suppress(OSError, ValueError, KeyError, TypeError):
            holder = json.loads(self._note.read_bytes())
            return f"{holder['who']} (process {holder['pid']} on {holder['host']}, since {holder['since']})"
        return "another process"
