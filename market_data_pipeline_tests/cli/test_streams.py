"""A command of which stdout or stderr is closed."""

import sys
from collections.abc import Callable

import pytest

from market_data_pipeline_tests.support import MarketData

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
