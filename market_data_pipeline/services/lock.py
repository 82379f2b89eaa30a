"""The lock that makes an `up` the only one of its Dagster home.

Belongs here: the name of the lock, and the error for a second `up`. Does not belong here: lock files as such
(`store.note_lock`), what happens after a killed `up` (`up`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.store.note_lock import NoteLock
from market_data_pipeline.instance.home import UP_LOCK


@contextmanager
def exclusive(home: Path) -> Iterator[bool]:
    """Be the only `up` of a Dagster home while the block runs; yields True if the last `up` was killed.

    Raises:
        UsageError: another `up` runs.
    """
    lock = NoteLock(home, UP_LOCK, "`market-data up`")
    if not lock.acquire():
        raise UsageError(
            f"{lock.holder()} already runs on {home}; stop it, or set DAGSTER_HOME and other ports for a second one"
        )
    try:
        yield lock.holder_was_killed
    finally:
        lock.release()
