"""The nightly proof: that its schedule is on, when it runs, and which damage its checks find.

Its runs send requests only for the days that are compared with another source, and for live datasets.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError
from starlette.responses import Response

from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.findings import MATCHES_MANIFEST
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.loading.resolve import OpenSource
from market_data_pipeline.core.proof.rolling import DAY_S, Turns
from market_data_pipeline.core.sources.protocol import KlineSource
from market_data_pipeline.defs.assets import asset_key
from market_data_pipeline.defs.location import location_of
from market_data_pipeline.defs.resources import Tools
from market_data_pipeline.instance.names import CAN_BE_READ, CHECKS, FRESH, MATCHES_OTHER_SOURCE, PROOF_OP
from market_data_pipeline.simulator.queries import RequestInfo
from market_data_pipeline_tests.defs.loading import (
    BTC,
    COMBINED,
    KLINES,
    MANIFEST,
    NEAR,
    Loading,
    beside_an_exchange,
    copied,
    values,
)
from market_data_pipeline_tests.defs.test_ui import Ui, checks_of, wait_for
from market_data_pipeline_tests.defs.test_ui import ui as ui  # a fixture
from market_data_pipeline_tests.support import flip_a_byte

DATASETS = [BTC, NEAR]
NAMES = {*CHECKS, MATCHES_OTHER_SOURCE, FRESH}

LOCATION = {"repositoryName": "__repository__", "repositoryLocationName": "market_data_pipeline"}
SCHEDULE = """query($schedule: ScheduleSelector!) { scheduleOrError(scheduleSelector: $schedule) { ... on Schedule {
  cronSchedule executionTimezone pipelineName scheduleState { status } } } }"""
TICK = """mutation($schedule: ScheduleSelector!) { scheduleDryRun(selectorData: $schedule, timestamp: 1700000000.0) {
  ... on DryRunInstigationTick { evaluationResult { runRequests { runKey } skipReason error { message } } } } }"""
LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
RUN = """query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"""


def refuse(market: Market, pair: str) -> KlineSource:
    raise AssertionError(f"the source of {market} {pair} was opened")


def schedule_of(tools: Tools) -> dg.ScheduleDefinition:
    return location_of(DATASETS, tools).get_repository_def().get_schedule_def("nightly_proof")


def tick(tools: Tools) -> Any:
    with dg.build_schedule_context(resources={"tools": tools}) as context:
        return schedule_of(tools).evaluate_tick(context)


def location(load: Loading, datasets: list[Dataset]) -> dg.Definitions:
    def opener(name: str | None) -> OpenSource:
        return refuse if name is None else load.tools.opener(name)

    return location_of(datasets, load.with_tools(opener=opener).tools)


def prove(load: Loading, definitions: dg.Definitions | None = None) -> dg.ExecuteInProcessResult:
    proof = (definitions or location(load, DATASETS)).resolve_job_def("proof")
    return proof.execute_in_process(instance=load.instance, raise_on_error=False)


def pages(load: Loading) -> int:
    """How many pages of klines were requested over REST so far."""
    stats = load.exchange.stats()
    return sum(stats[market]["endpoints"].get("klines", 0) for market in ("spot", "futures"))


def outcomes(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], bool]:
    """Whether each check passed, by the exchange's id and the check's name."""
    return {
        (evaluation.asset_key.path[0], evaluation.check_name): evaluation.passed
        for evaluation in result.get_asset_check_evaluations()
    }


def recorded(load: Loading) -> dict[tuple[str, str], bool]:
    """As `outcomes`, of the last run of the job, which may have failed."""
    (run,) = load.instance.get_runs(dg.RunsFilter(job_name="proof"), limit=1)
    logs = load.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    evaluations = [entry.get_dagster_event().asset_check_evaluation_data for entry in logs]
    return {(found.asset_key.path[0], found.check_name): found.passed for found in evaluations}


def all_checks(*datasets: Dataset) -> set[tuple[str, str]]:
    return {(dataset.market.exchange_id, name) for dataset in datasets for name in NAMES}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with two datasets, both whole, one of them with its combined file."""
    root = tmp_path_factory.mktemp("stored")
    with beside_an_exchange(root) as load:
        load.run(BTC, "2021-04-24", "2021-04-25")
        load.run(NEAR, "2023-10-28", "2023-10-30", assets=[KLINES, MANIFEST])
    return root


@pytest.fixture
def loaded(stored: Path, tmp_path: Path) -> Iterator[Loading]:
    """Those two datasets, in a data root of the test's own."""
    with copied(stored, tmp_path) as load:
        yield load


# --- when it runs


def test_the_schedule_is_on_by_default_and_ticks_every_night(load: Loading):
    schedule = schedule_of(load.tools)
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("17 3 * * *", "UTC")
    assert schedule.job_name == "proof"


def test_a_tick_requests_one_run_for_all_datasets(loaded: Loading):
    (request,) = tick(loaded.tools).run_requests
    assert (request.asset_selection, request.asset_check_keys, request.partition_key) == (None, None, None)


def test_a_tick_on_an_empty_store_requests_no_run_and_gives_the_reason(load: Loading):
    ticked = tick(load.tools)
    assert ticked.run_requests == []
    assert ticked.skip_message == f"There is no dataset in {load.tools.store.root} yet, so there is nothing to prove."


def test_a_dataset_with_no_file_but_dataset_json_is_not_skipped(loaded: Loading):
    store = loaded.store(BTC)
    shutil.rmtree(loaded.store(NEAR).folder)
    shutil.rmtree(store.folder / "chunks")
    (store.folder / "manifest.json").unlink()
    assert len(tick(loaded.tools).run_requests) == 1
    assert not outcomes(prove(loaded))["binance", "days_are_joined"]


# --- what it finds


def test_on_a_whole_store_every_check_of_every_dataset_passes(loaded: Loading):
    result = prove(loaded)
    assert result.success
    assert outcomes(result) == dict.fromkeys(all_checks(*DATASETS), True)


def test_a_proof_materializes_nothing_and_requests_only_what_it_compares(loaded: Loading):
    before = pages(loaded)
    result = prove(loaded)
    assert result.success
    assert result.get_asset_materialization_events() == []
    assert pages(loaded) == before, "days from REST are compared with the archive"


def evaluated(
    load: Loading, dataset: Dataset, name: str, definitions: dg.Definitions | None = None
) -> dg.AssetCheckEvaluation:
    (evaluation,) = (
        evaluation
        for evaluation in prove(load, definitions).get_asset_check_evaluations()
        if evaluation.check_name == name and evaluation.asset_key.path[0] == dataset.market.exchange_id
    )
    return evaluation


def compared(load: Loading, dataset: Dataset) -> dg.AssetCheckEvaluation:
    return evaluated(load, dataset, MATCHES_OTHER_SOURCE)


def test_equal_days_are_counted(loaded: Loading):
    assert compared(loaded, NEAR).description == "3 days, equal"


def test_a_day_with_other_values_in_the_other_source_is_an_error_with_the_values(loaded: Loading):
    loaded.exchange.hooks.append(lambda request: "archive_differs" if "2023-10-29" in request.path else None)
    check = compared(loaded, NEAR)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert check.description and check.description.startswith("2023-10-")
    command = "market-data --market futures --pair NEAR/USDT verify --repair --against archive --every-day"
    assert check.description.endswith(f" not equal; run {command}")
    (first, *_) = check.metadata["findings"].value.records
    assert "close: ours" in first.data["problem"]


def test_a_comparison_of_no_day_is_a_warning_with_the_reason(loaded: Loading):
    loaded.exchange.hooks.append(lambda request: "late_archive" if request.area == "archive" else None)
    check = compared(loaded, NEAR)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "no file of 2023-10-" in str(check.description)


def test_a_pair_that_the_other_source_knows_no_more_passes_with_the_reason(loaded: Loading):
    gone = json.dumps({"code": -1121, "msg": "Invalid symbol."})

    def hook(request: RequestInfo) -> Response:
        if request.area == "listing":
            return Response("<ListBucketResult></ListBucketResult>")
        return Response(gone, 404 if request.area == "archive" else 400)

    loaded.exchange.hooks.append(hook)
    check = compared(loaded, NEAR)
    assert check.passed, check.description
    assert str(check.description).startswith("nothing could be compared")


def test_a_dataset_that_is_not_live_passes_the_freshness_check_without_a_request(loaded: Loading):
    check = evaluated(loaded, NEAR, FRESH)
    assert (check.passed, check.description) == (True, "not live, so it is not expected to be current")


def test_a_live_dataset_that_is_behind_the_exchange_is_a_warning(loaded: Loading):
    loaded.store(NEAR).mark_live(True)
    check = evaluated(loaded, NEAR, FRESH, location_of(DATASETS, loaded.tools))
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.description and check.description.startswith("stored up to 2023-10-30T23:00Z")
    assert "behind the exchange; turn the live sensor on" in check.description
    assert values(check.metadata)["lag_minutes"] > 3


def test_a_check_that_cannot_be_evaluated_fails_the_run_and_hides_no_other_check(loaded: Loading):
    loaded.store(NEAR).mark_live(True)  # so its freshness check opens the source that `location` refuses
    result = prove(loaded)
    assert not result.success
    assert recorded(loaded) == dict.fromkeys(all_checks(*DATASETS), True) | {("binanceusdm", FRESH): False}


def test_one_check_alone_can_be_evaluated(loaded: Loading):
    definitions = location(loaded, DATASETS)
    chosen = dg.AssetCheckKey(asset_key(NEAR, KLINES), MATCHES_OTHER_SOURCE)
    alone = dg.define_asset_job("alone", dg.AssetSelection.checks(chosen))
    job = dg.Definitions.merge(definitions, dg.Definitions(jobs=[alone])).resolve_job_def("alone")
    result = job.execute_in_process(instance=loaded.instance)
    assert outcomes(result) == {("binanceusdm", MATCHES_OTHER_SOURCE): True}


def test_a_flipped_byte_fails_the_check_of_that_dataset_and_no_other(loaded: Loading):
    flip_a_byte(loaded.chunk(NEAR, "2023-10-29"))
    result = prove(loaded)
    assert result.success, "a finding is a failed check, not a broken run"
    assert outcomes(result).keys() == all_checks(*DATASETS)
    assert [check for check, passed in outcomes(result).items() if not passed] == [
        ("binanceusdm", "chunks_match_manifest")
    ]


def test_the_asset_shows_the_failed_check_until_a_proof_after_the_repair(loaded: Loading):
    key = dg.AssetCheckKey(dg.AssetKey(["binanceusdm", "NEARUSDT", MANIFEST]), "chunks_match_manifest")

    def last_result() -> bool:
        storage = loaded.instance.event_log_storage
        record = storage.get_latest_asset_check_execution_by_key([key])[key]
        assert record.evaluation is not None
        return record.evaluation.passed

    path = loaded.chunk(NEAR, "2023-10-29")
    undamaged = path.read_bytes()
    flip_a_byte(path)
    prove(loaded)
    assert not last_result()
    path.write_bytes(undamaged)
    prove(loaded)
    assert last_result()


def unreadable(dataset: Dataset) -> dict[tuple[str, str], bool]:
    """The outcomes of a dataset whose `dataset.json` is damaged."""
    return {(dataset.market.exchange_id, name): False for name in (CAN_BE_READ, MATCHES_MANIFEST)}


@pytest.mark.parametrize(("damaged", "other"), [(BTC, NEAR), (NEAR, BTC)])
def test_a_dataset_json_damaged_after_dagster_loaded_fails_a_check_and_hides_no_other(loaded: Loading, damaged, other):
    definitions = location(loaded, DATASETS)
    (loaded.store(damaged).folder / "dataset.json").write_bytes(b"{}")
    result = prove(loaded, definitions)
    assert result.success
    assert outcomes(result) == dict.fromkeys(all_checks(other), True) | unreadable(damaged)


@pytest.mark.parametrize(("damaged", "other"), [(BTC, NEAR), (NEAR, BTC)])
def test_a_dataset_json_damaged_before_dagster_loaded_is_a_failed_check(loaded: Loading, damaged, other):
    path = loaded.store(damaged).folder / "dataset.json"
    undamaged = path.read_bytes()
    path.write_bytes(b"{}")
    definitions = location(loaded, [other])
    result = prove(loaded, definitions)
    assert result.success
    key = (damaged.market.exchange_id, CAN_BE_READ)
    assert outcomes(result) == dict.fromkeys(all_checks(other), True) | unreadable(damaged)
    description = {check.check_name: check.description for check in result.get_asset_check_evaluations()}[CAN_BE_READ]
    assert str(path) in description and "restore it, or move it away" in description
    path.write_bytes(undamaged)
    assert outcomes(prove(loaded, definitions)) == dict.fromkeys({*all_checks(*DATASETS), key}, True)
    assert outcomes(prove(loaded, definitions)) == dict.fromkeys(all_checks(*DATASETS), True)


# --- nights


@dataclass
class Clock:
    """A clock that the test sets. `interrupted_at` is the look at it, from 1, at which the run is cancelled."""

    now_s: float
    interrupted_at: int = 0
    looks: int = 0

    def __call__(self) -> float:
        self.looks += 1
        if self.looks == self.interrupted_at:
            raise DagsterExecutionInterruptedError
        return self.now_s


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (output,) = (event for event in result.all_events if event.is_successful_output)
    return values(output.step_output_data.metadata)


def test_each_night_reads_what_is_new_and_some_of_the_rest_and_tells_how_much(loaded: Loading):
    clock = Clock(time.time() + DAY_S)
    load = loaded.with_tools(turns=Turns(within_days=3, clock=clock))
    assert metadata_of(prove(load)) == {
        "datasets": 2,
        "days": 5,
        "days_read": 5,
        "days_not_reached": 0,
        "combined_files_not_reached": 0,
        "datasets_not_compared": 0,
        "datasets_without_a_proof": 0,
    }
    new = NEAR.day("2023-10-31")
    with closing(load.tools.opener("rest")(NEAR.market, NEAR.pair)) as source:
        list(backfill(load.store(NEAR), source, Span(new.start_ms, new.end_ms)))
    clock.now_s += DAY_S
    result = prove(load)
    assert result.success
    read = {
        (check.asset_key.path[0], check.check_name): values(check.metadata)["days_read_now"]
        for check in result.get_asset_check_evaluations()
        if check.check_name == MATCHES_MANIFEST
    }
    # One of two, and of four, days two: the new one, and the two whose turn it is.
    assert read == {("binance", MATCHES_MANIFEST): 1, ("binanceusdm", MATCHES_MANIFEST): 3}
    assert metadata_of(result)["days_read"] == 4


def test_a_night_without_time_says_what_it_has_not_reached(loaded: Loading):
    clock = Clock(time.time() + DAY_S)
    result = prove(loaded.with_tools(turns=Turns(most_s=0, clock=clock)))
    told = metadata_of(result)
    assert (told["days_read"], told["days_not_reached"], told["datasets_not_compared"]) == (0, 5, 2)
    assert told["combined_files_not_reached"] == 1
    assert {name for _, name in outcomes(result)} == CHECKS.keys()
    assert all(outcomes(result).values()), "the manifest and the files agree"


def test_a_run_with_whole_reads_all_without_an_end_of_the_time(loaded: Loading):
    load = loaded.with_tools(turns=Turns(most_s=0, clock=Clock(time.time() + DAY_S)))
    job = location(load, DATASETS).resolve_job_def("proof")
    config = {"ops": {PROOF_OP: {"config": {"whole": True}}}}
    for _ in range(2):
        told = metadata_of(job.execute_in_process(run_config=config, instance=load.instance))
        assert (told["days_read"], told["days_not_reached"], told["datasets_not_compared"]) == (5, 0, 0)


@pytest.mark.parametrize(("damaged", "other"), [(BTC, NEAR), (NEAR, BTC)])
def test_a_run_with_a_market_proves_the_datasets_of_that_market_alone(loaded: Loading, damaged, other):
    (loaded.store(damaged).folder / "dataset.json").write_bytes(b"{}")
    job = location(loaded, DATASETS).resolve_job_def("proof")
    found = {}
    for dataset in (damaged, other):
        config = {"ops": {PROOF_OP: {"config": {"market": dataset.market.value}}}}
        found[dataset] = outcomes(job.execute_in_process(run_config=config, instance=loaded.instance))
    assert found == {damaged: unreadable(damaged), other: dict.fromkeys(all_checks(other), True)}


def test_checks_of_an_asset_that_a_person_evaluates_read_the_whole_dataset(loaded: Loading):
    clock = Clock(time.time() + DAY_S)
    load = loaded.with_tools(turns=Turns(clock=clock))
    prove(load)
    path = load.chunk(NEAR, "2023-10-30")
    times = path.stat()
    flip_a_byte(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not load.checks_alone(NEAR)[MATCHES_MANIFEST].passed
    # And the next night does not take it for good, though it is not the chunk's turn.
    assert not outcomes(prove(load))["binanceusdm", MATCHES_MANIFEST]


def test_a_cancelled_run_keeps_what_it_has_proved_and_the_next_begins_with_the_rest(loaded: Loading):
    clock = Clock(time.time() + DAY_S)
    load = loaded.with_tools(turns=Turns(clock=clock))
    # On a slow machine the load itself has noted some chunks as read: its checks came long enough after their writing.
    for noted in load.tools.store.root.rglob("proof.json"):
        noted.unlink()
    # One look begins the night. The first dataset takes one, one for its chunks and one for its combined file.
    clock.interrupted_at = 5
    job = location(load, DATASETS).resolve_job_def("proof")
    with pytest.raises(DagsterExecutionInterruptedError):
        job.execute_in_process(instance=load.instance)
    assert recorded(load) == {("binance", name): True for name in CHECKS}
    clock.interrupted_at = 0
    assert metadata_of(prove(load))["days_read"] == 3 + 1


@pytest.mark.slow
def test_many_datasets_are_proved_in_processes(load: Loading):
    load.run(BTC, "2021-04-24", "2021-04-25", assets=[KLINES])
    folder = load.store(BTC).folder
    for number in range(10):
        load.tools.store.create(Market.SPOT, f"N{number:03d}/USDT", zone=BTC.zone, start=BTC.start)
    flip_a_byte(folder / "chunks" / "chunk_000480_2021-04-24.parquet")
    datasets = list(load.tools.store.datasets())
    result = location_of(datasets, load.tools).resolve_job_def("proof").execute_in_process(instance=load.instance)
    failed = {
        (check.asset_key.path[1], check.check_name): str(check.description)
        for check in result.get_asset_check_evaluations()
        if not check.passed
    }
    assert failed.keys() == {("BTCUSDT", MATCHES_MANIFEST)}
    assert metadata_of(result)["datasets"] == 11


# --- in a running Dagster


@pytest.mark.slow
@pytest.mark.xdist_group("ui")
def test_a_running_dagster_has_the_schedule_on_and_shows_the_failed_check_of_a_run(ui: Ui):
    schedule = {**LOCATION, "scheduleName": "nightly_proof"}
    assert ui.ask(SCHEDULE, schedule=schedule) == {
        "cronSchedule": "17 3 * * *",
        "executionTimezone": "UTC",
        "pipelineName": "proof",
        "scheduleState": {"status": "RUNNING"},
    }
    assert "nothing to prove" in ui.ask(TICK, schedule=schedule)["evaluationResult"]["skipReason"]

    assert ui.cli("backfill", "--start", "2023-10-24", "--end", "2023-10-26").returncode == 0
    ticked = ui.ask(TICK, schedule=schedule)["evaluationResult"]
    assert (len(ticked["runRequests"]), ticked["skipReason"], ticked["error"]) == (1, None, None)

    (chunk,) = Path(ui.env["MARKET_DATA_DIR"]).glob("**/chunk_*_2023-10-25.parquet")
    flip_a_byte(chunk)
    launched = ui.ask(LAUNCH, params={"selector": {**LOCATION, "jobName": "proof"}, "mode": "default"})
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run_id = launched["run"]["runId"]
    wait_for(lambda: ui.ask(RUN, id=run_id)["status"] == "SUCCESS", ui.log)
    checks = {name: check for asset in (KLINES, MANIFEST, COMBINED) for name, check in checks_of(ui, asset).items()}
    assert checks.keys() == NAMES
    assert [name for name, check in checks.items() if check["status"] != "SUCCEEDED"] == ["chunks_match_manifest"]
    assert "2023-10-25" in checks["chunks_match_manifest"]["evaluation"]["description"]
