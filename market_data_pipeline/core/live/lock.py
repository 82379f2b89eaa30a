"""Who keeps a dataset current: at most one process at a time, and others can say which.

Belongs here: the lock and the note beside it. Does not belong here: what the holder does (`live_market`).
Only live mode is exclusive: backfills of the same dataset go on beside it.
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


class Hold:
    """The right to follow a dataset. It ends with the process that has it, however that ends."""

    def __init__(self, folder: Path, who: str) -> None:
        """Not taken yet; `who` is what others are told."""
        self._who = who
        self._lock = FileLock(folder / ".live.lock", thread_local=False)
        # Not in the lock's own file: on Windows nobody else can read a file that is locked.
        self._note = folder / ".live.json"

    def take(self) -> str | None:
        """None if it is ours now, else who has it, in words."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return self._holder()
        now = iso(round(time.time() * 1000))
        held = {"who": self._who, "host": socket.gethostname(), "pid": os.getpid(), "since": now}
        write_whole(self._note, json.dumps(held).encode())
        return None

    def release(self) -> None:
        """Let others take it."""
        if self._lock.is_locked:
            self._note.unlink(missing_ok=True)
            self._lock.release()

    def _holder(self) -> str:
        # The holder may be about to write its note, or to let go.
        with suppress(OSError, ValueError, KeyError, TypeError):
            held = json.loads(self._note.read_bytes())
            return f"{held['who']} (process {held['pid']} on {held['host']}, since {held['since']})"
        return "another process"
