"""Each command that shows its progress ends in a terminal as it does elsewhere, and its bar has numbers."""

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from market_data_pipeline_tests.cli.test_bulk import of, universe
from market_data_pipeline_tests.simulator.scenarios import scenario_exchange
from market_data_pipeline_tests.support import MarketData, chunk_files, flip_a_byte
from market_data_pipeline_tests.terminals import ended_in_terminal, shown_lines

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal of POSIX")]
PAIRS = ["P0/USDT", "P1/USDT", "P2/USDT"]
SCENARIO: dict[str, Any] = {
    "now": "2024-05-06T12:00:05Z",
    "futures": {pair.replace("/", ""): {"first": "2024-04-01T00:00Z"} for pair in PAIRS},
}
WINDOW = ("--start", "2024-05-01", "--end", "2024-05-03")
ONE, MANY = of("P0/USDT"), of("P*")


@pytest.fixture
def run(market_data: Callable[..., MarketData]) -> Iterator[MarketData]:
    """With an exchange whose minutes end after a second."""
    with scenario_exchange(SCENARIO, weights=False, speed=60) as exchange:
        yield market_data(exchange)


@pytest.fixture
def loaded(run: MarketData) -> MarketData:
    universe(run, market="futures", pairs=PAIRS, start="2024-05-01")
    done = run(*of(*PAIRS), "backfill", *WINDOW)
    assert done.exit_code == 0, done.output
    return run


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ((*ONE, "backfill", *WINDOW), "days"),
        ((*of(*PAIRS), "backfill", *WINDOW), "pairs choosing"),
        (("universe", "apply", "mine"), "pairs choosing"),
        ((*of(*PAIRS), "backfill", *WINDOW, "--runs"), "runs choosing"),
    ],
    ids=["one pair", "several", "universe", "runs"],
)
def test_a_load_shows_a_bar_and_ends_well(run: MarketData, words: tuple[str, ...], shown: str) -> None:
    universe(run, market="futures", pairs=PAIRS, start="2024-05-01")
    assert shown in ended_well(run, *words)


def test_each_command_ends_in_a_terminal_as_elsewhere(loaded: MarketData) -> None:
    for words in (
        (*ONE, "backfill", *WINDOW, "--refetch"),
        (*MANY, "backfill", *WINDOW, "--refetch"),
        (*MANY, "backfill", *WINDOW, "--plan"),
        (*ONE, "combine"),
        (*MANY, "combine"),
        (*MANY, "verify", "--against", "rest"),
        ("status",),
        ("--market", "futures", "pairs"),
        ("universe", "list"),
        ("snapshot", "now"),
        (*MANY, "export", "--format", "csv", "--output", str(loaded.root.parent / "exported")),
        (*ONE, "live", "--minutes", "1"),
        (*MANY, "live", "--minutes", "1"),
    ):
        ended_well(loaded, *words)


def test_a_repair_and_a_report_to_a_new_database_show_a_bar(loaded: MarketData) -> None:
    for day in ("2024-05-01", "2024-05-02"):
        flip_a_byte(chunk_files(loaded.root)[day])
    assert "days" in ended_well(loaded, "verify", "--repair")
    shutil.rmtree(loaded.root / "dagster")
    assert "3/3 datasets" in ended_well(loaded, "report")


def test_a_terminal_that_cannot_move_its_cursor_has_lines_and_no_bar(run: MarketData) -> None:
    code, shown = ended_in_terminal(run, *of(*PAIRS), "backfill", *WINDOW, columns=120, TERM="dumb")
    assert code == 0, shown
    assert "choosing" not in shown and "" not in shown.splitlines(), shown
    progress = [line for line in shown.splitlines() if re.match(r"\d of 3 pairs, ", line)]
    assert not progress or progress[-1].startswith("3 of 3 pairs, "), shown


def ended_well(tool: MarketData, *words: str) -> str:
    code, text = ended_in_terminal(tool, *words, columns=120)
    seen = "\n".join(shown_lines(text))
    assert code == 0, (words, seen)
    assert "Traceback" not in seen
    return seen
