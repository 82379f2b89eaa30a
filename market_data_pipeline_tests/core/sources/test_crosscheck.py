"""The store held against the exchange over HTTP: what the archive has otherwise than REST is found, and no more."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import day_of, parse_zone
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.proof.crosscheck import KLINE, CrossCheck, crosscheck, sample
from market_data_pipeline.core.sources.protocol import KlineSource
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline_tests.core.sources.conftest import OpenExchange
from market_data_pipeline_tests.support import Simulate, counted, is_page, record, span, strike

DAYS = span("2024-05-06", "2024-05-09")


def loaded(root: Path, source: KlineSource, window: Span, zone: str = "UTC", market: str = "futures") -> DatasetStore:
    start = datetime.fromtimestamp(window.start_ms / 1000, UTC).date()
    made = Store(root).create(Market(market), "BTC/USDT", zone=parse_zone(zone), start=start)
    assert [result.error for result in backfill(made, source, window) if result.error] == []
    return made


def check(made: DatasetStore, source: KlineSource, against: str) -> CrossCheck:
    return crosscheck(made, source, against=against, days=sample(made, None, None))


def rows(source: KlineSource, window: Span) -> dict[int, dict[str, Any]]:
    """The source's klines by open time."""
    return {row["open_time"]: row for page in source.pages([window]) for row in page.klines.to_pylist()}


@pytest.mark.parametrize("market", ["spot", "futures"])
def test_what_the_archive_has_otherwise_is_found_out_with_its_minutes(
    simulate: Simulate, exchange: OpenExchange, root: Path, market: str
) -> None:
    running = simulate(faults={"archive_differs": 1})
    archive, rest = exchange(running, "archive", market), exchange(running, "rest", market)
    result = check(loaded(root, archive, DAYS, market=market), rest, "rest")
    archived, served = rows(archive, DAYS), rows(rest, DAYS)
    expected = {
        (time, name, archived[time][name], served[time][name])
        for time in served
        for name in served[time]
        if archived[time][name] != served[time][name]
    }
    assert {(found.open_time, found.field, found.ours, found.theirs) for found in result.differences} == expected
    # One to three rows of each file differ.
    assert list(result.differing_days) == ["2024-05-06", "2024-05-07", "2024-05-08"]
    assert sum(result.differing_days.values()) == len({time for time, *_ in expected})
    assert (result.days, result.of_days, result.rows, result.not_compared) == (3, 3, 4320, [])


@pytest.mark.parametrize(("loaded_from", "against"), [("rest", "archive"), ("archive", "rest"), ("rest", "rest")])
@pytest.mark.parametrize("market", ["spot", "futures"])
def test_what_one_has_is_what_the_other_has(
    simulate: Simulate, exchange: OpenExchange, root: Path, market: str, loaded_from: str, against: str
) -> None:
    running = simulate()
    made = loaded(root, exchange(running, loaded_from, market), DAYS, market=market)
    result = check(made, exchange(running, against, market), against)
    assert (result.ok, result.days, result.rows, result.not_compared) == (True, 3, 4320, [])


def test_a_file_that_gets_no_answer_leaves_its_day_alone_out_of_the_comparison(
    simulate: Simulate, exchange: OpenExchange, root: Path
) -> None:
    running = simulate()
    made = loaded(root, exchange(running, "rest"), DAYS)
    running.exchange.hooks.append(lambda request: "403" if "2024-05-06.zip" in request.path else None)
    result = check(made, exchange(running, "archive"), "archive")
    assert (result.ok, result.days, [key for key, _ in result.not_compared]) == (True, 2, ["2024-05-06"])


def test_a_night_of_25_hours_lies_in_two_files_each_fetched_once(
    simulate: Simulate, exchange: OpenExchange, root: Path
) -> None:
    running = simulate()
    zone = parse_zone("Europe/Zurich")
    first, last = (day_of(zone, date(2023, 10, number)) for number in (29, 30))
    window = Span(first.start_ms, last.end_ms)
    made = loaded(root, exchange(running, "rest"), window, "Europe/Zurich")
    seen = record(running.exchange)
    result = check(made, exchange(running, "archive"), "archive")
    assert (result.ok, result.days, result.rows) == (True, 2, 1500 + 1440)
    files = [request.path for request in seen if request.path.endswith(".zip")]
    assert len(files) == len(set(files)) == 3


def test_an_outage_is_one_in_the_archive_too(simulate: Simulate, exchange: OpenExchange, root: Path) -> None:
    running = simulate()
    made = loaded(root, exchange(running, "rest", "spot"), span("2021-04-25", "2021-04-26"), market="spot")
    [outage] = made.entries["2021-04-25"].absences
    result = check(made, exchange(running, "archive", "spot"), "archive")
    assert (result.ok, result.days, result.rows) == (True, 1, 1440 - outage.span.minutes)


def test_rows_that_a_file_lacks_differ_though_rest_has_them(
    simulate: Simulate, exchange: OpenExchange, root: Path
) -> None:
    running = simulate(faults={"archive_drops_rows": 1})
    made = loaded(root, exchange(running, "rest"), DAYS)
    pages_before = counted(running.exchange, "futures")["requests"]
    result = check(made, exchange(running, "archive"), "archive")
    assert result.differing_days == dict.fromkeys(["2024-05-06", "2024-05-07", "2024-05-08"], 144)
    assert {(found.field, found.theirs) for found in result.differences} == {(KLINE, None)}
    # The clock at most: what a file lacks is not asked of REST.
    assert counted(running.exchange, "futures")["requests"] - pages_before <= 1


@pytest.mark.parametrize("fault", ["drop_rows", "empty"])
def test_rows_that_rest_leaves_out_once_are_no_difference(
    simulate: Simulate, exchange: OpenExchange, root: Path, fault: str
) -> None:
    running = simulate()
    made = loaded(root, exchange(running, "archive"), DAYS)
    strike(running.exchange, fault, times=2)
    result = check(made, exchange(running, "rest"), "rest")
    assert (result.ok, result.days, result.not_compared) == (True, 3, [])


def test_days_without_a_file_or_with_a_bad_one_are_not_compared(
    simulate: Simulate, exchange: OpenExchange, root: Path
) -> None:
    running = simulate(now=datetime(2024, 5, 9, 2, 0, tzinfo=UTC))
    running.exchange.hooks.append(lambda request: "wrong_checksum" if "2024-05-07" in request.path else None)
    made = loaded(root, exchange(running, "rest"), DAYS)
    result = check(made, exchange(running, "archive"), "archive")
    assert [key for key, _ in result.not_compared] == ["2024-05-07", "2024-05-08"]
    assert "its checksum is wrong" in result.not_compared[0][1]
    assert "no file of 2024-05-08" in result.not_compared[1][1]
    assert (result.ok, result.days, result.of_days, result.rows) == (True, 1, 3, 1440)


@pytest.mark.parametrize("against", ["rest", "archive"])
def test_an_exchange_that_fails_leaves_days_uncompared_and_unchanged(
    simulate: Simulate, exchange: OpenExchange, root: Path, against: str
) -> None:
    running = simulate()
    made = loaded(root, exchange(running, "rest"), DAYS)
    fails = "451" if against == "rest" else "500"
    running.exchange.hooks.append(
        lambda request: fails if (is_page(request) if against == "rest" else request.area == "archive") else None
    )
    result = check(made, exchange(running, against), against)
    assert (result.days, result.of_days, len(result.not_compared)) == (0, 3, 3)
    assert all(f"HTTP {fails}" in reason for _, reason in result.not_compared)
