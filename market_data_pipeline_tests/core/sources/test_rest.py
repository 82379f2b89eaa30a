"""The REST source against the simulated exchange: what it asks, what it pays, and what each fault leads to."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from starlette.responses import Response

from market_data_pipeline.core.errors import Banned, PairNotListed, RegionBlocked, SourceError, SourceUnavailable
from market_data_pipeline.core.klines.coverage import Absence, Kind, Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.core.sources.opening import LIVE_CONNECTIONS, LiveSources
from market_data_pipeline.core.sources.protocol import Life
from market_data_pipeline.core.sources.rest.klines import RestSource
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.simulator.queries import RequestInfo
from market_data_pipeline_tests.core.sources.conftest import OpenExchange, OpenRest
from market_data_pipeline_tests.support import (
    MINUTE_MS,
    NOON,
    Simulate,
    at,
    budget_in,
    counted,
    everything,
    is_page,
    minutes,
    record,
    span,
    strike,
    wait_until,
)

DAY = span("2024-05-10", "2024-05-11")
WEEK = span("2024-05-06", "2024-05-13")
OUTAGE = span("2021-04-25T04:01", "2021-04-25T08:45")
LIFE = ("first kline", "newest kline", "clock")


def klines(source: RestSource, *spans: Span) -> pa.Table:
    pages = list(source.pages(spans))
    assert [page.error for page in pages if page.error] == []
    return pa.concat_tables([page.klines for page in pages]).combine_chunks()


def opens(source: RestSource, *spans: Span) -> list[int]:
    return klines(source, *spans).column("open_time").to_pylist()


def dataset_at(root: Path, first_day: str = "2024-05-10", market: Market = Market.SPOT) -> DatasetStore:
    start = datetime.fromisoformat(first_day).date()
    return Store(root).create(market, "BTC/USDT", zone=parse_zone("UTC"), start=start)


# --- what is asked, and what it costs


@pytest.mark.parametrize(("market", "rows", "requests"), [("spot", 1000, 11), ("futures", 499, 21)])
def test_a_week_is_asked_for_in_the_pages_with_the_most_rows_per_weight(
    simulate: Simulate, rest: OpenRest, market: str, rows: int, requests: int
) -> None:
    running = simulate()
    source, seen = rest(running, market), record(running.exchange)
    assert opens(source, WEEK) == minutes(WEEK)
    pages = [request for request in seen if is_page(request)]
    assert len(pages) == requests
    assert max(int(request.params["limit"]) for request in pages) == rows
    clock = len([request for request in seen if request.endpoint == "time"])
    assert counted(running.exchange, market)["weight"] == 2 * requests + clock


@pytest.mark.parametrize(("market", "weight"), [("spot", 4), ("futures", 6)])
def test_a_day_costs_what_its_pages_weigh_and_the_source_knows_it(
    simulate: Simulate, rest: OpenRest, market: str, weight: int
) -> None:
    running = simulate()
    source = rest(running, market)
    source.now_ms()
    before = counted(running.exchange, market)["weight"]
    assert len(opens(source, DAY)) == 1440
    assert counted(running.exchange, market)["weight"] - before == weight
    assert source.usage().spent == counted(running.exchange, market)["weight"]


def test_a_page_never_reaches_over_the_end_of_a_span(simulate: Simulate, rest: OpenRest) -> None:
    few, more = span("2024-05-10T00:00", "2024-05-10T00:10"), span("2024-05-11T23:00", "2024-05-12T01:00")
    assert opens(rest(simulate()), few, more) == minutes(few) + minutes(more)


def test_pages_are_asked_for_only_a_bounded_number_ahead_of_the_reader(simulate: Simulate, rest: OpenRest) -> None:
    running = simulate()
    source, seen = rest(running), record(running.exchange)
    pages = source.pages([span("2023-01-01", "2024-01-01")])
    next(pages)
    pages.close()  # type: ignore[attr-defined]
    source.close()
    assert len([request for request in seen if is_page(request)]) < 50


def test_pages_asked_for_ahead_come_without_a_reader_and_are_not_asked_for_again(
    simulate: Simulate, rest: OpenRest
) -> None:
    running = simulate()
    source, seen = rest(running), record(running.exchange)
    source.prefetch([DAY, span("2024-05-12", "2024-05-13")])
    wait_until(lambda: len([request for request in seen if is_page(request)]) == 4)
    # By now the reader wants one minute more, which the last page asked for ahead does not have.
    later = span("2024-05-12", "2024-05-13T00:01")
    assert opens(source, DAY, later) == minutes(DAY) + minutes(later)
    assert len([request for request in seen if is_page(request)]) == 5


def test_no_more_than_a_bounded_number_of_pages_is_asked_for_ahead(simulate: Simulate, rest: OpenRest) -> None:
    running = simulate()
    source, seen = rest(running), record(running.exchange)
    days = span("2021-10-01", "2023-03-01")
    source.prefetch([days])
    wait_until(lambda: len([request for request in seen if is_page(request)]) == 512)
    assert opens(source, days) == minutes(days)
    assert len([request for request in seen if is_page(request)]) == 744


def test_the_minutes_of_an_outage_are_a_gap_in_the_pages(simulate: Simulate, rest: OpenRest) -> None:
    day = span("2021-04-25", "2021-04-26")
    absent = set(minutes(day)) - set(opens(rest(simulate()), day))
    assert sorted(absent) == minutes(OUTAGE)


# --- closed klines only, by the exchange's clock


def test_the_open_kline_is_left_out_though_by_this_machines_clock_it_closed_long_ago(
    simulate: Simulate, rest: OpenRest
) -> None:
    running = simulate(now=NOON)
    asked = span("2024-05-15T11:50", "2024-05-15T12:10")
    assert opens(rest(running), asked)[-1] == at("2024-05-15T11:59")
    running.exchange.clock.advance(60)
    assert opens(rest(running), asked)[-1] == at("2024-05-15T12:00")


def test_the_clock_is_the_exchanges(simulate: Simulate, rest: OpenRest) -> None:
    source = rest(simulate(now=datetime(2022, 1, 1, 0, 0, 5, tzinfo=UTC)))
    assert at("2022-01-01T00:00:05") - 5000 <= source.now_ms() < at("2022-01-01T00:01")


# --- when a pair has klines


@pytest.mark.parametrize(
    ("market", "token", "first"),
    [("spot", "BTCUSDT", "2017-08-17T04:00"), ("futures", "FILUSDT", "2020-10-16T07:00")],
)
def test_the_first_kline_bounds_a_pairs_life(
    simulate: Simulate, rest: OpenRest, market: str, token: str, first: str
) -> None:
    running = simulate()
    source = rest(running, market, token)
    assert source.life() == source.life() == Life(at(first), None)
    assert counted(running.exchange, market)["endpoints"] == {"klines": 2, "time": 1}


def test_a_delisted_pairs_life_ends_with_its_last_kline(simulate: Simulate, rest: OpenRest) -> None:
    running = simulate(now=datetime(2025, 5, 15, tzinfo=UTC))
    life = rest(running, token="WAVESUSDT").life()
    assert life == Life(at("2019-01-18T10:00"), at("2024-06-17T02:59"))


def test_a_pair_in_an_outage_is_not_taken_for_delisted(simulate: Simulate, rest: OpenRest) -> None:
    running = simulate(now=datetime(2021, 4, 25, 8, 0, 5, tzinfo=UTC))
    assert rest(running).life().last_open_ms is None


@pytest.mark.parametrize("market", ["spot", "futures"])
@pytest.mark.parametrize("token", ["NOPEUSDT", "FRESHUSDT"])
def test_a_pair_that_is_not_listed_yet_or_never_is_told_apart_at_once(
    simulate: Simulate, rest: OpenRest, market: str, token: str
) -> None:
    running = simulate()
    with pytest.raises(PairNotListed, match=f"lists no {market} pair"):
        rest(running, market, token).life()
    assert counted(running.exchange, market)["endpoints"]["klines"] <= 2, "the first and the newest kline, once each"


# --- faults that pass


@pytest.mark.parametrize("fault", ["500", "503", "429", "418", "reset", "truncate", "repeat_rows"])
def test_a_fault_that_passes_leaves_no_trace_in_the_data(simulate: Simulate, rest: OpenRest, fault: str) -> None:
    running = simulate()
    running.exchange.faults.ban_seconds = 1
    undisturbed = klines(rest(running, "futures"), DAY)
    source = rest(running, "futures")
    source.life()
    strike(running.exchange, fault, times=2)
    assert klines(source, DAY).equals(undisturbed)
    assert counted(running.exchange, "futures")["faults"] == {fault: 2}


def test_an_answer_that_stalls_for_a_moment_is_waited_for(simulate: Simulate, rest: OpenRest) -> None:
    running = simulate()
    running.exchange.faults.stall_seconds = 1
    seen = record(running.exchange)
    strike(running.exchange, "stall")
    assert opens(rest(running), DAY) == minutes(DAY)
    assert len([request for request in seen if is_page(request)]) == 2


@pytest.mark.slow
def test_an_answer_that_never_comes_is_asked_for_again(simulate: Simulate, rest: OpenRest) -> None:
    running = simulate()
    running.exchange.faults.stall_seconds = 600
    strike(running.exchange, "stall")
    assert opens(rest(running, deadline_s=2), DAY) == minutes(DAY)


@pytest.mark.slow
def test_the_firewalls_page_is_waited_out(simulate: Simulate, rest: OpenRest) -> None:
    running = simulate()
    strike(running.exchange, "403")
    assert opens(rest(running), DAY) == minutes(DAY)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("fault", ["429", "418"])
def test_a_refusal_of_the_first_request_is_waited_out_however_far_this_machines_clock_is_ahead(
    simulate: Simulate, rest: OpenRest, fault: str
) -> None:
    running = simulate()
    running.exchange.faults.ban_seconds = 1
    opens(rest(running), DAY)
    strike(running.exchange, fault, where=lambda request: True)
    source = rest(running)
    assert source.life().first_open_ms == at("2017-08-17T04:00")
    assert opens(source, DAY) == minutes(DAY)


def test_waits_for_the_clock_do_not_shift_it(simulate: Simulate, rest: OpenRest) -> None:
    running = simulate()
    refused = [Response(status_code=429, headers={"Retry-After": "4"})]
    running.exchange.hooks.append(lambda request: refused.pop() if refused and request.endpoint == "time" else None)
    source = rest(running)
    # By half of the time from the first try to the answer, the clock would be two seconds ahead.
    assert source.now_ms() - running.exchange.clock.now_ms() < 1500
    assert source.client.round_trip_s < 4


def test_a_machine_that_sleeps_while_it_requests_the_clock_requests_it_again(
    simulate: Simulate, rest: OpenRest, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, now_s, slept_s = simulate(), time.time, list[int]()
    monkeypatch.setattr(time, "time", lambda: now_s() + sum(slept_s))

    def sleep(request: RequestInfo) -> None:
        if request.endpoint == "time" and not slept_s:
            slept_s.append(7200)
            running.exchange.clock.advance(7200)

    running.exchange.hooks.append(sleep)
    assert abs(rest(running).now_ms() - running.exchange.clock.now_ms()) < 60_000


def test_a_refusal_stops_every_request_until_its_time_is_over(simulate: Simulate, rest: OpenRest) -> None:
    running = simulate()
    source = rest(running, "futures")
    source.now_ms()
    strike(running.exchange, "429")
    assert opens(source, WEEK) == minutes(WEEK)
    status = counted(running.exchange, "futures")["status"]
    assert (status["429"], status["418"]) == (1, 0)


# --- faults that do not pass


def test_http_451_is_said_at_once_and_not_tried_again(simulate: Simulate, rest: OpenRest, root: Path) -> None:
    running = simulate(faults={"451": 1})
    with pytest.raises(RegionBlocked, match=r"HTTP 451.*MARKET_DATA_EXCHANGE_URL"):
        rest(running).life()
    assert counted(running.exchange, "spot")["requests"] <= len(LIFE), "each of the requests once"
    assert not root.exists()


def test_http_451_in_the_middle_of_a_load_ends_it(simulate: Simulate, rest: OpenRest) -> None:
    running = simulate()
    strike(running.exchange, "451", times=1000)
    with pytest.raises(RegionBlocked):
        opens(rest(running), WEEK)
    assert counted(running.exchange, "spot")["faults"]["451"] <= 16


def test_a_long_ban_is_said_and_not_waited_for(simulate: Simulate, rest: OpenRest) -> None:
    running = simulate()
    running.exchange.faults.ban_seconds = 3600
    strike(running.exchange, "418", times=1000)
    with pytest.raises(Banned, match="3600 s more"):
        opens(rest(running), DAY)


def test_live_mode_does_not_wait_for_the_weight_of_requests_that_it_has_sent(simulate: Simulate, root: Path) -> None:
    with closing(LiveSources(Market.SPOT, budget_of=budget_in(root), base_url=simulate().url)) as sources:
        sources.set_clock()
        left = sources.usage().limit - sources.usage().used
        assert sources.try_to_pay([span("2024-05-15T11:59", "2024-05-15T12:00")] * (left // 2))
        began_s, btc = time.monotonic(), sources.of("BTC/USDT")
        assert btc.life().last_open_ms is None
        with pytest.raises(SourceUnavailable, match="no request weight is left here for the next"):
            btc.newest(span("2024-05-15T11:59", "2024-05-15T12:00"))
    assert time.monotonic() - began_s < 20


def test_live_mode_starts_while_others_have_used_the_weight_of_the_minute(simulate: Simulate, root: Path) -> None:
    running = simulate()
    with closing(LiveSources(Market.SPOT, budget_of=budget_in(root), base_url=running.url)) as beside:
        beside.set_clock()
        left = beside.usage().limit - beside.usage().used
        assert beside.try_to_pay([span("2024-05-15T11:59", "2024-05-15T12:00")] * (left // 2))
        began_s = time.monotonic()
        with closing(LiveSources(Market.SPOT, budget_of=budget_in(root), base_url=running.url)) as sources:
            assert abs(sources.now_ms() - beside.now_ms()) < 10_000
    assert time.monotonic() - began_s < 20


@pytest.mark.slow
def test_an_exchange_that_keeps_failing_ends_the_load_with_one_line(simulate: Simulate, rest: OpenRest) -> None:
    running = simulate()
    source = rest(running, patience_s=4)
    source.life()
    running.exchange.faults = {"500": 1}
    with pytest.raises(SourceUnavailable, match="HTTP 500") as caught:
        opens(source, DAY)
    assert "\n" not in str(caught.value)
    assert running.url in str(caught.value)


@pytest.mark.parametrize(("market", "weight"), [("spot", 2 + 2 + 1), ("futures", 1 + 1 + 1)])
def test_an_address_that_nobody_answers_at_is_tried_three_times_and_nothing_is_written(
    rest: OpenRest, root: Path, market: str, weight: int
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        source = rest(f"http://127.0.0.1:{nobody.getsockname()[1]}", market)
        with pytest.raises(SourceUnavailable, match="MARKET_DATA_EXCHANGE_URL") as caught:
            source.life()
        source.close()
    assert "\n" not in str(caught.value)
    assert source.usage().spent <= 3 * weight
    assert not root.exists()


def test_an_exchange_that_answers_nothing_but_resets_is_tried_three_times(
    simulate: Simulate, rest: OpenRest, root: Path
) -> None:
    running = simulate(faults={"reset": 1})
    with pytest.raises(SourceUnavailable):
        rest(running).life()
    assert 3 <= counted(running.exchange, "spot")["requests"] <= 3 * len(LIFE)
    assert everything(root) == {}


# --- pages that lie about what the exchange has


@pytest.mark.parametrize("fault", ["drop_rows", "empty"])
def test_rows_that_a_page_left_out_are_filled_by_asking_again(
    simulate: Simulate, rest: OpenRest, root: Path, fault: str
) -> None:
    running = simulate()
    strike(running.exchange, fault, times=2)
    [result] = backfill(dataset_at(root), rest(running), DAY)
    assert (result.outcome, result.entry.rows, result.entry.absences) == (Outcome.LOADED, 1440, ())


def test_rows_left_out_beside_an_outage_are_filled_and_the_outage_is_named(
    simulate: Simulate, exchange: OpenExchange, root: Path
) -> None:
    running = simulate()
    strike(running.exchange, "drop_rows", times=2)
    source = exchange(running, "rest", "spot")
    [result] = backfill(dataset_at(root, "2021-04-25"), source, span("2021-04-25", "2021-04-26"))
    assert result.entry.rows == 1156
    said = ("rest: none, asked twice", "archive: none of them", "ETH/USDT: none of them")
    assert result.entry.absences == (Absence(Kind.OUTAGE, OUTAGE, said),)


@pytest.mark.slow
def test_pages_that_stay_out_of_order_fail_their_day_and_no_other(
    simulate: Simulate, rest: OpenRest, root: Path
) -> None:
    running = simulate()
    inside = span("2024-05-11T06:00", "2024-05-11T07:00")
    strike(
        running.exchange,
        "repeat_rows",
        times=1000,
        where=lambda request: is_page(request) and int(request.params["endTime"]) + 1 - MINUTE_MS in minutes(inside),
    )
    asked = [span("2024-05-10", "2024-05-11"), span("2024-05-11", "2024-05-11T06:30"), span("2024-05-12", "2024-05-13")]
    pages = list(rest(running, patience_s=4).pages(asked))
    assert [page.span.start_ms for page in pages if page.error] == [at("2024-05-11")]
    assert sum(page.klines.num_rows for page in pages) == 2 * 1440


def test_the_newest_kline_that_comes_late_is_open_not_an_outage(simulate: Simulate, rest: OpenRest, root: Path) -> None:
    running = simulate()
    today, store = span("2024-05-15", "2024-05-15T12:00"), dataset_at(root)
    running.exchange.faults.late_seconds = 30
    running.exchange.faults = {"late": 1}
    [result] = backfill(store, rest(running), today)
    assert result.entry.last_open_time == at("2024-05-15T11:58")
    assert {absence.kind for absence in result.entry.absences} == {Kind.OPEN}

    running.exchange.faults = {}
    running.exchange.clock.advance(600)
    [result] = backfill(store, rest(running), today)
    assert result.entry.last_open_time == at("2024-05-15T11:59")
    assert {absence.kind for absence in result.entry.absences} == {Kind.NOT_REQUESTED, Kind.OPEN}


def test_a_proxy_of_the_environment_is_used_and_not_for_this_machine(
    simulate: Simulate, rest: OpenRest, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = simulate()
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", proxy.url)
    assert rest("http://exchange.invalid").life() == rest(proxy).life()
    monkeypatch.setenv("http_proxy", "me:secret@127.0.0.1:9")
    with pytest.raises(
        SourceUnavailable, match=r"^no answer from http://exchange.invalid through the proxy 127.0.0.1:9 to"
    ):
        rest("http://exchange.invalid").now_ms()
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert rest(proxy).now_ms() > 0


@pytest.mark.parametrize(("rtt_ms", "way_ms"), [(200, range(100, 151)), (600, range(150, 151))])
def test_how_long_a_question_is_under_way(simulate: Simulate, root: Path, rtt_ms: int, way_ms: range) -> None:
    with closing(LiveSources(Market.SPOT, budget_of=budget_in(root), base_url=simulate(rtt_ms=rtt_ms).url)) as sources:
        assert (sources.way_ms(), sources.worth_asking_at_once()) == (0, 4)
        sources.set_clock()
        assert sources.way_ms() in way_ms
        assert sources.worth_asking_at_once() == LIVE_CONNECTIONS


# --- sources of many pairs


def test_of_futures_one_list_tells_the_settlements_of_all_contracts(simulate: Simulate, root: Path) -> None:
    running = simulate()
    sources = LiveSources(Market.FUTURES, budget_of=budget_in(root), base_url=running.url)
    seen = record(running.exchange)
    pairs = [sources.of(f"{base}/USDT") for base in ("BTC", "ETH", "BNB", "XRP", "GONE")]
    with closing(sources), ThreadPoolExecutor(len(pairs)) as threads:
        settled = [threads.submit(source.settled_ms) for source in pairs]
        assert [each.result() for each in settled] == [None] * len(pairs)
        assert [request.endpoint for request in seen].count("exchangeInfo") == 1
        running.exchange.clock.advance(599)
        sources.set_clock()
        pairs[0].settled_ms()
        assert [request.endpoint for request in seen].count("exchangeInfo") == 1
        running.exchange.clock.advance(2)
        sources.set_clock()
        pairs[0].settled_ms()
        assert [request.endpoint for request in seen].count("exchangeInfo") == 2


def test_a_list_that_cannot_be_had_is_waited_for_once_and_not_by_each_contract(simulate: Simulate, root: Path) -> None:
    running = simulate()
    sources = LiveSources(Market.FUTURES, budget_of=budget_in(root), base_url=running.url)
    pairs = [sources.of(f"{base}/USDT") for base in ("BTC", "ETH", "BNB")]
    with closing(sources):
        sources.set_clock()
        seen = record(running.exchange)
        running.exchange.hooks.append(lambda request: "503" if request.endpoint == "exchangeInfo" else None)
        with pytest.raises(SourceError, match="503"):
            pairs[0].settled_ms()
        sent = len(seen)
        for source in pairs:
            with pytest.raises(SourceError, match="503"):
                source.settled_ms()
        assert len(seen) == sent


def test_a_gap_that_is_looked_into_leaves_no_threads_behind(simulate: Simulate, root: Path) -> None:
    running = simulate(now=datetime(2021, 4, 25, 9, 0, 5, tzinfo=UTC))
    sources = LiveSources(Market.SPOT, budget_of=budget_in(root), base_url=running.url)
    with closing(sources):
        source = sources.of("ETH/USDT")
        source.life()
        assert source.recheck(OUTAGE).kind is Kind.OUTAGE
        assert [thread.name for thread in threading.enumerate() if thread.name.startswith("rest-")] == []
