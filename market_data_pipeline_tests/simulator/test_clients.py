"""Public clients that nobody here wrote work against the exchange."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from market_data_pipeline_tests.simulator.client import MINUTE, ExchangeClient, ms
from market_data_pipeline_tests.simulator.scenarios import scenario_exchange

FROM = ms("2024-05-01")


def narrowed(exchange, url: str, market: str):
    exchange.options["fetchMarkets"] = {"types": [market]}
    exchange.urls["api"] = {**exchange.urls["api"], "public": f"{url}/api/v3", "fapiPublic": f"{url}/fapi/v1"}
    return exchange


@pytest.mark.parametrize(
    ("name", "market", "symbol", "ticker"),
    [("binance", "spot", "BTC/USDT", "BTCUSDT"), ("binanceusdm", "linear", "BTC/USDT:USDT", "BTCUSDT")],
)
def test_ccxt_loads_markets_and_klines(
    shared: ExchangeClient, name: str, market: str, symbol: str, ticker: str
) -> None:
    ccxt = pytest.importorskip("ccxt")
    client = narrowed(getattr(ccxt, name)(), shared.sim.url, market)
    assert client.load_markets()[symbol]["id"] == ticker
    rows = client.fetch_ohlcv(symbol, "1m", since=FROM, limit=300)
    own = shared.klines("spot" if market == "spot" else "futures", ticker, startTime=FROM, limit=300)
    assert rows == [[row[0], *(float(text) for text in row[1:6])] for row in own]
    with pytest.raises(ccxt.BadSymbol):
        client.fetch_ohlcv("NOPE/USDT", "1m")
    client.session.close()


LIVES: dict[str, Any] = {
    "now": "2024-06-01T12:00Z",
    "spot": {
        "币安人生USDT": {"first": "2024-05-01T10:00Z", "base": "币安人生"},
        "XYZUSDT": {"first": "2024-04-01T00:00Z", "last": "2024-05-02T02:09Z", "status": "BREAK"},
    },
    "futures": {
        "BTCUSDT_240628": {
            "first": "2024-05-01T00:00Z",
            "base": "BTC",
            "contractType": "CURRENT_QUARTER",
            "deliveryDate": "2024-06-28T08:00Z",
        }
    },
}


def test_ccxt_knows_the_lives_of_a_scenario() -> None:
    ccxt = pytest.importorskip("ccxt")
    with scenario_exchange(LIVES) as running:
        spot = narrowed(ccxt.binance(), running.url, "spot")
        futures = narrowed(ccxt.binanceusdm(), running.url, "linear")
        listed = {name: (of["id"], of["active"]) for name, of in (spot.load_markets() | futures.load_markets()).items()}
        assert listed == {
            "BTC/USDT": ("BTCUSDT", True),
            "ETH/USDT": ("ETHUSDT", True),
            "币安人生/USDT": ("币安人生USDT", True),
            "XYZ/USDT": ("XYZUSDT", False),
            "BTC/USDT:USDT": ("BTCUSDT", True),
            "BTC/USDT:USDT-240628": ("BTCUSDT_240628", True),
        }
        contract = futures.market("BTC/USDT:USDT-240628")
        assert (contract["type"], contract["expiryDatetime"]) == ("future", "2024-06-28T08:00:00.000Z")
        firsts = {"币安人生/USDT": "2024-05-01T10:00", "XYZ/USDT": "2024-04-01", "BTC/USDT:USDT-240628": "2024-05-01"}
        for name, first in firsts.items():
            client = futures if ":" in name else spot
            assert client.fetch_ohlcv(name, "1m", since=ms("2024-03-01"), limit=1)[0][0] == ms(first)
        assert spot.fetch_ohlcv("XYZ/USDT", "1m", since=ms("2024-05-02T02:10"), limit=5) == []
        for client in (spot, futures):
            client.session.close()


# ccxt still sets an option of aiohttp that Python 3.12.8 and 3.13.1 made needless.
@pytest.mark.filterwarnings("ignore:enable_cleanup_closed ignored:DeprecationWarning")
def test_ccxt_reads_raw_rows_of_several_pages_at_once(shared: ExchangeClient) -> None:
    ccxt = pytest.importorskip("ccxt.async_support")

    async def fetched() -> list:
        client = narrowed(ccxt.binance(), shared.sim.url, "spot")
        try:
            pages = [{"symbol": "BTCUSDT", "interval": "1m", "startTime": FROM + page * MINUTE} for page in range(5)]
            return await asyncio.gather(*(client.public_get_klines({**page, "limit": 1}) for page in pages))
        finally:
            await client.close()

    assert [int(page[0][0]) for page in asyncio.run(fetched())] == [FROM + page * MINUTE for page in range(5)]


def test_ccxt_maps_refusals(fresh: ExchangeClient) -> None:
    ccxt = pytest.importorskip("ccxt")
    client = narrowed(ccxt.binance({"maxRetriesOnFailure": 0}), fresh.sim.url, "spot")
    for fault, error in {
        "429": ccxt.DDoSProtection,
        "418": ccxt.DDoSProtection,
        "451": ccxt.ExchangeNotAvailable,
    }.items():
        fresh.exchange.faults = {fault: 1}
        with pytest.raises(error):
            client.public_get_time()
    client.session.close()


@pytest.fixture
def event_loop() -> Iterator[None]:
    """The event loop that python-binance's client takes when it is made; the client would not close one of its own."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.mark.usefixtures("event_loop")
def test_python_binance_gets_klines(shared: ExchangeClient) -> None:
    binance = pytest.importorskip("binance.client")

    class Client(binance.Client):
        API_URL = f"{shared.sim.url}/api"
        FUTURES_URL = f"{shared.sim.url}/fapi"

    client = Client(ping=True)
    own = shared.klines(startTime=FROM, limit=1000)
    assert client.get_klines(symbol="BTCUSDT", interval="1m", startTime=FROM, limit=1000) == own
    longer = client.get_historical_klines("BTCUSDT", "1m", FROM, FROM + 1500 * MINUTE - 1)
    assert (longer[:1000], len(longer)) == (own, 1500)
    assert len(client.futures_klines(symbol="BTCUSDT", interval="1m", limit=10)) == 10
    assert client.get_exchange_info()["timezone"] == "UTC"
    client.close_connection()
