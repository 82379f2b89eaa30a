"""The file in which the counts of all processes of an installation come together.

Belongs here: adding what this process has counted, every few seconds and at its end, and reading the sums. Does not
belong here: counting (`memory`), what is counted (`counts`).

Each process adds what it counted since its last time to the same few rows. So a process that has ended leaves nothing
to clean up, the file does not grow, and the counts go on after a restart. One that is killed takes the counts of its
last seconds with it.
"""

import atexit
import json
import logging
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from market_data_pipeline.core.counting import memory
from market_data_pipeline.core.counting.memory import Key

_FILE = "counts.sqlite"
_EVERY_S, _LONGEST_WAIT_S = 5.0, 5.0
_TABLE = """CREATE TABLE IF NOT EXISTS counts (
  key TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID"""
_ADD = "INSERT INTO counts VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = value + excluded.value"
_log = logging.getLogger(__name__)


class _Keeper:
    """The thread of this process that adds to the file of a folder."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = 0
        self._folder = Path()
        self._has_warned = False

    def keep(self, folder: Path) -> None:
        """Add to the file of this folder from now on."""
        with self._lock:
            self._folder = folder
            # A forked process has no thread of its parent.
            if self._pid != os.getpid():
                self._pid = os.getpid()
                threading.Thread(target=self._run, name="counts", daemon=True).start()
                atexit.register(self.add)

    def add(self) -> None:
        """Add what was counted since the last time. What cannot be added is kept for the next time."""
        with self._lock:
            if self._pid != os.getpid():
                return  # a forked process that keeps no counts itself
            if not self._folder.is_dir():
                return  # who removed the folder does not want the counts in it
            taken = memory.take()
            if not taken:
                return
            try:
                _add(self._folder / _FILE, taken)
            except (sqlite3.Error, OSError) as error:
                memory.give_back(taken)
                if not self._has_warned:
                    self._has_warned = True
                    _log.warning("counts for /metrics cannot be kept in %s: %s", self._folder, error)

    def _run(self) -> None:
        while True:
            threading.Event().wait(_EVERY_S)
            self.add()


_keeper = _Keeper()
keep_counts = _keeper.keep
"""Add what this process counts to the file of a folder, every 5 seconds and at its end; the folder must exist."""
add_counts = _keeper.add
"""Add what this process has counted now: at the end of one that ends without Python's own end of a process."""


def counts_in(folder: Path) -> dict[Key, float]:
    """The sums of all processes, with what this one has added so far; nothing if there is no file that can be read."""
    path = folder / _FILE
    with suppress(sqlite3.Error, OSError):
        if path.exists():
            uri = f"{path.absolute().as_uri()}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True, timeout=_LONGEST_WAIT_S)) as connection:
                return {tuple(json.loads(key)): value for key, value in connection.execute("SELECT * FROM counts")}
    return {}


def _add(path: Path, taken: Mapping[Key, float]) -> None:
    rows = [(json.dumps(key), value) for key, value in taken.items()]
    try:
        with _open(path) as connection:
            connection.executemany(_ADD, rows)
    except sqlite3.OperationalError:
        raise  # it is locked, or the disk is full: the file is good
    except sqlite3.DatabaseError:
        # A power cut can damage it, as nothing waits for the disk. Counts may start at zero at any time.
        path.unlink()
        with _open(path) as connection:
            connection.executemany(_ADD, rows)


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    """The database, created if there is none; what the block does is one transaction."""
    with closing(sqlite3.connect(path, timeout=_LONGEST_WAIT_S)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        with connection:
            connection.execute(_TABLE)
            yield connection
