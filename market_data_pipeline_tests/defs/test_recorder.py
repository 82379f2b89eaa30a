"""Days are recorded once, also where Dagster refuses them for a moment or another process records them meanwhile."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.events.log import EventLogEntry

from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.defs.assets import asset_key
from market_data_pipeline.defs.metadata import day_metadata
from market_data_pipeline.defs.recorder import DayRecorder
from market_data_pipeline.instance.names import KLINES
from market_data_pipeline.instance.storage import PooledSqliteEventLogStorage, PooledSqliteStorage
from market_data_pipeline_tests.defs.loading import BTC, Loading
from market_data_pipeline_tests.instance.storages import Postgres, Sqlite
from market_data_pipeline_tests.servers import Link, postgres_database

KEY = asset_key(BTC, KLINES)
DAYS = ["2024-05-01", "2024-05-02"]
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class Locked(PooledSqliteEventLogStorage):
    """An event log that is locked for the first so many batches of days, or stores them and its answer is lost."""

    refusals = 0
    is_stored = False

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        if self.refusals and any(event.asset_materialization for event in events):
            self.refusals -= 1
            if self.is_stored:
                super().store_event_batch(events)
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


def recorded(
    load: Loading, instance: dg.DagsterInstance, refusals: int, *, is_stored: bool = False
) -> tuple[list[str | None], str]:
    """The days that are recorded of two, where the first is noted when it is time to record; and the run's error."""
    store = load.store(BTC)
    events = instance.event_log_storage
    assert isinstance(events, Locked)
    events.refusals, events.is_stored = refusals, is_stored

    @dg.op
    def note(context: dg.OpExecutionContext) -> None:
        with DayRecorder(context, KEY, store.chunk_path) as recorder:
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


def test_a_day_whose_answer_was_lost_is_not_recorded_again(load: Loading, locked: dg.DagsterInstance) -> None:
    assert recorded(load, locked, refusals=1, is_stored=True) == (DAYS, "")


@pytest.fixture(params=["sqlite", "postgres"])
def instance(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """An instance with a storage of the project, of each kind."""
    home = tmp_path / "home"
    home.mkdir()
    with ExitStack() as stack:
        of_postgres = request.param == "postgres"
        database = Postgres(home, stack.enter_context(postgres_database())) if of_postgres else Sqlite(home)
        yield stack.enter_context(database.opened(monkeypatch))


@pytest.mark.parametrize(
    ("tags", "is_other_chunk", "by_this_run"),
    [
        ({}, False, 1),  # another process has taken the day over
        ({}, True, 2),  # the chunk was replaced, so what is recorded of the first day is no longer true
        ({"dagster/backfill": "one"}, False, 2),  # Dagster waits for each day of the backfill's own runs
    ],
)
def test_a_day_that_another_process_records_meanwhile_is_recorded_once(
    load: Loading, instance: dg.DagsterInstance, tags: dict[str, str], is_other_chunk: bool, by_this_run: int
) -> None:
    load.run(BTC, *DAYS)
    store = load.store(BTC)
    first, second = (DayResult(BTC.day(key), Outcome.LOADED, entry) for key, entry in store.entries.items())

    def report_runless(result: DayResult) -> None:
        event = dg.AssetMaterialization(
            KEY, partition=result.day.key, metadata=day_metadata(store.chunk_path(result.day), result)
        )
        instance.report_runless_asset_event(event)

    @dg.op
    def note(context: dg.OpExecutionContext) -> None:
        with DayRecorder(context, KEY, store.chunk_path) as recorder:
            recorder.note(first)
            recorder.note(second)
            assert first.entry
            entry = replace(first.entry, sha256="f" * 64) if is_other_chunk else first.entry
            report_runless(replace(first, entry=entry))

    @dg.job
    def noting() -> None:
        note()

    # What was recorded before the run began is recorded again: the user asked for it.
    report_runless(second)
    ended = noting.execute_in_process(run_config=QUIET, instance=instance, tags=tags)
    records = instance.fetch_materializations(KEY, limit=10).records
    of_run = [record.partition_key for record in records if record.run_id == ended.run_id]
    assert (len(of_run), len(records)) == (by_this_run, by_this_run + 2)
    assert set(of_run) <= set(DAYS) and DAYS[1] in of_run


@pytest.mark.parametrize(("again", "by_this_run"), [(True, DAYS), (False, DAYS[1:])])
def test_a_load_that_another_process_overtook_before_its_run_began_records_no_day_again(
    load: Loading, instance: dg.DagsterInstance, again: bool, by_this_run: list[str]
) -> None:
    """Commands plan before their run begins, so a host may be cut off between the two; runs of the UI plan later."""
    load.run(BTC, *DAYS)
    store = load.store(BTC)
    first, second = (DayResult(BTC.day(key), Outcome.LOADED, entry) for key, entry in store.entries.items())
    metadata = day_metadata(store.chunk_path(first.day), first)
    instance.report_runless_asset_event(dg.AssetMaterialization(KEY, partition=first.day.key, metadata=metadata))

    @dg.op
    def note(context: dg.OpExecutionContext) -> None:
        with DayRecorder(context, KEY, store.chunk_path, again=again) as recorder:
            recorder.note(first)
            recorder.note(second)

    @dg.job
    def noting() -> None:
        note()

    ended = noting.execute_in_process(run_config=QUIET, instance=instance)
    records = instance.fetch_materializations(KEY, limit=10, ascending=True).records
    assert [record.partition_key for record in records if record.run_id == ended.run_id] == by_this_run


@pytest.mark.parametrize("before", [b"BEGIN", b"COMMIT\0"])
def test_a_host_that_was_cut_off_while_it_recorded_records_no_day_again(
    load: Loading, before: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one records its days meanwhile, and waits only until the server has given up the first."""
    load.run(BTC, *DAYS)
    store = load.store(BTC)
    results = [DayResult(BTC.day(key), Outcome.LOADED, entry) for key, entry in store.entries.items()]

    def recording(cut_off_by: Link | None = None) -> dg.JobDefinition:
        @dg.op
        def note(context: dg.OpExecutionContext) -> None:
            with DayRecorder(context, KEY, store.chunk_path) as recorder:
                if cut_off_by:
                    time.sleep(1.1)
                    cut_off_by.hold(before)
                for result in results:
                    recorder.note(result)

        @dg.job
        def noting() -> None:
            note()

        return noting

    with ExitStack() as stack:
        url = stack.enter_context(postgres_database())
        server = sa.make_url(url)
        link = Link(str(server.host), server.port or 5432)
        stack.callback(link.cut)
        far = server.set(host="127.0.0.1", port=link.port).render_as_string(hide_password=False)
        homes = []
        for name, way in (("far", far), ("near", url)):
            (tmp_path / name).mkdir()
            homes.append(stack.enter_context(Postgres(tmp_path / name, way).opened(monkeypatch)))
        beside = stack.enter_context(ThreadPoolExecutor(1))
        stack.callback(link.let_go)
        cut_off = beside.submit(recording(link).execute_in_process, run_config=QUIET, instance=homes[0])
        assert link.holds.wait(60)
        taken_over = recording().execute_in_process(run_config=QUIET, instance=homes[1])
        link.let_go()
        ended = cut_off.result(60)
        records = homes[1].fetch_materializations(KEY, limit=10).records
    assert ended.run_id != taken_over.run_id
    assert sorted((str(record.partition_key), record.run_id) for record in records) == [
        (day, taken_over.run_id) for day in DAYS
    ]
