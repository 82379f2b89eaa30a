"""A simulated exchange that answers over HTTP, and the command line that talks to it."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests import servers
from market_data_pipeline_tests.hosts import Network, NoHosts, network
from market_data_pipeline_tests.servers import Link, postgres_database
from market_data_pipeline_tests.support import NOON, PATIENCE, STATE_VARIABLES, MarketData, Simulate, simulated


def pytest_configure() -> None:
    """Let processes that tests start be as a user's.

    They hear SIGTERM also where the tests run in the background of a script. There Ctrl-C is ignored; Dagster, used in
    this process, makes SIGTERM the same, and whoever is started inherits it. And their output is buffered, which a
    container may have switched off.
    """
    os.environ.pop("PYTHONUNBUFFERED", None)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the modules that have slow tests, so that at the end no worker is alone with one."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    for item in items:
        if (limit := item.get_closest_marker("timeout")) and PATIENCE != 1:
            item.add_marker(pytest.mark.timeout(limit.args[0] * PATIENCE), append=False)


def _set_state_folder(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Keep the request-weight budgets out of the tester's own folder, in processes that tests start, too."""
    for name in STATE_VARIABLES:
        patch.setenv(name, str(folder))


@pytest.fixture(scope="session", autouse=True)
def _state_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder for fixtures of a module or a session."""
    with pytest.MonkeyPatch.context() as patch:
        _set_state_folder(patch, tmp_path_factory.mktemp("state"))
        yield


@pytest.fixture(autouse=True)
def _state(tmp_path_factory: pytest.TempPathFactory, _state_of_all: None) -> Iterator[None]:
    """A folder for each test: an exchange may listen at the port of one that refused requests before."""
    with pytest.MonkeyPatch.context() as patch:
        _set_state_folder(patch, tmp_path_factory.getbasetemp() / f"state-{uuid.uuid4().hex}")
        yield


@pytest.fixture
def simulate() -> Iterator[Simulate]:
    """Start exchanges whose clock stands still at noon unless told otherwise."""
    with ExitStack() as stack:

        def started(**options: Any) -> RunningExchange:
            return stack.enter_context(simulated(SimulatedExchange(**{"now": NOON, "speed": 0, **options})))

        yield started


@pytest.fixture(autouse=True)
def _log_files() -> Iterator[None]:
    """Close the `loader.log` of commands that ran in this process."""
    yield
    for logger in map(logging.getLogger, ("market_data_pipeline", "sqlalchemy.pool")):
        for handler in [each for each in logger.handlers if isinstance(each, logging.FileHandler)]:
            logger.removeHandler(handler)
            handler.close()


@pytest.fixture
def market_data(tmp_path: Path, simulate: Simulate) -> Callable[..., MarketData]:
    """The command line, with a fresh data root, against a running exchange or else a new one."""

    def made(running: RunningExchange | None = None, **env: str) -> MarketData:
        return MarketData(tmp_path / "root", (running or simulate()).url, env)

    return made


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB, mounted below the test's folder, where this user and system may mount one."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root on Linux")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"nothing may be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture(scope="session")
def real_archive() -> Path:
    """Find the folder of real klines, which lies outside the repository."""
    beside = Path(__file__).parents[2] / "shared" / "real_klines"
    folder = Path(os.environ.get("MARKET_DATA_REAL_KLINES", beside)) / "archive"
    if not (folder / "data").is_dir():
        refuse = pytest.fail if os.environ.get("MARKET_DATA_REQUIRE_REAL") else pytest.skip
        refuse(f"no real klines at {folder}")
    return folder


@pytest.fixture
def postgres() -> Iterator[str]:
    """Make an empty database of the Postgres server for tests; its URL."""
    with postgres_database() as url:
        yield url


@pytest.fixture
def link(postgres: str) -> Iterator[Link]:
    """Make a way to that server which can be cut."""
    server = sa.make_url(postgres)
    made = Link(str(server.host), server.port or 5432)
    yield made
    made.cut()


@pytest.fixture
def hosts() -> Iterator[Network]:
    """Make three hosts, which begin with nothing."""
    with ExitStack() as stack:
        try:
            made = stack.enter_context(network(3))
        except NoHosts as error:
            servers.missing("hosts", str(error))
        yield made


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a SeaweedFS; its address."""
    with servers.seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as url:
        yield url


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run moto; its address."""
    with servers.moto(tmp_path_factory.mktemp("moto")) as url:
        yield url
