"""Faults of klines pages: what a client receives with and without them."""

import json
import time
from decimal import Decimal
from typing import Any

import pytest

from market_data_pipeline.simulator.faults import PAGE_FAULTS
from market_data_pipeline_tests.simulator.client import MINUTE, ExchangeClient, assert_possible, ms, opens
from market_data_pipeline_tests.simulator.conftest import Start

TEN = {"startTime": ms("2024-05-01"), "limit": 10}


def with_fault(client: ExchangeClient, fault: str, **params: Any) -> tuple[list[list], list[list]]:
    """The rows of a page without and with a fault."""
    clean = client.klines(**params)
    client.exchange.faults = {fault: 1}
    return clean, client.klines(**params)


def as_written(value: Any) -> tuple[type, int]:
    """The type of a field and its number of decimals."""
    return type(value), len(str(value).partition(".")[2])


def test_dropped_rows_leave_a_hole_inside(fresh: ExchangeClient) -> None:
    fresh.exchange.faults["drop_rows"] = 1
    start = ms("2024-05-01")
    rows = opens(fresh.klines(startTime=start, limit=100))
    assert (rows[0], rows[-1], len(rows)) == (start, start + 99 * MINUTE, 90)


def test_an_empty_page(fresh: ExchangeClient) -> None:
    fresh.exchange.faults["empty"] = 1
    assert fresh.klines(limit=10) == []
    assert fresh.get("/api/v3/time").status_code == 200


def test_a_repeated_row(fresh: ExchangeClient) -> None:
    fresh.exchange.faults["repeat_rows"] = 1
    rows = opens(fresh.klines(startTime=ms("2024-05-01"), limit=10))
    assert len(rows) == 11
    assert len(set(rows)) == 10


def test_row_faults_leave_an_empty_answer_alone(fresh: ExchangeClient) -> None:
    fresh.exchange.faults = dict.fromkeys(set(PAGE_FAULTS) - {"cut_json", "html"}, 1)
    assert fresh.klines(startTime=ms("2030-01-01")) == []


def test_the_newest_closed_kline_comes_late(fresh: ExchangeClient) -> None:
    fresh.exchange.faults["late"] = 1
    fresh.exchange.clock.advance(31)
    newest = ms("2024-05-15T12:00")
    assert opens(fresh.klines(limit=1)) == [newest - MINUTE]
    fresh.exchange.clock.advance(5)
    assert opens(fresh.klines(limit=2)) == [newest, newest + MINUTE]


def test_a_kline_is_provisional_for_90_seconds_after_its_close(fresh: ExchangeClient) -> None:
    closed = {"startTime": ms("2024-05-15T11:59"), "limit": 1}
    (final,), (provisional,) = with_fault(fresh, "provisional", **closed)
    assert final != provisional
    fresh.exchange.clock.advance(59.9)
    assert fresh.klines(**closed) == [provisional]
    fresh.exchange.clock.advance(0.1)
    assert fresh.klines(**closed) == [final]


def test_the_open_kline_and_those_closed_long_ago_are_not_provisional(fresh: ExchangeClient) -> None:
    clean, rows = with_fault(fresh, "provisional", limit=4)
    assert [row != was for row, was in zip(rows, clean, strict=True)] == [False, False, True, False]


def test_provisional_klines_of_all_pairs_are_possible(start: Start) -> None:
    client = start(weights=False)
    client.exchange.faults.provisional_seconds = 3 * 3600
    for pair in client.exchange.pairs:
        if pair.first_open_ms > ms("2024-05-15"):
            continue
        client.exchange.faults.clear()
        clean, rows = with_fault(client, "provisional", market=pair.market, symbol=pair.symbol, limit=182)
        assert [row == was for row, was in zip(rows, clean, strict=True)] == [True, *[False] * 180, True]
        for row, was in zip(rows[1:-1], clean[1:-1], strict=True):
            assert_possible(row, pair.tick)
            assert (row[0], row[1], row[6], row[11]) == (was[0], was[1], was[6], was[11])
            assert [as_written(value) for value in row] == [as_written(value) for value in was]
            assert Decimal(row[5]) % Decimal(pair.step) == 0
            assert all((Decimal(row[at]) < Decimal(was[at])) == (was[8] > 0) for at in (5, 7, 8))


def test_values_become_final_while_the_clock_runs(start: Start) -> None:
    client = start(speed=600, faults={"provisional": 1})
    provisional, _ = client.klines(limit=2)
    closed = {"startTime": provisional[0], "limit": 1}
    while (rows := client.klines(**closed)) == [provisional]:
        time.sleep(0.01)
    assert client.exchange.clock.now_ms() >= provisional[0] + MINUTE + 90_000
    client.exchange.faults.clear()
    assert client.klines(**closed) == rows


def test_cut_json_is_half_a_page_in_a_whole_answer(fresh: ExchangeClient) -> None:
    clean = fresh.get_klines(**TEN).content
    fresh.exchange.faults["cut_json"] = 1
    cut = fresh.get_klines(**TEN)
    assert (cut.status_code, cut.headers["content-length"]) == (200, str(len(clean) // 2))
    assert cut.content == clean[: len(clean) // 2]
    with pytest.raises(json.JSONDecodeError):
        cut.json()


def test_html_comes_with_status_200_and_only_for_klines(fresh: ExchangeClient) -> None:
    fresh.exchange.faults["html"] = 1
    page = fresh.get_klines(**TEN)
    assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (200, "text/html")
    assert page.text.startswith("<!DOCTYPE html>")
    assert fresh.get("/api/v3/ping").json() == {}


@pytest.mark.parametrize("limit", [1, 2, 10])
def test_a_conflicting_row_has_the_time_of_another_and_other_values(fresh: ExchangeClient, limit: int) -> None:
    clean, rows = with_fault(fresh, "conflicting_rows", startTime=ms("2024-05-01"), limit=limit)
    at = next(at for at, row in enumerate(rows) if row not in clean)
    other = rows.pop(at)
    assert rows == clean
    assert [field for field in range(12) if other[field] != rows[at - 1][field]] == [4, 5, 7, 8]
    assert_possible(other, "0.01")


def test_swapped_rows_are_out_of_order(fresh: ExchangeClient) -> None:
    clean, rows = with_fault(fresh, "swap_rows", **TEN)
    assert sorted(rows) == clean
    assert sum(row != was for row, was in zip(rows, clean, strict=True)) == 2


def test_a_row_off_the_grid_keeps_its_values(fresh: ExchangeClient) -> None:
    clean, rows = with_fault(fresh, "off_grid", **TEN)
    ((row, was),) = [pair for pair in zip(rows, clean, strict=True) if pair[0] != pair[1]]
    off_ms = row[0] - was[0]
    assert 0 < off_ms < MINUTE
    assert row == [was[0] + off_ms, *was[1:6], was[6] + off_ms, *was[7:]]


def test_an_open_kline_can_pass_for_closed(fresh: ExchangeClient) -> None:
    clean, rows = with_fault(fresh, "open_as_closed", limit=3)
    now_ms = fresh.exchange.clock.now_ms()
    assert clean[-1][6] > now_ms
    assert rows == [*clean[:-1], [*clean[-1][:6], now_ms - 1, *clean[-1][7:]]]


def test_a_page_without_the_open_kline_has_none_to_close(fresh: ExchangeClient) -> None:
    clean, rows = with_fault(fresh, "open_as_closed", endTime=ms("2024-05-15T11:59"), limit=3)
    assert rows == clean


@pytest.mark.parametrize("fault", [name for name in PAGE_FAULTS if name != "late"])
def test_page_faults_repeat_with_the_seed(start: Start, fault: str) -> None:
    def pages(seed: int) -> list[bytes]:
        client = start(faults={fault: 0.5}, fault_seed=seed)
        return [client.get_klines(limit=3).content for _ in range(20)]

    first = pages(1)
    assert len(set(first)) == 2
    assert pages(1) == first
    assert pages(2) != first


@pytest.mark.parametrize("fault", [name for name in PAGE_FAULTS if name != "late"])
def test_a_hook_commits_page_faults_once(fresh: ExchangeClient, fault: str) -> None:
    fresh.exchange.hooks.append(lambda request: fault if request.number == 2 else None)
    first, second, third = (fresh.get_klines(limit=3).content for _ in range(3))
    assert first == third != second
    assert fresh.stats()["spot"]["faults"] == {fault: 1}
