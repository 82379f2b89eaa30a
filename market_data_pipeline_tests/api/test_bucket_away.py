"""The object store is away: pages and readers say so within 10 s, in one line, and go on when it is back."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from market_data_pipeline.api.datasets.catalog import Catalog, DatasetView
from market_data_pipeline.api.datasets.kept import KeptFile
from market_data_pipeline.api.datasets.summaries import Known, Summaries
from market_data_pipeline.core.errors import StoreUnavailable
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.storage.places import hurried
from market_data_pipeline.core.store.storage.protocol import StorePath
from market_data_pipeline.reader import open_dataset, open_panel
from market_data_pipeline_tests.api.conftest import client
from market_data_pipeline_tests.places import ReadablePath, environment_of, in_bucket
from market_data_pipeline_tests.servers import Link
from market_data_pipeline_tests.support import Simulate, wait_until
from market_data_pipeline_tests.test_bucket import tool_of

pytestmark = pytest.mark.slow
LONGEST_S = 12
PAGES = ("/status", "/browse", "/browse?market=spot&pair=BTC/USDT")


@pytest.fixture
def way(seaweedfs: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Link]:
    server = urlsplit(seaweedfs)
    link = Link(str(server.hostname), server.port or 80)
    for name, value in environment_of(f"http://127.0.0.1:{link.port}").items():
        monkeypatch.setenv(name, value)
    yield link
    link.cut()


@pytest.fixture
def root(seaweedfs: str, way: Link, tmp_path: Path, simulate: Simulate) -> ReadablePath:
    """Two days of a pair."""
    root = in_bucket()
    days = ("--start", "2024-05-01", "--end", "2024-05-03")
    done = tool_of(root, seaweedfs, simulate().url, tmp_path)("--market", "spot", "backfill", *days)
    assert done.exit_code == 0, done.output
    return root


def test_pages_say_so_within_ten_seconds(root: ReadablePath, way: Link) -> None:
    api = client(str(root))
    for page in PAGES:
        assert api.get(page).status_code == 200, page
    way.cut()
    for page in PAGES:
        began_s = time.monotonic()
        answer = api.get(page)
        assert time.monotonic() - began_s < LONGEST_S, page
        assert answer.status_code == 503, page
    problem = api.get("/status").json()
    assert problem["title"] == "The object store is not available"
    assert f"http://127.0.0.1:{way.port} does not answer" in problem["detail"]
    assert "\n" not in problem["detail"]
    way.mend()
    time.sleep(2)
    for page in PAGES:
        assert api.get(page).status_code == 200, page


def test_metrics_of_all_but_the_store_are_there_within_twelve_seconds(root: ReadablePath, way: Link) -> None:
    way.cut()
    with client(str(root)) as api:
        began_s = time.monotonic()
        answer = api.get("/metrics")
        assert time.monotonic() - began_s < LONGEST_S
        assert answer.status_code == 200
        assert "market_data_store_up 0.0" in answer.text
        assert "market_data_dagster_up 0.0" in answer.text
        way.mend()
        time.sleep(2)
        wait_until(lambda: "market_data_store_up 1.0" in api.get("/metrics").text)


def test_what_is_read_while_it_goes_away_is_read_when_it_is_back(way: Link) -> None:
    """More datasets than a page waits for; the way is cut while the third of them is read."""
    root = hurried(in_bucket())
    store, zone = Store(root), parse_zone("UTC")
    for number in range(12):
        store.create(Market.SPOT, f"N{number:02d}/USDT", zone=zone, start=date(2024, 5, 1))
    read = list[str]()

    class Cutting(Catalog):
        def view(self, path: StorePath) -> DatasetView:
            read.append(str(path))
            if len(read) == 3:
                way.cut()
            return super().view(path)

    def is_read() -> bool:
        return all(isinstance(one, Known) and one.summary and one.is_current for one in summaries.known())

    summaries = Summaries(Cutting(store), KeptFile(None, root))
    with suppress(OSError):  # the page may be late
        summaries.known()
    wait_until(lambda: len(read) > 3 or all(thread.name != "summaries" for thread in threading.enumerate()))
    way.mend()
    time.sleep(2)
    wait_until(is_read)


def test_a_server_that_says_nothing_is_not_waited_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for name, value in environment_of(f"http://127.0.0.1:{silent.getsockname()[1]}").items():
            monkeypatch.setenv(name, value)
        api, began_s = client(str(in_bucket())), time.monotonic()
        answer = api.get("/status")
    assert time.monotonic() - began_s < LONGEST_S
    assert answer.status_code == 503, answer.text


def test_readers_say_so_within_ten_seconds(root: ReadablePath, way: Link) -> None:
    klines = open_dataset("BTC/USDT", market="spot", root=str(root))
    panel = open_panel("*/USDT", market="spot", root=str(root))
    assert klines.to_arrow().num_rows == 2 * 1440
    way.cut()
    opened = partial(open_dataset, "BTC/USDT", market="spot", root=str(root))
    for read in (klines.to_arrow, panel.long().to_arrow, opened):
        began_s = time.monotonic()
        with pytest.raises((StoreUnavailable, OSError)) as raised:
            read()
        assert time.monotonic() - began_s < LONGEST_S
        assert "does not answer" in str(raised.value)
    way.mend()
    time.sleep(2)
    assert klines.to_arrow().num_rows == 2 * 1440
