"""The rights of this process to follow datasets: one process at a time has that of a dataset.

Belongs here: taking and releasing them, and what a process does that was away for so long that another one has taken
over. Does not belong here: how a right is kept (`store.storage`), following (`market`).
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from market_data_pipeline.core.errors import StoreUnavailable
from market_data_pipeline.core.store.layout import LIVE_LOCK
from market_data_pipeline.core.store.note_lock import NoteLock
from market_data_pipeline.core.store.storage.protocol import StorePath


class Rights:
    """Which datasets this process may follow, by their names."""

    def __init__(self, who: str) -> None:
        """Take none yet. `who` is the name that other processes show for this one."""
        self._who = who
        self._locks: dict[str, NoteLock] = {}

    def take(self, name: str, folder: StorePath) -> str | None:
        """Take the right of the dataset in this folder; return the process that has it, None if it is this one now."""
        lock = NoteLock(folder, LIVE_LOCK, self._who)
        if not lock.acquire():
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

    def _require(self, name: str) -> None:
        lock = self._locks.get(name)
        if lock is None or not lock.is_mine:
            raise StoreUnavailable("the right to follow the dataset was not renewed in time, so nothing was stored")
