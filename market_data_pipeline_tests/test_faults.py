"""Whatever the exchange and its archive do wrong, the store ends equal to the truth or says which days are not.


It never holds a kline that the exchange does not have, nor calls minutes an outage that have klines. Only a file whose
checksum is right and whose klines are other than REST's can put wrong values into it; comparing with REST finds exactly
its days, and a load from REST mends them.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from market_data_pipeline.core.errors import SourceUnavailable
from market_data_pipeline.core.klines.coverage import Kind, Span, gaps, intersect, merge, subtract
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import day_at, parse_zone
from market_data_pipeline.core.klines.table import cut, open_times
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.core.proof.crosscheck import crosscheck, sample
from market_data_pipeline.core.proof.verify import verify
from market_data_pipeline.core.sources.opening import open_source
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline_tests.support import at, budget_in, simulated

# Until a minute before the exchange's now: today's day is loaded in part. On spot the outage lies within.
NOW = {"spot": datetime(2021, 4, 26, 10, 0, 30, tzinfo=UTC), "futures": datetime(2023, 10, 30, 10, 0, 30, tzinfo=UTC)}
WINDOW = {
    "spot": Span(at("2021-04-24"), at("2021-04-26T09:59")),
    "futures": Span(at("2023-10-28"), at("2023-10-30T09:59")),
}
OF_REST = ("429", "418", "500", "503", "reset", "truncate", "cut_json", "html")
OF_ROWS = ("drop_rows", "empty", "repeat_rows", "conflicting_rows", "swap_rows", "off_grid", "open_as_closed", "late")
OF_FILES = ("wrong_checksum", "cut_zip", "microseconds", "late_archive", "archive_drops_rows")
LYING_FILES = ("archive_differs", "archive_empty_minutes")
EVERY = (*OF_REST, *OF_ROWS, *OF_FILES, *LYING_FILES)


@cache
def truth(market: str) -> pa.Table:
    """What the exchange has of the window, told by one without faults on the next day."""
    later = datetime(2025, 1, 1, tzinfo=UTC)
    with (
        TemporaryDirectory() as root,
        serving(market, {}, 0, now=later) as url,
        closing(
            open_source("rest", Market(market), "BTC/USDT", budget_of=budget_in(Path(root)), base_url=url)
        ) as source,
    ):
        return pa.concat_tables([page.klines for page in source.pages([WINDOW[market]])]).combine_chunks()


@contextmanager
def serving(market: str, faults: dict[str, float], seed: int, now: datetime | None = None) -> Iterator[str]:
    exchange = SimulatedExchange(now=now or NOW[market], faults=faults, fault_seed=seed)
    exchange.faults.ban_seconds = 1
    exchange.faults.stall_seconds = 2
    with simulated(exchange) as running:
        yield running.url


def load(
    root: Path, url: str, market: str, zone: str, source: str = "auto", deadline_s: float | None = None
) -> list[DayResult]:
    """One backfill, refetching if the source is REST alone; empty if the exchange could not be reached."""
    budgets = budget_in(root)
    with closing(
        open_source(source, Market(market), "BTC/USDT", budget_of=budgets, base_url=url, deadline_s=deadline_s)
    ) as opened:
        try:
            return list(backfill(store_at(root, market, zone), opened, WINDOW[market], refetch=source == "rest"))
        except SourceUnavailable as error:
            assert str(error)
            return []


def store_at(root: Path, market: str, zone: str) -> DatasetStore:
    found = parse_zone(zone)
    start = day_at(found, WINDOW[market].start_ms).date
    return Store(root).create(Market(market), "BTC/USDT", zone=found, start=start)


def wrong_days(store: DatasetStore, market: str) -> set[str]:
    """The days whose chunk has a kline that the exchange has not; an outage must be one in truth."""
    halted, wrong = gaps(open_times(truth(market)), WINDOW[market]), set()
    for key, entry in store.entries.items():
        day = store.dataset.day(key)
        named = [absence.span for absence in entry.absences if absence.kind is Kind.OUTAGE]
        assert subtract(named, halted) == [], f"{key}: no outage in truth"
        klines = store.read(day).klines
        asked = intersect([Span(day.start_ms, day.end_ms)], [WINDOW[market]])
        present = subtract(asked, [absence.span for absence in entry.absences])
        true = pa.concat_tables([cut(truth(market), span) for span in merge(present)]).combine_chunks()
        if not klines.equals(true):
            wrong.add(key)
    return wrong


def assert_ends_well(
    market: str, zone: str, faults: dict[str, float], seed: int, deadline_s: float | None = None
) -> None:
    with TemporaryDirectory() as folder:
        root = Path(folder)
        with serving(market, faults, seed) as url:
            results = load(root, url, market, zone, deadline_s=deadline_s)
        failed = {result.day.key for result in results if result.outcome is Outcome.FAILED}
        assert all(result.error for result in results if result.outcome is Outcome.FAILED)
        store = store_at(root, market, zone)
        if not faults.keys() & set(LYING_FILES):
            assert wrong_days(store, market) == set()
        if results:
            assert {finding.day for finding in verify(store).errors} <= failed, "what is not there was said"
        with serving(market, {}, 0) as url:
            assert_mends(root, url, market, zone)


def assert_mends(root: Path, url: str, market: str, zone: str) -> None:
    """A load without faults, and then of the days that differ from REST, ends with the truth."""
    load(root, url, market, zone)
    store = store_at(root, market, zone)
    with closing(open_source("rest", Market(market), "BTC/USDT", budget_of=budget_in(root), base_url=url)) as rest:
        compared = crosscheck(store, rest, against="rest", days=sample(store, None, None))
    assert compared.not_compared == []
    assert set(compared.differing_days) == wrong_days(store, market)
    if compared.differing_days:
        load(root, url, market, zone, "rest")
        revised = {revision.day for revision in store_at(root, market, zone).revisions()}
        assert revised == set(compared.differing_days)
    store = store_at(root, market, zone)
    assert wrong_days(store, market) == set()
    assert verify(store).ok


@pytest.mark.parametrize("fault", EVERY)
def test_each_fault_alone_ends_well(fault: str) -> None:
    market = "futures" if fault in {"archive_drops_rows", "html", "late"} else "spot"
    assert_ends_well(market, "UTC", {fault: 0.5 if fault in (*OF_FILES, *LYING_FILES) else 0.3}, seed=1)


@pytest.mark.slow
def test_an_exchange_that_is_silent_for_long_ends_well() -> None:
    """Most of the time that a request may take."""
    assert_ends_well("spot", "UTC", {"stall": 0.05}, seed=3, deadline_s=3)


rates = st.sampled_from([0.05, 0.15, 0.3])
of_requests = st.dictionaries(st.sampled_from([*OF_REST, *OF_ROWS]), rates, max_size=3)
of_files = st.dictionaries(st.sampled_from([*OF_FILES, *LYING_FILES]), st.sampled_from([0.3, 0.6, 1.0]), max_size=2)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    market=st.sampled_from(["spot", "futures"]),
    zone=st.sampled_from(["UTC", "Europe/Zurich", "Asia/Kolkata"]),
    requests=of_requests,
    files=of_files,
    seed=st.integers(0, 10_000),
)
def test_faults_together_end_well(
    market: str, zone: str, requests: dict[str, float], files: dict[str, float], seed: int
) -> None:
    assert_ends_well(market, zone, requests | files, seed)
