"""Load the days of a window: fetch what is missing, find the reason for what is absent, publish a chunk for each day.

Belongs here: the order of these steps, and what overlaps with what. Does not belong here: the steps themselves
(`window`, `plan`, `fetch`, `absences`, `day`), HTTP, files, Dagster.
"""

import logging
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from market_data_pipeline.core.errors import MarketDataError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.loading.day import DayLoader, DayResult
from market_data_pipeline.core.loading.fetch import FetchedDay, recheck
from market_data_pipeline.core.loading.plan import Load, Outcome, Task, plan_load
from market_data_pipeline.core.sources.pages_by_day import PagesByDay
from market_data_pipeline.core.sources.protocol import KlineSource
from market_data_pipeline.core.store.chunks.files import NewChunk
from market_data_pipeline.core.store.dataset_store import DatasetStore

_log = logging.getLogger(__name__)
_ENCODED_AHEAD = 2


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
    loader = DayLoader(load.store, load.life, load.settled_ms, row_group_rows)
    begun: deque[_Begun | DayResult] = deque()
    try:
        # One thread: encoding seldom holds Python's lock, and two would only wait for each other.
        with (
            closing(PagesByDay(load.source.pages(load.spans))) as pages,
            ThreadPoolExecutor(1, thread_name_prefix="encode") as encoder,
        ):
            for task in load.tasks:
                begun.append(_begin(load, loader, task, pages, encoder))
                if len(begun) > _ENCODED_AHEAD:
                    yield _finish(loader, begun.popleft())
            while begun:
                yield _finish(loader, begun.popleft())
    finally:
        load.store.flush()


@dataclass(frozen=True, slots=True)
class _Begun:
    """A day whose klines were fetched, and its chunk, which is being encoded."""

    fetched: FetchedDay
    chunk: Future[NewChunk]


def _begin(
    load: Load, loader: DayLoader, task: Task, pages: PagesByDay, encoder: ThreadPoolExecutor
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
    return _Begun(fetched, encoder.submit(encode)) if encode else loader.result(task, Outcome.OPEN)


def _finish(loader: DayLoader, begun: _Begun | DayResult) -> DayResult:
    """Publish the day's chunk, if there is one."""
    if isinstance(begun, DayResult):
        return begun
    result = loader.publish(begun.fetched, begun.chunk.result)
    if result.outcome is Outcome.LOADED and result.entry:
        name, entry = f"{loader.store.dataset.name} {result.day.key}", result.entry
        _log.info("%s loaded: %d klines, sha256 %s", name, entry.rows, entry.sha256)
    return result
