"""Faults: each one is visible to a client, and runs repeat."""

import time

import httpx
import pytest
from starlette.responses import PlainTextResponse, Response

from market_data_pipeline.simulator.faults import parse_faults
from market_data_pipeline.simulator.queries import RequestInfo
from market_data_pipeline_tests.simulator.client import ExchangeClient
from market_data_pipeline_tests.simulator.conftest import Start

ZIP = "/data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-05-01.zip"


@pytest.mark.parametrize(
    ("fault", "status", "text"),
    [
        ("500", 500, "Internal error"),
        ("503", 503, "503 Service Temporarily Unavailable"),
        ("429", 429, "Too much request weight used"),
        ("418", 418, "IP banned until"),
        ("403", 403, "cloudfront"),
        ("451", 451, "restricted location"),
    ],
)
def test_status_faults(fresh: ExchangeClient, fault: str, status: int, text: str) -> None:
    fresh.exchange.faults[fault] = 1
    response = fresh.get_klines()
    assert response.status_code == status
    assert text in response.text
    assert ("retry-after" in response.headers) == (status in (418, 429))
    assert ("x-mbx-used-weight-1m" in response.headers) == (status not in (403, 451))


def test_a_reset_closes_the_connection_before_an_answer(fresh: ExchangeClient) -> None:
    fresh.exchange.faults["reset"] = 1
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        fresh.get_klines()
    fresh.exchange.faults.clear()
    assert fresh.get_klines().status_code == 200


@pytest.mark.parametrize("path", ["/api/v3/exchangeInfo", ZIP])
def test_a_truncated_body_ends_in_the_middle(fresh: ExchangeClient, path: str) -> None:
    fresh.exchange.faults["truncate"] = 1
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        fresh.get(path)


def test_a_stall_outlasts_a_patient_client_and_not_the_exchange(start: Start) -> None:
    client = start(faults={"stall": 1})
    with pytest.raises(httpx.ReadTimeout):
        client.http.get("/api/v3/ping", timeout=0.2)


def test_a_stall_ends(start: Start) -> None:
    client = start(faults={"stall": 1})
    client.exchange.faults.stall_seconds = 0.1
    began = time.monotonic()
    assert client.get("/api/v3/ping").status_code == 200
    assert time.monotonic() - began > 0.09


def test_rates_repeat_with_the_seed(start: Start) -> None:
    def statuses(seed: int) -> list[int]:
        client = start(faults={"500": 0.5}, fault_seed=seed)
        return [client.get("/api/v3/ping").status_code for _ in range(40)]

    first = statuses(1)
    assert 5 < first.count(500) < 35
    assert statuses(1) == first
    assert statuses(2) != first


def test_a_hook_scripts_single_answers(fresh: ExchangeClient) -> None:
    seen: list[RequestInfo] = []

    def second_fails(request: RequestInfo) -> Response | str | None:
        seen.append(request)
        return {2: "503", 3: PlainTextResponse("scripted", 418)}.get(request.number)

    fresh.exchange.hooks.append(second_fails)
    assert [fresh.get_klines(limit=1).status_code for _ in range(4)] == [200, 503, 418, 200]
    assert (seen[0].area, seen[0].endpoint, seen[0].params["symbol"]) == ("spot", "klines", "BTCUSDT")


def test_stats_name_the_faults(fresh: ExchangeClient) -> None:
    fresh.exchange.faults["500"] = 1
    fresh.get("/api/v3/ping")
    assert fresh.stats()["spot"]["faults"] == {"500": 1}


def test_faults_are_read_from_texts() -> None:
    assert parse_faults(["500=0.1", "reset=1"]) == {"500": 0.1, "reset": 1.0}


@pytest.mark.parametrize("text", ["teapot=0.5", "500", "500=often", "500=1.5", "500=nan"])
def test_wrong_fault_texts_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match="fault") as refusal:
        parse_faults([text])
    assert "\n" not in str(refusal.value)


def test_unknown_faults_are_refused_at_run_time(fresh: ExchangeClient) -> None:
    with pytest.raises(ValueError, match="known faults: reset"):
        fresh.exchange.faults["teapot"] = 1
