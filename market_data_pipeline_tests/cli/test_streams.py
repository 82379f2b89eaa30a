"""A command of which stdout or stderr is closed, or has lost its reader, as after `| head`."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from dagster import DagsterEventType

from market_data_pipeline.instance.runs import open_instance
from market_data_pipeline_tests.servers import free_ports
from market_data_pipeline_tests.support import PATIENCE, MarketData

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="needs the pipes of POSIX")]
LOAD = ("--market", "spot", "backfill", "--start", "2024-05-10", "--end", "2024-05-12")


@pytest.fixture
def run(market_data: Callable[..., MarketData]) -> MarketData:
    return market_data()


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_stream_is_as_one_that_nobody_reads(run: MarketData, closed: str) -> None:
    without = MarketData(run.root, run.url, under=("sh", "-c", f'exec "$@" {closed}', "sh"))
    for words in (LOAD, ("status",), ("status", "--json")):
        done = without.run(*words)
        assert done.returncode == 0, done.stderr
        assert (done.stdout == "") is closed.startswith(">")
        assert "Traceback" not in done.stderr
    assert without.run("--market", "spot", "--pair", "NO/SUCH", "status").returncode == 2


def without_reader(run: MarketData, *words: str, stream: str) -> tuple[int, str]:
    """The exit code of a command whose stream nobody reads, and what it says on the other one."""
    reader, writer = os.pipe()
    os.close(reader)
    with run.start(*words, **{stream: writer}) as process:
        os.close(writer)
        out, err = process.communicate(timeout=120 * PATIENCE)
    return process.returncode, out or err or ""


def test_a_reader_that_is_gone_ends_a_command_without_a_word(run: MarketData) -> None:
    loaded = run(*LOAD)
    assert loaded.exit_code == 0, loaded.output
    for words in (
        ("status",),
        ("status", "--json"),
        ("verify", "--json"),
        (*LOAD, "--json"),
        ("--help",),
        ("--version",),
    ):
        assert without_reader(run, *words, stream="stdout") == (141, ""), words
    first, second = map(str, free_ports(2))
    for words in (("up", "--port", first, "--dagster-port", second), ("simulate", "--port", first)):
        assert without_reader(run, *words, stream="stdout") == (141, ""), words
    for words in (("--market", "spot", "--pair", "NO/SUCH", "status"), ("no-such-command",)):
        assert without_reader(run, *words, stream="stderr") == (141, ""), words


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_takes_no_output_is_one_line(run: MarketData) -> None:
    assert run(*LOAD).exit_code == 0
    said = "error: No space left on device; check that the disk is not full and that you may write to the folder\n"
    for words in (
        ("--help",),
        ("backfill", "--help"),
        ("--version",),
        ("--show-completion", "bash"),
        ("status",),
        ("status", "--json"),
        (*LOAD, "--json"),
    ):
        with Path("/dev/full").open("w") as full, run.start(*words, stdout=full) as process:
            _, err = process.communicate(timeout=120 * PATIENCE)
        assert (process.returncode, err) == (3, said), words
    with Path("/dev/full").open("w") as full, run.start("--pair", "NO/SUCH", "status", stderr=full) as process:
        out, _ = process.communicate(timeout=120 * PATIENCE)
    assert (process.returncode, out) == (2, "")


@pytest.mark.parametrize("pairs", [(), ("--pair", "BTC/USDT", "--pair", "ETH/USDT")])
def test_a_reader_that_takes_the_first_line_of_a_load_ends_it(run: MarketData, pairs: tuple[str, ...]) -> None:
    with run.start(*pairs, *LOAD[:-3], "2023-01-01", "--json") as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
        code = process.wait(120 * PATIENCE)
    assert (code, err) == (141, "")
    with open_instance(run.root / "dagster") as instance:
        runs = instance.get_runs()
        failures = [instance.all_logs(ended.run_id, of_type=DagsterEventType.STEP_FAILURE) for ended in runs]
    assert len(runs) == (not pairs), "several pairs are recorded from the first day on"
    assert "check that the disk" not in str(failures), "an alert would send somebody to look at it"
