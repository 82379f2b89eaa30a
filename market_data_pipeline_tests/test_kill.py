"""Killed at any moment, nothing is lost: the next command ends with the store of one that was never disturbed."""

import json
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.queries import RequestInfo
from market_data_pipeline.simulator.server import RunningExchange, serve
from market_data_pipeline_tests.support import (
    MarketData,
    at,
    chunk_files,
    data_files,
    dataset_folder,
    flip_a_byte,
    is_page,
    strike,
    wait_until,
    without_progress,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SPOT = ("--market", "spot")
FIRST, DAYS = date(2023, 3, 1), 100
KILLS_OF_A_STORE, STORES = 5, 4
KLINES = dg.AssetKey(["binance", "BTCUSDT", "klines_1m"])


def window(days: int = DAYS) -> tuple[str, ...]:
    return ("--start", FIRST.isoformat(), "--end", (FIRST + timedelta(days=days)).isoformat())


@dataclass(frozen=True)
class Undisturbed:
    """What a load that nobody killed left; how long its run took to start, and then to end."""

    root: Path
    files: dict[str, bytes]
    starting_s: float
    loading_s: float


@pytest.fixture(scope="module")
def running() -> Iterator[RunningExchange]:
    """An exchange as far away as a real one may be."""
    with serve(SimulatedExchange(rtt_ms=150, weights=False)) as started:
        yield started


@pytest.fixture(autouse=True)
def as_it_was(running: RunningExchange) -> Iterator[None]:
    """The exchange does to each test only what that test asked for."""
    yield
    running.exchange.hooks.clear()


def asks_for_klines(request: RequestInfo) -> bool:
    """True for a page of REST and for a file of the archive."""
    return is_page(request) or request.area == "archive"


def open_run(running: RunningExchange, root: Path) -> MarketData:
    """Manifests are written several times a load, so that kills hit that too."""
    return MarketData(root, running.url, {"MANIFEST_WRITE_INTERVAL_SEC": "0.2"})


@pytest.fixture(scope="module")
def undisturbed(running: RunningExchange, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    root = tmp_path_factory.mktemp("undisturbed") / "root"
    asked = first_request(running.exchange, lambda request: True)
    loading = first_request(running.exchange, asks_for_klines)
    with open_run(running, root).start(*SPOT, "backfill", *window()) as process:
        asked.wait(60)
        began = time.monotonic()
        loading.wait(60)
        started = time.monotonic()
        process.communicate()
        ended = time.monotonic()
    assert process.returncode == 0
    return Undisturbed(root, data_files(root), started - began, ended - started)


def first_request(exchange: SimulatedExchange, where: Callable[[RequestInfo], bool]) -> threading.Event:
    """Set when the exchange is next asked for something like this."""
    asked = threading.Event()
    exchange.hooks.append(lambda request: asked.set() if where(request) else None)
    return asked


def kill(
    run: MarketData, *command: str, exchange: SimulatedExchange, after: Callable[[RequestInfo], bool], s: float
) -> bool:
    """Kill the command so many seconds after its first such request; False if it had ended by then."""
    exchange.hooks.clear()
    asked = first_request(exchange, after)
    with run.start(*command) as process:
        wait_until(lambda: asked.is_set() or process.poll() is not None)
        time.sleep(s)
        alive = process.poll() is None
        process.kill()
        process.communicate()
    return alive


def kill_somewhere(
    run: MarketData, *command: str, exchange: SimulatedExchange, undisturbed: Undisturbed, chance: random.Random
) -> bool:
    """Kill the command at a random moment: one time in four while its run starts, else while it loads or ends."""
    if chance.random() < 0.25:
        moment = chance.uniform(0, undisturbed.starting_s)
        return kill(run, *command, exchange=exchange, after=lambda request: True, s=moment)
    return kill(
        run, *command, exchange=exchange, after=asks_for_klines, s=chance.uniform(0, 0.7 * undisturbed.loading_s)
    )


@contextmanager
def dagster_of(run: MarketData, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The instance as the UI sees it, without what the command line does when it opens it."""
    monkeypatch.setenv("DAGSTER_HOME", str(run.root / "dagster"))
    with dg.DagsterInstance.get() as instance:
        yield instance


def recorded_days(run: MarketData, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    if not (run.root / "dagster" / "dagster.yaml").exists():
        return set()
    with dagster_of(run, monkeypatch) as instance:
        return instance.get_materialized_partitions(KLINES)


def assert_what_is_visible_is_whole(run: MarketData, undisturbed: Undisturbed) -> None:
    """Each chunk that is there is, to the byte, the undisturbed one; what the manifest lists is there."""
    chunks = {f"binance/BTCUSDT/1m/chunks/{path.name}": path for path in chunk_files(run.root).values()}
    for name, path in chunks.items():
        assert path.read_bytes() == undisturbed.files[name]
    manifest = dataset_folder(run.root, "spot", "BTCUSDT") / "manifest.json"
    if manifest.exists():
        listed = {chunk["file"] for chunk in json.loads(manifest.read_bytes())["chunks"]}
        assert listed <= {path.name for path in chunks.values()}


@pytest.mark.parametrize("seed", range(STORES))
def test_a_load_killed_again_and_again_ends_with_the_bytes_of_an_undisturbed_one(
    running: RunningExchange, undisturbed: Undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance, run = random.Random(seed), open_run(running, tmp_path / "root")
    recorded: set[str] = set()
    kills = rounds = 0
    while kills < KILLS_OF_A_STORE:
        rounds += 1
        # Where every day is there already, there is nothing left to be killed at but loading them anew.
        again = ["--refetch"] if len(chunk_files(run.root)) == DAYS else []
        kills += kill_somewhere(
            run, *SPOT, "backfill", *window(), *again, exchange=running.exchange, undisturbed=undisturbed, chance=chance
        )
        assert_what_is_visible_is_whole(run, undisturbed)
        now_recorded = recorded_days(run, monkeypatch)
        assert recorded <= now_recorded, "days that were recorded stay recorded"
        assert now_recorded <= chunk_files(run.root).keys(), "a recorded day has its chunk"
        recorded = now_recorded
        assert rounds < 5 * KILLS_OF_A_STORE

    ended = run.run(*SPOT, "backfill", *window())
    assert (ended.returncode, without_progress(ended.stderr)) == (0, "")
    assert data_files(run.root) == undisturbed.files
    with dagster_of(run, monkeypatch) as instance:
        assert len(instance.get_materialized_partitions(KLINES)) == DAYS
        statuses = {one.status for one in instance.get_runs()}
    assert statuses <= {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE}


def test_a_killed_run_is_reported_as_failed_by_the_next_command_and_does_not_hold_it_up(
    running: RunningExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(running, tmp_path / "root")
    with run.start(*SPOT, "backfill", *window()) as process:
        wait_until(lambda: len(chunk_files(run.root)) >= 3)
        process.kill()
        process.communicate()
    with dagster_of(run, monkeypatch) as instance:
        [killed] = instance.get_runs()
        assert killed.status is dg.DagsterRunStatus.STARTED
    assert run.run(*SPOT, "backfill", *window()).returncode == 0
    with dagster_of(run, monkeypatch) as instance:
        assert instance.get_run_by_id(killed.run_id).status is dg.DagsterRunStatus.FAILURE
        said = [event.message for event in instance.all_logs(killed.run_id) if event.is_dagster_event]
        assert any("was killed" in message for message in said)


def test_a_run_of_a_process_that_lives_is_left_alone(
    running: RunningExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(running, tmp_path / "root")
    running.exchange.faults.stall_seconds = 600
    april = at("2023-04-01")
    strike(
        running.exchange,
        "stall",
        times=1000,
        where=lambda request: "-2023-04" in request.path or int(request.params.get("startTime", 0)) > april,
    )
    with run.start(*SPOT, "backfill", *window()) as process:
        try:
            wait_until(lambda: len(chunk_files(run.root)) >= 3)
            assert run.run(*SPOT, "combine").returncode == 0
            with dagster_of(run, monkeypatch) as instance:
                statuses = {one.status for one in instance.get_runs()}
            assert statuses == {dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.SUCCESS}
        finally:
            process.kill()
            process.communicate()


def test_a_repair_killed_again_and_again_ends_with_the_bytes_of_an_undisturbed_store(
    running: RunningExchange, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    chance, run = random.Random(1), open_run(running, tmp_path / "root")
    shutil.copytree(undisturbed.root, run.root)
    chunks = sorted(chunk_files(run.root).values())
    for path in chunks[10:30]:
        path.unlink()
    for path in chunks[50:70]:
        flip_a_byte(path)
    for _ in range(3):
        moment = chance.uniform(0, 0.7 * undisturbed.loading_s)
        kill(run, "verify", "--repair", exchange=running.exchange, after=asks_for_klines, s=moment)
    ended = run.run("verify", "--repair")
    assert ended.returncode == 0, ended.stdout
    assert data_files(run.root) == undisturbed.files


def test_a_combine_killed_while_it_writes_leaves_the_old_file_or_none_and_the_next_one_ends_it(
    running: RunningExchange, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    run = open_run(running, tmp_path / "root")
    shutil.copytree(undisturbed.root, run.root)
    combined = dataset_folder(run.root, "spot", "BTCUSDT") / "combined"
    path = combined / "BTCUSDT_1m_all.parquet"
    kill_while_writing(run, combined)
    assert not path.exists()

    assert run.run(*SPOT, "combine").returncode == 0
    whole = path.read_bytes()
    path.write_bytes(b"")
    kill_while_writing(run, combined)
    assert path.read_bytes() == b""

    assert run.run(*SPOT, "combine").returncode == 0
    assert path.read_bytes() == whole
    assert [file.name for file in combined.iterdir()] == [path.name]


def kill_while_writing(run: MarketData, folder: Path) -> None:
    """Kill a combine as soon as its temporary file is there."""
    with run.start(*SPOT, "combine") as process:
        wait_until(lambda: process.poll() is not None or any(folder.glob("*.tmp")))
        process.kill()
        process.communicate()
    assert process.returncode != 0, "it was faster than the kill"
