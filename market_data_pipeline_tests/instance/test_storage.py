"""The pooled event log against Dagster's own: the same rows, the same answers; and what recording day by day leaves."""

import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from market_data_pipeline.instance.storage import ALREADY_RECORDED, PooledSqliteEventLogStorage, stored_together

POOLED = """
telemetry: {enabled: false}
storage: {custom: {module: market_data_pipeline.instance.storage, class: PooledSqliteStorage, config: {}}}
"""
PLAIN = "telemetry: {enabled: false}\n"
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


def copy(home: Path, to: Path) -> Path:
    return Path(shutil.copytree(home, to))


@contextmanager
def opened(home: Path, config: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of a home, as any Dagster process opens it."""
    (home / "dagster.yaml").write_text(config)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.delenv("DAGSTER_EVENT_BATCH_SIZE", raising=False)
    with dg.DagsterInstance.get() as instance:
        yield instance


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
        with stored_together(context.instance):
            for day in [day for day in context.partition_keys if day not in bad_days]:
                tags = {"dagster/data_version": f"v-{day}"}
                metadata = {"day": day, "rows": 1440}
                context.log_event(dg.AssetMaterialization(KEY, partition=day, metadata=metadata, tags=tags))
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


def index_rows(home: Path) -> dict[str, list[Any]]:
    """The index database without what differs from run to run."""
    queries = {
        "events": "SELECT id, dagster_event_type, step_key, asset_key, partition FROM event_logs ORDER BY id",
        "tags": "SELECT event_id, asset_key, key, value FROM asset_event_tags WHERE value LIKE 'v-%' ORDER BY id",
        "assets": "SELECT asset_key, last_materialization NOT NULL, last_materialization_timestamp NOT NULL, "
        "last_run_id NOT NULL FROM asset_keys ORDER BY asset_key",
        "checks": "SELECT asset_key, check_name, partition, execution_status, evaluation_event_storage_id, "
        "materialization_event_storage_id FROM asset_check_executions ORDER BY id",
    }
    with closing(sqlite3.connect(home / "history" / "runs" / "index.db")) as connection:
        return {name: connection.execute(query).fetchall() for name, query in queries.items()}


def run_rows(home: Path, run_id: str) -> list[Any]:
    """A run's own database without what differs from run to run."""
    with closing(sqlite3.connect(home / "history" / "runs" / f"{run_id}.db")) as connection:
        return connection.execute(
            "SELECT id, dagster_event_type, step_key, asset_key, partition FROM event_logs"
        ).fetchall()


@pytest.fixture
def pooled(tmp_path: Path, empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    with opened(copy(empty_home, tmp_path / "home"), POOLED, monkeypatch) as instance:
        yield instance


def test_every_day_is_recorded_once_with_its_own_metadata(pooled: dg.DagsterInstance) -> None:
    assert run(pooled, dataset()).success
    days = {record.partition_key: record.asset_materialization for record in recorded(pooled)}
    assert len(recorded(pooled)) == len(days) == 20
    assert all(event is not None and event.metadata["day"].value == day for day, event in days.items())


def test_the_rest_of_the_run_follows(pooled: dg.DagsterInstance) -> None:
    result = run(pooled, dataset())
    assert len(recorded(pooled, MANIFEST)) == 1
    assert {c.check_name: c.passed for c in result.get_asset_check_evaluations()} == {
        "continuity": True,
        "files": False,
    }


def test_without_the_mark_dagster_records_every_day_twice(pooled: dg.DagsterInstance) -> None:
    run(pooled, dataset(mark={}))
    assert set(Counter(record.partition_key for record in recorded(pooled)).values()) == {2}


@pytest.mark.parametrize("error", [dg.Failure, KeyboardInterrupt])
def test_finished_days_stay_when_the_run_fails_or_is_interrupted(
    pooled: dg.DagsterInstance, error: type[BaseException]
) -> None:
    run(pooled, dataset(bad_days=("2020-01-05",), error=error))
    assert len(recorded(pooled)) == 19
    assert statuses(pooled, "2020-01-04", "2020-01-06") == ["MATERIALIZED", "MATERIALIZED"]
    assert statuses(pooled, "2020-01-05") != ["MATERIALIZED"]


def test_stores_the_rows_that_dagster_would(tmp_path: Path, empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Dagster's own setting for one event of all days that a run plans.
    monkeypatch.setenv("DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS", "1")
    left = {}
    for name, config in (("pooled", POOLED), ("plain", PLAIN)):
        home = copy(empty_home, tmp_path / name)
        with opened(home, config, monkeypatch) as instance:
            result = run(instance, dataset())
            run(instance, dataset(), last="2020-01-03")
        left[name] = {**index_rows(home), "run": run_rows(home, result.run_id)}
    assert left["pooled"] == left["plain"]


def test_plain_dagster_and_the_pooled_log_read_each_other(
    tmp_path: Path, empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = copy(empty_home, tmp_path / "home")
    for config, last, days in ((PLAIN, "2020-01-02", 2), (POOLED, "2020-01-04", 4), (PLAIN, "2020-01-05", 5)):
        with opened(home, config, monkeypatch) as instance:
            run(instance, dataset(), last=last)
            assert len(instance.get_materialized_partitions(KEY)) == days
            assert all(instance.all_logs(record.run_id) for record in instance.get_runs())


def test_shows_the_days_of_runs_as_dagster_does_that_stores_an_event_for_each_planned_day(
    tmp_path: Path, empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = {}
    for name, config in (("pooled", POOLED), ("plain", PLAIN)):
        with opened(copy(empty_home, tmp_path / name), config, monkeypatch) as instance:
            shown[name] = list(shown_of_runs(instance))
    assert shown["pooled"] == shown["plain"]
    in_progress, failed, again, _ = (statuses for statuses, _ in shown["pooled"])
    assert in_progress == ["IN_PROGRESS"] * 6 + [None]
    assert failed == ["MATERIALIZED"] * 4 + ["FAILED", "MATERIALIZED", None]
    assert again == ["MATERIALIZED"] * 4 + ["IN_PROGRESS", "MATERIALIZED", None]


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


def test_a_block_keeps_the_order_and_stores_at_its_end(pooled: dg.DagsterInstance) -> None:
    seen = []

    @dg.asset(key=KEY, partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
    def klines_1m(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        with stored_together(context.instance):
            for day in context.partition_keys:
                context.log_event(dg.AssetMaterialization(KEY, partition=day))
                seen.append(len(recorded(context.instance)))
            context.log.info("after the days")
            seen.append(len(recorded(context.instance)))
        return dg.MaterializeResult(metadata=dict(ALREADY_RECORDED))

    result = run(pooled, [klines_1m], last="2020-01-02")
    logs = [
        entry.get_dagster_event().event_type_value if entry.is_dagster_event else entry.user_message
        for entry in pooled.all_logs(result.run_id)
    ]
    assert seen == [0, 0, 2]
    assert logs.index("after the days") == logs.index("ASSET_MATERIALIZATION") + 2


def test_a_finished_run_and_a_disposed_instance_hold_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with opened(home, POOLED, monkeypatch) as instance:
        result = run(instance, dataset())
        shard = home / "history" / "runs" / f"{result.run_id}.db"
        assert shard.exists()
        # SQLite removes the WAL when the last connection closes.
        assert not shard.with_name(shard.name + "-wal").exists()
    assert not list((home / "history" / "runs").glob("*-wal"))


def test_deleting_a_run_and_wiping_an_asset_forget_their_events(pooled: dg.DagsterInstance) -> None:
    result = run(pooled, dataset())
    pooled.delete_run(result.run_id)
    assert not recorded(pooled)
    run(pooled, dataset())
    pooled.wipe_assets([KEY])
    assert not pooled.get_materialized_partitions(KEY)
    run(pooled, dataset())
    pooled.event_log_storage.wipe()
    assert not recorded(pooled)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_opens_its_own_connections(pooled: dg.DagsterInstance) -> None:
    run(pooled, dataset())
    child = os.fork()
    if child == 0:
        run(pooled, dataset(), first="2020-02-01", last="2020-02-05")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert len(pooled.get_materialized_partitions(KEY)) == 25


def test_other_storages_are_left_alone() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert not isinstance(instance.event_log_storage, PooledSqliteEventLogStorage)
        assert run(instance, dataset()).success
        assert len(recorded(instance)) == 20
