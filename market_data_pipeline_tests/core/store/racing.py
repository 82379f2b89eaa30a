"""Writers of one dataset, in several processes and several threads of each, and what they did.

Belongs here: what a writer does, and running many at once. Does not belong here: whether that was right (`history`).
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from datetime import date
from itertools import chain
from typing import Any

import pyarrow as pa

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import MINUTE_MS, Day
from market_data_pipeline.core.klines.table import open_times
from market_data_pipeline.core.loading.day import DayLoader
from market_data_pipeline.core.loading.fetch import FetchedDay
from market_data_pipeline.core.loading.plan import Outcome, Task
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline_tests.core.fakes import REST, UTC_ZONE, FakeSource, day, klines_of, whole
from market_data_pipeline_tests.core.store.history import Event
from market_data_pipeline_tests.places import root_of

DAYS = ["2024-03-05", "2024-03-06"]
FIRST = date(2024, 3, 5)
LAST_FIRST = date(2024, 3, 1)
"""The start at the end."""
_PARTS, _MOVERS = 2, 4
_barrier: Any = None


def raced(root: Any, processes: int, threads: int) -> list[Event]:
    """What writers saw and did who all begin at once with a dataset that does not exist."""
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(processes)
    with ProcessPoolExecutor(processes, spawn, initializer=_meet_at, initargs=(barrier,)) as pool:
        of = processes * threads
        running = [pool.submit(_in_threads, str(root), range(number, of, processes), of) for number in range(processes)]
        return list(chain.from_iterable(each.result() for each in running))


def opened(root: Any) -> DatasetStore:
    """The dataset, as another process would open it."""
    store = Store(root, manifest_interval_s=0)
    return store.create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=FIRST)


def _meet_at(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def _in_threads(root: str, numbers: range, of: int) -> list[Event]:
    _barrier.wait(60)
    with ThreadPoolExecutor(len(numbers)) as pool:
        writers = pool.map(lambda number: list(_written(root_of(root), number, of)), numbers)
        return list(chain.from_iterable(writers))


def _written(root: Any, number: int, of: int) -> Iterator[Event]:
    """Each writer has minutes of its own in each day.

    Some move the start of the dataset, which renames all chunks. In the end the first one tries to replace a day by a
    worse one.
    """
    store, name = opened(root), f"writer {number}"
    for key in DAYS:
        for part in range(_PARTS):
            on = day(key)
            own = _share(on, number * _PARTS + part, of * _PARTS)
            yield from _event(f"{name}, part {part}", on, lambda own=own, on=on: _load(store, on, own, klines_of(own)))
        if key == DAYS[0] and number < _MOVERS:
            store.note_requested(own, date(2024, 3, 4 - number))
        yield from _event(f"reader {number}", on, lambda on=on: (frozenset(), _read(root, on)))
    if number == 0:
        hole = Span(on.start_ms, on.start_ms + 60 * MINUTE_MS)
        worse = klines_of(whole(on), without=[hole])
        yield from _event(f"{name}, with a hole", on, lambda: _load(store, on, whole(on), worse))


def _read(root: Any, on: Day) -> pa.Table:
    """The day's klines; a chunk that is renamed after its name was read is read again."""
    while True:
        with suppress(StoreError):
            return opened(root).read(on).klines


def _share(on: Day, number: int, of: int) -> Span:
    first, end = (each * (on.end_ms - on.start_ms) // MINUTE_MS // of for each in (number, number + 1))
    return Span(on.start_ms + first * MINUTE_MS, on.start_ms + end * MINUTE_MS)


def _event(who: str, on: Day, act: Callable[[], tuple[frozenset[int], pa.Table | None]]) -> Iterator[Event]:
    began_ns = time.monotonic_ns()
    wrote, klines = act()
    if klines is not None:
        yield Event(who, on.key, began_ns, time.monotonic_ns(), wrote, _minutes(klines))


def _load(store: DatasetStore, on: Day, own: Span, klines: pa.Table) -> tuple[frozenset[int], pa.Table | None]:
    """What was written and is stored then; no klines if the chunk on disk was better."""
    store.note_requested(own, FIRST)
    loader = DayLoader(store, FakeSource().life(), on.end_ms)
    result = loader.load(FetchedDay(Task(on, (own,)), klines, REST))
    store.flush()
    if result.outcome is Outcome.FAILED and "keeps its chunk" in str(result.error):
        return frozenset(), None
    assert result.outcome is Outcome.LOADED, result.error
    return _minutes(klines), result.klines


def _minutes(klines: pa.Table) -> frozenset[int]:
    return frozenset(open_times(klines).tolist())
