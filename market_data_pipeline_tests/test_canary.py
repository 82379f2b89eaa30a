"""`make canary` on the simulated exchange: as it is, with other shapes, and gone."""

import socket
import subprocess
import sys
from collections.abc import Callable

import orjson
import pytest
from starlette.responses import Response

from market_data_pipeline.simulator.queries import RequestInfo
from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests.support import CHECKOUT, Simulate


def canary(url: str) -> "subprocess.CompletedProcess[str]":
    """What `make canary` runs, against this exchange."""
    command = [sys.executable, "-m", "market_data_pipeline_tests.canary", "--url", url]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, encoding="utf-8", timeout=120)


@pytest.fixture
def running(simulate: Simulate) -> RunningExchange:
    # After the day from which on the archive of spot has microseconds.
    return simulate(now=None, speed=1)


def answering(running: RunningExchange, market: str, endpoint: str, answer: Callable[[], Response]) -> None:
    """Let an endpoint of a market answer something else from now on."""

    def hook(request: RequestInfo) -> Response | None:
        return answer() if (request.area, request.endpoint) == (market, endpoint) else None

    running.exchange.hooks.append(hook)


def test_an_exchange_that_is_as_recorded_is_said_to_be(running: RunningExchange) -> None:
    done = canary(running.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "canary: the exchange is as recorded\n", "")


def test_rows_with_another_column_and_another_weight_are_told(running: RunningExchange) -> None:
    used = iter(range(0, 1000, 7))
    row = [1715299200000, *["1.0"] * 5, 1715299259999, "1.0", 1, "1.0", "1.0", "0", "new"]

    def change() -> Response:
        headers = {"X-MBX-USED-WEIGHT-1M": str(next(used))}
        return Response(orjson.dumps([row]), 200, headers=headers, media_type="application/json")

    answering(running, "spot", "klines", change)
    done = canary(running.url)
    assert done.returncode == 1
    told = done.stdout.splitlines()
    assert any(line.startswith("spot: columns of klines: recorded") for line in told), told
    assert "spot: weight of klines by limit: 1000: recorded 2, seen 7" in told
    assert not any(line.startswith("futures") for line in told), told


def test_another_error_code_and_a_status_that_was_never_seen_are_told(running: RunningExchange) -> None:
    def refused() -> Response:
        return Response(orjson.dumps({"code": -1999, "msg": "New."}), 422, media_type="application/json")

    def listed() -> Response:
        pair = {"symbol": "BTCUSDT", "status": "DREAMING", "baseAsset": "BTC", "contractType": "PERPETUAL"}
        return Response(orjson.dumps({"symbols": [pair]}), 200, media_type="application/json")

    answering(running, "futures", "klines", refused)
    answering(running, "futures", "exchangeInfo", listed)
    told = canary(running.url).stdout.splitlines()
    assert "futures: refusals: unknown symbol: recorded [400, -1121], seen [422, -1999]" in told
    assert "futures: statuses: never seen before: DREAMING" in told
    assert "futures: fields of a pair: quoteAsset: recorded text, seen None" in told
    assert "futures: weight a minute: recorded 2400, seen None" in told


def test_files_of_the_archive_with_another_layout_are_told(running: RunningExchange) -> None:
    running.exchange.faults = {"cut_zip": 1}
    told = canary(running.url).stdout.splitlines()
    assert [line for line in told if line.startswith("archive: spot of 2024-05-10")], told


def test_without_a_network_one_line_says_so() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        done = canary(f"http://127.0.0.1:{unused.getsockname()[1]}")
    assert (done.returncode, done.stdout) == (3, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("canary: nothing was compared: http://127.0.0.1:")
