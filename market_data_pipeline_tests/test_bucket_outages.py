"""The object store goes away, or the client is killed, in the middle of the work: the same command goes on later."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline_tests import servers
from market_data_pipeline_tests.objects_proxy import Request, proxied
from market_data_pipeline_tests.places import ReadablePath, environment_of, in_bucket
from market_data_pipeline_tests.servers import Link
from market_data_pipeline_tests.support import MarketData, Simulate, wait_until, without_progress
from market_data_pipeline_tests.test_bucket import content_of, tool_of

pytestmark = pytest.mark.slow
LOAD = ("--market", "spot", "backfill", "--source", "rest", "--start", "2024-05-01", "--end", "2024-05-11")


@pytest.fixture
def root(seaweedfs: str, monkeypatch: pytest.MonkeyPatch) -> ReadablePath:
    for name, value in environment_of(seaweedfs).items():
        monkeypatch.setenv(name, value)
    return in_bucket()


@pytest.fixture
def way(seaweedfs: str) -> Iterator[Link]:
    server = urlsplit(seaweedfs)
    link = Link(str(server.hostname), server.port or 80)
    yield link
    link.cut()


@pytest.fixture
def tool(root: ReadablePath, way: Link, tmp_path: Path, simulate: Simulate) -> MarketData:
    """The command line, whose way to the object store can be cut."""
    return tool_of(root, f"http://127.0.0.1:{way.port}", simulate(rtt_ms=100).url, tmp_path)


def chunks_of(root: Any) -> list[str]:
    chunks = root / "binance" / "BTCUSDT" / "1m" / "chunks"
    return storage_of(chunks).names(chunks)


def require_equal_to_a_quiet_one(tool: MarketData, root: Any, folder: Path) -> None:
    quiet = MarketData(folder / "root", tool.url)
    assert quiet.run(*LOAD).returncode == 0
    assert content_of(root) == content_of(folder / "root")
    assert tool.run("--market", "spot", "verify").returncode == 0


def test_a_load_waits_for_an_object_store_that_is_away_for_a_moment(
    tool: MarketData, root: ReadablePath, way: Link, tmp_path: Path
) -> None:
    with tool.start(*LOAD) as process:
        wait_until(lambda: len(chunks_of(root)) >= 2)
        way.cut()
        time.sleep(2)
        way.mend()
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    require_equal_to_a_quiet_one(tool, root, tmp_path)


@pytest.mark.soak
def test_a_load_whose_object_store_stays_away_ends_in_one_line_and_goes_on_later(
    tool: MarketData, root: ReadablePath, way: Link, tmp_path: Path
) -> None:
    with tool.start(*LOAD) as process:
        wait_until(lambda: len(chunks_of(root)) >= 2)
        way.cut()
        _, err = process.communicate(timeout=280)
    assert process.returncode == 3, err
    [line] = [line for line in without_progress(err).splitlines() if line.startswith("error")]
    assert f"127.0.0.1:{way.port}" in line
    assert "Traceback" not in err
    way.mend()
    assert tool.run(*LOAD).returncode == 0
    require_equal_to_a_quiet_one(tool, root, tmp_path)


@pytest.mark.soak
def test_a_load_goes_on_when_its_object_store_that_was_killed_is_back(
    tmp_path: Path, simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the store had said that it has, it has after `kill -9`, or the load writes it again."""
    folder = tmp_path / "seaweedfs"
    folder.mkdir()
    with ExitStack() as loading:
        with servers.seaweedfs(folder) as first:
            way = Link("127.0.0.1", urlsplit(first).port or 80)
            loading.callback(way.cut)
            address = f"http://127.0.0.1:{way.port}"
            for name, value in environment_of(address).items():
                monkeypatch.setenv(name, value)
            root = in_bucket()
            tool = tool_of(root, address, simulate(rtt_ms=100).url, tmp_path)
            process = loading.enter_context(tool.start(*LOAD))
            wait_until(lambda: len(chunks_of(root)) >= 2)
        way.cut()
        with servers.seaweedfs(folder) as again:
            way.mend(urlsplit(again).port)
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0, out + err
            require_equal_to_a_quiet_one(tool, root, tmp_path)


@pytest.mark.soak
def test_live_mode_that_is_killed_in_the_middle_of_a_minute_is_healed_by_the_next_one(
    seaweedfs: str, root: ReadablePath, tmp_path: Path, simulate: Simulate
) -> None:
    """The minute is stored, and the process is killed before it hears of it."""
    written = threading.Event()

    def loses(request: Request) -> bool:
        if request.method == "PUT" and request.key.endswith(".journal"):
            written.set()
        return written.is_set()

    with proxied(seaweedfs) as proxy:
        tool = tool_of(root, proxy.url, simulate(speed=1).url, tmp_path)
        assert tool.run(*LOAD[:-1], "2024-05-16").returncode == 0
        proxy.loses = loses
        with tool.start("--market", "spot", "live", "--minutes", "30") as process:
            assert written.wait(200)
            process.kill()
        proxy.loses = lambda _: False
        # The rights of the killed one end after a minute, which the next one waits for.
        followed = tool.run("--market", "spot", "live", "--minutes", "1")
        assert followed.returncode == 0, followed.stderr
        journal = root / "binance" / ".journal"
        assert [name for name in storage_of(journal).names(journal) if name.endswith(".journal")] == []
        verified = tool.run("--market", "spot", "verify")
        assert verified.returncode == 0, verified.stdout
