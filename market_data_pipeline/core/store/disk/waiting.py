"""Waiting for a lock file of this machine, and saying for whom.

Belongs here: what is said of a lock that somebody else holds for long, and who that is. Does not belong here: what a
lock protects, rights in a bucket (`storage.lease`).

A process that is stopped keeps its locks, and nobody may break them: it goes on where it was when it is continued.
"""

import logging
import math
import os
from collections.abc import Collection
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from filelock import BaseFileLock

# A lock is held for less, but by a process that is stopped or hangs, or on a disk that does.
_SAID_AFTER_S = 5.0
_OURS = ("market_data_pipeline", "market-data", "dagster")
_log = logging.getLogger(__name__)


class Holder(NamedTuple):
    """A process of this machine: since when it runs (s since 1970), and whether it is stopped, as by Ctrl-Z."""

    pid: int
    since_s: float
    is_stopped: bool


class LockFile:
    """See `Lock` of `storage.protocol`. The operating system frees it when its process ends, however that happens."""

    def __init__(self, path: Path) -> None:
        """Do not take it yet."""
        # Importing filelock takes 6 ms, and a reader needs no lock.
        from filelock import FileLock

        self._path, self._lock = path, FileLock(path)

    def acquire(self, timeout: float | None = None) -> AbstractContextManager[object]:
        """See `Lock.acquire`."""
        return acquired(self._lock, self._path, math.inf if timeout is None else timeout)

    def __enter__(self) -> object:
        """See `Lock`."""
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `Lock`."""
        self._lock.release()


def acquired(lock: "BaseFileLock", path: Path, within_s: float) -> AbstractContextManager[object]:
    """Take the lock file at this path, and release it at the end of a block; a long wait is logged once.

    Raises:
        TimeoutError: another process has it all the time.
    """
    from filelock import Timeout

    try:
        return lock.acquire(timeout=min(within_s, _SAID_AFTER_S))
    except Timeout:
        if within_s <= _SAID_AFTER_S:
            raise
    tell(path)
    return lock.acquire(timeout=-1 if within_s == math.inf else within_s - _SAID_AFTER_S)


def tell(path: Path) -> str:
    """Log that the lock file at this path is waited for, and return whose it is."""
    whose = _whose(path)
    _log.warning("waiting for the lock %s: %s", path, whose)
    return whose


def _whose(path: Path) -> str:
    holder = holders([path]).get(path)
    if holder is None:
        return "a process holds it that cannot be seen here, as in another container; end that one, or let it go on"
    if holder.is_stopped:
        how = "Resume Process in the Resource Monitor" if os.name == "nt" else f"kill -CONT {holder.pid}"
        return f"process {holder.pid} holds it and is stopped; continue it ({how}) or end it"
    return f"process {holder.pid} holds it; wait for it, or end it if it hangs"


def holders(paths: Collection[Path]) -> dict[Path, Holder]:
    """Which processes of this machine have these lock files open, as far as this user can see that."""
    import psutil  # few processes ever wait

    wanted, found = {str(path): path for path in paths}, dict[Path, Holder]()
    for process in psutil.process_iter() if wanted else ():
        # Others end while they are looked at, or may not be looked at.
        with suppress(psutil.Error, OSError):
            # A notebook or script that loads has no word of ours in its command.
            is_python = "python" in process.name().lower()
            if is_python or any(name in word for word in process.cmdline() for name in _OURS):
                is_stopped = process.status() == psutil.STATUS_STOPPED
                holder = Holder(process.pid, process.create_time(), is_stopped)
                found |= {wanted[file.path]: holder for file in process.open_files() if file.path in wanted}
    return found
