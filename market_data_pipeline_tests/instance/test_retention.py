"""Old runs are deleted, and no stored day is forgotten with them: on SQLite and on Postgres."""

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.instance.events.keeping import RUNLESS
from market_data_pipeline.instance.names import ROWS
from market_data_pipeline.instance.retention import Pruned, has_old_runs, prune
from market_data_pipeline_tests.instance.storages import Database, Sqlite
from market_data_pipeline_tests.instance.test_storage import (
    KEY,
    MANIFEST,
    NewDatabase,
    dataset,
    recorded,
    run,
    statuses,
)
from market_data_pipeline_tests.instance.test_storage import empty_home as empty_home  # fixtures
from market_data_pipeline_tests.instance.test_storage import new_database as new_database

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::dagster.PreviewWarning")
CHECK = dg.AssetCheckKey(KEY, "continuity")


@pytest.fixture
def database(new_database: NewDatabase) -> Database:
    return new_database("home")


@pytest.fixture
def instance(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    with database.opened(monkeypatch) as opened:
        yield opened


def soon() -> datetime:
    """A moment before which all that has been recorded by now is old."""
    return datetime.now(UTC) + timedelta(seconds=1)


def event(kind: Any, day: str | None, text: str = "") -> Any:
    return kind(KEY, partition=day, metadata={ROWS: 1440, "chunk": text})


def texts(instance: dg.DagsterInstance) -> dict[str | None, str]:
    """What the last materialization of each day says."""
    events = [record.asset_materialization for record in reversed(recorded(instance))]
    return {event.partition: str(event.metadata["chunk"].value) for event in events if event}


def test_a_deleted_run_leaves_the_last_materialization_of_each_day(
    instance: dg.DagsterInstance, database: Database
) -> None:
    old = [run(instance, dataset()).run_id, run(instance, dataset(), last="2020-01-03").run_id]
    assert prune(instance, soon()).runs == 2
    assert not instance.get_runs() and not any(map(instance.has_run, old))
    by_day = {record.partition_key: record.run_id for record in recorded(instance)}
    assert len(recorded(instance)) == len(by_day) == 20
    assert [by_day["2020-01-03"], by_day["2020-01-04"]] == [old[1], old[0]]
    assert statuses(instance, "2020-01-01", "2020-01-20", "2020-01-21") == ["MATERIALIZED", "MATERIALIZED", None]
    assert len(instance.get_materialized_partitions(KEY)) == 20
    # Of the manifest and of the checks the last one of both runs.
    assert [record.run_id for record in recorded(instance, MANIFEST)] == [old[1]]
    assert database.query("SELECT DISTINCT run_id FROM asset_check_executions") == [(old[1],)]
    kept = instance.event_log_storage.get_latest_asset_check_execution_by_key([CHECK])[CHECK]
    assert kept.run_id == old[1] and kept.evaluation and kept.evaluation.passed
    assert database.query("SELECT count(*) FROM event_logs WHERE asset_key IS NULL") == [(0,)]
    assert database.query("SELECT count(*) FROM asset_event_tags WHERE value LIKE 'v-%'") == [(20,)]


def test_what_a_run_left_beside_its_events_is_gone(instance: dg.DagsterInstance, database: Database) -> None:
    old = run(instance, dataset()).run_id
    kept = run(instance, dataset(), last="2020-01-02").run_id
    logs = instance.compute_log_manager
    assert isinstance(logs, LocalComputeLogManager)
    for run_id in (old, kept):
        folder = Path(logs.get_captured_local_path([run_id, "compute_logs", "step"], "out")).parent
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "step.out").write_text("said")
    instance.delete_run(old)
    prune(instance, datetime.now(UTC) - timedelta(days=1))
    assert instance.has_run(kept) and len(instance.all_logs(kept)) > 5
    files = [path.name for path in (database.home / "history" / "runs").glob("*-*-*.db")]
    if isinstance(database, Sqlite):
        assert files == [f"{kept}.db"]
    prune(instance, soon())
    assert not [path for path in database.home.rglob("*") if kept in path.name]


def test_tags_of_a_run_go_with_it(instance: dg.DagsterInstance, database: Database) -> None:
    run(instance, dataset())
    assert [tag for tag, _ in instance.run_storage.get_run_tags(["dagster/asset_partition_range_start"])]
    prune(instance, soon())
    assert not [tag for tag, _ in instance.run_storage.get_run_tags(["dagster/asset_partition_range_start"])]


def test_a_day_that_failed_in_a_deleted_run_is_missing_and_not_failed(instance: dg.DagsterInstance) -> None:
    run(instance, dataset(bad_days=("2020-01-02",)))
    assert statuses(instance, "2020-01-01", "2020-01-02") == ["MATERIALIZED", "FAILED"]
    prune(instance, soon())
    assert statuses(instance, "2020-01-01", "2020-01-02") == ["MATERIALIZED", None]


def test_a_run_that_is_deleted_leaves_what_runs_that_are_there_have_told(instance: dg.DagsterInstance) -> None:
    earlier, later = run(instance, dataset()).run_id, run(instance, dataset()).run_id
    told = [event.dagster_event_type for event in instance.all_logs(earlier)]
    instance.delete_run(later)
    assert [event.dagster_event_type for event in instance.all_logs(earlier)] == told
    by_run = Counter(record.run_id for record in recorded(instance))
    assert by_run == {earlier: 20, later: 20}
    instance.delete_run(earlier)
    assert {record.run_id for record in recorded(instance)} == {later}


def test_what_an_event_without_a_run_replaces_stays_while_its_run_is_there(instance: dg.DagsterInstance) -> None:
    told = run(instance, dataset()).run_id
    instance.report_runless_asset_event(event(dg.AssetMaterialization, "2020-01-01"))
    prune(instance, datetime.now(UTC) - timedelta(days=1))
    instance.event_log_storage.delete_runless_events(soon())
    assert Counter(record.run_id for record in recorded(instance)) == {told: 20, RUNLESS: 1}


def test_a_run_that_is_deleted_in_the_ui_leaves_its_days(instance: dg.DagsterInstance) -> None:
    instance.delete_run(run(instance, dataset()).run_id)
    assert len(instance.get_materialized_partitions(KEY)) == 20


def test_young_runs_and_those_that_go_on_stay(instance: dg.DagsterInstance) -> None:
    run(instance, dataset())
    going_on = instance.create_run_for_job(dg.define_asset_job("load").resolve(asset_graph=graph()))
    yesterday = datetime.now(UTC) - timedelta(days=1)
    assert not has_old_runs(instance, yesterday) and has_old_runs(instance, soon())
    assert prune(instance, yesterday).runs == 0
    assert prune(instance, soon()).runs == 1
    assert [each.run_id for each in instance.get_runs()] == [going_on.run_id]
    assert not has_old_runs(instance, soon())


def graph() -> Any:
    return dg.Definitions(assets=dataset()[:2]).resolve_asset_graph()


def test_a_run_of_a_backfill_that_goes_on_stays(instance: dg.DagsterInstance) -> None:
    tags = {"dagster/backfill": "fill", "dagster/asset_partition_range_start": "2020-01-01"}
    tags["dagster/asset_partition_range_end"] = "2020-01-02"
    dg.materialize(dataset(), instance=instance, tags=tags)
    backfill = PartitionBackfill("fill", BulkActionStatus.REQUESTED, False, {}, time.time())
    instance.add_backfill(backfill)
    assert prune(instance, soon()).runs == 0
    instance.update_backfill(backfill.with_status(BulkActionStatus.COMPLETED_SUCCESS))
    assert prune(instance, soon()).runs == 1


def test_of_events_without_a_run_the_last_of_each_day_stay(instance: dg.DagsterInstance, database: Database) -> None:
    told = [
        event(dg.AssetMaterialization, "2020-01-01", "first"),
        event(dg.AssetObservation, "2020-01-01", "an hour later"),
        event(dg.AssetObservation, "2020-01-01", "over"),
        event(dg.AssetMaterialization, "2020-01-02", "first"),
        event(dg.AssetObservation, "2020-01-02", "over"),
        event(dg.AssetMaterialization, "2020-01-02", "again"),
        *(dg.AssetCheckEvaluation(asset_key=KEY, check_name="fresh", passed=passed) for passed in (False, True)),
    ]
    for each in told:
        instance.report_runless_asset_event(each)
    moment = datetime.now(UTC)
    instance.report_runless_asset_event(event(dg.AssetObservation, "2020-01-03", "new"))
    prune(instance, moment)
    assert texts(instance) == {"2020-01-01": "first", "2020-01-02": "again"}
    observed = instance.fetch_observations(KEY, limit=10).records
    assert [str(record.asset_observation.metadata["chunk"].value) for record in observed] == ["new", "over"]
    assert [row for row in database.query("SELECT check_name, execution_status FROM asset_check_executions")] == [
        ("fresh", "SUCCEEDED")
    ]
    assert not instance.get_records_for_run("").records or len(instance.get_records_for_run("").records) <= 5


def test_a_killed_deletion_is_finished_by_the_next(instance: dg.DagsterInstance) -> None:
    run(instance, dataset())
    instance.event_log_storage.delete_events(instance.get_runs()[0].run_id)
    assert prune(instance, soon()) == Pruned(runs=1, leftovers=0)
    assert len(instance.get_materialized_partitions(KEY)) == 20


def test_days_are_recorded_again_after_a_deletion(instance: dg.DagsterInstance) -> None:
    run(instance, dataset())
    prune(instance, soon())
    assert run(instance, dataset()).success
    assert len(recorded(instance)) == 40
    prune(instance, soon())
    assert len(recorded(instance)) == 20


def test_the_database_of_a_run_that_is_gone_is_removed_when_it_is_old(
    empty_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path(shutil.copytree(empty_home, tmp_path / "home"))
    old, young = (home / "history" / "runs" / f"{name}.db" for name in ("old", "young"))
    with Sqlite(home).opened(monkeypatch) as instance:
        run(instance, dataset(), last="2020-01-01")
        for path in (old, young):
            path.write_bytes(b"")
        before = datetime.now(UTC) - timedelta(days=1)
        os.utime(old, times=(before.timestamp() - 1,) * 2)
        assert prune(instance, before) == Pruned(runs=0, leftovers=1)
        assert (old.exists(), young.exists(), len(instance.get_runs())) == (False, True, 1)


def test_a_storage_that_would_forget_days_is_refused(
    empty_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path(shutil.copytree(empty_home, tmp_path / "home"))
    with Sqlite(home).opened(monkeypatch, plain=True) as instance:
        run(instance, dataset(), last="2020-01-01")
        with pytest.raises(UsageError, match="SqliteEventLogStorage would forget the days .* docs/operations.md"):
            prune(instance, soon())
        assert len(instance.get_runs()) == 1
