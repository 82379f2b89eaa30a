"""Dagster's SQLite storage with its connections kept open, and its events stored in batches and in few bytes.

Belongs here: the databases of events, their connections and what is written to which. Does not belong here: which
events are stored together (`events.batches`), what is left out of one (`events.brevity`), which days a run plans
(`events.planned`), how a run is summed up (`events.summaries`), which events stay when a run is deleted
(`events.keeping`), Postgres (`postgres_storage`).
Dagster's own SQLite storage opens and closes a database for every event, which takes 20 to 30 ms for each day of a run.
This storage takes about 2 ms.
It is written for dagster 1.13, sets what `DagsterSqliteStorage` sets when it is made, and uses these members of
`SqliteEventLogStorage`: `_connect`, `_db_lock`, `_initdb`, `_initialized_dbs`, `_base_dir`. Files, folders and tables
are those of the default storage, so each can open a home that the other has written. Tests compare the rows of both:
run them after an upgrade of Dagster.
"""

import os
import sqlite3
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import dagster as dg
import sqlalchemy as sa
from dagster._config import UserConfigSchema
from dagster._core.events import (
    ASSET_CHECK_EVENTS,
    ASSET_EVENTS,
    BATCH_WRITABLE_EVENTS,
    EVENT_TYPE_TO_PIPELINE_RUN_STATUS,
)
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS, create_db_conn_string
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from filelock import FileLock

from market_data_pipeline.instance.databases import create_run_database, created_by_one, damage_named, has_version
from market_data_pipeline.instance.events.batches import BatchedEvents, kind_of
from market_data_pipeline.instance.events.brevity import texts_of
from market_data_pipeline.instance.events.interrupts import uninterrupted
from market_data_pipeline.instance.events.keeping import RUNLESS, KeptDays
from market_data_pipeline.instance.events.planned import PlannedRanges
from market_data_pipeline.instance.events.summaries import RunSummaries
from market_data_pipeline.settings import load

_MIRRORED_IN_INDEX = ASSET_EVENTS | ASSET_CHECK_EVENTS | EVENT_TYPE_TO_PIPELINE_RUN_STATUS.keys()
_MAX_OPEN_RUNS = 4
_LOCK, _LONGEST_WAIT_S = ".creating.lock", 120


class PooledSqliteStorage(DagsterSqliteStorage):
    """Dagster's default storage in its default folders, with the event log below instead of Dagster's."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        with created_by_one(Path(base_dir), self):
            # Not Dagster's own initialization, which would look for the newest version of the databases each time.
            super(DagsterSqliteStorage, self).__init__()
            self.base_dir, self._inst_data = base_dir, inst_data
            history, schedules = Path(base_dir, "history"), Path(base_dir, "schedules")
            self._run_storage = PooledSqliteRunStorage(create_db_conn_string(str(history), "runs"))
            self._event_log_storage = PooledSqliteEventLogStorage(str(history / "runs"))
            self._schedule_storage = SqliteScheduleStorage(create_db_conn_string(str(schedules), "schedules"))

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """The fields of `config` in dagster.yaml: `base_dir`, a folder; DAGSTER_HOME if it is not given."""
        return {"base_dir": dg.Field(dg.StringSource, is_required=False)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Make a storage from the `config` of dagster.yaml."""
        # Without DAGSTER_HOME, Dagster's commands read the dagster.yaml of the folder in which they are started.
        home = config_value.get("base_dir") or os.environ.get("DAGSTER_HOME") or str(load().home)
        return cls.from_local(base_dir=home, inst_data=inst_data)


class PooledSqliteRunStorage(SqliteRunStorage):
    """Keeps a connection open: whoever closes the last one has to move the write-ahead log into the database."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(conn_string, inst_data)
        self._pool, self._pid = self._new_pool(), os.getpid()
        self._inherited: list[object] = []

    def _new_pool(self) -> sa.Engine:
        return _engine(self._conn_string, pool_size=1, max_overflow=-1)

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        """Connect for one transaction."""
        if self._pid != os.getpid():
            # A forked child must neither use nor close the connections of its parent.
            self._inherited.append(self._pool)
            self._pool, self._pid = self._new_pool(), os.getpid()
        with uninterrupted(), self._pool.connect() as connection, connection.begin():
            yield connection

    def dispose(self) -> None:
        """Close the database. The storage opens it again when it is used."""
        super().dispose()
        self._pool.dispose()


class PooledSqliteEventLogStorage(BatchedEvents, PlannedRanges, RunSummaries, KeptDays, SqliteEventLogStorage):
    """Keeps the index database and those of the last few runs open, and stores a batch with one commit per database.

    One lock serialises all use, as in the parent class, so one connection per database serves any number of threads.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._open: OrderedDict[str, sa.Engine] = OrderedDict()
        self._pid = os.getpid()
        self._inherited: list[object] = []
        super().__init__(base_dir, inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[sa.Connection]:
        with uninterrupted(), self._db_lock:
            engine = self._engine(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

    def _engine(self, shard: str) -> sa.Engine:
        if self._pid != os.getpid():
            # A forked child must neither use nor close the connections of its parent.
            self._inherited.append(self._open)
            self._open, self._pid = OrderedDict(), os.getpid()
        if shard not in self._open:
            self._open[shard] = self._new_engine(shard)
        self._open.move_to_end(shard)
        runs = [name for name in self._open if name != INDEX_SHARD_NAME]
        for name in runs[:-_MAX_OPEN_RUNS]:
            self._open.pop(name).dispose()
        return self._open[shard]

    def _new_engine(self, shard: str) -> sa.Engine:
        url = self.conn_string_for_shard(shard)
        # Another process may have removed the database of a run that was deleted.
        if shard not in self._initialized_dbs or not Path(self.path_for_shard(shard)).exists():
            # The webserver reads a run's events while the run creates its database.
            home, database = Path(self._base_dir).parents[1], Path(self.path_for_shard(shard))
            with damage_named(home, database), FileLock(database.with_name(_LOCK), timeout=_LONGEST_WAIT_S):
                if shard != INDEX_SHARD_NAME and not database.exists():
                    create_run_database(home, database)
                elif not has_version(database):
                    # Creating tables needs several connections at the same time, and one commit per table and index.
                    self._initdb(_engine(url, poolclass=sa.pool.NullPool))
            self._initialized_dbs.add(shard)
        return _engine(url, pool_size=1, max_overflow=0)

    def _close(self, *shards: str) -> None:
        with self._db_lock:
            for shard in self._open.keys() & shards if shards else list(self._open):
                self._open.pop(shard).dispose()

    def _notify_watchers(self, run_id: str) -> None:
        # The UI watches this file for new events, but commits are written to the write-ahead log beside it.
        with suppress(OSError):
            os.utime(self.path_for_shard(run_id))

    @uninterrupted()
    def store_event(self, event: EventLogEntry) -> None:
        """Store one event."""
        super().store_event(event)
        kind = kind_of(event)
        if kind in BATCH_WRITABLE_EVENTS:
            return
        self._notify_watchers(event.run_id)
        if kind and EVENT_TYPE_TO_PIPELINE_RUN_STATUS.get(kind) in FINISHED_STATUSES:
            # Windows refuses to delete a file that is open.
            self._close(event.run_id)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store the events as `store_event` does, with one commit per database."""
        by_run: dict[str, list[EventLogEntry]] = {}
        for event in events:
            by_run.setdefault(event.run_id, []).append(event)
        for run_id, events_of_run in by_run.items():
            self._store_batch_of_run(run_id, events_of_run)

    @uninterrupted()
    def _store_batch_of_run(self, run_id: str, events: Sequence[EventLogEntry]) -> None:
        texts = [texts_of(event) for event in events]
        rows = [self._row(event, text) for event, (text, _) in zip(events, texts, strict=True)]
        with self.run_connection(run_id) as connection:
            connection.execute(SqlEventLogStorageTable.insert(), rows)
        mirrored = [
            (event, row | {"event": text})
            for event, row, (_, text) in zip(events, rows, texts, strict=True)
            if kind_of(event) in _MIRRORED_IN_INDEX
        ]
        with self.index_connection() as connection:
            ids = _insert(connection, [row for _, row in mirrored])
            stored = [(event, id_) for (event, _), id_ in zip(mirrored, ids, strict=True)]
            self._index_assets(connection, stored)
        for event, id_ in stored:
            if kind_of(event) in ASSET_CHECK_EVENTS:
                self.store_asset_check_event(event, id_)
        self._notify_watchers(run_id)

    def delete_events(self, run_id: str) -> None:
        """Delete the events of a run: from the index as `KeptDays` says, and its database, which Dagster empties."""
        super().delete_events(run_id)
        self.remove_run_database(run_id)

    def remove_run_database(self, run_id: str) -> bool:
        """Remove the database of a run; False where another process has it open and the system refuses."""
        self._close(run_id)
        database = Path(self.path_for_shard(run_id))
        try:
            for name in (database.name, f"{database.name}-wal", f"{database.name}-shm"):
                database.with_name(name).unlink(missing_ok=True)
        except OSError:
            return False
        return True

    def delete_runless_events(self, before: datetime) -> None:
        """Delete them from the index, and all that are older from the database of events without a run."""
        super().delete_runless_events(before)
        with self.run_connection(RUNLESS) as connection:
            events = SqlEventLogStorageTable
            connection.execute(
                sa.delete(events).where(events.c.timestamp < before.astimezone(UTC).replace(tzinfo=None))
            )

    def wipe(self) -> None:
        """Delete the database of every run and empty the index."""
        self._close()
        super().wipe()

    def dispose(self) -> None:
        """Close all databases. The storage opens them again when it is used."""
        super().dispose()
        self._close()


def _engine(url: str, **pool: Any) -> sa.Engine:
    engine = sa.create_engine(url, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS}, **pool)
    sa.event.listen(engine, "connect", _use_write_ahead_log)
    return engine


def _use_write_ahead_log(connection: sqlite3.Connection, _: object) -> None:
    """Let no commit wait for the disk. After a power cut the last ones may be gone: the next load tells these days."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _insert(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> range:
    """Insert the rows and return their ids.

    SQLite gives each row the id after the highest, and nobody else writes between the two statements of a transaction.
    To ask for the ids with the rows needs SQLite 3.35, and a statement for each row without it.
    """
    if not rows:
        return range(0)
    connection.execute(SqlEventLogStorageTable.insert(), rows)
    last = connection.execute(sa.select(sa.func.max(SqlEventLogStorageTable.c.id))).scalar_one()
    return range(last - len(rows) + 1, last + 1)
