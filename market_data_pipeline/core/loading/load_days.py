"""Load the days of a window: fetch what is missing, find the reason for what is absent, publish a chunk for each day.

Belongs here: the order of these steps, and what overlaps with what. Does not belong here: the steps themselves
(`window`, `plan`, `fetch`, `absences`, `day`), HTTP, files, Dagster.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

from market_data_pipeline.core.counting.counts import DAYS_FAILED, DAYS_LOADED, KLINES_LOADED
from market_data_pipeline.core.errors import MarketDataError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.loading.day import DayLoader, DayResult
from market_data_pipeline.core.loading.failures import FailedDays
from market_data_pipeline.core.loading.fetch import FetchedDay, recheck
from market_data_pipeline.core.loading.plan import Load, Outcome, Task, plan_load
from market_data_pipeline.core.sources.pages_by_day import PagesByDay
from market_data_pipeline.core.sources.protocol import KlineSource
from market_data_pipeline.core.store.chunks.files import NewChunk
from market_data_pipeline.core.store.chunks.replacing import until_published
from market_data_pipeline.core.store.dataset_store import DatasetStore

_Encode: TypeAlias = Callable[[], NewChunk]

_log = logging.getLogger(__name__)
# Where a second thread encodes, so many days wait for it.
_ENCODED_AHEAD = 2
# Days that are published together share a lock and a sync of their folder, and one step for several of them after the
# other takes less time than all steps of one after the other. They wait for one another no longer than this, whether
# pages come or not; less long where somebody may be looking at the one dataset that is loaded.
_MOST_TOGETHER, _LONGEST_WAIT_S, _LONGEST_WAIT_OF_ONE_S = 32, 0.2, 0.05
# Days that have a chunk share a write of the whole manifest, too, which takes as long as the dataset is.
_LONGEST_WAIT_TO_REPLACE_S = 0.5


def backfill(
    store: DatasetStore, source: KlineSource, window: Span, *, refetch: bool = False, row_group_rows: int | None = None
) -> Iterator[DayResult]:
    """Plan the days of the dataset that the window touches, and load them; see `plan_load` and `load_days`."""
    yield from load_days(plan_load(store, source, window, refetch=refetch), row_group_rows=row_group_rows)


def load_days(load: Load, *, row_group_rows: int | None = None) -> Iterator[DayResult]:
    """Load every day of a plan; yield each one's result, in order, once its chunk is on disk.

    The error of one day is in its result, and the next days are loaded all the same.

    Args:
        load: the plan.
        row_group_rows: most rows of a Parquet row group in the chunks, None for one group a day.
    """
    for results in load_together(load, row_group_rows=row_group_rows):
        yield from results


def load_together(
    load: Load, *, row_group_rows: int | None = None, has_core_free: bool = True
) -> Iterator[Sequence[DayResult]]:
    """As `load_days`; yield the results of days that were published together.

    With `has_core_free` a second thread encodes chunks. Where each core has a load of its own, two threads of one would
    only wait for each other. What was fetched is published before a page is waited for.
    """
    loader = DayLoader(load.store, load.life, load.settled_ms, row_group_rows)
    ahead = _ENCODED_AHEAD if has_core_free else 0
    of_new_s = _LONGEST_WAIT_OF_ONE_S if has_core_free and load.store.most_at_once == 1 else _LONGEST_WAIT_S
    failed = FailedDays(load.store.dataset.name)
    held: list[_Begun | DayResult] = []
    until_s = 0.0
    try:
        with (
            closing(PagesByDay(load.source.pages(load.spans))) as pages,
            _encoder() if has_core_free else nullcontext(cache) as encode_in,
        ):
            for task in load.tasks:
                # No day that was fetched waits for an exchange that keeps the next one back.
                if held and not pages.wait(task.spans, until_s - time.monotonic()):
                    yield from _finish(loader, failed, held)
                    held = []
                fetched = _fetched(loader, task, pages)
                if held and isinstance(fetched, FetchedDay) and fetched.unchecked(load.settled_ms):
                    yield from _finish(loader, failed, held)
                    held = []
                longest_s = _LONGEST_WAIT_TO_REPLACE_S if task.day.key in load.store.entries else of_new_s
                if not held:
                    until_s = time.monotonic() + longest_s
                held.append(_begun(load, loader, fetched, encode_in))
                if len(held) == _MOST_TOGETHER or time.monotonic() >= until_s:
                    ready = max(0, len(held) - ahead)
                    yield from _finish(loader, failed, held[:ready])
                    held = held[ready:]
                    until_s = time.monotonic() + longest_s
            yield from _finish(loader, failed, held)
    finally:
        failed.end()
        load.store.flush()


@dataclass(frozen=True, slots=True)
class _Begun:
    """A day whose klines were fetched, and what gives its chunk."""

    fetched: FetchedDay
    chunk: _Encode


@contextmanager
def _encoder() -> Iterator[Callable[[_Encode], _Encode]]:
    """What encodes a chunk in a thread, and returns what waits for it."""
    # One thread: encoding seldom holds Python's lock, and two would only wait for each other.
    with ThreadPoolExecutor(1, thread_name_prefix="encode") as pool:
        yield lambda encode: pool.submit(encode).result


def _fetched(loader: DayLoader, task: Task, pages: PagesByDay) -> FetchedDay | DayResult:
    """The day as its pages have it; the result if it has none."""
    if task.outcome is not None:
        return loader.result(task, task.outcome)
    try:
        return FetchedDay.of_pages(task, pages.of(task.spans))
    except MarketDataError as error:
        return loader.result(task, Outcome.FAILED, error)


def _begun(
    load: Load, loader: DayLoader, fetched: FetchedDay | DayResult, encode_in: Callable[[_Encode], _Encode]
) -> _Begun | DayResult:
    """Request what the pages lack again, and let the chunk be encoded; the result if the day gets no chunk."""
    if isinstance(fetched, DayResult):
        return fetched
    try:
        fetched = recheck(load.source, fetched, load.settled_ms)
        encode = loader.encoder(fetched)
    except MarketDataError as error:
        return loader.result(fetched.task, Outcome.FAILED, error)
    return _Begun(fetched, encode_in(encode)) if encode else loader.result(fetched.task, Outcome.OPEN)


def _finish(
    loader: DayLoader, failed: FailedDays, begun: Sequence[_Begun | DayResult]
) -> Iterator[Sequence[DayResult]]:
    """Publish the chunks of the days, and yield the results of all, also of those before one that the disk refuses."""
    if not begun:
        return
    new: list[NewChunk] = []
    for each in begun:
        if isinstance(each, _Begun):
            with suppress(MarketDataError):  # which `publish` meets again
                new.append(each.chunk())
    results: list[DayResult] = []

    def publish() -> None:
        results.clear()
        with loader.store.together(new) if any(isinstance(each, _Begun) for each in begun) else nullcontext():
            for each in begun:
                results.append(each if isinstance(each, DayResult) else loader.publish(each.fetched, each.chunk))

    try:
        until_published(publish)
    except OSError:
        _note(loader.store.dataset, failed, results)
        yield results
        raise
    _note(loader.store.dataset, failed, results)
    yield results


def _note(dataset: Dataset, failed: FailedDays, results: Sequence[DayResult]) -> None:
    """Log and count the results."""
    market = dataset.market.value
    for result in results:
        if result.outcome is Outcome.FAILED:
            failed.note(result)
            DAYS_FAILED.add(market)
        if result.outcome is Outcome.LOADED and result.entry:
            name, entry = f"{dataset.name} {result.day.key}", result.entry
            DAYS_LOADED.add(market, entry.source)
            KLINES_LOADED.add(market, entry.source, by=entry.rows)
            _log.info("%s loaded: %d klines, sha256 %s", name, entry.rows, entry.sha256)
