"""The event logs that batch against Dagster's own, on SQLite and on Postgres: the same rows, the same answers.

And what recording day by day leaves.
"""

import os
import shutil
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.execution.stats import StepEventStatus
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.base import EventLogStorage
from dagster_shared.record import copy

from market_data_pipeline.instance.events.batches import ALREADY_RECORDED, BatchedEvents, record
from market_data_pipeline.instance.names import ROWS
from market_data_pipeline_tests.instance.storages import Database, Postgres, Sqlite
from market_data_pipeline_tests.servers import postgres_database

NewDatabase = Callable[[str], Database]
DAYS = dg.DailyPartitionsDefinition("2020-01-01", end_date="2020-03-01")
KEY = dg.AssetKey(["binance", "BTCUSDT", "klines_1m"])
MANIFEST = dg.AssetKey(["binance", "BTCUSDT", "manifest"])
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::dagster.PreviewWarning")


@pytest.fixture(scope="module")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that plain Dagster has just created: creating one takes longer than using it."""
    home = tmp_path_factory.mktemp("empty")
    with dg.DagsterInstance.local_temp(str(home)):
        return home


def dataset(
    bad_days: tuple[str, ...] = (),
    mark: Any = ALREADY_RECORDED,
    error: type[BaseException] = dg.Failure,
    look: Callable[[], None] = lambda: None,
) -> list[Any]:
    """A dataset's assets and checks; the first one logs each of its days itself, after a look."""

    @dg.asset(key=KEY, partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
    def klines_1m(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        look()
        record_all(context, [loaded(day) for day in context.partition_keys if day not in bad_days])
        if bad_days:
            raise error("some days failed")
        return dg.MaterializeResult(metadata=dict(mark))

    @dg.asset(key=MANIFEST, deps=[klines_1m])
    def manifest() -> dg.MaterializeResult[Any]:
        return dg.MaterializeResult()

    @dg.multi_asset_check(
        specs=[dg.AssetCheckSpec("continuity", asset=KEY), dg.AssetCheckSpec("files", asset=MANIFEST)]
    )
    def checks() -> Iterator[dg.AssetCheckResult]:
        yield dg.AssetCheckResult(asset_key=KEY, check_name="continuity", passed=True)
        yield dg.AssetCheckResult(asset_key=MANIFEST, check_name="files", passed=False)

    return [klines_1m, manifest, checks]


def loaded(day: str) -> dg.AssetMaterialization:
    """What is recorded of a day."""
    metadata, tags = {"day": day, ROWS: 1440}, {"dagster/data_version": f"v-{day}"}
    return dg.AssetMaterialization(KEY, partition=day, metadata=metadata, tags=tags)


def record_all(context: dg.AssetExecutionContext, made: Sequence[dg.AssetMaterialization]) -> None:
    """Store these, whatever was stored of their days."""
    record(context, made, lambda _day, _text: False, again=True)


def run(instance: dg.DagsterInstance, assets: list[Any], first: str = "2020-01-01", last: str = "2020-01-20") -> Any:
    """One run over a range of days, as the CLI makes it."""
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    return dg.materialize(assets, instance=instance, tags=tags, run_config=QUIET, raise_on_error=False)


def recorded(instance: dg.DagsterInstance, key: dg.AssetKey = KEY) -> list[dg.EventLogRecord]:
    """Every materialization of an asset, newest first."""
    return list(instance.fetch_materializations(key, limit=1000).records)


def statuses(instance: dg.DagsterInstance, *days: str) -> list[str | None]:
    """What the UI shows for those days."""
    found = instance.get_status_by_partition(KEY, days, DAYS) or {}
    return [status.value if status else None for status in (found.get(day) for day in days)]


@pytest.fixture(params=["sqlite", "postgres"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path, empty_home: Path) -> Iterator[NewDatabase]:
    """Make a home of that name with an empty database."""
    with ExitStack() as stack:

        def new(name: str) -> Database:
            if request.param == "sqlite":
                return Sqlite(Path(shutil.copytree(empty_home, tmp_path / name)))
            (tmp_path / name).mkdir()
            return Postgres(tmp_path / name, stack.enter_context(postgres_database()))

        yield new


@pytest.fixture
def batched(new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """An instance with a storage of the project, of each kind."""
    with new_database("home").opened(monkeypatch) as instance:
        yield instance


def test_every_day_is_recorded_once_with_its_own_metadata(batched: dg.DagsterInstance) -> None:
    assert run(batched, dataset()).success
    days = {record.partition_key: record.asset_materialization for record in recorded(batched)}
    assert len(recorded(batched)) == len(days) == 20
    assert all(event is not None and event.metadata["day"].value == day for day, event in days.items())


def test_a_file_name_that_is_no_text_is_recorded(batched: dg.DagsterInstance) -> None:
    # So Python reads a name of bytes that are not UTF-8.
    path = "/data/\udce4.parquet"

    @dg.asset(key=KEY, partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
    def klines_1m(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        metadata = {ROWS: 1440, "file": dg.MetadataValue.path(path)}
        record_all(context, [dg.AssetMaterialization(KEY, partition="2020-01-01", metadata=metadata)])
        return dg.MaterializeResult(metadata=dict(ALREADY_RECORDED))

    assert run(batched, [klines_1m], last="2020-01-01").success
    (event,) = (record.asset_materialization for record in recorded(batched))
    assert event is not None
    assert event.metadata["file"].value == path


def test_the_database_of_a_run_has_the_rows_of_a_day_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    with Sqlite(tmp_path / "home").opened(monkeypatch) as instance:
        result = run(instance, dataset(), last="2020-01-02")
        logs = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        days = [entry.asset_materialization for entry in logs if entry.get_dagster_event().partition]
    assert [(day.partition, day.metadata) for day in days if day] == [
        (day, {ROWS: dg.MetadataValue.int(1440)}) for day in ("2020-01-01", "2020-01-02")
    ]


def test_the_rest_of_the_run_follows(batched: dg.DagsterInstance) -> None:
    result = run(batched, dataset())
    assert len(recorded(batched, MANIFEST)) == 1
    assert {c.check_name: c.passed for c in result.get_asset_check_evaluations()} == {
        "continuity": True,
        "files": False,
    }


def test_without_the_mark_dagster_records_every_day_twice(batched: dg.DagsterInstance) -> None:
    run(batched, dataset(mark={}))
    assert set(Counter(record.partition_key for record in recorded(batched)).values()) == {2}


@pytest.mark.parametrize("error", [dg.Failure, KeyboardInterrupt])
def test_finished_days_stay_when_the_run_fails_or_is_interrupted(
    batched: dg.DagsterInstance, error: type[BaseException]
) -> None:
    run(batched, dataset(bad_days=("2020-01-05",), error=error))
    assert len(recorded(batched)) == 19
    assert statuses(batched, "2020-01-04", "2020-01-06") == ["MATERIALIZED", "MATERIALIZED"]
    assert statuses(batched, "2020-01-05") != ["MATERIALIZED"]


def test_stores_the_rows_that_dagster_would(new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    # Dagster's own setting for one event of all days that a run plans.
    monkeypatch.setenv("DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS", "1")
    left = {}
    for name in ("ours", "plain"):
        database = new_database(name)
        with database.opened(monkeypatch, plain=name == "plain") as instance:
            result = run(instance, dataset())
            run(instance, dataset(), last="2020-01-03")
            instance.report_runless_asset_event(dg.AssetMaterialization(KEY, partition="2020-02-01"))
        left[name] = database.rows(result.run_id)
    assert left["ours"] == left["plain"]


def test_plain_dagster_and_the_batched_log_read_each_other(
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = new_database("home")
    for plain, last, days in ((True, "2020-01-02", 2), (False, "2020-01-04", 4), (True, "2020-01-05", 5)):
        with database.opened(monkeypatch, plain=plain) as instance:
            run(instance, dataset(), last=last)
            assert len(instance.get_materialized_partitions(KEY)) == days
            assert all(instance.all_logs(record.run_id) for record in instance.get_runs())


def test_shows_the_days_of_runs_as_dagster_does_that_stores_an_event_for_each_planned_day(
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = {}
    for name in ("ours", "plain"):
        with new_database(name).opened(monkeypatch, plain=name == "plain") as instance:
            shown[name] = list(shown_of_runs(instance))
    assert shown["ours"] == shown["plain"]
    in_progress, failed, again, _ = (statuses for statuses, _ in shown["ours"])
    assert in_progress == ["IN_PROGRESS"] * 6 + [None]
    assert failed == ["MATERIALIZED"] * 4 + ["FAILED", "MATERIALIZED", None]
    assert again == ["MATERIALIZED"] * 4 + ["IN_PROGRESS", "MATERIALIZED", None]


@pytest.mark.parametrize("error", [None, dg.Failure])
def test_sums_up_a_run_as_dagster_does_that_reads_its_events(
    batched: dg.DagsterInstance, error: type[BaseException] | None
) -> None:
    run_id = run(batched, dataset(bad_days=("2020-01-05",), error=error) if error else dataset()).run_id
    log, types = batched.event_log_storage, {dg.DagsterEventType.ASSET_MATERIALIZATION}
    stats = {each.step_key: each for each in log.get_step_stats_for_run(run_id)}
    parsed = {each.step_key: each for each in EventLogStorage.get_step_stats_for_run(log, run_id)}
    assert stats == {key: copy(each, materialization_events=[]) for key, each in parsed.items()}
    assert any(each.materialization_events for each in parsed.values())
    assert {key: each.status for key, each in stats.items()}["binance__BTCUSDT__klines_1m"] is (
        StepEventStatus.FAILURE if error else StepEventStatus.SUCCESS
    )
    assert list(log.get_step_stats_for_run(run_id, ["binance__BTCUSDT__klines_1m"])) == [
        stats["binance__BTCUSDT__klines_1m"]
    ]
    for of_type in (None, types, dg.DagsterEventType.ASSET_CHECK_EVALUATION):
        assert log.get_asset_keys_for_run(run_id, of_type) == SqlEventLogStorage.get_asset_keys_for_run(
            log, run_id, of_type
        )
    assert log.get_asset_keys_for_run(run_id, types) == ({KEY} if error else {KEY, MANIFEST})


def shown_of_runs(instance: dg.DagsterInstance) -> Iterator[tuple[list[str | None], list[int | None]]]:
    """The status of days, and the run that planned each last, of one that fails, of one that mends it, after a wipe."""
    days = [f"2020-01-0{number}" for number in range(1, 8)]
    seen, runs = [], []

    def look() -> None:
        planned = [instance.get_latest_planned_materialization_info(KEY, day) for day in days]
        runs[:] = [record.dagster_run.run_id for record in reversed(instance.get_run_records())]
        seen.append((statuses(instance, *days), [runs.index(info.run_id) if info else None for info in planned]))

    run(instance, dataset(bad_days=("2020-01-05",), look=look), last="2020-01-06")
    look()
    run(instance, dataset(look=look), first="2020-01-05", last="2020-01-05")
    instance.wipe_assets([KEY])
    look()
    return iter(seen)


def logged_twice(instance: dg.DagsterInstance) -> tuple[list[dg.EventLogEntry], list[dg.EventLogEntry]]:
    """The events of a run that records three days and then logs them as Dagster does: of the run, and of the asset."""

    @dg.asset(key=KEY, partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
    def klines_1m(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        days = [loaded(day) for day in context.partition_keys]
        record_all(context, days)
        for day in days:
            context.log_event(day)
        return dg.MaterializeResult(metadata=dict(ALREADY_RECORDED))

    result = run(instance, [klines_1m], last="2020-01-03")
    of_run = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    return list(of_run), [record.event_log_entry for record in reversed(recorded(instance))]


def assert_recorded_as_logged(events: list[dg.EventLogEntry]) -> None:
    """The first three events are those that follow, each at a millisecond of its own."""
    ours, dagsters = ([event._replace(timestamp=0.0) for event in half] for half in (events[:3], events[3:]))
    assert ours == dagsters
    assert len({int(event.timestamp * 1000) for event in events[:3]}) == 3


def test_records_what_dagster_would_log(batched: dg.DagsterInstance) -> None:
    for events in logged_twice(batched):
        assert_recorded_as_logged(events)


def test_a_finished_run_and_a_disposed_instance_hold_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with Sqlite(home).opened(monkeypatch) as instance:
        result = run(instance, dataset())
        shard = home / "history" / "runs" / f"{result.run_id}.db"
        assert shard.exists()
        # SQLite removes the WAL when the last connection closes.
        assert not shard.with_name(shard.name + "-wal").exists()
    assert not list((home / "history" / "runs").glob("*-wal"))


def test_wiping_an_asset_or_everything_forgets_its_events(batched: dg.DagsterInstance) -> None:
    run(batched, dataset())
    batched.wipe_assets([KEY])
    assert not batched.get_materialized_partitions(KEY)
    run(batched, dataset())
    batched.event_log_storage.wipe()
    assert not recorded(batched)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_opens_its_own_connections(batched: dg.DagsterInstance) -> None:
    run(batched, dataset())
    child = os.fork()
    if child == 0:
        run(batched, dataset(), first="2020-02-01", last="2020-02-05")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert len(batched.get_materialized_partitions(KEY)) == 25


def test_other_storages_are_left_alone() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert not isinstance(instance.event_log_storage, BatchedEvents)
        assert run(instance, dataset()).success
        assert len(recorded(instance)) == 20
    with dg.DagsterInstance.ephemeral() as instance:
        of_run, _ = logged_twice(instance)
        assert_recorded_as_logged(of_run)


@pytest.mark.slow
def test_a_server_that_accepts_and_says_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        database = Postgres(tmp_path, f"postgresql://postgres@127.0.0.1:{silent.getsockname()[1]}/dagster")
        with pytest.raises(sa.exc.OperationalError, match="timeout expired"), database.opened(monkeypatch):
            pass
