"""The worst answers and files take no more memory than a normal load and 64 MB, from the command line to the chunk."""

import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from market_data_pipeline.simulator.queries import RequestInfo
from market_data_pipeline_tests.simulator.scenarios import scenario_exchange
from market_data_pipeline_tests.support import MarketData, is_page, rows_by_day

MOST_MORE_BYTES = 64 << 20
WINDOW = ("--start", "2024-05-01", "--end", "2024-05-03")
SCENARIO = {"now": "2024-05-06T12:00Z"}
_LOOK_S = 0.02
Made = Callable[..., MarketData]


def of_archive(request: RequestInfo) -> bool:
    return request.area == "archive"


def is_first(times: int, where: Callable[[RequestInfo], bool]) -> Callable[[RequestInfo], bool]:
    """True for the first so many requests that fit."""
    left = [True] * times
    lock = threading.Lock()

    def first(request: RequestInfo) -> bool:
        with lock:
            return where(request) and bool(left) and left.pop()

    return first


def peak_bytes(run: MarketData, *arguments: str) -> int:
    """The most memory that a command took, which must end well."""
    with run.start("--market", "spot", "--pair", "BTC/USDT", "backfill", *WINDOW, *arguments) as process:
        peaks = [0]
        watched, ended = psutil.Process(process.pid), threading.Event()

        def watch() -> None:
            while not ended.wait(_LOOK_S):
                try:
                    peaks.append(watched.memory_info().rss)
                except psutil.Error:
                    return

        watching = threading.Thread(target=watch)
        watching.start()
        out, err = process.communicate(timeout=200)
        ended.set()
        watching.join()
    assert process.returncode == 0, out + err
    assert "Traceback" not in err
    assert rows_by_day(run.root) == {"2024-05-01": 1440, "2024-05-02": 1440}
    return max(peaks)


@pytest.fixture(scope="module")
def normal_bytes(tmp_path_factory: pytest.TempPathFactory) -> int:
    """The memory of the same load without a fault, from the archive and from REST; the smaller one."""
    root: Path = tmp_path_factory.mktemp("normal")
    with scenario_exchange(SCENARIO, weights=False) as running:
        return min(peak_bytes(MarketData(root / of, running.url), "--source", of) for of in ("auto", "rest"))


REST = [
    "gzip_bomb",
    "deflate_bomb",
    "endless_body",
    "endless_chunked",
    "endless_headers",
    "gzip_followed",
    "rows_hundredfold",
]
FILES = ["zip_bomb", "zip_bomb_hidden", "zip_many", "file_17_mb", "csv_price_long", "csv_rows_million", "gzip_bomb"]


@pytest.mark.slow
@pytest.mark.parametrize("fault", REST)
def test_an_answer_of_rest_takes_no_memory(market_data: Made, normal_bytes: int, fault: str) -> None:
    with scenario_exchange(SCENARIO, weights=False) as running:
        struck = is_first(3, is_page)
        running.exchange.hooks.append(lambda request: fault if struck(request) else None)
        assert peak_bytes(market_data(running), "--source", "rest") <= normal_bytes + MOST_MORE_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("fault", FILES)
def test_a_file_of_the_archive_takes_no_memory(market_data: Made, normal_bytes: int, fault: str) -> None:
    with scenario_exchange(SCENARIO, weights=False) as running:
        running.exchange.hooks.append(lambda request: fault if of_archive(request) else None)
        assert peak_bytes(market_data(running), "--source", "auto") <= normal_bytes + MOST_MORE_BYTES
