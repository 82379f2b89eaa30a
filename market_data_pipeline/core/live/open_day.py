"""The open day of a live dataset: what its chunk has, and what only the journal has.

Belongs here: which fetched klines may go into the journal, and bringing them from there into the chunk. Does not belong
here: the journal's files (`store.journal`), when klines are folded (`journaling`), fetching (`dataset`).

The journal carries plain growth only: the minutes that were read again are as they are known, and the new ones follow
them without a gap, keep every rule, and are not the last of their day. Everything else goes into the chunk at once, so
that revisions, absences and flaws have one way.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from market_data_pipeline.core.klines.checks import is_clean
from market_data_pipeline.core.klines.coverage import Kind
from market_data_pipeline.core.klines.days import MINUTE_MS, Day
from market_data_pipeline.core.klines.table import Bits, bits_of, of_bits, open_times
from market_data_pipeline.core.loading.fetch import FetchedDay
from market_data_pipeline.core.loading.fold import fold
from market_data_pipeline.core.store.chunks.files import Chunk
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.manifest import Entry
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import Version

# As many minutes as a tick reads again, and some more.
_TAIL_ROWS = 8


@dataclass(frozen=True, slots=True)
class _Base:
    """A day's chunk as it was last read or written: the stamp of its file, and its last rows."""

    day: Day
    version: Version | None
    tail: Bits


def nothing() -> None:
    """Do nothing."""


class OpenDay:
    """The klines of the newest day of a dataset, of which some may be in the journal alone."""

    def __init__(self, store: DatasetStore, require_right: Callable[[], None] = nothing) -> None:
        """Read nothing. `require_right` raises StoreError while this process may not write; `fold` raises it, too."""
        self._store, self._require_right = store, require_right
        self._base: _Base | None = None
        self._pending: list[Bits] = []

    @property
    def pending_minutes(self) -> int:
        """How many klines the chunk lacks."""
        return sum(map(len, self._pending))

    @property
    def day(self) -> Day | None:
        """The day of which the chunk lacks klines; None if it lacks none."""
        return self._base.day if self._base and self._pending else None

    @property
    def first_open_ms(self) -> int | None:
        """Open time of the first kline that the chunk lacks, ms UTC; None if it lacks none."""
        return int(self._pending[0][0, 0]) if self._pending else None

    @property
    def last_open_ms(self) -> int | None:
        """Open time of the newest kline that the chunk lacks, ms UTC; None if it lacks none."""
        return int(self._pending[-1][-1, 0]) if self._pending else None

    def growth(self, fetched: FetchedDay, settled_ms: int) -> Bits | None:
        """The new klines if they are plain growth, which may be none at all; None if the day has to be loaded.

        Args:
            fetched: what was fetched of the day.
            settled_ms: the end of the newest kline, ms UTC.
        """
        self._require_right()
        day, klines = fetched.task.day, fetched.klines
        if settled_ms >= day.end_ms or fetched.absences or fetched.flaws or klines.num_rows == 0:
            return None
        base = self._base_of(day)
        if base is None:
            return None
        rows = bits_of(klines)
        times, tail = rows[:, 0], np.concatenate([base.tail, *self._pending])[-_TAIL_ROWS:]
        known = int(tail[-1, 0] - times[0]) // MINUTE_MS + 1
        follows = 0 <= known <= min(len(rows), len(tail)) and int(times[0]) == fetched.task.spans[0].start_ms
        if not follows or (np.diff(times) != MINUTE_MS).any() or not (fetched.checked or is_clean(klines)):
            return None
        return rows[known:] if np.array_equal(rows[:known], tail[len(tail) - known :]) else None

    def add(self, rows: Bits) -> None:
        """Note new klines that the journal has now."""
        if len(rows):
            self._pending.append(rows)

    def fold(self) -> Entry | None:
        """Bring the klines that the chunk lacks into it; return its entry, None if it lacks none.

        Raises:
            StoreError, BadAnswer, OSError: see `loading.fold`. The klines stay in the journal.
        """
        self._require_right()
        if self._base is None or not self._pending:
            return None
        entry = fold(self._store, self._base.day, of_bits(np.concatenate(self._pending)))
        self._base, self._pending = None, []
        return entry

    def _base_of(self, day: Day) -> _Base | None:
        """The day's chunk as far as new klines need it; None if klines cannot be added to it through the journal."""
        path = self._store.chunk_path(day)
        version = storage_of(path).version(path)
        if self._base and self._base.day == day and self._base.version == version:
            return self._base
        if self._pending or version is None:
            return None  # another process has written the chunk
        chunk = self._store.trusted(day)
        if chunk is None or not _is_open_to_its_end(chunk, day):
            return None
        self._base = _Base(day, version, bits_of(chunk.klines.slice(max(0, chunk.klines.num_rows - _TAIL_ROWS))))
        return self._base


def _is_open_to_its_end(chunk: Chunk, day: Day) -> bool:
    """True if all minutes after the chunk's last kline are still to come."""
    times = open_times(chunk.klines)
    last = chunk.footer.absences[-1] if chunk.footer.absences else None
    if last is None or not len(times):
        return False
    return (
        last.kind is Kind.OPEN and last.span.start_ms == int(times[-1]) + MINUTE_MS and last.span.end_ms == day.end_ms
    )
