"""Runs of the assets: what they load, what they record in Dagster, and what is kept when a run fails."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError
from starlette.responses import Response

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.coverage import Absence, Kind
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.store.atomic import sha256_of
from market_data_pipeline.core.store.chunks.files import new_chunk
from market_data_pipeline.core.text import size_text
from market_data_pipeline.defs.location import definitions_of
from market_data_pipeline.defs.resources import Caller
from market_data_pipeline.instance import runs
from market_data_pipeline.simulator.queries import RequestInfo
from market_data_pipeline_tests.defs.loading import BTC, COMBINED, KLINES, MANIFEST, NEAR, Loading, local, values
from market_data_pipeline_tests.support import flip_a_byte

CHECKS_OF_KLINES = {"klines_keep_schema", "minutes_are_covered", "days_are_joined", "klines_are_plausible"}
ALL_CHECKS = CHECKS_OF_KLINES | {"chunks_match_manifest", "combined_equals_chunks"}
WAVES = Dataset(Market.SPOT, "WAVES/USDT", parse_zone("UTC"), date(2020, 1, 1))
METADATA_OF_A_DAY = {"dagster/partition_row_count", "absent", "chunk", "file"}


def refusing(start_ms: int) -> Callable[[RequestInfo], Response | None]:
    """A hook that refuses each request for a page of klines with this instant."""

    def hook(request: RequestInfo) -> Response | None:
        if request.endpoint == "klines" and "endTime" in request.params:
            first, last = int(request.params["startTime"]), int(request.params["endTime"])
            if first <= start_ms <= last:
                return Response(b'{"code":-1130,"msg":"Refused by the test."}', 400, media_type="application/json")
        return None

    return hook


class Stop:
    """A callback that raises an error on its call number `after`."""

    def __init__(self, after: int, error: type[BaseException]) -> None:
        self._left, self._error = after, error

    def __call__(self, result: DayResult) -> None:
        self._left -= 1
        if not self._left:
            raise self._error


def failed(checks: dict[str, dg.AssetCheckEvaluation]) -> dict[str, dg.AssetCheckSeverity]:
    return {name: check.severity for name, check in checks.items() if not check.passed}


def outcome_of(day: dg.AssetMaterialization) -> str:
    """What became of the day: the first word about its chunk."""
    return str(values(day.metadata)["chunk"]).partition(",")[0]


# --- what a run records


def test_a_range_of_days_is_one_run_with_one_materialization_a_day(load: Loading):
    report = load.run(BTC, "2021-04-24", "2021-04-26")
    assert report.success
    assert report.failed_checks == ()
    assert load.days(report, BTC) == ["2021-04-24", "2021-04-25", "2021-04-26"]
    assert load.recorded_days(BTC) == {"2021-04-24", "2021-04-25", "2021-04-26"}
    assert len(load.materializations(report, BTC, MANIFEST)) == 1
    assert len(load.materializations(report, BTC, COMBINED)) == 1
    assert load.instance.get_runs_count() == 1


def test_the_metadata_of_a_day(load: Loading):
    report = load.run(BTC, "2021-04-25", assets=[KLINES])
    (event,) = load.materializations(report, BTC, KLINES)
    path, metadata = load.chunk(BTC, "2021-04-25"), values(event.metadata)
    assert metadata.keys() == METADATA_OF_A_DAY | {"evidence"}
    assert metadata["dagster/partition_row_count"] == 1156
    assert metadata["absent"] == "outage 284 min from 2021-04-25T04:01Z"
    assert metadata["evidence"] == "rest: none, asked twice; archive: none of them; ETH/USDT: none of them"
    size, sha256 = size_text(path.stat().st_size), sha256_of(path.read_bytes())
    assert metadata["chunk"] == f"loaded, confirmed, rest, {size}, sha256 {sha256[:12]}…"
    assert metadata["file"] == str(path)


def messages(load: Loading, report: runs.RunReport) -> list[str]:
    """What steps of a run have logged themselves."""
    logs = load.instance.all_logs(report.run_id)
    return [entry.user_message for entry in logs if not entry.is_dagster_event]


def test_the_log_of_a_run_has_one_line_of_what_it_did(load: Loading):
    load.run(BTC, "2021-04-24", assets=[KLINES])
    again = load.run(BTC, "2021-04-24", "2021-04-26", assets=[KLINES])
    assert messages(load, again) == ["spot BTC/USDT, 3 days: 2 loaded, 1 unchanged; 2,596 klines loaded"]


@pytest.mark.parametrize(
    ("dataset", "day", "says"),
    [
        (NEAR, "2020-10-12", "futures NEAR/USDT, 1 day: 1 not_listed (not listed before 2020-10-15T"),
        (WAVES, "2025-03-02", "spot WAVES/USDT, 1 day: 1 paused (not traded since 2024-06-17T03:00Z"),
    ],
)
def test_the_log_says_why_a_day_has_nothing_to_load(load: Loading, dataset: Dataset, day: str, says: str):
    report = load.run(
        replace(dataset, start=min(dataset.start, date.fromisoformat(day))), day, assets=[KLINES], source="auto"
    )
    assert report.success
    (line,) = messages(load, report)
    assert line.startswith(says)
    assert line.endswith("); 0 klines loaded")


def test_each_day_is_recorded_at_a_millisecond_of_its_own(load: Loading):
    """The UI's list of an asset's events shows only one of those with the same millisecond."""
    report = load.run(BTC, "2021-04-01", "2021-04-20", assets=[KLINES])
    logs = load.instance.all_logs(report.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    moments = [int(entry.timestamp * 1000) for entry in logs]
    assert len(set(moments)) == 20
    assert moments == sorted(moments)


def test_a_day_of_25_hours_is_expected_to_have_1500_rows(load: Loading):
    report = load.run(NEAR, "2023-10-28", "2023-10-30")
    rows = [values(event.metadata) for event in load.materializations(report, NEAR, KLINES)]
    assert [row["dagster/partition_row_count"] for row in rows] == [1440, 1500, 1440]
    assert {row["absent"] for row in rows} == {"nothing"}


def test_manifest_and_combined_sum_up_all_days(load: Loading):
    load.run(BTC, "2021-04-24")
    report = load.run(BTC, "2021-04-25")
    (manifest,) = load.materializations(report, BTC, MANIFEST)
    (combined,) = load.materializations(report, BTC, COMBINED)
    metadata = values(manifest.metadata)
    assert (metadata["chunks"], metadata["complete_chunks"], metadata["dagster/row_count"]) == (2, 2, 1440 + 1156)
    assert (metadata["first_day"], metadata["last_day"]) == ("2021-04-24", "2021-04-25")
    assert (metadata["absent"], metadata["states"]) == ("outage 284 min", "confirmed 2")
    assert values(combined.metadata)["dagster/row_count"] == 1440 + 1156
    assert values(combined.metadata)["outcome"] == "built"


def test_every_check_is_evaluated_with_what_it_read_in_its_metadata(load: Loading):
    report = load.run(BTC, "2021-04-24", "2021-04-25")
    checks = load.checks(report)
    assert checks.keys() == ALL_CHECKS
    assert failed(checks) == {}
    for name in ALL_CHECKS - {"combined_equals_chunks"}:
        assert values(checks[name].metadata) == {"days": 2, "klines": 1440 + 1156, "absent": "outage 284 min"}
    assert values(checks["combined_equals_chunks"].metadata) == {"combined": "equal"}


def test_a_run_of_days_alone_evaluates_only_the_checks_of_klines(load: Loading):
    report = load.run(BTC, "2021-04-24", assets=[KLINES])
    assert load.checks(report).keys() == CHECKS_OF_KLINES


# --- what a run does


def test_a_second_run_requests_no_stored_kline_and_changes_nothing(load: Loading):
    load.run(BTC, "2021-04-24", "2021-04-26")
    content, pages = load.chunk(BTC, "2021-04-25").read_bytes(), load.requests()
    report = load.run(BTC, "2021-04-24", "2021-04-26")
    days = load.materializations(report, BTC, KLINES)
    assert [outcome_of(day) for day in days] == ["unchanged"] * 3
    assert values(load.materializations(report, BTC, COMBINED)[0].metadata)["outcome"] == "unchanged"
    assert load.requests() - pages <= 2, "more than the requests for the pair's first and newest kline"
    assert load.chunk(BTC, "2021-04-25").read_bytes() == content


def test_a_run_of_a_single_partition(load: Loading):
    job = definitions_of([BTC], load.tools).resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(instance=load.instance, partition_key="2021-04-25")
    assert result.success
    assert load.recorded_days(BTC) == {"2021-04-25"}
    assert len(result.get_asset_check_evaluations()) == len(ALL_CHECKS)


def test_refetch_requests_stored_klines_again(load: Loading):
    load.run(BTC, "2021-04-24")
    pages = load.requests()
    report = load.run(BTC, "2021-04-24", refetch=True)
    (day,) = load.materializations(report, BTC, KLINES)
    assert outcome_of(day) == "loaded"
    assert load.requests() - pages > 2


def test_the_metadata_of_a_revised_day_has_the_changed_values(load: Loading):
    load.run(BTC, "2021-04-24", "2021-04-25")
    store, day = load.store(BTC), BTC.day("2021-04-24")
    klines = store.read(day).klines
    more = [count + 1 if row in (60, 61) else count for row, count in enumerate(klines["trades"].to_pylist())]
    store.publish(
        new_chunk(store.dataset, day, klines.set_column(8, klines.schema.field("trades"), [more]), (), source="rest")
    )
    store.flush()
    report = load.run(BTC, "2021-04-24", "2021-04-25", refetch=True)
    revised, same = load.materializations(report, BTC, KLINES)
    metadata = values(revised.metadata)
    assert metadata.keys() == METADATA_OF_A_DAY | {"revised_minutes", "revised"}
    assert metadata["revised_minutes"] == 2
    assert f"2021-04-24T01:00Z trades: {more[60]} → {more[60] - 1}" in metadata["revised"]
    assert metadata["chunk"].rpartition(" ")[2] in metadata["revised"]
    assert same.metadata.keys() == METADATA_OF_A_DAY | {"evidence"}


@pytest.mark.parametrize(("chunk_size", "groups"), [(None, [1440]), (1000, [1000, 440])])
def test_chunk_size_is_the_rows_of_a_row_group(load: Loading, chunk_size, groups):
    load.run(BTC, "2021-04-24", chunk_size=chunk_size)
    with pq.ParquetFile(load.chunk(BTC, "2021-04-24")) as file:
        assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == groups


@pytest.mark.parametrize("chunk_size", [0, 10**19])
def test_a_chunk_size_that_no_chunk_can_have_is_refused(load: Loading, chunk_size: int):
    report = load.run(BTC, "2021-04-24", chunk_size=chunk_size)
    assert not report.success
    assert "chunk_size" in str(report.error)
    assert load.tools.store.find(BTC.market, BTC.pair) is None


def test_minutes_outside_start_ms_and_end_ms_are_not_requested(load: Loading):
    requested = local(BTC, "2021-04-24", "06:00", "18:30")
    report = load.run(BTC, "2021-04-24", start_ms=requested.start_ms, end_ms=requested.end_ms)
    assert report.failed_checks == ()
    entry = load.store(BTC).entries["2021-04-24"]
    assert (entry.rows, entry.complete) == (requested.minutes, False)
    assert entry.absences == (
        Absence(Kind.NOT_REQUESTED, local(BTC, "2021-04-24", "00:00", "06:00")),
        Absence(Kind.NOT_REQUESTED, local(BTC, "2021-04-24", "18:30", "24:00")),
    )


def test_a_window_outside_the_days_of_the_run_fails_it(load: Loading):
    day = BTC.day("2021-04-24")
    report = load.run(BTC, "2021-04-25", start_ms=day.start_ms, end_ms=day.end_ms)
    assert not report.success
    assert report.error == "start_ms and end_ms of the run config leave no minute of the run's days"
    assert load.recorded_days(BTC) == set()


def test_build_combined_makes_it_in_a_run_of_days_alone(load: Loading):
    assert not load.materializations(load.run(BTC, "2021-04-24", assets=[KLINES]), BTC, COMBINED)
    report = load.with_tools(build_combined=True).run(BTC, "2021-04-25", assets=[KLINES])
    (combined,) = load.materializations(report, BTC, COMBINED)
    assert values(combined.metadata)["dagster/row_count"] == 1440 + 1156


def test_build_combined_makes_it_once_where_the_run_makes_it_anyway(load: Loading):
    report = load.with_tools(build_combined=True).run(BTC, "2021-04-24")
    assert len(load.materializations(report, BTC, COMBINED)) == 1


# --- what is kept when a run fails


def test_a_failing_day_fails_the_run_with_its_key_and_the_other_days_are_recorded(load: Loading):
    noon_ms = local(NEAR, "2023-10-03", "12:00", "12:01").start_ms
    load.exchange.hooks.append(refusing(noon_ms))
    report = load.run(NEAR, "2023-10-02", "2023-10-05")
    assert load.status(report) is dg.DagsterRunStatus.FAILURE
    assert load.days(report, NEAR) == ["2023-10-02", "2023-10-04", "2023-10-05"]
    (reason,) = [record.data for record in load.failure(report)["failed"].records]
    assert reason["day"] == "2023-10-03"
    assert "HTTP 400" in reason["problem"]
    assert "2023-10-03" in str(report.error)


def test_after_a_failing_day_the_next_run_loads_just_that_day(load: Loading):
    load.exchange.hooks.append(refusing(local(NEAR, "2023-10-03", "12:00", "12:01").start_ms))
    load.run(NEAR, "2023-10-02", "2023-10-04")
    load.exchange.hooks.clear()
    report = load.run(NEAR, "2023-10-02", "2023-10-04")
    assert load.status(report) is dg.DagsterRunStatus.SUCCESS
    outcomes = [outcome_of(day) for day in load.materializations(report, NEAR, KLINES)]
    assert outcomes == ["unchanged", "loaded", "unchanged"]
    assert report.failed_checks == ()


def test_an_unlisted_pair_fails_the_run_and_makes_no_files(load: Loading):
    unknown = type(BTC)(BTC.market, "NOSUCH/USDT", BTC.zone, BTC.start)
    report = load.run(unknown, "2021-04-24")
    assert not report.success
    assert "spot does not list NOSUCH/USDT" in str(report.error)
    assert load.tools.store.find(unknown.market, unknown.pair) is None


@pytest.mark.parametrize("error", [KeyboardInterrupt, DagsterExecutionInterruptedError])
def test_an_interrupted_run_keeps_its_finished_days(load: Loading, error: Any):
    """Dagster raises an error of its own after Ctrl-C and after a cancel in the UI."""
    with pytest.raises(KeyboardInterrupt):
        load.with_tools(caller=Caller(on_day=Stop(2, error))).run(BTC, "2021-04-21", "2021-04-24")
    is_kept_and_continued(load)


@pytest.mark.parametrize("error", [MemoryError, RuntimeError])
def test_a_run_that_breaks_keeps_its_finished_days(load: Loading, error: Any):
    report = load.with_tools(caller=Caller(on_day=Stop(2, error))).run(BTC, "2021-04-21", "2021-04-24")
    assert not report.success
    is_kept_and_continued(load)


def is_kept_and_continued(load: Loading) -> None:
    """Two of four days are recorded in a run that ended without success; the next run records the other two.

    These may be on disk: days are published together.
    """
    assert load.recorded_days(BTC) == {"2021-04-21", "2021-04-22"}
    (run,) = load.instance.get_runs()
    assert run.is_finished
    assert not run.is_success
    report = load.run(BTC, "2021-04-21", "2021-04-24")
    days = load.materializations(report, BTC, KLINES)
    assert [outcome_of(day) for day in days[:2]] == ["unchanged", "unchanged"]
    assert {outcome_of(day) for day in days[2:]} <= {"unchanged", "loaded"}
    assert load.recorded_days(BTC) == {"2021-04-21", "2021-04-22", "2021-04-23", "2021-04-24"}


def test_a_missing_chunk_fails_the_check_of_the_manifest_with_its_name(load: Loading):
    load.run(BTC, "2021-04-24", "2021-04-26", assets=[KLINES, MANIFEST])
    load.chunk(BTC, "2021-04-25").unlink()
    report = load.run(BTC, assets=[MANIFEST])
    check = load.checks(report)["chunks_match_manifest"]
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.ERROR
    description = "2021-04-25: the chunk chunk_000481_2021-04-25.parquet is missing; run market-data verify --repair"
    assert check.description == description
    assert check.metadata["number_of_findings"].value == 1
    assert report.failed_checks == (f"chunks_match_manifest: {check.description}",)


def test_a_chunk_with_a_flipped_byte_fails_the_check_of_the_manifest(load: Loading):
    load.run(BTC, "2021-04-24", "2021-04-25", assets=[KLINES, MANIFEST])
    flip_a_byte(load.chunk(BTC, "2021-04-25"))
    checks = load.checks(load.run(BTC, assets=[MANIFEST]))
    assert failed(checks) == {"chunks_match_manifest": dg.AssetCheckSeverity.ERROR}
    assert "2021-04-25" in str(checks["chunks_match_manifest"].description)


def test_a_damaged_chunk_fails_checks_and_not_the_run_though_there_is_a_combined_file(load: Loading):
    load.run(BTC, "2021-04-24", "2021-04-25")
    load.chunk(BTC, "2021-04-25").unlink()
    report = load.run(BTC, assets=[MANIFEST, COMBINED])
    assert load.status(report) is dg.DagsterRunStatus.SUCCESS
    checks = load.checks(report)
    assert failed(checks)["chunks_match_manifest"] is dg.AssetCheckSeverity.ERROR
    assert checks.keys() == {"chunks_match_manifest", "combined_equals_chunks"}


def test_a_day_that_lost_its_chunk_and_its_entry_is_not_joined(load: Loading):
    load.run(BTC, "2021-04-24", "2021-04-26", assets=[KLINES, MANIFEST])
    load.chunk(BTC, "2021-04-25").unlink()
    (load.store(BTC).folder / "manifest.json").unlink()
    report = load.run(BTC, "2021-04-24", assets=[KLINES])
    checks = load.checks(report)
    assert failed(checks) == {"days_are_joined": dg.AssetCheckSeverity.ERROR}
    description = "2021-04-25: no chunk for 1,440 requested minutes; run market-data verify --repair"
    assert checks["days_are_joined"].description == description


def test_a_combined_file_that_is_older_than_its_chunks_is_a_warning(load: Loading):
    load.run(BTC, "2021-04-24")
    load.run(BTC, "2021-04-25", assets=[KLINES, MANIFEST])
    checks = load.checks_alone(BTC)
    assert checks.keys() == ALL_CHECKS
    assert failed(checks) == {"combined_equals_chunks": dg.AssetCheckSeverity.WARN}
    assert checks["combined_equals_chunks"].description == (
        "it is older than its chunks: it holds klines up to 2021-04-24T23:59Z, its chunks go on to 2021-04-25T23:59Z; "
        "1 chunk written after it, the first of 2021-04-25; materialize it again"
    )


def test_a_combined_file_that_is_older_than_the_chunks_of_a_live_dataset_is_no_warning(load: Loading):
    load.run(BTC, "2021-04-24")
    load.run(BTC, "2021-04-25", assets=[KLINES, MANIFEST])
    load.store(BTC).mark_live(True)
    checks = load.checks_alone(BTC)
    assert failed(checks) == {}
    assert checks["combined_equals_chunks"].description == (
        "it is older than its chunks: it holds klines up to 2021-04-24T23:59Z, its chunks go on to 2021-04-25T23:59Z; "
        "1 chunk written after it, the first of 2021-04-25; the dataset is live and grows each minute"
    )
    assert values(checks["combined_equals_chunks"].metadata) == {"combined": "older than its chunks"}


@pytest.mark.parametrize("live", [False, True])
def test_a_combined_file_with_other_klines_than_its_chunks_is_an_error(load: Loading, live):
    load.run(BTC, "2021-04-24")
    load.store(BTC).mark_live(live)
    (path,) = (load.store(BTC).folder / "combined").iterdir()
    flip_a_byte(path)
    assert failed(load.checks_alone(BTC)) == {"combined_equals_chunks": dg.AssetCheckSeverity.ERROR}


def test_checks_of_a_dataset_without_files_pass(load: Loading):
    assert failed(load.checks_alone(BTC)) == {}


def test_an_instance_that_cannot_be_opened_is_an_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text("storage: {custom: {module: no_such_module, class: Nothing, config: {}}}")
    with pytest.raises(StoreError, match="cannot be opened; see dagster.yaml there"), runs.open_instance(tmp_path):
        pass
