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

from market_data_pipeline.core.errors import MarketDataError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.loading.day import DayLoader, DayResult
from market_data_pipeline.core.loading.fetch import FetchedDay, recheck
from market_data_pipeline.core.loading.plan import Load, Outcome, Task, plan_load
from market_data_pipeline.core.sources.pages_by_day import PagesByDay
from market_data_pipeline.core.sources.protocol import KlineSource
from market_data_pipeline.core.store.chunks.files import NewChunk
from market_data_pipeline.core.store.dataset_store import DatasetStore

_Encode: TypeAlias = Callable[[], NewChunk]

_log = logging.getLogger(__name__)
# Where a second thread encodes, so many days wait for it.
_ENCODED_AHEAD = 2
# Days that are published together share a lock and a sync of their folder, and one step for several of them after the
# other takes less time than all steps of one after the other. While pages come, they wait for one another no longer.
_MOST_TOGETHER, _LONGEST_WAIT_S = 32, 0.2


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

    With `has_core_free` a second thread encodes chunks, and each day is published when it is ready. Where each core
    has a load of its own, two threads of one would only wait for each other; there several days are published together.
    """
    loader = DayLoader(load.store, load.life, load.settled_ms, row_group_rows)
    begun: list[_Begun | DayResult] = []
    try:
        with (
            closing(PagesByDay(load.source.pages(load.spans))) as pages,
            _encoder() if has_core_free else nullcontext(cache) as encode_in,
        ):
            for task in load.tasks:
                if not begun:
                    began_s = time.monotonic()
                begun.append(_begin(load, loader, task, pages, encode_in))
                if has_core_free:
                    ready, begun = begun[:-_ENCODED_AHEAD], begun[-_ENCODED_AHEAD:]
                elif len(begun) == _MOST_TOGETHER or time.monotonic() - began_s > _LONGEST_WAIT_S:
                    ready, begun = begun, []
                else:
                    continue
                if ready:
                    yield from _finish(loader, ready)
            yield from _finish(loader, begun)
    finally:
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


def _begin(
    load: Load, loader: DayLoader, task: Task, pages: PagesByDay, encode_in: Callable[[_Encode], _Encode]
) -> _Begun | DayResult:
    """Fetch the day's klines and let its chunk be encoded; the result if the day gets no chunk."""
    if task.outcome is not None:
        return loader.result(task, task.outcome)
    try:
        fetched = FetchedDay.of_pages(task, pages.of(task.spans))
        fetched = recheck(load.source, fetched, load.settled_ms)
        encode = loader.encoder(fetched)
    except MarketDataError as error:
        return loader.result(task, Outcome.FAILED, error)
    return _Begun(fetched, encode_in(encode)) if encode else loader.result(task, Outcome.OPEN)


def _finish(loader: DayLoader, begun: Sequence[_Begun | DayResult]) -> Iterator[Sequence[DayResult]]:
    """Publish the chunks of the days, and yield the results of all, also of those before one that the disk refuses."""
    for each in begun:
        if isinstance(each, _Begun):
            with suppress(MarketDataError):  # which `publish` meets again
                each.chunk()
    results: list[DayResult] = []
    try:
        with loader.store.together() if any(isinstance(each, _Begun) for each in begun) else nullcontext():
            for each in begun:
                results.append(each if isinstance(each, DayResult) else loader.publish(each.fetched, each.chunk))
    except OSError:
        yield results
        raise
    for result in results:
        if result.outcome is Outcome.LOADED and result.entry:
            name, entry = f"{loader.store.dataset.name} {result.day.key}", result.entry
            _log.info("%s loaded: %d klines, sha256 %s", name, entry.rows, entry.sha256)
    yield results
