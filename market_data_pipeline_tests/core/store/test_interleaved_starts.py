"""The start of a dataset in a bucket moves between any two requests of another process, and then a third one loads.

Belongs here: pairs of moments. Does not belong here: single moments by their names (`test_moving_starts`).
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from itertools import combinations

import pytest

from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.loading.day import DayLoader
from market_data_pipeline.core.loading.fetch import FetchedDay
from market_data_pipeline.core.loading.plan import Outcome, Task
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline_tests.core.fakes import REST, FakeSource, klines_of, whole
from market_data_pipeline_tests.core.store.test_moving_starts import DAY, EARLIER, FIRST, opened
from market_data_pipeline_tests.objects_proxy import ObjectsProxy, Request
from market_data_pipeline_tests.places import in_bucket
from market_data_pipeline_tests.powerloss.object_server import ObjectServer, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
EARLIEST = date(2024, 2, 20)
NEWEST = "chunk_000015_2024-03-05.parquet"
STORED, OWN, OTHERS = (
    Span(DAY.start_ms + first * MINUTE_MS, DAY.start_ms + (first + 480) * MINUTE_MS) for first in (0, 480, 960)
)
# Of all pairs of moments, some of each number of requests.
_MOST = 60
Act = Callable[[], object]


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectServer]:
    with serving() as server:
        yield server


@pytest.fixture
def direct(server: ObjectServer) -> str:
    return server.url


def load(store: DatasetStore, window: Span) -> None:
    store.note_requested(window, FIRST)
    loader = DayLoader(store, FakeSource().life(), DAY.end_ms)
    result = loader.load(FetchedDay(Task(DAY, (window,)), klines_of(window), REST))
    assert result.outcome is Outcome.LOADED, result.error
    store.flush()


def move(store: DatasetStore, start: date) -> None:
    store.note_requested(STORED, start)


def interrupted(proxy: ObjectsProxy, act: Act, others: Mapping[int, Act]) -> int:
    """Act; what others do after the request with a number comes before its answer. How many requests that took."""
    own, at_work = list[Request](), list[Act]()

    def loses(request: Request) -> bool:
        if not at_work:
            own.append(request)
            if other := others.get(len(own)):
                at_work.append(other)
                other()
                at_work.clear()
        return False

    proxy.loses = loses
    act()
    proxy.loses = lambda _: False
    return len(own)


@pytest.mark.parametrize(
    ("act", "start"),
    [
        pytest.param(lambda store: load(store, OWN), FIRST, id="load"),
        pytest.param(lambda store: move(store, EARLIER), FIRST, id="move"),
        pytest.param(lambda store: move(store, EARLIER), EARLIER, id="move that another process has just made"),
    ],
)
def test_nothing_is_lost_whenever_the_start_moves(
    proxy: ObjectsProxy, server: ObjectServer, act: Callable[[DatasetStore], object], start: date
) -> None:
    root = in_bucket()
    load(opened(root), STORED)
    move(opened(root), start)
    before = server.objects()
    count = interrupted(proxy, lambda: act(opened(root)), {})
    moments = list(combinations(range(1, count + 1), 2))
    for first, second in moments[:: max(len(moments) // _MOST, 1)]:
        server.forget()
        server.restore(before)
        others = {first: lambda: move(opened(root), EARLIEST), second: lambda: load(opened(root), OTHERS)}
        interrupted(proxy, lambda: act(opened(root)), others)
        load(opened(root), OWN)
        load(opened(root), OTHERS)
        moment = f"the start moves after request {first} of {count}, and another loads after request {second}"
        require_whole(opened(root), moment)


def require_whole(store: DatasetStore, moment: str) -> None:
    """One file of the day has all minutes."""
    assert [path.name for path in (store.folder / "chunks").iterdir()] == [NEWEST], moment
    assert store.read(DAY).klines.equals(klines_of(whole(DAY))), moment
    assert store.warnings == [], moment
