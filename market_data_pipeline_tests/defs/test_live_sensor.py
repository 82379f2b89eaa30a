"""The live sensors in a real daemon, which is killed twice: most of a day, the end of the day, and its runs.

The exchange's clock runs 600 times as fast, so a tick every half minute finds five hours to catch up on, and a day is
over and in the archive within minutes. In between it runs 60 times as fast, so that the day is confirmed before the
archive has it, also on a slow machine; at the end it runs as fast as this machine's, so that live mode can be current.
"""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from market_data_pipeline.reader import open_dataset
from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.server import RunningExchange, serve
from market_data_pipeline_tests.dagster_dev import Ui, dagster_dev, wait_for
from market_data_pipeline_tests.support import MarketData, at, chunk_files, dataset_folder, klines_of, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
MORNING = datetime(2023, 10, 29, 8, 30, tzinfo=UTC)
NEAR = ("--market", "futures", "--pair", "NEAR/USDT", "--align-tz", "Europe/Zurich")
KEY = {"path": ["binanceusdm", "NEARUSDT", "klines_1m"]}
DAY = "2023-10-29"
RELOAD_NOTE = "reload the code location for"
SELECTOR = {"repositoryName": "__repository__", "repositoryLocationName": "market_data_pipeline"}

START = """mutation($sensor: SensorSelector!) { startSensor(sensorSelector: $sensor) { __typename } }"""
TICKS = """query($sensor: SensorSelector!) { sensorOrError(sensorSelector: $sensor) { ... on Sensor { sensorState {
  ticks(limit: 100) { status cursor skipReason timestamp endTimestamp error { message } } } } } }"""
RUNS = """{ runsOrError { ... on Runs { results { id status tags { key value } } } } }"""
RELOAD = """mutation { reloadRepositoryLocation(repositoryLocationName: "market_data_pipeline") { __typename } }"""
PROOF = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
EVENTS = """query($key: AssetKeyInput!, $days: [String!]) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  assetMaterializations(partitions: $days) { runId metadataEntries { label ... on TextMetadataEntry { text } } }
  assetChecksOrError { ... on AssetChecks { checks { name executionForLatestMaterialization {
    runId status evaluation { description } } } } } } } }"""


@pytest.fixture(scope="module")
def exchange(real_archive: Path) -> Iterator[RunningExchange]:
    with serve(SimulatedExchange(real_archive, now=MORNING, speed=600, weights=False)) as running:
        yield running


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("live")


def sensor(name: str = "binanceusdm_live") -> dict[str, str]:
    return {**SELECTOR, "sensorName": name}


def ticks(ui: Ui) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ui.ask(TICKS, sensor=sensor())["sensorState"]["ticks"]
    return found


@dataclass(frozen=True)
class LiveRun:
    """A run: its id, why it was requested and for which days (empty if not by live mode), and its status."""

    id: str
    why: str
    status: str


def runs(ui: Ui) -> list[LiveRun]:
    """All runs, the oldest first."""
    listed = []
    for run in reversed(ui.ask(RUNS)["results"]):
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        why = f"{tags['market_data/live']} {tags['market_data/days']}" if "market_data/live" in tags else ""
        listed.append(LiveRun(run["id"], why, run["status"]))
    return listed


def freshness_of(ui: Ui) -> dict[str, Any]:
    """The result of the freshness check that the page of the asset shows."""
    checks = ui.ask(EVENTS, key=KEY, days=[DAY])["assetChecksOrError"]["checks"]
    (fresh,) = [check for check in checks if check["name"] == "newest_kline_is_fresh"]
    return dict(fresh["executionForLatestMaterialization"])


def at_real_speed_live_mode_is_current(ui: Ui, exchange: RunningExchange) -> None:
    """A run that begins between two ticks finds the klines up to the last tick, which is current enough."""
    slowed = exchange.exchange.clock.now().strftime("%Y-%m-%dT%H:%MZ")
    wait_for(lambda: any(cursor["minute"] > slowed and not cursor["behind"] for cursor in cursors_of(ui)), ui.log)
    launched = ui.ask(PROOF, params={"selector": {**SELECTOR, "jobName": "proof"}, "mode": "default"})
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run_id = launched["run"]["runId"]
    wait_for(lambda: any(run.id == run_id and run.status == "SUCCESS" for run in runs(ui)), ui.log)
    fresh = freshness_of(ui)
    assert (fresh["runId"], fresh["status"]) == (run_id, "SUCCEEDED"), fresh
    assert "min behind the exchange's clock" in fresh["evaluation"]["description"]


def kill_the_daemon(ui: Ui) -> None:
    """And all that it started, in no particular order."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any("daemon" in word for word in words) and process.environ().get("DAGSTER_HOME") == ui.env["DAGSTER_HOME"]:
            for child in process.children(recursive=True):
                child.kill()
            process.kill()


def state_of(root: Path, day: str) -> str | None:
    path = dataset_folder(root, "futures", "NEARUSDT") / "manifest.json"
    chunks = json.loads(path.read_bytes())["chunks"] if path.exists() else []
    return next((str(chunk["state"]) for chunk in chunks if chunk["day"] == day), None)


def a_new_pair_goes_live_without_a_restart(ui: Ui, tool: MarketData, exchange: RunningExchange) -> None:
    """Meanwhile live mode becomes current."""
    new = ("--market", "futures", "--pair", "BTC/USDT")
    assert tool(*new, "backfill", "--start", "2023-10-30").exit_code == 0
    stored = open_dataset("BTC/USDT", market="futures", root=tool.root)
    before = stored.to_arrow("2023-10-30").num_rows
    assert tool(*new, "live", "--mark").exit_code == 0
    assert ui.ask(RELOAD)["__typename"] == "WorkspaceLocationEntry"
    at_real_speed_live_mode_is_current(ui, exchange)
    wait_for(lambda: stored.to_arrow("2023-10-30").num_rows > before, ui.log)
    wait_for(lambda: any(seen["datasets"] == 2 and RELOAD_NOTE not in seen for seen in cursors_of(ui)), ui.log)


def cursors_of(ui: Ui) -> list[dict[str, Any]]:
    """What each tick that did its work says of it."""
    return [json.loads(tick["cursor"]) for tick in ticks(ui) if tick["cursor"]]


def settings_of(exchange: RunningExchange) -> dict[str, str]:
    return {
        "MARKET_DATA_EXCHANGE_URL": exchange.url,
        "MARKET_TYPE": "futures",
        "SYMBOL": "NEAR/USDT",
        "ALIGN_TZ": "Europe/Zurich",
        "MANIFEST_WRITE_INTERVAL_SEC": "5",
    }


def loaded_alone(root: Path, exchange: RunningExchange) -> Path:
    """The chunk of the day as a backfill loads it now, in a data root of its own."""
    tool = MarketData(root / "alone", exchange.url)
    assert tool(*NEAR, "backfill", "--start", DAY, "--end", "2023-10-30").exit_code == 0
    return chunk_files(tool.root)[DAY]


def has_day(why: str) -> bool:
    first, last = why.split()[1].split("..")
    return first <= DAY <= last


def test_a_day_in_the_daemon_with_kills_ends_confirmed_archived_and_equal_to_a_backfill(
    exchange: RunningExchange, root: Path, tmp_path: Path
) -> None:
    data, clock = root / "data", exchange.exchange.clock
    tool = MarketData(data, exchange.url, {"DAGSTER_HOME": str(root / "dagster")})
    assert tool(*NEAR, "backfill", "--start", "2023-10-28").exit_code == 0
    assert tool(*NEAR, "live", "--mark").exit_code == 0
    # Killed twice: once at any moment, once just after the end of the day.
    with dagster_dev(root, **settings_of(exchange)) as ui:
        assert ui.ask(START, sensor=sensor())["__typename"] == "Sensor"
        wait_for(lambda: cursors_of(ui), ui.log)
        time.sleep(3)
        kill_the_daemon(ui)
    with dagster_dev(root, **settings_of(exchange)) as ui:
        # The rest of the day takes the clock 90 s in all, less what starting Dagster took.
        wait_until(lambda: clock.now_ms() > at("2023-10-29T23:03"), within_s=200)
        clock.run_at(60)
        kill_the_daemon(ui)
        killed_s = time.time()
    with dagster_dev(root, **settings_of(exchange)) as ui:
        # A run that waited in the queue begins now; any other that did not end before was killed with the daemon.
        before = {run.id for run in runs(ui) if run.status != "QUEUED"}
        wait_for(lambda: state_of(data, DAY) == "confirmed", ui.log)
        # Which sources the chunk names depends on how long this machine takes for the runs, its klines do not.
        alone = klines_of(loaded_alone(tmp_path, exchange))
        assert alone.num_rows == 1500
        assert klines_of(chunk_files(data)[DAY]).equals(alone)
        # The archive has the day at ten, and ticks catch up on eight hours.
        for hours in (7, 4):
            asked = clock.now().strftime("%Y-%m-%dT%H:%MZ")
            wait_for(lambda asked=asked: any(cursor["minute"] >= asked for cursor in cursors_of(ui)), ui.log)
            clock.advance(hours * 3600)
        wait_for(lambda: state_of(data, DAY) == "archived", ui.log)
        assert klines_of(chunk_files(data)[DAY]).equals(alone)
        wait_for(lambda: all(run.status in {"SUCCESS", "FAILURE", "CANCELED"} for run in runs(ui)), ui.log)
        assert {run.status for run in runs(ui) if run.id not in before} == {"SUCCESS"}, runs(ui)
        loaded = [run.why for run in runs(ui) if run.status == "SUCCESS" and run.why]
        # A run that a kill ended is requested again; one that succeeded is not.
        assert sorted(loaded) == sorted(set(loaded)), runs(ui)
        # On a slow machine the run that catches up ends after the day, and confirms it.
        assert any(why.startswith(("to_confirm", "missing")) and has_day(why) for why in loaded), loaded
        assert any(why.startswith("to_archive") and has_day(why) for why in loaded), loaded
        node = ui.ask(EVENTS, key=KEY, days=[DAY])
        states = {
            entry["text"].split(", ")[1]
            for event in node["assetMaterializations"]
            for entry in event["metadataEntries"]
            if entry["label"] == "chunk"
        }
        assert {"provisional", "confirmed", "archived"} <= states
        clock.run_at(1)
        a_new_pair_goes_live_without_a_restart(ui, tool, exchange)
        # Only a tick that ran when the daemon was killed may have failed.
        failed = [tick for tick in ticks(ui) if tick["error"]]
        assert all("user code server" in tick["error"]["message"] for tick in failed), failed
        assert all(tick["timestamp"] < killed_s for tick in failed), failed
    verified = tool("verify")
    assert verified.exit_code == 0, verified.output
    # More than 800 minutes left a handful of events, not one each.
    with closing(sqlite3.connect(root / "dagster" / "history" / "runs" / "index.db")) as index:
        (materialized,) = index.execute(
            "select count(*) from event_logs where dagster_event_type = 'ASSET_MATERIALIZATION' and partition = ?",
            (DAY,),
        ).fetchone()
    assert 3 <= materialized <= 12
