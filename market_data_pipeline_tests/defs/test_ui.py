"""What the Dagster UI shows, read from a real webserver and daemon over the GraphQL that its pages use."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from market_data_pipeline.instance import runs
from market_data_pipeline.instance.retention import prune
from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.server import serve
from market_data_pipeline_tests.dagster_dev import CHECKOUT, Ui, dagster_dev, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ui"), pytest.mark.timeout(300)]

REAL_KLINES = Path(os.environ.get("MARKET_DATA_REAL_KLINES") or CHECKOUT.parent / "shared" / "real_klines")
DATASET = ["binanceusdm", "NEARUSDT"]
BY_UI = ["2023-10-28", "2023-10-29", "2023-10-30"]
BY_CLI = ["2023-10-24", "2023-10-25"]

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
    ... on IntMetadataEntry { intValue } ... on TextMetadataEntry { text } ... on PathMetadataEntry { path } } }
} } }"""
CHECKS = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  assetChecksOrError { ... on AssetChecks { checks { name executionForLatestMaterialization { status
    evaluation { success severity description } } } } } } } }"""

DELETED = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  partitionStats { numMaterialized numFailed } assetPartitionStatuses { ... on TimePartitionStatuses {
    ranges { status startKey endKey } } }
  assetMaterializations { partition runId runOrError { __typename } } } } }"""
LATEST = """query($keys: [AssetKeyInput!]!) { assetsLatestInfo(assetKeys: $keys) {
  latestRun { id } latestMaterialization { runId } inProgressRunIds } }"""


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """`make dev` on a data root without a dataset; the settings name the dataset that the tests create."""
    archive = REAL_KLINES / "archive"
    with (
        serve(SimulatedExchange(archive if archive.is_dir() else None)) as exchange,
        dagster_dev(
            tmp_path_factory.mktemp("ui"),
            MARKET_DATA_EXCHANGE_URL=exchange.url,
            MARKET_TYPE="futures",
            SYMBOL="NEAR/USDT",
            ALIGN_TZ="Europe/Zurich",
        ) as running,
    ):
        yield running


def of_asset(ui: Ui, query: str, name: str, **variables: Any) -> Any:
    return ui.ask(query, key={"path": [*DATASET, name]}, **variables)


@pytest.fixture(scope="module")
def loaded(ui: Ui) -> Ui:
    """Some days loaded by a backfill of the UI, others at the same time by the command line, in the same store."""
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
    node = of_asset(loaded, DAYS, "klines_1m", days=[])
    ranges = node["assetPartitionStatuses"]["ranges"]
    assert [(days["startKey"], days["endKey"], days["status"]) for days in ranges] == [
        (BY_CLI[0], BY_CLI[-1], "MATERIALIZED"),
        (BY_UI[0], BY_UI[-1], "MATERIALIZED"),
    ]
    assert node["partitionStats"] == {"numMaterialized": 5, "numFailed": 0}


@pytest.mark.parametrize("day", BY_UI + BY_CLI)
def test_a_day_is_materialized_once_with_its_metadata(loaded, day):
    (event,) = of_asset(loaded, DAYS, "klines_1m", days=[day])["assetMaterializations"]
    metadata = {entry.pop("label"): next(iter(entry.values()), None) for entry in event["metadataEntries"]}
    assert metadata["dagster/partition_row_count"] == (1500 if day == "2023-10-29" else 1440)
    assert metadata["absent"] == "nothing"
    assert metadata["chunk"].startswith("loaded, archived, archive, ")
    assert Path(metadata["file"]).exists()


def checks_of(ui: Ui, asset: str) -> dict[str, Any]:
    checks = of_asset(ui, CHECKS, asset)["assetChecksOrError"]["checks"]
    return {check["name"]: check["executionForLatestMaterialization"] for check in checks}


@pytest.mark.parametrize("asset", ["klines_1m", "manifest"])
def test_the_checks_are_shown_as_passed(loaded, asset):
    checks = checks_of(loaded, asset)
    assert checks
    for check in checks.values():
        assert check["status"] == "SUCCEEDED"
        assert check["evaluation"]["success"] is True


def test_after_the_runs_are_deleted_the_days_are_shown_and_that_their_run_is_gone(loaded):
    """Those that follow see no run of before."""
    with runs.open_instance(Path(loaded.env["DAGSTER_HOME"])) as instance:
        pruned = prune(instance, datetime.now(UTC) + timedelta(seconds=1))
    assert pruned.runs >= 2 and loaded.ask(RUNS)["results"] == []
    shown = of_asset(loaded, DELETED, "klines_1m")
    assert shown["partitionStats"] == {"numMaterialized": 5, "numFailed": 0}
    days = [days for days in shown["assetPartitionStatuses"]["ranges"] if days["status"] == "MATERIALIZED"]
    assert [(days["startKey"], days["endKey"]) for days in days] == [(BY_CLI[0], BY_CLI[-1]), (BY_UI[0], BY_UI[-1])]
    assert len(shown["assetMaterializations"]) == 5
    assert {event["runOrError"]["__typename"] for event in shown["assetMaterializations"]} == {"RunNotFoundError"}
    manifest = of_asset(loaded, DELETED, "manifest")["assetMaterializations"]
    assert [event["runOrError"]["__typename"] for event in manifest] == ["RunNotFoundError"]
    latest = loaded.ask(LATEST, keys=[{"path": [*DATASET, "klines_1m"]}])
    assert latest[0]["latestRun"] is None and latest[0]["inProgressRunIds"] == []
    assert all(check["status"] == "SUCCEEDED" for check in checks_of(loaded, "manifest").values())


def test_a_failed_check_is_shown_with_what_is_wrong(loaded):
    """The last of these tests: it damages the store."""
    (chunk,) = Path(loaded.env["MARKET_DATA_DIR"]).glob("**/chunk_*_2023-10-29.parquet")
    chunk.unlink()
    done = loaded.cli("backfill", "--start", BY_CLI[0], "--end", BY_CLI[1], "--refetch")
    assert done.returncode == 1
    check = checks_of(loaded, "manifest")["chunks_match_manifest"]
    assert check["status"] == "FAILED"
    assert check["evaluation"]["severity"] == "ERROR"
    description = f"2023-10-29: the chunk {chunk.name} is missing; run market-data verify --repair"
    assert check["evaluation"]["description"] == description


def test_dagster_dev_warns_of_nothing(loaded):
    lines = loaded.log.read_text(errors="replace").splitlines()
    warnings = [line for line in lines if "Warning" in line or "WARNING" in line or "ERROR" in line]
    # Dagster says it of each new instance whose runs are started anew when their worker dies (`run_retries`).
    assert [line for line in warnings if "No cursor for event type" not in line] == []
