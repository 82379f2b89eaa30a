"""What the Dagster UI shows, asked of a real webserver and daemon over the GraphQL that its pages are made from."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from market_data_pipeline.home import prepare_home
from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.server import serve

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ui"), pytest.mark.timeout(300)]

CHECKOUT = Path(__file__).parents[1]
REAL_KLINES = Path(os.environ.get("MARKET_DATA_REAL_KLINES") or CHECKOUT.parent / "shared" / "real_klines")
DATASET = ["binanceusdm", "NEARUSDT"]
BY_UI = ["2023-10-28", "2023-10-29", "2023-10-30"]
BY_CLI = ["2023-10-24", "2023-10-25"]
_PATIENCE_S = 180

LAUNCH = """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
BACKFILL = """query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status
  assetBackfillData { assetBackfillStatuses { ... on AssetPartitionsStatusCounts {
    numPartitionsTargeted numPartitionsMaterialized numPartitionsFailed } } } } } }"""
RUNS = """{ runsOrError { ... on Runs { results { id status tags { key value } assetSelection { path } } } } }"""
DAYS = """query($key: AssetKeyInput!, $days: [String!]) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  partitionStats { numMaterialized numFailed }
  assetPartitionStatuses { ... on TimePartitionStatuses { ranges { status startKey endKey } } }
  assetMaterializations(partitions: $days) { partition runId metadataEntries { label
    ... on IntMetadataEntry { intValue } ... on TextMetadataEntry { text } ... on MarkdownMetadataEntry { mdStr } } }
} } }"""
CHECKS = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  assetChecksOrError { ... on AssetChecks { checks { name executionForLatestMaterialization { status
    evaluation { success severity description } } } } } } } }"""


@dataclass(frozen=True)
class Ui:
    """A running UI, and the command line that works on the same data root and Dagster instance."""

    url: str
    env: dict[str, str]
    log: Path

    def ask(self, query: str, **variables: Any) -> Any:
        answer = requests.post(f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=60).json()
        assert "errors" not in answer, answer["errors"]
        (content,) = answer["data"].values()
        return content

    def cli(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "market_data_pipeline", *arguments]
        return subprocess.run(
            command, env=self.env, cwd=CHECKOUT, capture_output=True, text=True, encoding="utf-8", check=False
        )

    def of_asset(self, query: str, name: str, **variables: Any) -> Any:
        return self.ask(query, key={"path": [*DATASET, name]}, **variables)


def wait_for(what: Callable[[], Any], log: Path) -> Any:
    """Ask until there is an answer."""
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        if answer := what():
            return answer
        time.sleep(0.5)
    pytest.fail(f"nothing after {_PATIENCE_S} s; dagster dev said:\n{log.read_text(errors='replace')[-5000:]}")


@contextmanager
def process(command: list[str], **options: Any) -> Iterator[None]:
    """Run a command, and end it and everything that it started."""
    started = psutil.Popen(command, **options)
    try:
        yield
    finally:
        family = [started]
        with suppress(psutil.NoSuchProcess):
            family += started.children(recursive=True)
        end(family, psutil.Process.terminate)
        end(family, psutil.Process.kill)


def end(family: list[psutil.Process], how: Callable[[psutil.Process], None]) -> None:
    for member in family:
        with suppress(psutil.NoSuchProcess):
            how(member)
    psutil.wait_procs(family, timeout=10)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/server_info", timeout=5).ok
    except requests.RequestException:
        return False


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """`make dev` on a data root without any dataset; the settings name the one that is going to be."""
    root = tmp_path_factory.mktemp("ui")
    home, log, port = root / "dagster", root / "dev.log", free_port()
    archive = REAL_KLINES / "archive"
    with serve(SimulatedExchange(archive if archive.is_dir() else None)) as exchange, log.open("wb") as output:
        env = os.environ | {
            "DAGSTER_HOME": str(home),
            "MARKET_DATA_DIR": str(root / "data"),
            "LOG_DIR": str(root / "logs"),
            "MARKET_DATA_EXCHANGE_URL": exchange.url,
            "MARKET_TYPE": "futures",
            "SYMBOL": "NEAR/USDT",
            "ALIGN_TZ": "Europe/Zurich",
            "PYTHONPATH": str(CHECKOUT),
            "PYTHONWARNINGS": "ignore:Function `dev_command` is superseded",
        }
        prepare_home(home)
        command = [sys.executable, "-m", "dagster", "dev", "-w", str(CHECKOUT / "workspace.yaml"), "-p", str(port)]
        with process(command, cwd=home, env=env, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL):
            running = Ui(f"http://127.0.0.1:{port}", env, log)
            wait_for(lambda: answers(running.url), log)
            yield running


@pytest.fixture(scope="module")
def loaded(ui: Ui) -> Ui:
    """Some days loaded by a backfill of the UI, others meanwhile by the command line, in the same store."""
    key = {"path": [*DATASET, "klines_1m"]}
    launched = ui.ask(LAUNCH, params={"assetSelection": [key], "partitionNames": BY_UI, "title": "three days"})
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    done = ui.cli("backfill", "--start", BY_CLI[0], "--end", "2023-10-26")
    assert done.returncode == 0, done.stderr

    def ended() -> Any:
        backfill = ui.ask(BACKFILL, id=launched["backfillId"])
        return backfill["status"] not in {"REQUESTED", "COMPLETING"} and backfill

    backfill = wait_for(ended, ui.log)
    assert backfill["status"] == "COMPLETED_SUCCESS", ui.log.read_text(errors="replace")[-5000:]
    (counts,) = backfill["assetBackfillData"]["assetBackfillStatuses"]
    assert counts == {"numPartitionsTargeted": 3, "numPartitionsMaterialized": 3, "numPartitionsFailed": 0}
    return ui


def of_backfill(run: dict[str, Any]) -> bool:
    return any(tag["key"] == "dagster/backfill" for tag in run["tags"])


def test_a_backfill_of_the_ui_is_one_run(loaded):
    (run,) = [run for run in loaded.ask(RUNS)["results"] if of_backfill(run)]
    assert run["status"] == "SUCCESS"


def test_the_run_of_the_command_line_is_shown(loaded):
    (run,) = [run for run in loaded.ask(RUNS)["results"] if not of_backfill(run)]
    assert run["status"] == "SUCCESS"
    assert {key["path"][-1] for key in run["assetSelection"]} == {"klines_1m", "manifest"}


def test_the_days_of_both_are_materialized_and_no_others(loaded):
    node = loaded.of_asset(DAYS, "klines_1m", days=[])
    ranges = node["assetPartitionStatuses"]["ranges"]
    assert [(one["startKey"], one["endKey"], one["status"]) for one in ranges] == [
        (BY_CLI[0], BY_CLI[-1], "MATERIALIZED"),
        (BY_UI[0], BY_UI[-1], "MATERIALIZED"),
    ]
    assert node["partitionStats"] == {"numMaterialized": 5, "numFailed": 0}


@pytest.mark.parametrize("day", BY_UI + BY_CLI)
def test_a_day_is_materialized_once_and_says_what_is_in_it(loaded, day):
    (event,) = loaded.of_asset(DAYS, "klines_1m", days=[day])["assetMaterializations"]
    said = {entry.pop("label"): next(iter(entry.values()), None) for entry in event["metadataEntries"]}
    assert said["dagster/partition_row_count"] == said["expected_rows"] == (1500 if day == "2023-10-29" else 1440)
    assert said["absent"] == "nothing"
    # The two hours of the UTC day before are one page of REST.
    assert said["source"] in {"archive", "archive+rest"}
    assert len(said["sha256"]) == 64
    assert said["close"]


def checks_of(ui: Ui, asset: str) -> dict[str, Any]:
    checks = ui.of_asset(CHECKS, asset)["assetChecksOrError"]["checks"]
    return {check["name"]: check["executionForLatestMaterialization"] for check in checks}


@pytest.mark.parametrize("asset", ["klines_1m", "manifest"])
def test_the_checks_are_shown_as_passed(loaded, asset):
    checks = checks_of(loaded, asset)
    assert checks
    for check in checks.values():
        assert check["status"] == "SUCCEEDED"
        assert check["evaluation"]["success"] is True


def test_a_failed_check_is_shown_with_what_is_wrong(loaded):
    """The last of these tests: it damages the store."""
    (chunk,) = Path(loaded.env["MARKET_DATA_DIR"]).glob("**/chunk_*_2023-10-29.parquet")
    chunk.unlink()
    done = loaded.cli("backfill", "--start", BY_CLI[0], "--end", BY_CLI[1], "--refetch")
    assert done.returncode == 1
    check = checks_of(loaded, "manifest")["chunks_match_manifest"]
    assert check["status"] == "FAILED"
    assert check["evaluation"]["severity"] == "ERROR"
    said = f"2023-10-29: the chunk {chunk.name} is missing; run market-data verify --repair"
    assert check["evaluation"]["description"] == said


def test_dagster_dev_warns_of_nothing(loaded):
    lines = loaded.log.read_text(errors="replace").splitlines()
    assert [line for line in lines if "Warning" in line or "WARNING" in line or "ERROR" in line] == []
