"""Many commands at once on one installation: none fails for what another one rightly does."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import date, timedelta
from pathlib import Path

import pytest

from market_data_pipeline.instance.home import prepare_home
from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests.support import NOON, MarketData, Simulate, chunk_files, without_progress

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROUNDS = int(os.environ.get("MARKET_DATA_ROUNDS", "1"))
SPOT = ("--market", "spot")
WINDOW = ("backfill", "--start", "2024-05-10", "--end", "2024-05-13")
# Four datasets, each loaded by two commands.
FIRST_COMMANDS = [
    ("--market", market, "--pair", pair, *WINDOW)
    for market in ("spot", "futures")
    for pair in ("BTC/USDT", "ETH/USDT")
    for _ in range(2)
]


@pytest.fixture
def exchange(simulate: Simulate) -> RunningExchange:
    return simulate(weights=False)


def all_at_once(tool: MarketData, commands: list[tuple[str, ...]]) -> list[tuple[int, str]]:
    """Start every command before the first one has ended; the exit code and stderr of each."""
    with ExitStack() as stack:
        started = [stack.enter_context(tool.start(*command)) for command in commands]
        said = [process.communicate(timeout=600)[1] for process in started]
        return [(process.returncode, err) for process, err in zip(started, said, strict=True)]


@pytest.mark.parametrize("number", range(ROUNDS))
def test_eight_first_commands_at_once_all_succeed(exchange: RunningExchange, tmp_path: Path, number: int) -> None:
    tool = MarketData(tmp_path / "root", exchange.url)
    ended = all_at_once(tool, FIRST_COMMANDS)
    assert [code for code, _ in ended] == [0] * len(FIRST_COMMANDS), ended
    # Where they are slow they print their progress.
    assert not any(word in err for _, err in ended for word in ("error", "warning", "Traceback")), ended
    assert len(list(tool.root.glob("binance*/*/1m/chunks/*.parquet"))) == 12
    assert set(chunk_files(tool.root)) == {"2024-05-10", "2024-05-11", "2024-05-12"}
    again = tool.run(*FIRST_COMMANDS[0])
    assert again.returncode == 0, again.stderr


def test_processes_of_dagster_that_begin_at_once_in_a_new_home_find_whole_databases(tmp_path: Path) -> None:
    """Webserver, daemon and code server open the home by themselves, whoever starts them."""
    home = tmp_path / "dagster"
    prepare_home(home)
    program = "import dagster; dagster.DagsterInstance.get().get_runs(limit=1)"
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", program],
                    env={**os.environ, "DAGSTER_HOME": str(home)},
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(8)
        ]
        said = [process.communicate(timeout=300)[1] for process in started]
    assert [process.returncode for process in started] == [0] * 8, said


def repeated(tool: MarketData, command: tuple[str, ...], while_runs: "subprocess.Popen[str]") -> list[str]:
    """Run the command again and again while the process runs, at least twice; what went wrong."""
    wrong, times = [], 0
    while times < 2 or while_runs.poll() is None:
        ended = tool.run(*SPOT, *command)
        if ended.returncode or "error" in ended.stderr or "warning" in ended.stderr:
            wrong.append(f"{command}: {ended.returncode} {ended.stderr} {ended.stdout[-2000:]}")
        times += 1
    return wrong


def earlier_and_earlier(tool: MarketData, while_runs: "subprocess.Popen[str]") -> list[str]:
    """Each load moves the start of the dataset, and renames all of its chunks."""
    wrong, days = [], 0
    while days < 2 or while_runs.poll() is None:
        days += 1
        first = date(2024, 5, 9) - timedelta(days)
        ended = tool.run(*SPOT, "backfill", "--start", f"{first}", "--end", f"{first + timedelta(1)}")
        if ended.returncode or without_progress(ended.stderr):
            wrong.append(f"{first}: {ended.returncode} {ended.stderr}")
    return wrong


def test_nothing_fails_beside_live_mode_and_other_loads(simulate: Simulate, tmp_path: Path) -> None:
    running = simulate(weights=False, now=NOON, speed=20)
    tool = MarketData(tmp_path / "root", running.url, {"MANIFEST_WRITE_INTERVAL_SEC": "1"})
    first = tool.run(*SPOT, "backfill", "--start", "2024-05-10")
    assert first.returncode == 0, first.stderr
    today = ("backfill", "--start", "2024-05-15")
    with tool.start(*SPOT, "live", "--minutes", str(10 * ROUNDS)) as live, ThreadPoolExecutor() as threads:
        loops = [
            threads.submit(repeated, tool, ("verify", "--json"), live),
            threads.submit(repeated, tool, ("combine",), live),
            threads.submit(repeated, tool, ("status", "--json"), live),
            threads.submit(repeated, tool, today, live),
            threads.submit(repeated, tool, (*today, "--refetch"), live),
            threads.submit(earlier_and_earlier, tool, live),
        ]
        _, err = live.communicate(timeout=600)
        wrong = [line for loop in loops for line in loop.result()]
    assert wrong == []
    assert live.returncode == 0, err
    assert "error" not in err, err
    last = tool.run(*SPOT, "verify")
    assert last.returncode == 0, last.stdout
