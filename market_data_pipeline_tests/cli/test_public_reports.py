"""What users of other tools reported, played from the command line: the right rows, and every minute explained.

Belongs here: faults that pass with a status of 4xx, and minutes whose times are odd. Does not belong here: bad values
(`test_flaws`), how pairs are written (`test_pairs`), what becomes of a pair.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from market_data_pipeline_tests.simulator.scenarios import scenario_exchange
from market_data_pipeline_tests.support import MINUTE_MS, MarketData, at, rows_by_day

Run = Callable[[dict[str, Any]], MarketData]
THREE = at("2024-05-02T03:00")


@pytest.fixture
def run(market_data: Callable[..., MarketData]) -> Iterator[Run]:
    """The command line beside an exchange that plays a scenario."""
    with ExitStack() as stack:

        def played(scenario: dict[str, Any]) -> MarketData:
            return market_data(stack.enter_context(scenario_exchange(scenario)), MARKET_TYPE="spot")

        yield played


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (400, -1000, "An unknown error occurred while processing the request."),
        (400, -1001, "Internal error; unable to process your request. Please try again."),
        (408, -1007, "Timeout waiting for response from backend server. Send status unknown."),
    ],
)
def test_faults_that_pass_with_a_status_of_4xx_cost_nothing_but_time(
    run: Run, status: int, code: int, message: str
) -> None:
    fault = {"path": "klines", "status": status, "n": 3, "body": json.dumps({"code": code, "msg": message})}
    market = run({"now": "2024-05-04T12:00Z", "fail": [fault]})
    loaded = market("backfill", "--start", "2024-05-01", "--end", "2024-05-03", "--source", "rest")
    assert (loaded.exit_code, "absent    nothing" in loaded.stdout) == (0, True), loaded.output
    assert rows_by_day(market.root) == {"2024-05-01": 1440, "2024-05-02": 1440}


def row(open_time: int, close_time: int) -> list[Any]:
    return [
        open_time, "397.35113280", "397.41593197", "397.29712134", "397.30018402", "69.44682617", close_time,
        "27595.14963570", 819, "38.40481836", "15181.10102820", "0",
    ]  # fmt: skip


def gap(start: str, end: str) -> list[list[str]]:
    return [[f"2024-05-02T{start}Z", f"2024-05-02T{end}Z"]]


OFF_GRID = [THREE + 2 * 3_600_000 + 14_789 + minute * MINUTE_MS for minute in range(120)]
CUT, NO_GAP, LATE = row(THREE, THREE + 14_838), row(THREE, THREE + 14_838), row(THREE, THREE + 7_200_999)


@pytest.mark.parametrize(
    ("rows", "gaps", "halt", "stored", "absent", "line"),
    [
        # The last kline before a halt ends with it.
        ([CUT], gap("03:01", "05:00"), gap("03:00", "05:00"), 1321, "outage 119 min", "the kline ends early"),
        (
            [NO_GAP], [], [], 1440, "nothing",
            "kept though it breaks a rule: 2024-05-02T03:00Z close_time is not the minute's last ms: 1714618814838",
        ),
        (
            [LATE], gap("03:01", "05:00"), gap("03:01", "05:00"), 1321, "outage 119 min",
            "kept though it breaks a rule: 2024-05-02T03:00Z close_time is outside the minute: 1714626000999",
        ),
        # After the halt, two hours of rows that begin 14.789 s after the minute.
        (
            [row(opened, opened + 59_999) for opened in OFF_GRID], gap("03:00", "07:00"), gap("03:00", "05:00"),
            1200, "outage 120 min, malformed 120 min",
            "archive, rest: 120 rows, first open_time is not on the minute grid: 1714626014789,397.3511328,",
        ),
    ],
    ids=["cut", "cut without a gap", "late close", "off the grid"],
)  # fmt: skip
def test_an_odd_time_costs_no_other_minute_and_is_named(
    run: Run, rows: list[list[Any]], gaps: list[Any], halt: list[Any], stored: int, absent: str, line: str
) -> None:
    of_others = {name: {"first": "2017-08-17T04:00Z", "gaps": halt} for name in ("BTCUSDT", "ETHUSDT")}
    pair = {"first": "2024-04-01T00:00Z", "price": 397, "rows": rows, "gaps": gaps}
    market = run({"now": "2024-05-20T12:00Z", "spot": {**of_others, "XYZUSDT": pair}})
    loaded = market("--pair", "XYZ/USDT", "backfill", "--start", "2024-05-02", "--end", "2024-05-03")
    assert (loaded.exit_code, f"absent    {absent}\n" in loaded.stdout) == (0, True), loaded.output
    assert rows_by_day(market.root) == {"2024-05-02": stored}
    verified = market("verify")
    assert verified.exit_code == 0
    assert line in verified.stdout
