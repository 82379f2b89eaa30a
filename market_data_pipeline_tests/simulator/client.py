"""The HTTP client that the tests use on a running exchange, and the rules that every kline obeys."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx

from market_data_pipeline.simulator.server import RunningExchange

PATHS = {"spot": "/api/v3", "futures": "/fapi/v1"}
MINUTE = 60_000


def ms(text: str) -> int:
    """Convert an ISO instant, meant as UTC, to milliseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


class ExchangeClient:
    """A client of one running exchange."""

    def __init__(self, sim: RunningExchange) -> None:
        self.sim = sim
        self.exchange = sim.exchange
        self.http = httpx.Client(base_url=sim.url, timeout=10)

    def get(self, path: str, **params: Any) -> httpx.Response:
        return self.http.get(path, params=params)

    def get_klines(self, market: str = "spot", symbol: str = "BTCUSDT", **params: Any) -> httpx.Response:
        return self.get(f"{PATHS[market]}/klines", **{"symbol": symbol, "interval": "1m", **params})

    def klines(self, market: str = "spot", symbol: str = "BTCUSDT", **params: Any) -> list[list[Any]]:
        response = self.get_klines(market, symbol, **params)
        assert response.status_code == 200, response.text
        return response.json()

    def stats(self) -> dict[str, Any]:
        return self.get("/simulator/stats").json()


def opens(rows: list[list[Any]]) -> list[int]:
    return [row[0] for row in rows]


def assert_possible(row: list[Any], tick: str) -> None:
    """Check the rules every kline obeys, finished or not."""
    open_, high, low, close, volume, quote, taker, taker_quote = (Decimal(row[i]) for i in (1, 2, 3, 4, 5, 7, 9, 10))
    assert 0 < low <= min(open_, close) <= max(open_, close) <= high
    assert all(price % Decimal(tick) == 0 for price in (open_, high, low, close))
    assert low * volume <= quote <= high * volume
    assert 0 <= taker <= volume
    assert 0 <= taker_quote <= quote
    if not row[8]:
        assert not volume
        assert open_ == high == low == close
