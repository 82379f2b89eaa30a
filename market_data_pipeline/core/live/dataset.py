"""One live dataset: what a tick fetches and stores for it.

Belongs here: the newest minutes of one dataset, fetched until they are there, and stored. Does not belong here: when
ticks are, and which datasets there are (`market`); how klines become a chunk (`loading.day`, as for a backfill); days
that take longer than a tick (`runs_due`).

A kline that is read a moment after its close is provisional: the exchange may still change it. So each tick reads the
last minutes again, and a changed value is a revision like any other.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

import pyarrow as pa

from market_data_pipeline.core.errors import MarketDataError, PairNotListed, PairNotServed
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.days import MINUTE_MS, Day, days_between
from market_data_pipeline.core.klines.table import EMPTY, Bits, cut, open_times
from market_data_pipeline.core.live.freshness import MOST_MINUTES, since_chunk_ms
from market_data_pipeline.core.live.newest import Newest, PairLife, Patience
from market_data_pipeline.core.live.open_day import OpenDay, nothing
from market_data_pipeline.core.live.requested import Requested
from market_data_pipeline.core.loading.day import DayLoader
from market_data_pipeline.core.loading.fetch import FetchedDay, recheck
from market_data_pipeline.core.loading.plan import Outcome, Task
from market_data_pipeline.core.sources.protocol import KlineSource, Life, Page
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.manifest import LIVE, Entry

REREAD_MINUTES = 3
_LONGEST_PAUSE_S = 2.0
MOST_DAYS = 100
"""How many days of a dataset are kept to be told, where they cannot be told at once."""
_Call: TypeAlias = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Update:
    """What a tick did for one dataset.

    Attributes:
        name: the dataset's.
        last_open_ms: open time of the newest stored kline, ms UTC; None for none.
        added: klines that were not stored before.
        revised: minutes that have other values than before.
        entries: those of the days whose chunks were written or found equal.
        is_late: the exchange did not have the newest minute in time; the next tick requests it too.
        is_behind: a backfill has to load the missing days first; nothing was requested.
        has_ended: the pair is not traded any more, and all its klines are stored.
        error: why nothing could be stored, one line.
        may_pass: True if the same may succeed later: the error is one of the exchange, the network or the disk.
    """

    name: str
    last_open_ms: int | None
    added: int = 0
    revised: int = 0
    entries: tuple[Entry, ...] = ()
    is_late: bool = False
    is_behind: bool = False
    has_ended: bool = False
    error: str | None = None
    may_pass: bool = False

    @property
    def result(self) -> str:
        """How it went, in the word that it is counted by."""
        if self.error:
            return "failed"
        return "behind" if self.is_behind else "late" if self.is_late else "good"

    def after(self, earlier: "Update") -> "Update":
        """This one with the days of an earlier one, the newest `MOST_DAYS` of both."""
        entries = {entry.day: entry for entry in (*earlier.entries, *self.entries)}
        return replace(self, entries=tuple(entries.values())[-MOST_DAYS:])


class LiveDataset:
    """A dataset that is kept current. A tick is `missing`, then `fetch` in any thread, then the klines are stored.

    They are stored by `store_newest`, or in the journal if `growth` has them; then `note_journaled` is told.
    """

    def __init__(
        self, store: DatasetStore, source: KlineSource, *, on_folded: _Call = nothing, require_right: _Call = nothing
    ) -> None:
        """Send no request. `on_folded` is called when the chunk has all klines of the journal; see also `OpenDay`."""
        self.store = store
        self._on_folded = on_folded
        self._open_day = OpenDay(store, require_right)
        self._folded: dict[str, Entry] = {}
        self._trouble: Exception | None = None
        self._source = source
        self._requested = Requested(store)
        self.damaged: Day | None = None
        """A day whose chunk on disk is damaged; a run has to load it again before klines can be added."""
        self._life = PairLife(source, store.dataset.market)

    @property
    def name(self) -> str:
        """The dataset's."""
        return self.store.dataset.name

    @property
    def last_open_ms(self) -> int | None:
        """Open time of the newest stored kline, ms UTC; None for none."""
        if (journaled_ms := self._open_day.last_open_ms) is not None:
            return journaled_ms
        newest = self.store.newest
        if newest is None or newest.last_open_time is not None:
            return newest.last_open_time if newest else None
        return max((entry.last_open_time or 0 for entry in self.store.entries.values()), default=0) or None

    @property
    def since_ms(self) -> int | None:
        """The first minute that may still get a kline, ms UTC; None without a chunk."""
        journaled_ms, stored_ms = self._open_day.last_open_ms, since_chunk_ms(self.store)
        # Another process may have stored later ones.
        return stored_ms if journaled_ms is None or stored_ms is None else max(stored_ms, journaled_ms + MINUTE_MS)

    @property
    def pending_minutes(self) -> int:
        """How many klines are in the journal and not in the chunk yet."""
        return self._open_day.pending_minutes

    @property
    def pending_day(self) -> Day | None:
        """The day of these klines; None if there are none."""
        return self._open_day.day

    def missing(self, edge_ms: int) -> Span | None:
        """The minutes before the edge (ms UTC) that a tick has to request; None if they are more than a tick's work."""
        start_ms = self.since_ms
        if start_ms is None or edge_ms - start_ms > MOST_MINUTES * MINUTE_MS:
            return None
        return Span(min(start_ms, edge_ms - REREAD_MINUTES * MINUTE_MS), edge_ms)

    @property
    def has_ended(self) -> bool:
        """True if the pair is not traded any more. Checked again every ten minutes, as trading may begin again."""
        return self._life.ended and self._life.is_recent

    def check_life(self, patience: Patience) -> Update:
        """The update of a dataset that misses more than a tick's work: behind, unless the pair has ended.

        Raises:
            SourceError: no response, or one that is not klines.
        """
        if not self._life.is_recent:
            ended_ms, start_ms = self._life.read(patience).last_open_ms, self.since_ms
            self._life.ended = ended_ms is not None and start_ms is not None and start_ms > ended_ms
        return Update(self.name, self.last_open_ms, is_behind=not self._life.ended, has_ended=self._life.ended)

    def fetch(self, wanted: Span, patience: Patience) -> Newest:
        """The klines of the span, requested until its last minute is there or patience ends.

        Raises:
            SourceError: no response, or one that is not klines.
        """
        try:
            read = self._newest(wanted, patience)
            life = self._life.after(wanted, read.klines, patience)
        except (PairNotListed, PairNotServed):  # what REST refuses, the archive may still tell
            read, life = Page(wanted, EMPTY, frozenset()), self._life.read(patience)
        klines = read.klines
        if self._life.ended and life.ended and life.last_open_ms is not None:
            klines = cut(klines, Span(wanted.start_ms, life.last_open_ms + MINUTE_MS))
        return self._by_day(wanted, klines, life, checked=read.checked)

    def growth(self, newest: Newest) -> Bits | None:
        """The new klines if the journal may have them, which may be none; None if `store_newest` has to store them.

        Raises:
            StoreError: the chunk cannot be read.
        """
        if len(newest.days) != 1 or newest.life.last_open_ms is not None or self._life.ended or self._trouble:
            return None
        return self._open_day.growth(newest.days[0], newest.settled_ms)

    def note_journaled(self, newest: Newest, rows: Bits) -> Update:
        """The update of a tick whose new klines, those of `growth`, are in the journal now."""
        self.damaged = None
        self._open_day.add(rows)
        self._requested.add(newest.wanted.start_ms, newest.settled_ms)
        is_late = newest.settled_ms < newest.wanted.end_ms
        return Update(self.name, self.last_open_ms, len(rows), entries=self._take_folded(), is_late=is_late)

    def fold(self) -> None:
        """Bring what only the journal has into the chunk.

        Raises:
            MarketDataError, OSError: that failed; the klines stay in the journal, and the next tick tries it again.
        """
        try:
            entry = self._open_day.fold()
        except (MarketDataError, OSError) as error:
            self._trouble = error
            raise
        self._trouble = None
        if entry:
            self._folded[entry.day] = entry
            self._on_folded()
        self._requested.note(self._open_day.first_open_ms, seldom=True)

    def store_newest(self, newest: Newest) -> Update:
        """Store in the chunks what was fetched; minutes after its last kline stay open."""
        before_ms = self.last_open_ms or 0
        if not newest.days:
            return Update(self.name, self.last_open_ms, is_late=not self._life.ended, has_ended=self._life.ended)
        self.damaged = next((fetched.task.day for fetched in newest.days if self._is_damaged(fetched.task.day)), None)
        if self.damaged:
            return Update(self.name, self.last_open_ms, is_behind=True)
        self.fold()
        self._requested.add(newest.wanted.start_ms, newest.settled_ms)
        if any(fetched.absences for fetched in newest.days):
            self._requested.note(self._open_day.first_open_ms)
        loader = DayLoader(self.store, newest.life, newest.settled_ms)
        results = [loader.load(fetched) for fetched in newest.days]
        failed = [result for result in results if result.outcome is Outcome.FAILED]
        return Update(
            name=self.name,
            last_open_ms=self.last_open_ms,
            added=sum(int((open_times(fetched.klines) > before_ms).sum()) for fetched in newest.days),
            revised=sum(span.minutes for result in results if result.revision for span in result.revision.minutes),
            entries=self._take_folded(result.entry for result in results if result.outcome is Outcome.LOADED),
            is_late=newest.settled_ms < newest.wanted.end_ms and not self._life.ended,
            has_ended=self._life.ended,
            error=f"{failed[0].day.key}: {failed[0].error}" if failed else None,
            may_pass=bool(failed) and all(result.may_pass for result in failed),
        )

    def flush(self, *, open_days: bool = True) -> None:
        """Write the manifest, see `DatasetStore.flush`, and with that of the open days the requested minutes.

        Then reread the store.
        """
        if open_days:
            self._requested.note(self._open_day.first_open_ms)
        self.store.flush(open_days=open_days)
        self.store.refresh()

    # --- inside

    def _take_folded(self, entries: Iterable[Entry | None] = ()) -> tuple[Entry, ...]:
        """The entries that no update has told yet, the newer ones of each day."""
        told = self._folded | {entry.day: entry for entry in entries if entry}
        self._folded = {}
        return tuple(told.values())

    def _newest(self, wanted: Span, patience: Patience) -> Page:
        pause_s, paid = patience.first_pause_s, patience.paid
        while True:
            with patience.turn():
                read, paid = self._source.newest(wanted, paid=paid), False
            klines = read.klines
            is_there = klines.num_rows > 0 and int(open_times(klines)[-1]) == wanted.end_ms - MINUTE_MS
            if is_there or time.monotonic() + pause_s > patience.until_s or patience.stopped.wait(pause_s):
                return read
            pause_s = min(pause_s * 1.5, max(_LONGEST_PAUSE_S, pause_s))

    def _by_day(self, wanted: Span, klines: pa.Table, life: Life, *, checked: bool) -> Newest:
        settled_ms = int(open_times(klines)[-1]) + MINUTE_MS if klines.num_rows else wanted.start_ms
        days = []
        for day in days_between(self.store.dataset.zone, wanted.start_ms, settled_ms):
            span = Span(max(day.start_ms, wanted.start_ms), min(day.end_ms, wanted.end_ms))
            fetched = FetchedDay(Task(day, (span,)), cut(klines, span), frozenset({LIVE}), checked=checked)
            days.append(recheck(self._source, fetched, settled_ms))
        return Newest(wanted, settled_ms, tuple(days), life)

    def _is_damaged(self, day: Day) -> bool:
        return day.key in self.store.entries and self.store.trusted(day) is None
