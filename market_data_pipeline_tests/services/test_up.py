"""`market-data up`, as a person runs it: what it starts, what it does about processes that die, and how it ends."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
import requests
from typer.testing import Result

from market_data_pipeline.services.marks import MARK
from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests.dagster_dev import CHECKOUT, answers, free_port
from market_data_pipeline_tests.instance.test_orphans import run_of_another_process
from market_data_pipeline_tests.places import environment_of
from market_data_pipeline_tests.stopping import IN_WINE, OWN_CONSOLE, interrupt, stop
from market_data_pipeline_tests.support import PATIENCE, MarketData, Simulate, chunk_files

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KLINES = dg.AssetKey(["binance", "BTCUSDT", "klines_1m"])
SERVICES = {"api": "market_data_pipeline serve", "webserver": "dagster_webserver", "daemon": "dagster._daemon"}
_PATIENCE_S = 120 * PATIENCE
NOWHERE = "http://127.0.0.1:9"


@dataclass
class Up:
    """A running `market-data up`."""

    process: psutil.Popen
    root: Path
    port: int
    dagster_port: int
    out: Path
    err: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def printed(self) -> str:
        return self.out.read_text(encoding="utf-8")

    @property
    def warned(self) -> str:
        return self.err.read_text(encoding="utf-8")

    @property
    def is_up(self) -> bool:
        return self.api_answers and answers(f"http://127.0.0.1:{self.dagster_port}")

    @property
    def api_answers(self) -> bool:
        with suppress(requests.RequestException):
            return requests.get(f"{self.url}/openapi.json", timeout=5).ok
        return False

    def wait_for(self, what: Callable[[], Any]) -> Any:
        """Call until the result is true, and return it."""
        until = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until:
            if result := what():
                return result
            time.sleep(0.2)
        logs = "\n".join(f"{path.name}\n{path.read_text()[-2000:]}" for path in (self.root / "logs").glob("*.log"))
        return pytest.fail(f"nothing after {_PATIENCE_S} s\n{self.printed}\n{self.warned}\n{logs}")

    def service(self, command: str) -> psutil.Process | None:
        return next((process for process in marked(self.root) if command in command_of(process)), None)

    def backfill(self) -> str:
        body = {"market": "spot", "pair": "BTC/USDT", "start": "2022-03-01", "end": "2024-03-01"}
        response = requests.post(f"{self.url}/backfill", json=body, timeout=60 * PATIENCE)
        assert response.status_code == 202, response.text
        return str(response.json()["run_id"])

    def status(self, run_id: str) -> str:
        return str(requests.get(f"{self.url}/runs/{run_id}", timeout=30 * PATIENCE).json()["status"])


def command_of(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def marked(root: Path) -> list[psutil.Process]:
    """Every process that an `up` of the data root started, and what they started."""
    processes = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == str(root / "dagster"):
                processes.append(process)
    return processes


@pytest.fixture
def far_away(simulate: Simulate) -> RunningExchange:
    """An exchange that takes two minutes for the two years that are asked of it."""
    return simulate(rtt_ms=2000)


@pytest.fixture
def start(tmp_path: Path, far_away: RunningExchange) -> Iterator[Callable[[], Up]]:
    """Start `market-data up` on a data root of its own; nothing of it is left after the test."""
    root = tmp_path / "root"
    with ExitStack() as stack:
        yield lambda: stack.enter_context(started(root, far_away.url))
    assert marked(root) == []


@contextmanager
def started(root: Path, exchange: str, **env: str) -> Iterator[Up]:
    # A proxy that is not there: the processes talk to each other without it.
    proxy = {"http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    run = MarketData(root, exchange, {"PYTHONPATH": str(CHECKOUT), "MARKET_DATA_SOURCE": "rest", **proxy, **env})
    port, dagster_port = free_port(), free_port()
    out, err = root.with_name(f"{port}.out"), root.with_name(f"{port}.err")
    with out.open("wb") as to_out, err.open("wb") as to_err:
        process = psutil.Popen(
            [sys.executable, "-m", "market_data_pipeline", "up", *ports(port, dagster_port)],
            env=environment(run),
            stdout=to_out,
            stderr=to_err,
            stdin=subprocess.DEVNULL,
            creationflags=OWN_CONSOLE,
        )
    try:
        up = Up(process, root, port, dagster_port, out, err)
        up.wait_for(lambda: "Ctrl-C" in up.printed or process.poll() is not None)
        yield up
    finally:
        with suppress(psutil.NoSuchProcess):
            process.kill()
        process.wait()
        for leftover in marked(root):
            with suppress(psutil.NoSuchProcess):
                leftover.kill()
        psutil.wait_procs(marked(root), timeout=10)


def environment(run: MarketData) -> dict[str, str]:
    # What the command line of the tests is given, without what is unset.
    given = {**os.environ, **run._env({})}
    return {name: value for name, value in given.items() if value is not None}


def ports(port: int, dagster_port: int) -> tuple[str, ...]:
    return ("--port", str(port), "--dagster-port", str(dagster_port))


@contextmanager
def dagster_of(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("DAGSTER_HOME", str(root / "dagster"))
    with dg.DagsterInstance.get() as instance:
        yield instance


def test_whatever_is_killed_comes_back_and_at_the_end_runs_in_flight_and_all_processes_end(
    start: Callable[[], Up], monkeypatch: pytest.MonkeyPatch
) -> None:
    up = start()
    assert up.is_up
    assert up.printed.splitlines()[1:3] == [
        f"browse and HTTP API  {up.url}",
        f"Dagster UI           http://127.0.0.1:{up.dagster_port}",
    ]
    assert up.warned == ""
    for name, command in SERVICES.items():
        killed = up.service(command)
        assert killed is not None
        killed.kill()
        up.wait_for(lambda name=name: f"{name} was killed" in up.warned or f"{name} ended" in up.warned)
        up.wait_for(lambda command=command: up.service(command) and up.is_up)
    assert len(up.warned.splitlines()) == len(SERVICES)
    assert str(up.root / "logs" / "api.log") in up.warned

    # The code server is of no use without the process that it started.
    worker = up.service("api grpc")
    assert worker is not None
    worker.kill()
    up.wait_for(lambda: "code-server lost the process that does its work" in up.warned)
    run_id = up.wait_for(lambda: new_run(up))
    up.wait_for(lambda: len(chunk_files(up.root)) >= 3)
    assert up.status(run_id) == "running"

    warned = up.warned
    (interrupt if IN_WINE else stop)(up.process)  # Wine ends a thread at Ctrl-Break, whatever handles it there
    assert up.process.wait(60 * PATIENCE) == 0
    assert marked(up.root) == []
    assert up.warned == warned
    with dagster_of(up.root, monkeypatch) as instance:
        run = instance.get_run_by_id(run_id)
        assert run is not None and run.status is dg.DagsterRunStatus.CANCELED
        assert instance.get_materialized_partitions(KLINES) == chunk_files(up.root).keys()


def new_run(up: Up) -> str | None:
    with suppress(AssertionError):
        return up.backfill()
    return None


def test_what_a_killed_one_left_behind_is_ended_by_the_next(
    start: Callable[[], Up], monkeypatch: pytest.MonkeyPatch
) -> None:
    up = start()
    run_id = up.wait_for(lambda: new_run(up))
    up.wait_for(lambda: len(chunk_files(up.root)) >= 3)
    up.process.kill()
    up.process.wait()
    left = marked(up.root)
    assert left

    again = start()
    assert again.is_up
    assert again.warned.count("\n") == 1 and "was killed" in again.warned
    assert not any(process.is_running() for process in left)
    with dagster_of(up.root, monkeypatch) as instance:
        run = instance.get_run_by_id(run_id)
        assert run is not None and run.is_finished
        assert len(instance.get_materialized_partitions(KLINES)) >= 3

    third = MarketData(again.root, NOWHERE).run("up", *ports(free_port(), free_port()))
    assert (third.returncode, third.stdout) == (2, "")
    [line] = third.stderr.splitlines()
    holder = f"`market-data up` (process {again.process.pid} on {socket.gethostname()}, since "
    assert line.startswith(f"error: {holder}") and f"Z) already runs on {again.root / 'dagster'}; " in line
    assert again.is_up


def test_the_run_of_a_command_that_was_killed_is_ended_when_all_of_it_listens(
    start: Callable[[], Up], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "root" / "dagster"
    home.mkdir(parents=True)
    with run_of_another_process(home) as process:
        process.kill()
    up = start()
    with dagster_of(up.root, monkeypatch) as instance:
        up.wait_for(lambda: [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.FAILURE])
    assert up.warned == ""


def test_a_symbol_without_a_default_dataset_is_said_and_a_dataset_that_a_command_creates_appears_in_dagster(
    tmp_path: Path, simulate: Simulate
) -> None:
    root, exchange = tmp_path / "root", simulate()
    with started(root, exchange.url, SYMBOL="NOSUCH") as up:
        assert up.is_up
        [line] = up.warned.splitlines()
        assert line.startswith("warning: SYMBOL=NOSUCH ")
        assert "no default dataset" in line
        assert "klines_1m" not in {name for *_, name in assets_of(up)}
        command = MarketData(root, exchange.url, {"PYTHONPATH": str(CHECKOUT)})
        done = command.run(
            "--market", "spot", "--pair", "ETH/USDT", "backfill", "--start", "2024-05-01", "--end", "2024-05-02"
        )
        assert done.returncode == 0, done.stderr
        up.wait_for(lambda: ["binance", "ETHUSDT", "klines_1m"] in assets_of(up))


def test_while_the_object_store_is_away_it_starts_and_its_pages_say_so(tmp_path: Path) -> None:
    away = environment_of(NOWHERE)
    local = {"DAGSTER_HOME": str(tmp_path / "root" / "dagster"), "LOG_DIR": str(tmp_path / "root" / "logs")}
    with started(tmp_path / "root", NOWHERE, MARKET_DATA_DIR="s3://bucket/klines", **local, **away) as up:
        assert up.is_up
        assert up.warned == ""
        status = requests.get(f"{up.url}/status", timeout=30 * PATIENCE)
    assert (status.status_code, status.json()["title"]) == (503, "The object store is not available")


def assets_of(up: Up) -> list[list[str]]:
    """The keys of the assets that the Dagster UI shows."""
    query = {"query": "{ assetNodes { assetKey { path } } }"}
    answer = requests.post(f"http://127.0.0.1:{up.dagster_port}/graphql", json=query, timeout=30 * PATIENCE)
    return [node["assetKey"]["path"] for node in answer.json()["data"]["assetNodes"]]


def run_up(root: Path, port: int, dagster_port: int, *more: str, **env: str) -> Result:
    """An `up` that is refused, in this process."""
    return MarketData(root, NOWHERE, env)("up", *ports(port, dagster_port), *more)


@pytest.mark.parametrize("option", ["--port", "--dagster-port"])
def test_a_port_that_is_taken_is_refused_in_one_line(tmp_path: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        others = {"--port": free_port(), "--dagster-port": free_port(), option: port}
        ended = run_up(tmp_path / "root", others["--port"], others["--dagster-port"])
    assert (ended.exit_code, ended.stdout) == (2, "")
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"error: cannot listen at 127.0.0.1, port {port}: ")
    assert f"name another with {option} or" in line
    assert marked(tmp_path / "root") == []


def test_wrong_usage_is_refused_in_one_line(tmp_path: Path) -> None:
    port = free_port()
    same = run_up(tmp_path / "root", port, port)
    nowhere = run_up(tmp_path / "root", port, free_port(), "--host", "no.such.host.invalid")
    pair = run_up(tmp_path / "root", port, free_port(), SYMBOL="BTC-USDT")
    (tmp_path / "file").touch()
    logs = run_up(tmp_path / "root", port, free_port(), LOG_DIR=str(tmp_path / "file"))
    # As a log that another user's `up` left.
    (tmp_path / "logs" / "code-server.log").mkdir(parents=True)
    log = run_up(tmp_path / "root", port, free_port(), LOG_DIR=str(tmp_path / "logs"))
    assert [ended.exit_code for ended in (same, nowhere, pair, logs, log)] == [2, 2, 2, 3, 3]
    assert same.stderr == f"error: --port and --dagster-port are both {port}; give each its own\n"
    assert "cannot listen at no.such.host.invalid" in nowhere.stderr.splitlines()[-1]
    assert pair.stderr.startswith("error: ") and len(pair.stderr.splitlines()) == 1
    assert logs.stderr.startswith(f"error: cannot write to {tmp_path / 'file'}: ")
    assert log.stderr.startswith(f"error: cannot write to {tmp_path / 'logs' / 'code-server.log'}: ")
    assert marked(tmp_path / "root") == []


def test_what_cannot_be_started_at_all_ends_it_with_the_last_lines_of_its_log(tmp_path: Path) -> None:
    home = tmp_path / "root" / "dagster"
    home.mkdir(parents=True)
    (home / "dagster.yaml").write_text("nonsense: true\n", encoding="utf-8")
    run = MarketData(tmp_path / "root", NOWHERE, {"PYTHONPATH": str(CHECKOUT)})
    ended = run.run("up", *ports(free_port(), free_port()))
    assert ended.returncode == 1
    lines = ended.stderr.splitlines()
    assert lines[-1].startswith("error: ") and "cannot be started: it ended with exit code" in lines[-1]
    assert "5 times in a row" in lines[-1]
    assert any("nonsense" in line for line in lines[:-1])
    assert marked(tmp_path / "root") == []


@pytest.mark.parametrize("url", ["127.0.0.1:3000", "ftp://127.0.0.1", "http://", "http://[::1", "http://host:99999"])
@pytest.mark.parametrize(
    ("command", "option"),
    [("serve", "--dagster-url"), ("serve", "--public-dagster-url"), ("up", "--public-dagster-url")],
)
def test_a_url_of_dagster_that_is_none_is_refused(tmp_path: Path, command: str, option: str, url: str) -> None:
    refused = MarketData(tmp_path / "root", NOWHERE)(command, option, url)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr == f"error: {option} {url!r} cannot be used: write http://HOST:PORT or https://HOST\n"


def test_serving_to_others_without_a_token_is_warned_of(tmp_path: Path) -> None:
    run = MarketData(tmp_path / "root", NOWHERE, {"PYTHONPATH": str(CHECKOUT)})
    port = free_port()
    with run.start("serve", "--host", "0.0.0.0", "--port", str(port)) as serving:
        try:
            assert serving.stdout is not None and serving.stderr is not None
            assert serving.stdout.readline() == f"browse and HTTP API at http://127.0.0.1:{port}\n"
            assert "set MARKET_DATA_API_TOKEN" in serving.stderr.readline()
        finally:
            serving.terminate()
            serving.communicate()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = run("serve", "--port", str(taken.getsockname()[1]))
    assert refused.exit_code == 2 and len(refused.stderr.splitlines()) == 1
