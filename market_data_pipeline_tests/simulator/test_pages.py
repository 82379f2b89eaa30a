"""What a klines page holds: limits, start and end, the unfinished kline, listing and delisting."""

from datetime import UTC, datetime

import pytest

from market_data_pipeline_tests.simulator.client import MINUTE, ExchangeClient, assert_possible, ms, opens
from market_data_pipeline_tests.simulator.conftest import Start

NOON_MS = ms("2024-05-15T12:00")


@pytest.mark.parametrize(("limit", "rows"), [(None, 500), (1000, 1000), (5000, 1000)])
@pytest.mark.parametrize("since", [ms("2024-05-01"), None])
def test_spot_serves_500_rows_by_default_and_1000_at_most(
    shared: ExchangeClient, limit: int | None, rows: int, since: int | None
) -> None:
    params = {key: value for key, value in {"limit": limit, "startTime": since}.items() if value is not None}
    assert len(shared.klines("spot", **params)) == rows


def test_futures_serve_500_by_default_and_1500_at_most(shared: ExchangeClient) -> None:
    assert len(shared.klines("futures")) == 500
    assert len(shared.klines("futures", limit=1500)) == 1500


@pytest.mark.parametrize("market", ["spot", "futures"])
def test_rows_have_twelve_fields_of_the_real_types(shared: ExchangeClient, market: str) -> None:
    for row in shared.klines(market, limit=5):
        assert [type(value) for value in row] == [int, *[str] * 5, int, str, int, str, str, str]
        assert row[6] == row[0] + MINUTE - 1
        assert row[11] == "0"


def test_spot_writes_eight_decimals_and_futures_those_of_tick_and_step(shared: ExchangeClient) -> None:
    def decimals(row: list) -> list[int]:
        return [len(row[field].partition(".")[2]) for field in (1, 5, 7)]

    assert decimals(shared.klines("spot", limit=1)[0]) == [8, 8, 8]
    assert decimals(shared.klines("futures", limit=1)[0]) == [2, 3, 5]
    assert decimals(shared.klines("futures", "NEARUSDT", limit=1)[0]) == [4, 0, 4]


def test_start_and_end_are_inclusive(shared: ExchangeClient) -> None:
    rows = shared.klines(startTime=NOON_MS - 5 * MINUTE, endTime=NOON_MS - 2 * MINUTE)
    assert opens(rows) == [NOON_MS - minutes * MINUTE for minutes in (5, 4, 3, 2)]


def test_a_start_between_minutes_means_the_next_one(shared: ExchangeClient) -> None:
    assert opens(shared.klines(startTime=NOON_MS - 5 * MINUTE + 1, limit=1)) == [NOON_MS - 4 * MINUTE]


def test_only_an_end_gives_the_last_rows_before_it(shared: ExchangeClient) -> None:
    end = ms("2024-05-10T00:01")
    assert opens(shared.klines(endTime=end, limit=3)) == [end - 2 * MINUTE, end - MINUTE, end]


def test_neither_start_nor_end_gives_the_most_recent_rows(shared: ExchangeClient) -> None:
    assert opens(shared.klines(limit=2)) == [NOON_MS - MINUTE, NOON_MS]


def test_an_end_before_the_start_is_empty_on_spot_and_an_error_on_futures(shared: ExchangeClient) -> None:
    window = {"startTime": NOON_MS, "endTime": NOON_MS - MINUTE}
    assert shared.klines("spot", **window) == []
    assert shared.get_klines("futures", **window).json()["code"] == -1023


@pytest.mark.parametrize("market", ["spot", "futures"])
def test_the_future_is_empty(shared: ExchangeClient, market: str) -> None:
    assert shared.klines(market, startTime=NOON_MS + MINUTE) == []


@pytest.mark.parametrize(
    ("market", "symbol", "first"),
    [("spot", "BTCUSDT", "2017-08-17T04:00"), ("futures", "BTCUSDT", "2019-09-08T17:57")],
)
def test_the_first_kline_tells_when_a_pair_was_listed(
    shared: ExchangeClient, market: str, symbol: str, first: str
) -> None:
    assert opens(shared.klines(market, symbol, startTime=0, limit=1)) == [ms(first)]
    assert shared.klines(market, symbol, startTime=0, endTime=ms(first) - 1) == []


def test_a_pair_is_unknown_before_it_is_listed(shared: ExchangeClient) -> None:
    assert shared.get_klines("spot", "FRESHUSDT").json()["code"] == -1121


def test_a_pair_appears_while_the_exchange_runs(fresh: ExchangeClient) -> None:
    fresh.exchange.clock.advance((ms("2026-03-02T12:00:30") - fresh.stats()["now_ms"]) / 1000)
    assert opens(fresh.klines("spot", "FRESHUSDT", startTime=0)) == [ms("2026-03-02T12:00")]


def test_klines_of_a_delisted_spot_pair_stop(fresh: ExchangeClient) -> None:
    fresh.exchange.clock.advance(60 * 86_400)
    end = ms("2024-06-17T03:00")
    assert opens(fresh.klines("spot", "WAVESUSDT", limit=1)) == [end - MINUTE]
    assert fresh.klines("spot", "WAVESUSDT", startTime=end) == []
    symbols = fresh.get("/api/v3/exchangeInfo", symbolStatus="BREAK").json()["symbols"]
    assert [symbol["symbol"] for symbol in symbols] == ["WAVESUSDT"]


def test_a_settled_futures_pair_goes_on_flat_without_volume(fresh: ExchangeClient) -> None:
    fresh.exchange.clock.advance(60 * 86_400)
    end = ms("2024-06-11T09:00")
    rows = fresh.klines("futures", "WAVESUSDT", startTime=end, limit=1500)
    assert len({price for row in rows for price in row[1:5]}) == 1
    assert {(row[5], row[8]) for row in rows} == {("0.0", 0)}
    listed = {symbol["symbol"]: symbol for symbol in fresh.get("/fapi/v1/exchangeInfo").json()["symbols"]}
    assert (listed["WAVESUSDT"]["status"], listed["WAVESUSDT"]["deliveryDate"]) == ("SETTLING", end)


@pytest.mark.parametrize("market", ["spot", "futures"])
def test_the_open_kline_grows_until_it_is_final(fresh: ExchangeClient, market: str) -> None:
    at_30 = fresh.klines(market, limit=1)[0]
    fresh.exchange.clock.advance(20)
    at_50 = fresh.klines(market, limit=1)[0]
    fresh.exchange.clock.advance(10)
    final = fresh.klines(market, startTime=NOON_MS, limit=1)[0]
    fresh.exchange.clock.advance(3600)
    assert fresh.klines(market, startTime=NOON_MS, limit=1)[0] == final

    assert {row[0] for row in (at_30, at_50, final)} == {NOON_MS}
    assert float(at_30[5]) < float(at_50[5]) < float(final[5])
    assert at_30[8] < at_50[8] < final[8]
    assert [len(value) if isinstance(value, str) else 0 for value in at_50[1:5]] == [len(text) for text in final[1:5]]


@pytest.mark.parametrize("seconds", [0, 1, 10, 25, 44, 59.9])
def test_an_open_kline_is_possible_at_any_second(start: Start, seconds: float) -> None:
    client = start(now=datetime(2024, 5, 15, 12, tzinfo=UTC))
    client.exchange.clock.advance(seconds)
    for pair in client.exchange.pairs:
        if pair.first_open_ms < NOON_MS:
            assert_possible(client.klines(pair.market, pair.symbol, limit=1)[0], pair.tick)


@pytest.mark.parametrize(
    ("market", "params", "code"),
    [
        ("spot", {"interval": "1m"}, -1102),
        ("futures", {"symbol": "BTCUSDT"}, -1102),
        ("spot", {"symbol": "NOPEUSDT", "interval": "1m"}, -1121),
        ("futures", {"symbol": "SHIBUSDT", "interval": "1m"}, -1121),
        ("spot", {"symbol": "btcusdt", "interval": "1m"}, -1100),
        ("spot", {"symbol": "BTCUSDT", "interval": "7m"}, -1120),
        ("spot", {"symbol": "BTCUSDT", "interval": "1m", "startTime": "yesterday"}, -1100),
        ("futures", {"symbol": "BTCUSDT", "interval": "1m", "limit": 1501}, -1130),
        ("spot", {"symbol": "BTCUSDT", "interval": "1m", "limit": 0}, -1130),
    ],
)
def test_wrong_requests_get_the_exchanges_error_codes(
    shared: ExchangeClient, market: str, params: dict, code: int
) -> None:
    response = shared.get("/api/v3/klines" if market == "spot" else "/fapi/v1/klines", **params)
    assert (response.status_code, response.json()["code"]) == (400, code)


def test_the_missing_parameter_is_named(shared: ExchangeClient) -> None:
    message = "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."
    assert shared.get("/api/v3/klines").json() == {"code": -1102, "msg": message}


def test_time_is_the_simulated_time(shared: ExchangeClient) -> None:
    assert shared.get("/fapi/v1/time").json() == {"serverTime": NOON_MS + 30_000}
    assert shared.get("/api/v3/ping").json() == {}


def test_spot_exchange_info_can_be_narrowed(shared: ExchangeClient) -> None:
    one = shared.get("/api/v3/exchangeInfo", symbol="BTCUSDT").json()["symbols"]
    two = shared.get("/api/v3/exchangeInfo", symbols='["BTCUSDT","ETHUSDT"]').json()["symbols"]
    assert [symbol["symbol"] for symbol in one + two] == ["BTCUSDT", "BTCUSDT", "ETHUSDT"]
    assert shared.get("/api/v3/exchangeInfo", symbol="NOPE").json()["code"] == -1121


def test_an_unknown_path_is_not_found(shared: ExchangeClient) -> None:
    assert shared.get("/api/v3/depth").status_code == 404
    assert shared.get("/elsewhere").status_code == 404
