"""REST and the archive as one source: which is asked, what a bad file leads to, and what proves an outage."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
from starlette.responses import Response

from market_data_pipeline.core.errors import RegionBlocked, ShutOut, SourceUnavailable
from market_data_pipeline.core.klines.coverage import PROVEN, Absence, Kind, Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.core.proof.verify import verify
from market_data_pipeline.core.sources.opening import LiveSources, open_source
from market_data_pipeline.core.sources.protocol import KlineSource, Life
from market_data_pipeline.core.sources.rest.client import RestClient
from market_data_pipeline.core.sources.rest.klines import RestSource
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.queries import RequestInfo
from market_data_pipeline_tests.core.sources.conftest import OpenExchange, OpenRest
from market_data_pipeline_tests.simulator.scenarios import scenario_exchange
from market_data_pipeline_tests.support import (
    MINUTE_MS,
    Simulate,
    at,
    budget_in,
    counted,
    is_page,
    minutes,
    record,
    span,
)

DAYS = span("2024-05-06", "2024-05-09")
OUTAGE_DAY = span("2021-04-25", "2021-04-26")
FILE_FAULTS = (
    "wrong_checksum",
    "checksum_missing",
    "cut_zip",
    "microseconds",
    "late_archive",
    "archive_drops_rows",
)


def klines(source: KlineSource, *spans: Span) -> pa.Table:
    pages = list(source.pages(spans))
    assert [page.error for page in pages if page.error] == []
    return pa.concat_tables([page.klines for page in pages]).combine_chunks()


def load(
    root: Path, source: KlineSource, window: Span, zone: str = "UTC", market: Market = Market.FUTURES
) -> list[DayResult]:
    return list(backfill(dataset_at(root, window, zone, market), source, window))


def dataset_at(root: Path, window: Span, zone: str, market: Market) -> DatasetStore:
    start = datetime.fromtimestamp(window.start_ms / 1000, UTC).date()
    return Store(root).create(market, "BTC/USDT", zone=parse_zone(zone), start=start)


# --- which is asked


@pytest.mark.parametrize("market", ["spot", "futures"])
@pytest.mark.parametrize("day", ["2021-12-30", "2024-12-31", "2025-01-01"])
def test_the_archives_klines_are_those_of_rest_to_the_last_bit(
    simulate: Simulate, exchange: OpenExchange, rest: OpenRest, market: str, day: str
) -> None:
    running = simulate(now=datetime(2025, 3, 1, tzinfo=UTC))
    start = at(day)
    asked = Span(start, start + 2 * 86_400_000)
    archived = klines(exchange(running, "archive", market), asked)
    assert archived.equals(klines(rest(running, market), asked))
    assert archived.num_rows == 2880


def test_days_that_are_published_come_from_the_archive_each_file_fetched_once(
    simulate: Simulate, exchange: OpenExchange
) -> None:
    running = simulate()
    source, seen = exchange(running), record(running.exchange)
    # Three days of a zone five and a half hours ahead lie in four files.
    asked = Span(DAYS.start_ms - 330 * 60_000, DAYS.end_ms - 330 * 60_000)
    assert klines(source, asked).column("open_time").to_pylist() == minutes(asked)
    files = [request.path for request in seen if request.area == "archive"]
    assert len(files) == len(set(files)) == 8  # zip and checksum
    assert not [request for request in seen if is_page(request)]


def test_days_that_cannot_be_published_yet_are_asked_of_rest_alone(simulate: Simulate, exchange: OpenExchange) -> None:
    running = simulate(now=datetime(2024, 5, 8, 8, 0, tzinfo=UTC))
    source, seen = exchange(running), record(running.exchange)
    assert klines(source, span("2024-05-06", "2024-05-08T08:00")).num_rows == 2 * 1440 + 480
    asked = {request.path.rpartition("/")[2] for request in seen if request.area == "archive"}
    assert asked == {"BTCUSDT-1m-2024-05-06.zip", "BTCUSDT-1m-2024-05-06.zip.CHECKSUM"}


def test_a_chunk_says_where_its_klines_came_from(simulate: Simulate, exchange: OpenExchange, root: Path) -> None:
    running = simulate(now=datetime(2024, 5, 8, 8, 0, tzinfo=UTC))
    running.exchange.hooks.append(lambda request: "archive_drops_rows" if "05-06" in request.path else None)
    results = load(root, exchange(running), span("2024-05-05", "2024-05-08"))
    assert [result.entry.source for result in results if result.entry] == ["archive", "archive+rest", "rest"]


def test_rest_alone_never_asks_the_archive_for_klines(simulate: Simulate, exchange: OpenExchange) -> None:
    running = simulate()
    assert klines(exchange(running, "rest"), DAYS).num_rows == 4320
    assert running.exchange.stats()["archive"]["requests"] == 0


def test_the_archive_alone_costs_no_weight_beyond_the_first_questions(
    simulate: Simulate, exchange: OpenExchange
) -> None:
    running = simulate()
    source = exchange(running, "archive")
    source.life()
    before = counted(running.exchange, "futures")["weight"]
    assert klines(source, DAYS).num_rows == 4320
    assert counted(running.exchange, "futures")["weight"] == before


def test_the_archive_alone_says_which_day_it_does_not_have(
    simulate: Simulate, exchange: OpenExchange, root: Path
) -> None:
    running = simulate(now=datetime(2024, 5, 8, 2, 0, tzinfo=UTC))
    results = load(root, exchange(running, "archive"), span("2024-05-06", "2024-05-08"))
    assert [result.outcome for result in results] == [Outcome.LOADED, Outcome.FAILED]
    assert "no file of 2024-05-07" in str(results[1].error)
    assert "REST may have" in str(results[1].error)


# --- files that cannot be used


@pytest.mark.parametrize("fault", FILE_FAULTS)
@pytest.mark.parametrize("market", ["spot", "futures"])
def test_what_a_file_lacks_or_gets_wrong_comes_from_rest(
    simulate: Simulate, exchange: OpenExchange, rest: OpenRest, fault: str, market: str
) -> None:
    running = simulate(faults={fault: 0.5})
    asked = span("2024-05-01", "2024-05-11")
    assert klines(exchange(running, "auto", market), asked).equals(klines(rest(running, market), asked))
    assert running.exchange.stats()["archive"]["faults"][fault] > 0


@pytest.mark.parametrize(("times", "downloads", "by_rest"), [(1, 2, 0), (100, 2, 3)])
def test_a_file_that_is_damaged_twice_is_left_to_rest(
    simulate: Simulate, exchange: OpenExchange, times: int, downloads: int, by_rest: int
) -> None:
    running = simulate()
    seen, faults = record(running.exchange), iter(["cut_zip"] * times)
    running.exchange.hooks.append(lambda request: next(faults, None) if request.path.endswith(".zip") else None)
    source = exchange(running)
    assert klines(source, span("2024-05-06", "2024-05-07")).num_rows == 1440
    assert sum(request.path.endswith(".zip") for request in seen) == downloads
    assert sum(is_page(request) for request in seen) == by_rest


@pytest.mark.parametrize("fault", ["500", "503", "403", "reset", "truncate"])
def test_an_archive_that_fails_now_and_then_or_always_stops_nothing(
    simulate: Simulate, exchange: OpenExchange, fault: str
) -> None:
    running = simulate()
    running.exchange.hooks.append(lambda request: fault if request.area == "archive" else None)
    assert klines(exchange(running), span("2024-05-01", "2024-05-11")).num_rows == 14_400
    # It is given up on: ten files tried four times each would be forty requests and more.
    assert running.exchange.stats()["archive"]["requests"] <= 40


@pytest.mark.parametrize("fault", ["503", "reset"])
def test_a_file_that_always_fails_is_left_to_rest_and_the_next_ones_come_from_the_archive(
    simulate: Simulate, exchange: OpenExchange, fault: str
) -> None:
    running = simulate()
    running.exchange.hooks.append(lambda request: fault if "2024-05-06.zip" in request.path else None)
    source = exchange(running)
    assert klines(source, span("2024-05-06", "2024-05-07")).num_rows == 1440
    seen = record(running.exchange)
    (page,) = source.pages([span("2024-05-07", "2024-05-08")])
    assert page.klines.num_rows == 1440
    assert page.sources == {"archive"}
    assert not any(is_page(request) for request in seen)


@pytest.mark.parametrize("fault", ["403", "503", "reset"])
def test_a_file_that_always_fails_fails_its_day_alone_where_the_archive_is_the_only_source(
    simulate: Simulate, exchange: OpenExchange, root: Path, fault: str
) -> None:
    running = simulate()
    running.exchange.hooks.append(lambda request: fault if "2024-05-07.zip" in request.path else None)
    results = load(root, exchange(running, "archive"), span("2024-05-06", "2024-05-11"))
    assert [result.outcome for result in results] == [Outcome.LOADED, Outcome.FAILED, *[Outcome.LOADED] * 3]
    assert str(results[1].error).startswith("the archive's file of 2024-05-07 is not used: no answer from http://")
    assert results[1].may_pass


def test_an_archive_alone_that_goes_away_ends_the_load_soon(
    simulate: Simulate, exchange: OpenExchange, root: Path
) -> None:
    running = simulate()
    running.exchange.hooks.append(lambda request: "503" if request.area == "archive" else None)
    results = load(root, exchange(running, "archive"), span("2024-01-01", "2024-05-11"))
    assert {(result.outcome, result.may_pass) for result in results} == {(Outcome.FAILED, True)}
    assert sum("not tried" in str(result.error) for result in results) >= len(results) - 3
    # Files that are requested at once have their tries; most days have none.
    assert running.exchange.stats()["archive"]["requests"] < 2 * len(results)


def test_an_archive_alone_that_cannot_be_reached_is_said(simulate: Simulate, exchange: OpenExchange) -> None:
    running = simulate()
    running.exchange.hooks.append(lambda request: "500" if request.area == "archive" else None)
    with pytest.raises(SourceUnavailable, match="HTTP 500"):
        klines(exchange(running, "archive"), DAYS)


# --- locations that are not served


def blocked(running: SimulatedExchange, status: str = "451") -> None:
    running.hooks.append(lambda request: status if request.area != "archive" else None)


@pytest.mark.parametrize("status", ["451", "403"])
def test_futures_history_loads_from_the_archive_where_rest_is_blocked_and_says_so(
    simulate: Simulate, exchange: OpenExchange, root: Path, status: str
) -> None:
    # The archive is searched for the first file, up to the days of this machine's clock.
    running = simulate(now=datetime.now(UTC))
    blocked(running.exchange, status)
    source = exchange(running, "auto", "futures", "FRESH/USDT")
    assert source.life() == Life(at("2026-03-02T12:30"), None)
    results = load(root, source, span("2026-03-02", "2026-03-05"))
    assert [(result.outcome, result.entry.rows) for result in results if result.entry] == [
        (Outcome.LOADED, 690),
        (Outcome.LOADED, 1440),
        (Outcome.LOADED, 1440),
    ]
    [warning] = source.warnings
    assert f"HTTP {status}" in warning


def test_a_source_does_not_wait_to_learn_that_the_firewall_shuts_out_its_process(
    simulate: Simulate, exchange: OpenExchange
) -> None:
    running = simulate(now=datetime.now(UTC))
    blocked(running.exchange, "403")
    with pytest.raises(ShutOut):
        exchange(running, "rest").life()
    asked = counted(running.exchange, "futures")["requests"]
    assert exchange(running, "auto", "futures", "FRESH/USDT").life() == Life(at("2026-03-02T12:30"), None)
    assert counted(running.exchange, "futures")["requests"] == asked


def test_a_list_of_pairs_that_the_firewall_keeps_back_costs_two_requests_and_shuts_out_nobody(
    simulate: Simulate, exchange: OpenExchange
) -> None:
    running = simulate()
    running.exchange.hooks.append(lambda request: "403" if request.endpoint == "exchangeInfo" else None)
    source = exchange(running)
    assert source.listed_pair() is None
    assert counted(running.exchange, "futures")["endpoints"]["exchangeInfo"] == 2
    assert klines(exchange(running), DAYS).num_rows == 4320


def test_days_that_only_rest_has_fail_with_the_reason_where_rest_is_blocked(
    simulate: Simulate, exchange: OpenExchange, root: Path
) -> None:
    now = datetime.now(UTC)
    running = simulate(now=now)
    blocked(running.exchange)
    end_ms = int(now.timestamp()) // 86_400 * 86_400_000
    results = load(root, exchange(running), Span(end_ms - 3 * 86_400_000, end_ms + 60_000))
    assert [result.outcome for result in results[:2]] == [Outcome.LOADED] * 2
    assert results[-1].outcome is Outcome.FAILED
    assert "HTTP 451" in str(results[-1].error)


@pytest.mark.parametrize(("status", "said"), [("451", "HTTP 451"), ("403", "HTTP 403"), ("418", "refuses requests")])
def test_the_archive_goes_on_where_rest_refuses_in_the_middle_of_a_load(
    simulate: Simulate, root: Path, status: str, said: str
) -> None:
    running = simulate(now=datetime(2024, 5, 12, 12, tzinfo=UTC))
    running.exchange.faults.ban_seconds = 3600  # a short ban is waited for
    lacking, asked = ("2024-05-02", "2024-05-06"), 0

    def refuse(request: RequestInfo) -> str | None:
        nonlocal asked
        if request.area == "archive":
            return "late_archive" if any(f"{day}.zip" in request.path for day in lacking) else None
        asked += is_page(request)
        return status if is_page(request) else None

    running.exchange.hooks.append(refuse)
    opened = open_source(
        "auto", Market.FUTURES, "BTC/USDT", budget_of=budget_in(root), base_url=running.url, patience_s=3
    )
    with closing(opened) as source:
        results = load(root, source, span("2024-05-01", "2024-05-12T12:00"))
        failed = {result.day.key: result.error for result in results if result.outcome is Outcome.FAILED}
        assert failed.keys() == {*lacking, "2024-05-12"}
        assert sum(result.outcome is Outcome.LOADED for result in results) == 9
        # One reason, so that it is one line, and no request that has to wait for the same refusal.
        [reason] = set(failed.values())
        assert said in (reason or "")
        [warning] = source.warnings
        assert warning.startswith(reason or "-") and warning.endswith("alone, which is a day behind")
        assert asked <= 2 * 16


def test_minutes_that_a_file_lacks_fail_their_day_alone_where_rest_is_blocked(
    simulate: Simulate, exchange: OpenExchange, root: Path
) -> None:
    now = datetime.now(UTC)
    running = simulate(now=now)
    blocked(running.exchange)
    end_ms = int(now.timestamp()) // 86_400 * 86_400_000 - 86_400_000
    day = f"{datetime.fromtimestamp(end_ms / 1000 - 2 * 86_400, UTC):%Y-%m-%d}"
    running.exchange.hooks.append(lambda request: "archive_drops_rows" if f"{day}.zip" in request.path else None)
    results = load(root, exchange(running), Span(end_ms - 4 * 86_400_000, end_ms))
    assert [result.outcome for result in results] == [
        Outcome.FAILED if result.day.key == day else Outcome.LOADED for result in results
    ]


def test_rest_alone_is_blocked(simulate: Simulate, exchange: OpenExchange) -> None:
    running = simulate()
    blocked(running.exchange)
    with pytest.raises(RegionBlocked):
        exchange(running, "rest").life()


def test_spot_goes_on_with_the_public_address_where_the_first_one_is_blocked(simulate: Simulate, root: Path) -> None:
    running, public = simulate(), simulate()
    blocked(running.exchange)
    source = RestSource(
        RestClient(Market.SPOT, budget_of=budget_in(root), base_url=running.url, public_url=public.url), "BTCUSDT"
    )
    assert klines(source, DAYS).num_rows == 4320
    [warning] = source.warnings
    assert public.url in warning
    assert counted(running.exchange, "spot")["requests"] == 1
    source.close()


# --- what proves an outage


def outage(root: Path, source: KlineSource) -> Absence:
    [result] = load(root, source, OUTAGE_DAY, market=Market.SPOT)
    assert result.entry
    [absence] = result.entry.absences
    return absence


@pytest.mark.parametrize("name", ["auto", "rest"])
def test_an_outage_has_three_witnesses_on_spot(
    simulate: Simulate, exchange: OpenExchange, root: Path, name: str
) -> None:
    found = outage(root, exchange(simulate(), name, "spot"))
    assert found.kind is Kind.OUTAGE
    assert found.evidence == ("rest: none, asked twice", "archive: none of them", "ETH/USDT: none of them")


def test_without_a_file_another_pair_that_halted_too_is_enough(
    simulate: Simulate, exchange: OpenExchange, root: Path
) -> None:
    found = outage(root, exchange(simulate(faults={"late_archive": 1}), "auto", "spot"))
    assert found.kind is Kind.OUTAGE
    assert found.evidence[1:] == ("archive: the archive has no file of 2021-04-25", "ETH/USDT: none of them")


def hide(exchange: SimulatedExchange, hidden: Span, *symbols: str) -> None:
    """REST has no klines of these minutes, for ever."""

    def hook(request: RequestInfo) -> Response | None:
        if not is_page(request) or request.params["symbol"] not in symbols:
            return None
        if int(request.params["startTime"]) >= hidden.start_ms and int(request.params["endTime"]) < hidden.end_ms:
            return Response(b"[]", media_type="application/json")
        return None

    exchange.hooks.append(hook)


def test_minutes_that_rest_hides_and_the_archive_has_are_taken_from_it(
    simulate: Simulate, exchange: OpenExchange
) -> None:
    running = simulate()
    hide(running.exchange, DAYS, "BTCUSDT")
    again = exchange(running).recheck(span("2024-05-06T04:00", "2024-05-06T05:00"))
    assert (again.klines.num_rows, again.sources) == (60, {"archive"})


@pytest.mark.parametrize(("market", "said"), [("futures", 3), ("spot", 3)])
def test_minutes_that_rest_hides_and_no_witness_misses_are_not_proven(
    simulate: Simulate, exchange: OpenExchange, market: str, said: int
) -> None:
    running = simulate(faults={"late_archive": 1})
    hide(running.exchange, DAYS, "BTCUSDT")
    again = exchange(running, "auto", market).recheck(span("2024-05-06T04:00", "2024-05-06T05:00"))
    assert (again.klines.num_rows, again.kind is not Kind.UNEXPLAINED, len(again.evidence)) == (0, False, said)


@pytest.mark.parametrize("market", ["futures", "spot"])
def test_a_file_that_is_listed_and_not_there_proves_no_suspension(
    simulate: Simulate, exchange: OpenExchange, market: str
) -> None:
    running = simulate()
    hide(running.exchange, DAYS, "BTCUSDT")
    lost, gone = "/BTCUSDT-1m-2024-05-06.zip", Response(status_code=404)
    running.exchange.hooks.append(lambda request: gone if request.path.endswith(lost) else None)
    again = exchange(running, "auto", market).recheck(span("2024-05-06T04:00", "2024-05-06T05:00"))
    assert again.kind is Kind.UNEXPLAINED
    assert again.evidence[1] == "archive: the archive lists a file of 2024-05-06 and gives none"


def test_live_mode_waits_for_an_archive_that_hangs_no_longer_than_for_the_exchange(
    simulate: Simulate, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    running = simulate()
    hide(running.exchange, DAYS, "BTCUSDT")
    gone = Response(status_code=404)
    running.exchange.hooks += [
        lambda request: "stall" if request.area == "listing" else None,
        lambda request: gone if request.area == "archive" else None,
    ]
    with closing(LiveSources(Market.SPOT, budget_of=budget_in(root), base_url=running.url)) as sources:
        again = sources.of("BTC/USDT").recheck(span("2024-05-06T04:00", "2024-05-06T05:00"))
    assert again.kind is Kind.UNEXPLAINED
    assert "the archive cannot be listed: the response was not complete within 4 s" in caplog.text


def test_an_empty_answer_about_the_other_pair_is_not_taken_for_a_halt(
    simulate: Simulate, exchange: OpenExchange
) -> None:
    running = simulate(faults={"late_archive": 1})
    hide(running.exchange, DAYS, "BTCUSDT", "ETHUSDT")
    again = exchange(running, "auto", "spot").recheck(span("2024-05-06T04:00", "2024-05-06T05:00"))
    assert again.kind is Kind.UNEXPLAINED
    assert again.evidence[-1] == "ETH/USDT: none around them either"


def lag(exchange: SimulatedExchange, minutes: int) -> None:
    """The klines of all pairs come so many minutes late, while the clock of the exchange goes on."""

    def hook(request: RequestInfo) -> Response | None:
        if request.endpoint != "klines":
            return None
        end_ms = exchange.clock.now_ms() - minutes * MINUTE_MS
        if int(request.params.get("startTime", 0)) > end_ms:
            return Response(b"[]", media_type="application/json")
        request.params["endTime"] = str(min(int(request.params.get("endTime", end_ms)), end_ms))
        return None

    exchange.hooks.append(hook)


@pytest.mark.parametrize("market", [Market.SPOT, Market.FUTURES])
def test_minutes_that_the_exchange_is_late_with_for_every_pair_are_open_and_no_outage(
    simulate: Simulate, exchange: OpenExchange, root: Path, market: Market
) -> None:
    running, day = simulate(now=datetime(2024, 5, 15, 10, 0, 10, tzinfo=UTC)), span("2024-05-15", "2024-05-16")
    lag(running.exchange, 8)
    [result] = load(root, exchange(running, "auto", market.value), day, market=market)
    assert (result.outcome, result.error) == (Outcome.LOADED, None)
    assert result.entry
    late, rest = result.entry.absences
    assert (late.kind, late.span) == (Kind.OPEN, span("2024-05-15T09:53", "2024-05-15T09:57"))
    assert rest == Absence(Kind.OPEN, span("2024-05-15T09:57", "2024-05-16"))
    assert verify(dataset_at(root, day, "UTC", market)).ok
    running.exchange.hooks.clear()
    running.exchange.clock.advance(3600)
    [result] = backfill(
        dataset_at(root, day, "UTC", market),
        exchange(running, "auto", market.value),
        span("2024-05-15T01:00", "2024-05-15T02:00"),
        refetch=True,
    )
    assert (result.error, result.entry and result.entry.minutes_absent(Kind.UNEXPLAINED)) == (None, 0)
    running.exchange.clock.advance(86_400)
    [result] = load(root, exchange(running, "auto", market.value), day, market=market)
    assert (result.outcome, result.entry and result.entry.rows) == (Outcome.LOADED, 1440)


def test_minutes_that_the_exchange_is_late_with_at_the_end_of_a_day_have_to_be_loaded(
    simulate: Simulate, exchange: OpenExchange, root: Path
) -> None:
    running, day = simulate(now=datetime(2024, 5, 16, 0, 10, 10, tzinfo=UTC)), span("2024-05-15", "2024-05-16")
    lag(running.exchange, 20)
    source = exchange(running, "auto", "spot")
    [result] = load(root, source, day, market=Market.SPOT)
    assert (result.outcome, result.entry and result.entry.rows) == (Outcome.LOADED, 1431)
    found = verify(dataset_at(root, day, "UTC", Market.SPOT)).errors
    evidence = "rest: none, asked twice; archive: the archive has no file of 2024-05-15; ETH/USDT: none after them yet"
    assert [finding.problem for finding in found] == [f"unexplained: 9 minutes from 2024-05-15T23:51Z ({evidence})"]
    running.exchange.hooks.clear()
    load(root, source, day, market=Market.SPOT)
    assert verify(dataset_at(root, day, "UTC", Market.SPOT)).ok


def test_rest_alone_does_not_take_klines_of_the_archive_but_says_that_it_has_them(
    simulate: Simulate, exchange: OpenExchange
) -> None:
    running = simulate()
    hide(running.exchange, DAYS, "BTCUSDT")
    again = exchange(running, "rest").recheck(span("2024-05-06T04:00", "2024-05-06T05:00"))
    assert (again.klines.num_rows, again.kind, again.refuted) == (0, Kind.UNEXPLAINED, PROVEN)
    assert again.evidence[1] == "archive: has 60 of them"


@pytest.mark.parametrize("market", [Market.SPOT, Market.FUTURES])
def test_the_archive_alone_does_not_take_klines_of_rest_but_says_that_it_has_them(
    simulate: Simulate, exchange: OpenExchange, root: Path, market: Market
) -> None:
    running = simulate(faults={"archive_drops_rows": 1})
    source = exchange(running, "archive", market.value)
    [result] = load(root, source, span("2024-05-06", "2024-05-07"), market=market)
    assert (result.outcome, result.entry and result.entry.source) == (Outcome.FAILED, "archive")
    assert result.entry
    [absence] = result.entry.absences
    assert (absence.kind, absence.span.minutes) == (Kind.UNEXPLAINED, 1440 - result.entry.rows)
    assert absence.evidence[:2] == (f"rest: has {absence.span.minutes} of them", "archive: none of them")


# --- contracts that ended


def test_flat_klines_of_a_settled_contract_are_no_data(simulate: Simulate, exchange: OpenExchange, root: Path) -> None:
    source = exchange(simulate(now=datetime(2024, 7, 1, tzinfo=UTC)), "rest", "futures", "WAVES/USDT")
    assert source.life().last_open_ms == at("2024-06-11T08:59")
    last, after = load(root, source, span("2024-06-11", "2024-06-13"))
    assert last.entry
    assert last.entry.rows == 9 * 60
    assert last.entry.absences == (Absence(Kind.DELISTED, span("2024-06-11T09:00", "2024-06-12")),)
    assert (after.outcome, after.entry) == (Outcome.DELISTED, None)


def test_klines_of_either_source_count_as_checked_in_whole_days_and_in_parts(
    simulate: Simulate, exchange: OpenExchange
) -> None:
    source = exchange(simulate())
    spans = [
        span("2024-05-05", "2024-05-06"),
        span("2024-05-06", "2024-05-06T20:00Z"),
        span("2024-05-15", "2024-05-15T04:00Z"),
    ]
    assert [(page.sources, page.checked) for page in source.pages(spans)] == [
        (frozenset({"archive"}), True),
        (frozenset({"archive"}), True),
        (frozenset({"rest"}), True),
    ]


def test_pairs_of_live_mode_share_the_connections_to_the_archive(root: Path) -> None:
    gap = span("2024-05-14T10:00", "2024-05-14T11:00")
    halted = {"first": "2024-05-01T00:00Z", "gaps": [["2024-05-14T10:00Z", "2024-05-14T11:00Z"]]}
    pairs = [f"P{number}USDT" for number in range(8)]
    with scenario_exchange({"now": "2024-05-15T12:00Z", "spot": dict.fromkeys(pairs, halted)}) as running:
        port = int(running.url.rpartition(":")[2])

        def open_sockets() -> int:
            found = psutil.Process().net_connections("tcp")
            return sum(bool(each.raddr) and each.raddr.port == port for each in found)

        with closing(LiveSources(Market.SPOT, budget_of=budget_in(root), base_url=running.url)) as sources:
            counts = []
            for pair in pairs:
                assert sources.of(pair).recheck(gap).kind is Kind.SUSPENDED
                counts.append(open_sockets())
        assert counts[-1] == counts[0]
        assert open_sockets() == 0
