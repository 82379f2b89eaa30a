"""Lives of pairs that a scenario tells: REST, the archive and the listing of its bucket agree with it."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from market_data_pipeline.simulator.queries import RequestInfo
from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests.simulator.archives import as_csv, days_listed, lines, path, whole_day
from market_data_pipeline_tests.simulator.client import MINUTE, PATHS, ExchangeClient, assert_possible, ms, opens
from market_data_pipeline_tests.simulator.scenarios import scenario_exchange, step, write_scenario

Play = Callable[..., ExchangeClient]
DAY = 1440 * MINUTE


@pytest.fixture
def play() -> Iterator[Play]:
    """Play a scenario whose clock stands still at noon of 2024-05-06 unless it says otherwise."""
    with ExitStack() as stack:

        def played(**scenario: Any) -> ExchangeClient:
            running = stack.enter_context(scenario_exchange({"now": "2024-05-06T12:00Z", **scenario}))
            client = ExchangeClient(running)
            stack.callback(client.http.close)
            return client

        yield played


def minutes(start: str, end: str) -> list[int]:
    return list(range(ms(start), ms(end), MINUTE))


def all_opens(client: ExchangeClient, market: str, symbol: str, start: str, end: str) -> list[int]:
    """The open times of all klines from start to before end, in pages, as a client reads them."""
    found: list[int] = []
    at = ms(start)
    while rows := client.klines(market, symbol, startTime=at, endTime=ms(end) - 1, limit=1000):
        found += opens(rows)
        at = rows[-1][0] + 1
    return found


def archived(client: ExchangeClient, market: str, symbol: str, day: str) -> list[int] | None:
    """The open times in ms of a day's file; None if there is none."""
    answer = client.get(path(market, symbol, day))
    checksum = client.get(path(market, symbol, day, ".CHECKSUM"))
    assert answer.status_code == checksum.status_code
    if answer.status_code == 404:
        return None
    return [int(line.split(",")[0][:13]) for line in lines(answer.content) if line[0].isdigit()]


def info(client: ExchangeClient, market: str) -> dict[str, dict[str, Any]]:
    symbols = client.get(f"{PATHS[market]}/exchangeInfo").json()["symbols"]
    return {symbol["symbol"]: symbol for symbol in symbols}


def test_only_the_pairs_of_a_scenario_exist(play: Play) -> None:
    client = play(spot={"XYZUSDT": {}})
    assert set(info(client, "spot")) == {"BTCUSDT", "ETHUSDT", "XYZUSDT"}
    assert client.get_klines("spot", "SIM01USDT").json()["code"] == -1121
    assert client.get(path("spot", "SIM01USDT", "2024-05-01")).status_code == 404
    assert days_listed(client, "spot", "SIM01USDT") == []


@pytest.mark.parametrize("market", ["spot", "futures"])
def test_a_life_has_a_first_and_a_last_minute(play: Play, market: str) -> None:
    client = play(**{market: {"XYZUSDT": {"first": "2024-05-01T10:00Z", "last": "2024-05-03T02:09Z"}}})
    life = minutes("2024-05-01T10:00", "2024-05-03T02:10")
    assert all_opens(client, market, "XYZUSDT", "2024-04-01", "2024-05-10") == life
    assert opens(client.klines(market, "XYZUSDT", limit=2)) == life[-2:]
    assert opens(client.klines(market, "XYZUSDT", startTime=0, limit=1)) == life[:1]
    assert days_listed(client, market, "XYZUSDT") == ["2024-05-01", "2024-05-02", "2024-05-03"]
    assert archived(client, market, "XYZUSDT", "2024-05-03") == life[-130:]
    assert archived(client, market, "XYZUSDT", "2024-05-04") is None


def test_a_gap_of_days_has_no_klines_and_no_files(play: Play) -> None:
    client = play(
        spot={"XYZUSDT": {"first": "2024-04-01T00:00Z", "gaps": [["2024-04-29T02:00Z", "2024-05-02T10:00Z"]]}}
    )
    expected = minutes("2024-04-29", "2024-04-29T02:00") + minutes("2024-05-02T10:00", "2024-05-03")
    assert all_opens(client, "spot", "XYZUSDT", "2024-04-29", "2024-05-03") == expected
    assert opens(client.klines("spot", "XYZUSDT", endTime=ms("2024-05-01"), limit=1)) == [ms("2024-04-29T01:59")]
    listed = [day for day in days_listed(client, "spot", "XYZUSDT") if day >= "2024-04-28"]
    assert listed == ["2024-04-28", "2024-04-29", "2024-05-02", "2024-05-03", "2024-05-04", "2024-05-05"]
    assert archived(client, "spot", "XYZUSDT", "2024-05-02") == expected[120:]


def test_rows_are_possible_and_near_the_price(play: Play) -> None:
    client = play(spot={"XYZUSDT": {"price": 2.5}}, futures={"XYZUSDT": {"price": 64_000}})
    for market, price in (("spot", 2.5), ("futures", 64_000)):
        tick = info(client, market)["XYZUSDT"]["filters"][0]["tickSize"]
        for row in client.klines(market, "XYZUSDT", limit=500):
            assert_possible(row, tick)
            assert float(row[4]) == pytest.approx(price, rel=0.02)


def test_flat_minutes_have_one_price_and_no_trade(play: Play) -> None:
    client = play(futures={"GALUSDT": {"price": 2.5, "flat": [["2024-05-02T09:01Z", "2024-06-01T00:00Z"]]}})
    rows = client.klines("futures", "GALUSDT", startTime=ms("2024-05-02T09:00"), limit=1500)
    assert rows[0][8] > 0
    assert {(row[8], float(row[5])) for row in rows[1:]} == {(0, 0.0)}
    assert len({price for row in rows[1:] for price in row[1:5]}) == 1


def row(open_time: int, *, low: str = "397.0", taker: str = "1", close_time: int | None = None) -> list[Any]:
    closed = open_time + MINUTE - 1 if close_time is None else close_time
    return [open_time, "397.1", "397.5", low, "397.2", "3", closed, "1191", 7, taker, "397", "0"]


def test_literal_rows_replace_synthetic_ones_and_fill_gaps_on_both_sides(play: Play) -> None:
    cut = row(ms("2024-05-02T03:00"), close_time=ms("2024-05-02T03:00") + 14_838)
    off_grid = [row(ms("2024-05-02T04:00") + 14_789 + minute * MINUTE) for minute in range(3)]
    client = play(
        spot={"XYZUSDT": {"gaps": [["2024-05-02T03:01Z", "2024-05-02T05:00Z"]], "rows": [*off_grid, cut]}},
    )
    served = {found[0]: found for found in whole_day(client, "spot", "XYZUSDT", "2024-05-02")}
    assert [served[literal[0]] for literal in (cut, *off_grid)] == [cut, *off_grid]
    assert len(served) == 1440 - 119 + 3
    assert list(served) == sorted(served)
    assert lines(client.get(path("spot", "XYZUSDT", "2024-05-02")).content) == [
        as_csv(found) for found in served.values()
    ]


def test_a_literal_row_is_as_written_while_its_minute_is_open_and_before_the_first_kline(play: Play) -> None:
    open_now, early = row(ms("2024-05-06T12:00"), low="0x10"), row(ms("2024-04-30T23:00"))
    client = play(spot={"XYZUSDT": {"first": "2024-05-01T00:00Z", "rows": [open_now, early]}})
    assert client.klines("spot", "XYZUSDT", limit=1) == [open_now]
    assert client.klines("spot", "XYZUSDT", startTime=0, limit=1) == [early]


def test_the_archive_can_have_rows_of_its_own(play: Play) -> None:
    other = row(ms("2024-05-02T03:00"))
    client = play(futures={"XYZUSDT": {"archive_rows": [other]}})
    assert client.klines("futures", "XYZUSDT", startTime=other[0], limit=1) != [other]
    assert as_csv(other) in lines(client.get(path("futures", "XYZUSDT", "2024-05-02")).content)


def test_a_reused_symbol_has_its_first_life_in_the_archive_alone(play: Play) -> None:
    old = {"first": "2024-03-01T00:00Z", "last": "2024-03-03T08:59Z"}
    client = play(futures={"LITUSDT": {"first": "2024-05-04T17:30Z", "archive_only": old}})
    assert all_opens(client, "futures", "LITUSDT", "2024-01-01", "2024-05-05") == minutes(
        "2024-05-04T17:30", "2024-05-05"
    )
    assert days_listed(client, "futures", "LITUSDT") == [
        "2024-03-01",
        "2024-03-02",
        "2024-03-03",
        "2024-05-04",
        "2024-05-05",
    ]
    assert archived(client, "futures", "LITUSDT", "2024-03-03") == minutes("2024-03-03", "2024-03-03T09:00")
    assert archived(client, "futures", "LITUSDT", "2024-05-04") == minutes("2024-05-04T17:30", "2024-05-05")


@pytest.mark.parametrize(
    ("spec", "days"),
    [
        ({"archive": False}, []),
        ({"archive_missing": ["2024-05-02"]}, ["2024-05-01", "2024-05-03", "2024-05-04", "2024-05-05"]),
        ({"archive_first": "2024-05-03", "archive_last": "2024-05-04"}, ["2024-05-03", "2024-05-04"]),
        (
            {"last": "2024-05-02T00:00Z", "archive_text": {"2024-05-04": "1,2\n", "2024-05-02": ""}},
            ["2024-05-01", "2024-05-04"],
        ),
    ],
)
def test_the_archive_can_lack_days_and_have_literal_ones(play: Play, spec: dict[str, Any], days: list[str]) -> None:
    client = play(spot={"XYZUSDT": {"first": "2024-05-01T00:00Z", **spec}})
    assert days_listed(client, "spot", "XYZUSDT") == days
    every = [f"2024-05-{day:02}" for day in range(1, 7)]
    assert [day for day in every if client.get(path("spot", "XYZUSDT", day)).status_code == 200] == days
    for day, text in spec.get("archive_text", {}).items():
        if text:
            assert lines(client.get(path("spot", "XYZUSDT", day)).content) == text.splitlines()


@pytest.mark.parametrize(
    ("market", "status"), [("spot", "BREAK"), ("futures", "SETTLING"), ("futures", "PENDING_TRADING")]
)
def test_the_status_is_that_of_the_scenario(play: Play, market: str, status: str) -> None:
    client = play(**{market: {"NEWUSDT": {"first": "2024-06-01T00:00Z", "status": status}}})
    assert info(client, market)["NEWUSDT"]["status"] == status
    assert client.klines(market, "NEWUSDT") == []
    assert days_listed(client, market, "NEWUSDT") == []


def test_a_hidden_pair_is_not_in_the_list_but_answers(play: Play) -> None:
    client = play(spot={"XYZUSDT": {"hidden": True}})
    assert "XYZUSDT" not in info(client, "spot")
    (asked,) = client.get("/api/v3/exchangeInfo", symbol="XYZUSDT").json()["symbols"]
    assert asked["symbol"] == "XYZUSDT"
    assert len(client.klines("spot", "XYZUSDT", limit=3)) == 3


def test_rest_does_not_know_an_unlisted_symbol_and_the_archive_does(play: Play) -> None:
    gone = {"first": "2024-04-20T00:00Z", "last": "2024-05-02T08:59Z", "unlisted": True, "hidden": True}
    client = play(spot={"DEADUSDT": gone}, futures={"DEADUSDT": gone})
    for market in PATHS:
        refused = client.get_klines(market, "DEADUSDT")
        assert (refused.status_code, refused.json()["code"]) == (400, -1121)
        assert "DEADUSDT" not in info(client, market)
        assert days_listed(client, market, "DEADUSDT")[-1] == "2024-05-02"
    assert client.get("/api/v3/exchangeInfo", symbol="DEADUSDT").json()["code"] == -1121


def test_a_settled_contract_refuses_klines_as_told(play: Play) -> None:
    error = [400, {"code": -1122, "msg": "Invalid symbol status."}, {"X-Told": "yes"}]
    settled = {"status": "SETTLING", "deliveryDate": 1714640400000, "klines_error": error, "last": "2024-05-02T08:59Z"}
    client = play(futures={"DEADUSDT": {"first": "2024-05-01T00:00Z", **settled}})
    refused = client.get_klines("futures", "DEADUSDT")
    assert (refused.status_code, refused.json(), refused.headers["x-told"]) == (400, error[1], "yes")
    assert "x-mbx-used-weight-1m" in refused.headers
    told = info(client, "futures")["DEADUSDT"]
    assert (told["status"], told["deliveryDate"]) == ("SETTLING", 1714640400000)
    assert len(archived(client, "futures", "DEADUSDT", "2024-05-02") or []) == 540


def test_a_delivery_contract_is_named_by_its_date(play: Play) -> None:
    contract = {"first": "2024-05-01T00:00Z", "contractType": "CURRENT_QUARTER", "deliveryDate": "2024-06-28T08:00Z"}
    client = play(futures={"BTCUSDT_240628": contract})
    told = info(client, "futures")["BTCUSDT_240628"]
    assert (told["baseAsset"], told["quoteAsset"], told["pair"]) == ("BTC", "USDT", "BTCUSDT")
    assert (told["contractType"], told["deliveryDate"]) == ("CURRENT_QUARTER", ms("2024-06-28T08:00"))
    assert len(archived(client, "futures", "BTCUSDT_240628", "2024-05-01") or []) == 1440
    assert days_listed(client, "futures", "BTCUSDT_240628")[0] == "2024-05-01"


def test_a_symbol_that_is_not_ascii_works_everywhere(play: Play) -> None:
    symbol = "币安人生USDT"
    client = play(spot={symbol: {"first": "2024-05-01T10:00Z"}}, futures={symbol: {"first": "2024-05-01T10:00Z"}})
    for market in PATHS:
        assert (info(client, market)[symbol]["baseAsset"]) == "币安人生"
        assert opens(client.klines(market, symbol, startTime=0, limit=1)) == [ms("2024-05-01T10:00")]
        assert len(archived(client, market, symbol, "2024-05-01") or []) == 14 * 60
        checksum = client.get(path(market, symbol, "2024-05-01", ".CHECKSUM"))
        assert checksum.text.endswith(f"  {symbol}-1m-2024-05-01.zip\n")
        assert days_listed(client, market, symbol)[0] == "2024-05-01"
    (asked,) = client.get("/api/v3/exchangeInfo", symbols=f'["{symbol}"]').json()["symbols"]
    assert asked["symbol"] == symbol
    raw = httpx.get(
        f"{client.sim.url}/api/v3/klines?interval=1m&limit=1&symbol=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT"
    )
    assert len(raw.json()) == 1


def test_requests_fail_as_told_and_so_often(play: Play) -> None:
    body = '{"code": -1000, "msg": "An unknown error occurred while processing the request."}'
    fail = [
        {"path": "klines", "symbol": "ETHUSDT", "n": 2, "status": 400, "body": body, "headers": {"Retry-After": "soon"}}
    ]
    client = play(fail=fail)
    answers = [client.get_klines("spot", "ETHUSDT", limit=1) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [400, 400, 200]
    assert (answers[0].text, answers[0].headers["retry-after"]) == (body, "soon")
    assert client.get_klines("spot", "BTCUSDT", limit=1).status_code == 200
    assert client.get(path("spot", "ETHUSDT", "2024-05-01")).status_code == 200


def test_requests_of_the_archive_fail_where_the_entry_says_so(play: Play) -> None:
    client = play(fail=[{"path": ".zip", "area": "archive", "symbol": "ETHUSDT", "fault": "503", "n": 1}])
    asked = [client.get(path("spot", symbol, "2024-05-01")).status_code for symbol in ("BTCUSDT", "ETHUSDT", "ETHUSDT")]
    assert asked == [200, 503, 200]


def test_hooks_come_before_what_fails_as_told(play: Play) -> None:
    client = play(fail=[{"path": "ping", "status": 500, "n": 1}])

    def first(request: RequestInfo) -> str | None:
        return "451" if request.number == 1 else None

    client.exchange.hooks.append(first)
    assert [client.get("/api/v3/ping").status_code for _ in range(3)] == [451, 500, 200]


# --- steps


BROKEN = {"now": "2024-05-02T06:00Z", "spot": {"XYZUSDT": {"last": "2024-05-02T02:09Z", "status": "BREAK"}}}
BACK = {"now": "2024-05-04T12:00Z", "spot": {"XYZUSDT": {"gaps": [["2024-05-02T02:10Z", "2024-05-02T10:00Z"]]}}}


def told(client: ExchangeClient) -> tuple[str, int, int]:
    """The status, the newest kline and the number of klines of 2024-05-02."""
    newest = opens(client.klines("spot", "XYZUSDT", limit=1))[0]
    rows = all_opens(client, "spot", "XYZUSDT", "2024-05-02", "2024-05-03")
    return info(client, "spot")["XYZUSDT"]["status"], newest, len(rows)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_scenario(tmp_path / "s.json", BROKEN)


@pytest.fixture
def from_file(file: Path) -> Iterator[RunningExchange]:
    with scenario_exchange(file) as running:
        yield running


def test_a_file_that_changes_is_the_next_step_and_starts_the_clock(file: Path, from_file: RunningExchange) -> None:
    client = ExchangeClient(from_file)
    assert told(client) == ("BREAK", ms("2024-05-02T02:09"), 130)
    write_scenario(file, BACK)
    assert client.get("/api/v3/time").json() == {"serverTime": ms("2024-05-04T12:00")}
    assert told(client) == ("TRADING", ms("2024-05-04T12:00"), 970)
    assert days_listed(client, "spot", "XYZUSDT")[-1] == "2024-05-03"
    client.http.close()


def test_a_test_steps_without_a_file(play: Play) -> None:
    client = play(**BROKEN)
    assert told(client) == ("BREAK", ms("2024-05-02T02:09"), 130)
    step(client.sim, BACK)
    assert set(info(client, "spot")) == {"BTCUSDT", "ETHUSDT", "XYZUSDT"}
    assert told(client) == ("TRADING", ms("2024-05-04T12:00"), 970)


@pytest.mark.parametrize("broken", ['{"now": ', '{"spot": {"XYZUSDT": {"gpas": []}}}'])
def test_a_file_that_cannot_be_played_changes_nothing_and_is_told_once(
    file: Path, from_file: RunningExchange, broken: str
) -> None:
    client, problems = ExchangeClient(from_file), []
    from_file.exchange.on_problem = problems.append
    file.write_text(broken, encoding="utf-8")
    for _ in range(3):
        assert told(client) == ("BREAK", ms("2024-05-02T02:09"), 130)
    assert len(problems) == 1
    assert client.stats()["scenario_problem"] == problems[0]
    write_scenario(file, BACK)
    assert told(client)[0] == "TRADING"
    assert "scenario_problem" not in client.stats()
    client.http.close()


def test_a_file_that_is_gone_changes_nothing(file: Path, from_file: RunningExchange) -> None:
    client = ExchangeClient(from_file)
    file.unlink()
    assert told(client)[0] == "BREAK"
    assert "cannot be read" in client.stats()["scenario_problem"]
    client.http.close()


def test_the_clock_runs_at_the_speed_of_the_scenario(play: Play) -> None:
    client = play(speed=600)
    assert client.get("/api/v3/time").json()["serverTime"] < ms("2024-05-07")
    before = client.stats()["now_ms"]
    time.sleep(0.3)
    assert client.stats()["now_ms"] - before > 2 * MINUTE
