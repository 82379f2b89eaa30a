"""The rights of this process to follow datasets: one process at a time has that of a dataset.

Belongs here: taking and releasing them, and what a process does that was away for so long that another one has taken
over. Does not belong here: how a right is kept (`store.storage`), following (`market`).
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from market_data_pipeline.core.errors import StoreUnavailable
from market_data_pipeline.core.store.layout import LIVE_LOCK
from market_data_pipeline.core.store.note_lock import NoteLock
from market_data_pipeline.core.store.storage.protocol import StorePath

_log = logging.getLogger(__name__)


class Rights:
    """Which datasets this process may follow, by their names."""

    def __init__(self, who: str) -> None:
        """Take none yet. `who` is the name that other processes show for this one."""
        self._who = who
        self._locks: dict[str, NoteLock] = {}
        self._has_said = False

    def take(self, name: str, folder: StorePath, latest_s: float) -> str | None:
        """Take the right of the dataset in this folder; return the process that has it, None if it is this one now.

        A right that another process has is waited for until `latest_s`, by `time.monotonic`.
        """
        lock = NoteLock(folder, LIVE_LOCK, self._who)
        if not lock.acquire() and not self._outlasts(name, lock, latest_s - time.monotonic()):
            return lock.holder()
        self._locks[name] = lock
        return None

    def release(self, name: str) -> None:
        """Give the right up."""
        self._locks.pop(name).release()

    def required(self, name: str) -> Callable[[], None]:
        """What raises StoreUnavailable while this process cannot be sure that it has the right."""
        return partial(self._require, name)

    def lost(self) -> dict[str, str]:
        """Why datasets are not this process's to follow any more, one line each, by their names.

        Rights that nobody else wanted meanwhile are taken again.
        """
        lost = {}
        for name, lock in list(self._locks.items()):
            # While the object store does not answer, the updates say so.
            with suppress(OSError):
                if not lock.is_mine and not lock.acquire():
                    del self._locks[name]
                    lost[name] = f"followed by {lock.holder()}, as this process had been away; it steps back"
        return lost

    def _outlasts(self, name: str, lock: NoteLock, within_s: float) -> bool:
        if within_s <= 0:
            return False
        if not self._has_said:
            self._has_said = True
            waiting = f"waiting {within_s:.0f} s at most, in which its right ends if it was killed"
            _log.warning("%s is followed by %s; %s", name, lock.holder(), waiting)
        return lock.acquire(within_s=within_s)

    def _require(self, name: str) -> None:
        lock = self._locks.get(name)
        if lock is None or not lock.is_mine:
            raise StoreUnavailable("the right to follow the dataset was not renewed in time, so nothing was stored")
