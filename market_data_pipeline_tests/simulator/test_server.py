"""Starting and stopping: background and foreground servers, delays, ports."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from market_data_pipeline.simulator.data.clock import SimulatedClock
from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.server import run, serve
from market_data_pipeline_tests.simulator.client import ExchangeClient
from market_data_pipeline_tests.simulator.conftest import Start
from market_data_pipeline_tests.stopping import OWN_CONSOLE, interrupt
from market_data_pipeline_tests.support import PATIENCE

FOREGROUND = """
import sys
from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.server import run
run(SimulatedExchange(), port=0, on_ready=lambda url: print(url, file=sys.stderr, flush=True))
print("returned", file=sys.stderr)
"""


def test_a_round_trip_delays_answers_and_not_each_other(start: Start) -> None:
    client = start(rtt_ms=200, weights=False)
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.get("/api/v3/ping").status_code, range(8)))
    assert answers == [200] * 8
    assert 0.2 <= time.monotonic() - began < 1.2


def test_the_exchange_hears_a_question_half_a_round_trip_after_it_was_sent(start: Start) -> None:
    client = start(rtt_ms=200, weights=False, now=datetime.now(UTC), speed=1)
    sent_ms = time.time() * 1000
    heard_ms = client.get("/api/v3/time").json()["serverTime"]
    assert sent_ms + 99 <= heard_ms <= time.time() * 1000 - 99


def test_leaving_the_block_stops_the_exchange_even_in_a_stall() -> None:
    with serve(SimulatedExchange(faults={"stall": 1})) as sim, ThreadPoolExecutor(1) as pool:
        client = ExchangeClient(sim)
        waiting = pool.submit(client.get, "/api/v3/ping")
        while not sim.exchange.stats()["spot"]["requests"]:
            time.sleep(0.01)
        sim.exchange.closing = True
        assert waiting.result(5).status_code == 200
        client.http.close()


def test_a_port_in_use_is_one_line(fresh: ExchangeClient) -> None:
    port = int(fresh.sim.url.rpartition(":")[2])
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}") as refusal:
        run(SimulatedExchange(), port=port)
    assert "\n" not in str(refusal.value)


def test_a_clock_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        SimulatedExchange(now=datetime(2024, 5, 1))  # noqa: DTZ001


def test_the_foreground_server_returns_on_ctrl_c() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", FOREGROUND],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        creationflags=OWN_CONSOLE,
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("http://127.0.0.1:")
    interrupt(process)
    out, talk = process.communicate(timeout=10 * PATIENCE)
    assert (process.returncode, out, talk) == (0, "", "returned\n")


def test_importing_the_server_loads_nothing_heavy() -> None:
    code = (
        "import sys, market_data_pipeline.simulator.server; "
        "print([name for name in ('ccxt', 'pandas', 'dagster', 'pyarrow') if name in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_a_clock_goes_on_from_the_same_instant_at_another_speed() -> None:
    clock = SimulatedClock(datetime(2024, 5, 1, tzinfo=UTC), speed=0)
    clock.advance(90)
    clock.run_at(0)
    assert clock.now() == datetime(2024, 5, 1, 0, 1, 30, tzinfo=UTC)
    clock.advance(30)
    assert clock.now() == datetime(2024, 5, 1, 0, 2, tzinfo=UTC)
