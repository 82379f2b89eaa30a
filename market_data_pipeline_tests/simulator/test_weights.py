"""Request weight: costs, headers, refusals and bans."""

import sys
from collections.abc import Iterator

import httpx
import pytest

from market_data_pipeline_tests.simulator.client import ExchangeClient
from market_data_pipeline_tests.simulator.conftest import Start


def used(client: ExchangeClient, path: str, **params: object) -> int:
    before = int(client.get(path.rsplit("/", 1)[0] + "/ping").headers["x-mbx-used-weight-1m"])
    return int(client.get(path, **params).headers["x-mbx-used-weight-1m"]) - before


@pytest.mark.parametrize(
    ("path", "params", "weight"),
    [
        ("/api/v3/ping", {}, 1),
        ("/api/v3/time", {}, 1),
        ("/api/v3/exchangeInfo", {}, 20),
        ("/api/v3/klines", {"limit": 1}, 2),
        ("/api/v3/klines", {"limit": 1000}, 2),
        ("/fapi/v1/time", {}, 1),
        ("/fapi/v1/exchangeInfo", {}, 1),
        ("/fapi/v1/klines", {"limit": 99}, 1),
        ("/fapi/v1/klines", {"limit": 100}, 2),
        ("/fapi/v1/klines", {"limit": 499}, 2),
        ("/fapi/v1/klines", {}, 5),
        ("/fapi/v1/klines", {"limit": 1000}, 5),
        ("/fapi/v1/klines", {"limit": 1001}, 10),
    ],
)
def test_a_request_costs_its_weight(shared: ExchangeClient, path: str, params: dict, weight: int) -> None:
    full = {"symbol": "BTCUSDT", "interval": "1m", **params} if path.endswith("klines") else params
    assert used(shared, path, **full) == weight


def test_spot_has_two_weight_headers_and_futures_one(shared: ExchangeClient) -> None:
    spot, futures = shared.get("/api/v3/ping").headers, shared.get("/fapi/v1/ping").headers
    assert spot["x-mbx-used-weight"] == spot["x-mbx-used-weight-1m"]
    assert "x-mbx-used-weight" not in futures


def test_wrong_requests_cost_weight_too(fresh: ExchangeClient) -> None:
    assert fresh.get("/api/v3/klines").headers["x-mbx-used-weight-1m"] == "2"


def test_over_the_limit_is_refused_until_the_minute_is_over(fresh: ExchangeClient) -> None:
    fresh.exchange.use_weight("futures", 2400)
    refused = fresh.get("/fapi/v1/ping")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "30")
    assert refused.json()["code"] == -1003
    assert "current limit is 2400 request weight per 1 MINUTE" in refused.json()["msg"]
    assert fresh.get("/api/v3/ping").status_code == 200

    fresh.exchange.clock.advance(30)
    allowed = fresh.get("/fapi/v1/ping")
    assert (allowed.status_code, allowed.headers["x-mbx-used-weight-1m"]) == (200, "1")


def test_a_client_that_goes_on_is_banned(fresh: ExchangeClient) -> None:
    fresh.exchange.use_weight("spot", 6000)
    statuses = [fresh.get("/api/v3/ping").status_code for _ in range(12)]
    assert statuses == [429] * 11 + [418]

    fresh.exchange.clock.advance(60)
    banned = fresh.get_klines("spot")
    assert (banned.status_code, banned.headers["retry-after"]) == (418, "60")
    assert str(fresh.stats()["now_ms"] + 60_000) in banned.json()["msg"]
    assert fresh.stats()["spot"]["status"] == {"200": 0, "418": 2, "429": 11}

    fresh.exchange.clock.advance(60)
    assert fresh.get("/api/v3/ping").status_code == 200


def test_without_weights_nothing_is_refused_but_all_is_counted(start: Start) -> None:
    client = start(weights=False)
    client.exchange.use_weight("spot", 10_000)
    response = client.get("/api/v3/ping")
    assert (response.status_code, response.headers["x-mbx-used-weight"]) == (200, "10001")


def test_a_fast_clock_does_not_refill_the_budget(start: Start) -> None:
    client = start(speed=100_000)
    client.exchange.use_weight("spot", 100)
    first = client.get("/api/v3/time").json()["serverTime"]
    assert client.get("/api/v3/time").json()["serverTime"] > first
    assert int(client.get("/api/v3/ping").headers["x-mbx-used-weight"]) > 100


def test_stats_count_what_was_served(fresh: ExchangeClient) -> None:
    fresh.klines("spot", limit=7)
    fresh.klines("futures", limit=200)
    fresh.get("/data/spot/daily/klines/none")
    stats = fresh.stats()
    assert (stats["spot"]["requests"], stats["spot"]["weight"], stats["spot"]["rows"]) == (1, 2, 7)
    assert (stats["futures"]["weight"], stats["futures"]["peak_weight_1m"], stats["futures"]["rows"]) == (2, 2, 200)
    assert (stats["archive"]["requests"], stats["archive"]["status"]["404"]) == (1, 1)
    assert stats["now"].startswith("2024-05-15T12:00:30")
    assert stats == fresh.exchange.stats()


@pytest.fixture
def elsewhere(fresh: ExchangeClient) -> Iterator[httpx.Client]:
    """A client with another address: on Linux, all of 127.0.0.0/8 is this machine."""
    if not sys.platform.startswith("linux"):
        pytest.skip("this machine has one address")
    with httpx.Client(base_url=fresh.sim.url, transport=httpx.HTTPTransport(local_address="127.0.0.2")) as client:
        yield client


def test_each_address_has_a_limit_of_its_own(fresh: ExchangeClient, elsewhere: httpx.Client) -> None:
    fresh.exchange.use_weight("futures", 2400)
    assert fresh.get("/fapi/v1/ping").status_code == 429
    answer = elsewhere.get("/fapi/v1/ping")
    assert (answer.status_code, answer.headers["x-mbx-used-weight-1m"]) == (200, "1")

    fresh.exchange.use_weight("futures", 2399, "127.0.0.2")
    assert elsewhere.get("/fapi/v1/ping").status_code == 429
    stats = fresh.stats()["futures"]
    assert stats["peak_weight_1m"] == 2401
    assert stats["addresses"] == {
        address: {"weight": 2401, "refused": 1, "used_weight_1m": 2401, "peak_weight_1m": 2401}
        for address in ("127.0.0.1", "127.0.0.2")
    }


def test_a_ban_is_of_one_address(fresh: ExchangeClient, elsewhere: httpx.Client) -> None:
    fresh.exchange.use_weight("spot", 6000)
    assert [fresh.get("/api/v3/ping").status_code for _ in range(12)][-1] == 418
    assert elsewhere.get("/api/v3/ping").status_code == 200
    fresh.exchange.clock.advance(60)
    assert (fresh.get("/api/v3/ping").status_code, elsewhere.get("/api/v3/ping").status_code) == (418, 200)
