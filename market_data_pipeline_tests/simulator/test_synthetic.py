"""Synthetic klines: the same from every side, and possible prices."""

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from market_data_pipeline_tests.simulator.client import MINUTE, ExchangeClient, assert_possible, ms, opens

PAIRS = st.sampled_from(
    [
        ("spot", "BTCUSDT"),
        ("spot", "SHIBUSDT"),
        ("spot", "QTUMBTC"),
        ("spot", "WAVESUSDT"),
        ("futures", "BTCUSDT"),
        ("futures", "NEARUSDT"),
        ("futures", "WAVESUSDT"),
    ]
)
MINUTES = st.integers(ms("2021-06-01") // MINUTE, ms("2024-05-01") // MINUTE)


def paged(client: ExchangeClient, market: str, symbol: str, start: int, stop: int, size: int) -> list[list]:
    rows: list[list] = []
    while start < stop:
        page = client.klines(market, symbol, startTime=start, endTime=stop - 1, limit=size)
        rows += page
        if len(page) < size:
            break
        start = page[-1][0] + MINUTE
    return rows


@settings(max_examples=25, deadline=None)
@given(pair=PAIRS, minute=MINUTES, length=st.integers(1, 1400), size=st.integers(97, 1000))
def test_pages_of_any_size_give_the_same_rows(
    shared: ExchangeClient, pair: tuple[str, str], minute: int, length: int, size: int
) -> None:
    start, stop = minute * MINUTE, (minute + length) * MINUTE
    assert paged(shared, *pair, start, stop, size) == paged(shared, *pair, start, stop, 1000)


@settings(max_examples=25, deadline=None)
@given(pair=PAIRS, minute=MINUTES)
def test_every_kline_is_possible(shared: ExchangeClient, pair: tuple[str, str], minute: int) -> None:
    listed = next(each for each in shared.exchange.pairs if (each.market, each.symbol) == pair)
    for row in shared.klines(*pair, startTime=minute * MINUTE, limit=200):
        assert_possible(row, listed.tick)
        assert bool(row[8]) == bool(float(row[5]))


def test_open_follows_the_previous_close(shared: ExchangeClient) -> None:
    rows = shared.klines("spot", "BTCUSDT", startTime=ms("2024-05-01"), limit=1000)
    jumps = [abs(float(now[1]) / float(before[4]) - 1) for before, now in zip(rows, rows[1:], strict=False)]
    assert max(jumps) < 1e-4


def test_prices_move_and_stay_in_a_plausible_range(shared: ExchangeClient) -> None:
    closes = [
        float(shared.klines("spot", "BTCUSDT", startTime=ms(f"20{year}-06-01"), limit=1)[0][4])
        for year in range(18, 24)
    ]
    assert len(set(closes)) == len(closes)
    assert 5_000 < min(closes) < max(closes) < 300_000


def test_an_illiquid_pair_has_minutes_without_a_trade(shared: ExchangeClient) -> None:
    rows = shared.klines("spot", "QTUMBTC", startTime=ms("2024-05-01"), limit=1000)
    assert 300 < sum(row[8] == 0 for row in rows) < 600


def test_the_values_are_the_same_on_every_machine(shared: ExchangeClient) -> None:
    def digest(market: str) -> str:
        return hashlib.sha256(shared.get_klines(market, startTime=ms("2024-05-01"), limit=1000).content).hexdigest()[
            :16
        ]

    assert (digest("spot"), digest("futures")) == ("599841307f26830e", "2b49f355d245718d")


def test_a_spot_halt_leaves_no_klines(shared: ExchangeClient) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT"):
        rows = shared.klines("spot", symbol, startTime=ms("2023-03-24T12:38"), limit=4)
        expected = ["2023-03-24T12:38", "2023-03-24T12:39", "2023-03-24T14:00", "2023-03-24T14:01"]
        assert opens(rows) == [ms(text) for text in expected]


def test_a_halt_longer_than_a_day_is_skipped(shared: ExchangeClient) -> None:
    assert opens(shared.klines(startTime=ms("2018-02-08T00:29"), limit=1)) == [ms("2018-02-09T09:58")]
    assert opens(shared.klines(endTime=ms("2018-02-09T09:57"), limit=1)) == [ms("2018-02-08T00:28")]


def test_a_futures_halt_is_flat_without_volume(fresh: ExchangeClient) -> None:
    fresh.exchange.clock.advance(2 * 365 * 86_400)
    rows = fresh.klines("futures", startTime=ms("2025-08-29T06:16"), endTime=ms("2025-08-29T07:00"))
    assert len(rows) == 45
    assert {row[8] for row in rows[1:-1]} == {0}
    assert len({price for row in rows[1:-1] for price in row[1:5]}) == 1
    assert rows[0][8] and rows[-1][8]
