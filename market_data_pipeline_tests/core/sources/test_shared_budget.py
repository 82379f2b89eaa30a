"""The request weight belongs to the IP address: programs that share a data root share one budget per market."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from market_data_pipeline.core.errors import PairNotListed
from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests.core.sources.conftest import OpenRest
from market_data_pipeline_tests.support import CHECKOUT, Simulate, counted, minutes, span

FORTNIGHT = ("2024-05-01", "2024-05-15")


def start_program(running: RunningExchange, root: Path, market: str) -> "subprocess.Popen[str]":
    """Another program that loads the fortnight into the same data root."""
    words = [running.url, str(root), market, *FORTNIGHT]
    return subprocess.Popen(
        [sys.executable, "-m", "market_data_pipeline_tests.core.sources.loading", *words],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
    )


def end_of(program: "subprocess.Popen[str]") -> tuple[int, int]:
    """The klines that the program got and the weight that it paid."""
    with program:
        out, _ = program.communicate()
    assert program.returncode == 0
    rows, spent = map(int, out.split())
    return rows, spent


def test_what_one_program_spent_another_knows_before_it_asks_for_anything(
    simulate: Simulate, rest: OpenRest, root: Path
) -> None:
    running = simulate()
    rows, spent = end_of(start_program(running, root, "futures"))
    assert rows == len(minutes(span(*FORTNIGHT)))
    source = rest(running, "futures")
    source.now_ms()
    assert source.usage().used == counted(running.exchange, "futures")["used_weight_1m"] == spent + 1


def test_the_markets_have_a_budget_each(simulate: Simulate, rest: OpenRest, root: Path) -> None:
    running = simulate()
    end_of(start_program(running, root, "futures"))
    source = rest(running, "spot")
    source.life()
    list(source.pages([span("2024-05-01", "2024-05-02")]))
    assert source.usage().used == counted(running.exchange, "spot")["used_weight_1m"] < 20


def test_what_a_program_elsewhere_on_the_same_address_spends_is_noticed_in_the_answers(
    simulate: Simulate, rest: OpenRest
) -> None:
    running = simulate()
    running.exchange.use_weight("futures", 1000)
    source = rest(running, "futures")
    source.life()
    list(source.pages([span("2024-05-01", "2024-05-02")]))
    assert source.usage().used == counted(running.exchange, "futures")["used_weight_1m"] > 1000


@pytest.mark.parametrize("market", ["spot", "futures"])
def test_a_question_about_a_pair_that_is_not_listed_is_paid(simulate: Simulate, rest: OpenRest, market: str) -> None:
    running = simulate()
    list(rest(running, market).pages([span("2024-05-01", "2024-05-02")]))
    for _ in range(3):
        source = rest(running, market, "NOPEUSDT")
        with pytest.raises(PairNotListed):
            source.life()
    assert source.usage().used == counted(running.exchange, market)["used_weight_1m"]


def test_what_a_program_elsewhere_spends_is_noticed_in_an_answer_that_is_an_error(
    simulate: Simulate, rest: OpenRest
) -> None:
    running = simulate()
    running.exchange.use_weight("futures", 1000)
    source = rest(running, "futures", "NOPEUSDT")
    source.now_ms()
    [page] = source.pages([span("2024-05-01", "2024-05-01T01:00")])
    assert "lists no futures pair" in str(page.error)
    assert source.usage().used == counted(running.exchange, "futures")["used_weight_1m"] > 1000


def test_the_budget_follows_the_exchanges_clock_however_far_this_machines_is_ahead(
    simulate: Simulate, rest: OpenRest
) -> None:
    running = simulate()
    for _ in range(2):
        source = rest(running, "futures")
        source.life()
        list(source.pages([span("2024-05-01", "2024-05-02")]))
        assert source.usage().used == counted(running.exchange, "futures")["used_weight_1m"]
        running.exchange.clock.advance(60)


@pytest.mark.slow
def test_programs_that_load_at_once_out_of_a_nearly_spent_budget_are_never_refused(
    simulate: Simulate, root: Path
) -> None:
    # The minute turns a dozen seconds from now: what is left of it is too little for what the programs load.
    running = simulate(now=datetime(2024, 5, 15, 12, 0, 48, tzinfo=UTC), speed=1, rtt_ms=20)
    running.exchange.use_weight("futures", 2220)
    running.exchange.use_weight("spot", 5650)
    programs = [start_program(running, root, market) for market in ("futures", "spot", "futures", "spot")]
    loaded = [end_of(program) for program in programs]
    assert [rows for rows, _ in loaded] == [len(minutes(span(*FORTNIGHT)))] * 4
    for market, (first, second) in {"futures": loaded[::2], "spot": loaded[1::2]}.items():
        of_market = counted(running.exchange, market)
        assert (of_market["status"]["429"], of_market["status"]["418"]) == (0, 0)
        assert first[1] + second[1] == of_market["weight"]
        assert of_market["peak_weight_1m"] <= of_market["weight_limit"]
