"""Load the days of a window: what is there stays, what is missing is asked for, what is absent gets a reason.

Belongs here: the use case from asking to publishing. Does not belong here: what to do (`plan`), HTTP, files, Dagster.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa

from market_data_pipeline.core.errors import MarketDataError
from market_data_pipeline.core.klines.coverage import (
    Absence,
    Kind,
    Span,
    explain,
    gaps,
    intersect,
    merge,
    subtract,
    total_minutes,
)
from market_data_pipeline.core.klines.days import MINUTE_MS, Day, iso
from market_data_pipeline.core.klines.table import EMPTY, cut, join, open_times
from market_data_pipeline.core.loading.plan import Outcome, Task, dataset_start, plan, possible, settled_before
from market_data_pipeline.core.sources.pages_by_day import PagesByDay
from market_data_pipeline.core.sources.protocol import KlineSource, Life, PageSource
from market_data_pipeline.core.store.chunk_files import NewChunk, new_chunk
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.manifest import LIVE, Entry
from market_data_pipeline.core.store.revisions import Revision

T = TypeVar("T")

_log = logging.getLogger(__name__)
_TIMES_TO_ASK_AGAIN = 5
_ENCODED_AHEAD = 2
_FOREVER_MS = 1 << 62


@dataclass(frozen=True, slots=True)
class DayResult:
    """What became of one day: `entry` is its chunk, None where there is none; `error` says why it failed.

    `revision` is what a chunk that was written now says otherwise than the one before. `klines` are its klines, for a
    look while they are at hand: keep no results.
    """

    day: Day
    outcome: Outcome
    entry: Entry | None = None
    error: str | None = None
    revision: Revision | None = None
    klines: pa.Table | None = None


def backfill(
    store: DatasetStore, source: KlineSource, window: Span, *, refetch: bool = False, row_group_rows: int | None = None
) -> Iterator[DayResult]:
    """Load every day of the dataset that `window` touches; yield each one's result, in order, once it is on disk.

    Args:
        store: the dataset's files.
        source: where klines come from.
        window: the asked minutes; a day that is only touched is loaded only in part.
        refetch: ask also for what is there. A chunk still never gives way to one with fewer minutes.
        row_group_rows: most rows of a Parquet row group in the chunks, None for one group a day.

    Raises:
        PairNotListed, SourceUnavailable: nothing could be planned. Later errors fail the days they concern.
    """
    now_ms, life = source.now_ms(), source.life()
    if asked := asked_of(window, life, now_ms):
        store.note_requested(asked, dataset_start(store.dataset.zone, life, asked))
    tasks = plan(store, window, life, now_ms, refetch=refetch)
    try:
        for result in load(store, source, tasks, life, settled_before(now_ms), row_group_rows=row_group_rows):
            if result.outcome is Outcome.LOADED and result.entry:
                name, entry = f"{store.dataset.name} {result.day.key}", result.entry
                _log.info("%s loaded: %d klines, sha256 %s", name, entry.rows, entry.sha256)
            yield result
    finally:
        store.flush()


def load(
    store: DatasetStore,
    source: PageSource,
    tasks: Sequence[Task],
    life: Life,
    settled_ms: int,
    *,
    row_group_rows: int | None = None,
) -> Iterator[DayResult]:
    """Do what was planned; yield each day's result, in order, once its chunk is on disk. The manifest may be behind.

    Args:
        store: the dataset's files, which know already that someone asked for these days.
        source: where klines come from.
        tasks: the days and what to ask for, in order.
        life: when the exchange has klines of the pair.
        settled_ms: the minute before which every kline there will ever be is there; later ones that are absent are
            `open`, and those that are there provisional.
        row_group_rows: most rows of a Parquet row group in the chunks, None for one group a day.
    """
    pages = PagesByDay(source.pages(_spans_of(tasks)))
    days = _Load(store, source, life, settled_ms, row_group_rows)
    try:
        # One thread: encoding holds Python's lock seldom, and more of them would only wait for each other.
        with ThreadPoolExecutor(1, thread_name_prefix="encode") if len(tasks) > 1 else _AtOnce() as encoder:
            begun: deque[_Begun] = deque()
            for task in tasks:
                begun.append(days.begin(task, pages, encoder))
                if len(begun) > _ENCODED_AHEAD:
                    yield days.end(begun.popleft())
            while begun:
                yield days.end(begun.popleft())
    finally:
        pages.close()


def prefetch(source: KlineSource, tasks: Iterable[Task]) -> None:
    """Let the source ask for the first pages of a `backfill` that will have these tasks and follows soon."""
    source.prefetch(_spans_of(tasks))


def _spans_of(tasks: Iterable[Task]) -> list[Span]:
    return merge(span for task in tasks for span in task.spans)


def asked_of(window: Span, life: Life, now_ms: int) -> Span | None:
    """The minutes of the window that are asked for now: those whose klines are there if they will ever be."""
    return possible(window, life, settled_before(now_ms))


class _AtOnce(Executor):
    """An executor without a thread, for one day, which has nothing to overlap with."""

    def submit(self, function: Callable[..., T], /, *arguments: Any, **options: Any) -> "Future[T]":
        future: Future[T] = Future()
        try:
            future.set_result(function(*arguments, **options))
        except Exception as error:
            future.set_exception(error)
        return future


@dataclass(frozen=True, slots=True)
class _Begun:
    """A day whose klines were had: its chunk, which is being encoded, or the result where nothing is to be written."""

    task: Task
    rest: Future[NewChunk] | DayResult


@dataclass(frozen=True, slots=True)
class _Load:
    """The circumstances that all days of one backfill share."""

    store: DatasetStore
    source: PageSource
    life: Life
    settled_ms: int
    row_group_rows: int | None

    def begin(self, task: Task, pages: PagesByDay, encoder: Executor) -> _Begun:
        """Have the day's klines, and have them checked and encoded where there is a chunk to be written."""
        day, entry = task.day, self.store.entries.get(task.day.key)
        if task.outcome is not None:
            return _Begun(task, DayResult(day, task.outcome, entry))
        try:
            answered, sources = pages.of(task.spans)
            answered, doubted = self._asked_again(answered, task.spans, sources)
            klines = join(self._kept(task, sources), answered)
        except MarketDataError as error:
            return _Begun(task, DayResult(day, Outcome.FAILED, entry, str(error)))
        absences = self._explained(task, klines, doubted)
        if self._is_provisional(answered, absences):
            sources.add(LIVE)
        if klines.num_rows == 0 and not any(absence.kind is Kind.OUTAGE for absence in absences):
            return _Begun(task, DayResult(day, Outcome.OPEN, entry))
        chunk = encoder.submit(
            new_chunk,
            self.store.dataset,
            day,
            klines,
            absences,
            source="+".join(sorted(sources)),
            row_group_rows=self.row_group_rows,
        )
        return _Begun(task, chunk)

    def end(self, begun: _Begun) -> DayResult:
        """Write the day's chunk, if there is one."""
        result = begun.rest if isinstance(begun.rest, DayResult) else self._written(begun.task, begun.rest)
        if result.outcome is Outcome.FAILED:
            _log.error("%s %s failed: %s", self.store.dataset.name, result.day.key, result.error)
        return result

    def _written(self, task: Task, chunk: Future[NewChunk]) -> DayResult:
        day = task.day
        try:
            new = chunk.result()
            entry = self.store.publish(new)
            return _result_of(task, entry, self.store.revised.get(day.key), new.chunk.klines)
        except MarketDataError as error:
            return DayResult(day, Outcome.FAILED, self.store.entries.get(day.key), str(error))

    def _kept(self, task: Task, sources: set[str]) -> pa.Table:
        """The klines on disk that the day keeps, those of minutes that were not asked for now; notes their sources."""
        whole = Span(task.day.start_ms, task.day.end_ms)
        left = subtract([whole], task.spans)
        standing = self.store.trusted(task.day) if left else None
        if standing is None:
            return EMPTY
        pieces = [piece for span in left if (piece := cut(standing.klines, span)).num_rows]
        kept = pieces[0] if len(pieces) == 1 else pa.concat_tables([EMPTY, *pieces]).combine_chunks()
        if kept.num_rows:
            sources.update(standing.footer.source.split("+"))
        return kept

    def _asked_again(
        self, klines: pa.Table, spans: tuple[Span, ...], sources: set[str]
    ) -> tuple[pa.Table, list[Absence]]:
        """The klines with what asking again brought, and what the source says of the minutes that brought none."""
        doubted: list[Absence] = []
        if klines.num_rows == total_minutes(spans):
            return klines, doubted
        settled = [Span(0, self.settled_ms)]
        for _ in range(_TIMES_TO_ASK_AGAIN):
            absent = [gap for span in spans for gap in gaps(open_times(klines), span)]
            doubtful = subtract(intersect(absent, settled), [absence.span for absence in doubted])
            if not doubtful:
                break
            for gap in doubtful:
                again = self.source.recheck(gap)
                if again.klines.num_rows == 0:
                    doubted.append(Absence(Kind.OUTAGE if again.proven else Kind.UNEXPLAINED, gap, again.evidence))
                klines = join(klines, again.klines)
                sources.update(again.sources)
        return klines, doubted

    def _is_provisional(self, answered: pa.Table, absences: list[Absence]) -> bool:
        """True if klines were read within moments of closing and no open minutes after them tell of it."""
        is_fresh = answered.num_rows > 0 and int(open_times(answered)[-1]) >= self.settled_ms
        return is_fresh and not any(absence.kind is Kind.OPEN for absence in absences)

    def _explained(self, task: Task, klines: pa.Table, doubted: list[Absence]) -> list[Absence]:
        whole = Span(task.day.start_ms, task.day.end_ms)
        absent = gaps(open_times(klines), whole)
        if not absent:
            return []
        entry = self.store.entries.get(task.day.key)
        known = [
            Absence(absence.kind, span, absence.evidence)
            for absence in (entry.absences if entry else ())
            if absence.kind in {Kind.OUTAGE, Kind.UNEXPLAINED}
            for span in subtract([absence.span], task.spans)
        ]
        ended_ms = _FOREVER_MS if self.life.last_open_ms is None else self.life.last_open_ms + MINUTE_MS
        reasons = [
            Absence(Kind.NOT_LISTED, Span(0, self.life.first_open_ms)),
            Absence(Kind.DELISTED, Span(ended_ms, _FOREVER_MS)),
            *(absence for absence in [*doubted, *known] if absence.kind is Kind.OUTAGE),
            Absence(Kind.OPEN, Span(self.settled_ms, _FOREVER_MS)),
            *(Absence(Kind.NOT_REQUESTED, span) for span in subtract([whole], self.store.dataset.requested)),
            *doubted,
            *known,
        ]
        return explain(absent, reasons)


def _result_of(task: Task, entry: Entry, revision: Revision | None, klines: pa.Table) -> DayResult:
    day = task.day
    unexplained = [
        absence
        for absence in entry.absences
        if absence.kind is Kind.UNEXPLAINED and intersect([absence.span], task.spans)
    ]
    if not unexplained:
        return DayResult(day, Outcome.LOADED, entry, revision=revision, klines=klines)
    said = "; ".join(unexplained[0].evidence) or "the exchange keeps giving some of them"
    minutes = total_minutes(absence.span for absence in unexplained)
    error = (
        f"{minutes} minutes from {iso(unexplained[0].span.start_ms)} are absent and nothing proves that they never had "
        f"klines ({said}); run the same command again, or a day later, when the archive has its say"
    )
    return DayResult(day, Outcome.FAILED, entry, error, revision)
