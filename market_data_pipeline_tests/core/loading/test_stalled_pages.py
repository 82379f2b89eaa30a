"""While the exchange keeps a page back, the days before it are on disk."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.loading.load_days import load_together
from market_data_pipeline.core.loading.plan import plan_load
from market_data_pipeline.core.sources.opening import open_source
from market_data_pipeline.core.sources.protocol import KlineSource
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.simulator.queries import RequestInfo
from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests.support import Simulate, budget_in, is_page, span

STALL_S = 30.0
# On the spot market the minutes from 04:00 of 2021-04-25 are an outage.
WINDOW, STALLED = span("2021-04-21", "2021-04-28"), "2021-04-25"
WINDOW_OF_STALLED = span(STALLED, "2021-04-26")
DAYS_BEFORE = ["2021-04-21", "2021-04-22", "2021-04-23", "2021-04-24"]


@pytest.fixture
def exchange(simulate: Simulate) -> RunningExchange:
    running = simulate(weights=False)
    running.exchange.faults.stall_seconds = STALL_S
    return running


@pytest.fixture
def opened(tmp_path, exchange: RunningExchange) -> Iterator[Callable[[str], KlineSource]]:
    sources: list[KlineSource] = []

    def of_name(name: str) -> KlineSource:
        source = open_source(name, Market.SPOT, "BTC/USDT", budget_of=budget_in(tmp_path), base_url=exchange.url)
        sources.append(source)
        return source

    yield of_name
    for source in sources:
        source.close()


def file_of_the_day(request: RequestInfo) -> bool:
    return request.path.endswith(f"{STALLED}.zip")


def page_of_the_day(request: RequestInfo) -> bool:
    """A page that no day before needs."""
    start_ms = int(request.params.get("startTime", 0))
    return is_page(request) and WINDOW_OF_STALLED.start_ms <= start_ms < WINDOW_OF_STALLED.end_ms


@pytest.mark.parametrize("has_core_free", [True, False], ids=["one load", "a load of many"])
@pytest.mark.parametrize(
    ("name", "where", "first"),
    [("archive", file_of_the_day, 1), ("rest", page_of_the_day, 1), ("auto", page_of_the_day, 2)],
    ids=["file", "page", "second request for a gap"],
)
def test_the_days_before_a_page_that_stalls_are_on_disk_while_it_stalls(
    made: DatasetStore,
    exchange: RunningExchange,
    opened: Callable[[str], KlineSource],
    has_core_free: bool,
    name: str,
    where: Callable[[RequestInfo], bool],
    first: int,
) -> None:
    asked = 0

    def stall(request: RequestInfo) -> str | None:
        nonlocal asked
        asked += where(request)
        return "stall" if where(request) and asked >= first else None

    exchange.exchange.hooks.append(stall)
    planned = plan_load(made, opened(name), WINDOW)
    began_s = time.monotonic()
    told: list[str] = []
    with closing(load_together(planned, has_core_free=has_core_free)) as results:
        while len(told) < len(DAYS_BEFORE):
            told += [result.day.key for result in next(results)]
        assert told == DAYS_BEFORE
        assert [path.stem.split("_")[2] for path in sorted((made.folder / "chunks").iterdir())] == DAYS_BEFORE
    assert time.monotonic() - began_s < STALL_S / 2
