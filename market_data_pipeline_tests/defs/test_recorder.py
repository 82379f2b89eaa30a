"""A day that Dagster refuses for a moment, as its database is locked, is recorded all the same."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events.log import EventLogEntry

from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.defs.assets import asset_key
from market_data_pipeline.defs.recorder import DayRecorder
from market_data_pipeline.instance.names import KLINES
from market_data_pipeline.instance.storage import PooledSqliteEventLogStorage, PooledSqliteStorage
from market_data_pipeline_tests.defs.loading import BTC, Loading
from market_data_pipeline_tests.instance.storages import Sqlite

KEY = asset_key(BTC, KLINES)
DAYS = ["2024-05-01", "2024-05-02"]
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class Locked(PooledSqliteEventLogStorage):
    """An event log that is locked for the first so many batches of days."""

    refusals = 0

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        if self.refusals and any(event.asset_materialization for event in events):
            self.refusals -= 1
            raise sqlite3.OperationalError("database is locked")
        super().store_event_batch(events)


class LockedStorage(PooledSqliteStorage):
    """The storage of a home, with that event log."""

    @cached_property
    def event_log_storage(self) -> Locked:
        return Locked(str(Path(super().event_log_storage.path_for_shard("index")).parent))


class LockedHome(Sqlite):
    """A home with that storage."""

    ours = f"storage: {{custom: {{module: {__name__}, class: LockedStorage, config: {{}}}}}}\n"


@pytest.fixture
def locked(load: Loading, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """An instance with that storage."""
    load.run(BTC, *DAYS)
    home = tmp_path / "locked"
    home.mkdir()
    with LockedHome(home).opened(monkeypatch) as instance:
        yield instance


def recorded(load: Loading, instance: dg.DagsterInstance, refusals: int) -> tuple[list[str | None], str]:
    """The days that are recorded of two, where the first is noted when it is time to record; and the run's error."""
    store = load.store(BTC)
    events = instance.event_log_storage
    assert isinstance(events, Locked)
    events.refusals = refusals

    @dg.op
    def note(context: dg.OpExecutionContext) -> None:
        with DayRecorder(context, KEY, store) as recorder:
            time.sleep(1.1)
            for key, entry in store.entries.items():
                recorder.note(DayResult(BTC.day(key), Outcome.LOADED, entry))

    @dg.job
    def noting() -> None:
        note()

    result = noting.execute_in_process(run_config=QUIET, instance=instance, raise_on_error=False)
    records = instance.fetch_materializations(KEY, limit=10, ascending=True).records
    errors = [str(event.step_failure_data.error) for event in result.all_events if event.is_step_failure]
    return [record.partition_key for record in records], "".join(errors)


def test_a_day_that_was_refused_is_recorded_with_the_next_ones(load: Loading, locked: dg.DagsterInstance) -> None:
    assert recorded(load, locked, refusals=1) == (DAYS, "")


def test_a_day_that_is_refused_at_the_end_fails_the_run(load: Loading, locked: dg.DagsterInstance) -> None:
    days, error = recorded(load, locked, refusals=2)
    assert not days
    assert "database is locked" in error
