"""Live mode: each minute's kline joins its dataset as soon as the exchange has closed it.

Belongs here: what one tick asks and stores for one dataset. Does not belong here: when ticks are, and which datasets
there are (`live_market`); how klines become a chunk (`backfill.load`, which a backfill uses too); days for which a tick
is too short (`due`).

A kline that was read a moment after its close is provisional: the exchange may still change it. So each tick reads the
last minutes again, and what differs is a revision like any other.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import pyarrow as pa

from market_data_pipeline.core.errors import SourceUnavailable
from market_data_pipeline.core.klines.coverage import Span, gaps, intersect, subtract
from market_data_pipeline.core.klines.days import MINUTE_MS, Day, days_between
from market_data_pipeline.core.klines.table import column, cut, open_times
from market_data_pipeline.core.live.freshness import since_ms
from market_data_pipeline.core.loading.load_days import load
from market_data_pipeline.core.loading.plan import Outcome, Task
from market_data_pipeline.core.sources.protocol import KlineSource, Life, Page, Recheck
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.manifest import LIVE, Entry

REREAD_MINUTES = 3
# More than this is a backfill's work: it would not fit into one request everywhere.
MOST_MINUTES = 480
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 2.0
# After this long without a trade, or without a kline, the pair may not be listed any more.
_SILENT_MINUTES = 10
_LOOK_AGAIN_AFTER_S = 600


@dataclass(frozen=True, slots=True)
class Update:
    """What a tick did for one dataset.

    Attributes:
        name: the dataset's.
        last_open_ms: the newest kline that is stored now, None for none.
        added: klines that were not stored before.
        revised: minutes that have other values than before.
        entries: those of the days whose chunks were looked at.
        is_late: the exchange did not have the newest minute in time; the next tick asks for it too.
        is_behind: so much is missing that a backfill has to load it first; nothing was asked.
        has_ended: the pair is not traded any more, and all its klines are stored.
        error: why nothing could be stored, one line.
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


@dataclass(slots=True)
class Patience:
    """How long the klines of a tick are asked for, by all of its threads.

    Attributes:
        until_s: the end, monotonic.
        stopped: ends all waiting when it is set.
        first_pause_s: between the first two questions for a kline that is not there yet.
        at_once: held while a question is under way; so many are at once as it lets in.
        paid: True if the first question of each dataset is paid for already.
        unavailable: set once one of them had no answer at all; others then do not try.
    """

    until_s: float
    stopped: threading.Event
    first_pause_s: float = _FIRST_PAUSE_S
    at_once: AbstractContextManager[object] = field(default_factory=nullcontext)
    paid: bool = False
    unavailable: SourceUnavailable | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The klines of `wanted` up to the newest there is, and what asking again for those left out brought."""

    wanted: Span
    klines: pa.Table
    life: Life
    again: Mapping[Span, Recheck] = field(default_factory=dict)

    @property
    def settled_ms(self) -> int:
        """The end of the newest kline: what is absent before it will not come by itself."""
        times = open_times(self.klines)
        return int(times[-1]) + MINUTE_MS if len(times) else self.wanted.start_ms


class Followed:
    """One live dataset and what it takes to keep it current. A tick is `wanted`, `ask` in any thread, `take`."""

    def __init__(self, store: DatasetStore, source: KlineSource) -> None:
        """Nothing is asked yet."""
        self.store = store
        self._source = source
        self._asked: Span | None = None
        self.damaged: Day | None = None
        """A day whose chunk on disk is not what it was; nothing can be added to it before a run loads it again."""
        self._ended = False
        self._looked_s = -float("inf")

    @property
    def name(self) -> str:
        """The dataset's."""
        return self.store.dataset.name

    @property
    def last_open_ms(self) -> int | None:
        """The newest stored kline."""
        newest = self.store.newest
        if newest is None or newest.last_open_time is not None:
            return newest.last_open_time if newest else None
        return max((entry.last_open_time or 0 for entry in self.store.entries.values()), default=0) or None

    def wanted(self, edge_ms: int) -> Span | None:
        """The minutes before the edge that are to be asked for; None if they are more than a tick's work."""
        start_ms = since_ms(self.store)
        if start_ms is None or edge_ms - start_ms > MOST_MINUTES * MINUTE_MS:
            return None
        return Span(min(start_ms, edge_ms - REREAD_MINUTES * MINUTE_MS), edge_ms)

    @property
    def has_ended(self) -> bool:
        """True if the pair is traded no longer; looked up again now and then, as an exchange may change its mind."""
        return self._ended and time.monotonic() - self._looked_s < _LOOK_AGAIN_AFTER_S

    def look(self) -> Update:
        """What becomes of a dataset of which too much is missing: a run loads it, unless the pair has ended."""
        if time.monotonic() - self._looked_s >= _LOOK_AGAIN_AFTER_S:
            ended_ms, start_ms = self._source.life(refresh=True).last_open_ms, since_ms(self.store)
            self._looked_s = time.monotonic()
            self._ended = ended_ms is not None and start_ms is not None and start_ms > ended_ms
        return Update(self.name, self.last_open_ms, is_behind=not self._ended, has_ended=self._ended)

    def ask(self, wanted: Span, patience: Patience) -> Answer:
        """The klines of the span, asked for until its last minute is there or patience ends.

        Raises:
            SourceError: no answer, or one that is not klines.
        """
        try:
            return self._asked_for(wanted, patience)
        except SourceUnavailable as error:
            patience.unavailable = patience.unavailable or error
            raise

    def take(self, answer: Answer) -> Update:
        """Store what was answered; minutes after the last answered kline are still to come."""
        wanted, klines, settled_ms = answer.wanted, answer.klines, answer.settled_ms
        before_ms = self.last_open_ms or 0
        if klines.num_rows == 0:
            return Update(self.name, self.last_open_ms, is_late=not self._ended, has_ended=self._ended)
        days = days_between(self.store.dataset.zone, wanted.start_ms, settled_ms)
        self.damaged = next((day for day in days if self._is_damaged(day)), None)
        if self.damaged:
            return Update(self.name, self.last_open_ms, is_behind=True)
        self._asked = Span(min(self._asked.start_ms, wanted.start_ms) if self._asked else wanted.start_ms, settled_ms)
        if answer.again:
            self._note_asked()
        tasks = [Task(day, tuple(intersect([wanted], [Span(day.start_ms, day.end_ms)]))) for day in days]
        results = list(load(self.store, _Answered(answer, self._source), tasks, answer.life, settled_ms))
        return Update(
            name=self.name,
            last_open_ms=self.last_open_ms,
            added=int((open_times(klines) > before_ms).sum()),
            revised=sum(span.minutes for one in results if one.revision for span in one.revision.minutes),
            entries=tuple(one.entry for one in results if one.outcome is Outcome.LOADED and one.entry),
            is_late=settled_ms < wanted.end_ms and not self._ended,
            has_ended=self._ended,
            error=next((f"{one.day.key}: {one.error}" for one in results if one.outcome is Outcome.FAILED), None),
        )

    def flush(self) -> None:
        """Write what is not written each minute, the manifest and what was asked for; see what others have written."""
        self._note_asked()
        self.store.flush()
        self.store.refresh()

    # --- inside

    def _asked_for(self, wanted: Span, patience: Patience) -> Answer:
        pause_s, paid = patience.first_pause_s, patience.paid
        while True:
            with patience.at_once:
                # Looked at here, not before: whoever waited for others to be answered may have waited in vain.
                if patience.unavailable:
                    raise SourceUnavailable(f"not tried, as for the pair before: {patience.unavailable}")
                life, klines, paid = self._source.life(), self._source.newest(wanted, paid=paid), False
            is_there = klines.num_rows > 0 and int(open_times(klines)[-1]) == wanted.end_ms - MINUTE_MS
            if is_there or time.monotonic() + pause_s > patience.until_s or patience.stopped.wait(pause_s):
                break
            pause_s = min(pause_s * 1.5, max(_LONGEST_PAUSE_S, pause_s))
        if self._may_have_ended(wanted, klines):
            life = self._source.life(refresh=True)
            self._looked_s, self._ended = time.monotonic(), life.last_open_ms is not None
            if life.last_open_ms is not None:
                klines = cut(klines, Span(wanted.start_ms, life.last_open_ms + MINUTE_MS))
        elif klines.num_rows:
            self._ended = False
        answer = Answer(wanted, klines, life)
        absent = gaps(open_times(klines), Span(wanted.start_ms, answer.settled_ms))
        return Answer(wanted, klines, life, {gap: self._source.recheck(gap) for gap in absent})

    def _is_damaged(self, day: Day) -> bool:
        return day.key in self.store.entries and self.store.trusted(day) is None

    def _may_have_ended(self, wanted: Span, klines: pa.Table) -> bool:
        """Futures have flat klines after their end, and spot has none; neither may be looked up each minute."""
        if klines.num_rows:
            return not column(klines, "trades").any()
        silent = wanted.minutes > _SILENT_MINUTES
        return silent and time.monotonic() - self._looked_s >= _LOOK_AGAIN_AFTER_S

    def _note_asked(self) -> None:
        # Only what is absent makes a difference between asked for and not, so it need not be noted each minute.
        if self._asked and subtract([self._asked], self.store.dataset.requested):
            self.store.note_requested(self._asked, self.store.dataset.start)


@dataclass(frozen=True, slots=True)
class _Answered:
    """A source whose one page is there already; what that leaves out was asked for again, too."""

    answer: Answer
    source: KlineSource

    def pages(self, spans: Iterable[Span]) -> Iterator[Page]:
        del spans  # they are those that were asked for
        yield Page(self.answer.wanted, self.answer.klines, frozenset({LIVE}))

    def recheck(self, gap: Span) -> Recheck:
        return self.answer.again.get(gap) or self.source.recheck(gap)
