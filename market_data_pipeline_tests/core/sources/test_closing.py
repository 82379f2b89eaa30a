"""The end of a load while its threads wait for the exchange and for one another: closed, interrupted, given up."""

import threading
from collections.abc import Callable

import pytest

from market_data_pipeline.core.errors import SourceUnavailable
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.sources.opening import open_source
from market_data_pipeline.simulator.queries import RequestInfo
from market_data_pipeline_tests.cli.test_bulk import of
from market_data_pipeline_tests.core.sources.conftest import OpenRest
from market_data_pipeline_tests.stopping import interrupt
from market_data_pipeline_tests.support import (
    PATIENCE,
    MarketData,
    Simulate,
    budget_in,
    is_page,
    record,
    span,
    wait_until,
)

# As many as REST has connections.
AT_ONCE = 16


def test_a_load_ends_at_once_where_many_days_are_asked_of_rest_in_place_of_the_archive(
    simulate: Simulate, tmp_path
) -> None:
    running = simulate()
    seen = record(running.exchange)
    running.exchange.hooks.append(
        lambda request: "late_archive" if request.area == "archive" else "stall" if is_page(request) else None
    )
    source = open_source("auto", Market.FUTURES, "BTC/USDT", budget_of=budget_in(tmp_path), base_url=running.url)
    # Each day that has no file needs three pages of REST: most of them wait for a thread.
    source.pages([span("2024-03-01", "2024-05-01")]).wait(0)
    wait_until(lambda: sum(map(is_page, seen)) == AT_ONCE)
    closing = threading.Thread(target=source.close, daemon=True)
    closing.start()
    closing.join(60)
    assert not closing.is_alive()


def test_a_load_that_is_interrupted_asks_a_silent_exchange_for_nothing_more(
    simulate: Simulate, market_data: Callable[..., MarketData]
) -> None:
    running = simulate()
    running.exchange.faults.stall_seconds = 300
    seen = record(running.exchange)
    running.exchange.hooks.append(lambda request: "stall")
    with market_data(running).start("--market", "spot", "backfill", "--start", "2024-05-01") as process:
        wait_until(lambda: len(seen) == len(("clock", "first kline", "newest kline", "listing")))
        interrupt(process)
        _, err = process.communicate(timeout=240 * PATIENCE)
    assert process.returncode == 130, err
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("words", "at_once"),
    [
        pytest.param(("pairs",), 32, id="catalog"),
        # Of each pair the first and the newest kline are asked for.
        pytest.param(
            (*of(*(f"SIM{number}/USDT" for number in range(10, 30))), "backfill", "--plan"), 2 * 8, id="plan of many"
        ),
    ],
)
def test_a_command_about_many_pairs_that_is_interrupted_asks_a_silent_exchange_for_nothing_more(
    simulate: Simulate, market_data: Callable[..., MarketData], words: tuple[str, ...], at_once: int
) -> None:
    running, asked = simulate(), list[RequestInfo]()
    running.exchange.faults.stall_seconds = 300

    def stalled(request: RequestInfo) -> str | None:
        is_of_files = request.params.get("delimiter") == "-" and "BTCUSDT" not in request.params["prefix"]
        is_about_a_pair = request.endpoint == "klines" or is_of_files
        asked.extend([request] * is_about_a_pair)
        return "stall" if is_about_a_pair else None

    running.exchange.hooks.append(stalled)
    with market_data(running).start("--market", "spot", *words) as process:
        wait_until(lambda: len(asked) == at_once)
        interrupt(process)
        _, err = process.communicate(timeout=240 * PATIENCE)
    assert process.returncode == 130, err
    assert len(asked) == at_once


def test_a_silent_exchange_is_not_asked_for_its_clock_in_order_to_pay_it(simulate: Simulate, rest: OpenRest) -> None:
    running = simulate()
    seen = record(running.exchange)
    running.exchange.hooks.append(lambda request: "reset")
    with pytest.raises(SourceUnavailable):
        rest(running).listed_pair()
    assert {request.endpoint for request in seen} == {"exchangeInfo"}


def test_pages_that_waited_while_the_exchange_went_away_are_not_sent(simulate: Simulate, rest: OpenRest) -> None:
    running = simulate()
    source, seen = rest(running, patience_s=1), record(running.exchange)
    source.life()
    running.exchange.hooks.append(lambda request: "reset")
    with pytest.raises(SourceUnavailable, match="Remote end closed|reset"):
        source.sifted(span("2024-05-10", "2024-05-10T01:00"))
    sent = len(seen)
    with pytest.raises(SourceUnavailable, match="Remote end closed|reset"):
        source.sifted(span("2024-05-11", "2024-05-11T01:00"))
    assert len(seen) == sent
