"""Dagster's SQLite storage with its connections kept open, and its events stored in batches and in few bytes.

Belongs here: code that uses private parts of Dagster's storage and events. Does not belong here: when events are logged
(`defs.recorder`), what is left out of an event (`brevity`), which days a run plans (`planned`).
Dagster's own SQLite storage opens and closes a database for every event, which takes 20 to 30 ms for each day of a run.
This storage takes about 2 ms.
It is written for dagster 1.13 and uses these members of `SqliteEventLogStorage`: `_connect`, `_db_lock`, `_initdb`,
`_initialized_dbs`, `_base_dir`, `_event_to_row`, `_store_asset_event`, `_store_asset_event_tags`. Files, folders and
tables are those of the default storage, so each can open a home that the other has written. Tests compare the rows of
both: run them after an upgrade of Dagster.
"""

import os
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Self

import dagster as dg
import sqlalchemy as sa
from dagster._config import UserConfigSchema
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
from dagster._core.events import (
    ASSET_CHECK_EVENTS,
    ASSET_EVENTS,
    BATCH_WRITABLE_EVENTS,
    EVENT_TYPE_TO_PIPELINE_RUN_STATUS,
    DagsterEventType,
)
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from filelock import FileLock

from market_data_pipeline.instance.brevity import in_index, in_run
from market_data_pipeline.instance.databases import create_run_database, created_by_one, damage_named
from market_data_pipeline.instance.planned import PlannedRanges
from market_data_pipeline.settings import Settings

ALREADY_RECORDED: Mapping[str, bool] = {SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True}
"""Metadata for the result of an asset that logged a materialization for each of its partitions itself.

Without it Dagster logs one more event for every partition of the run after the function has returned. The key is
private to Dagster. If a later version ignores it, each day is recorded twice.
"""

REFUSALS: tuple[type[Exception], ...] = (sa.exc.DBAPIError, sqlite3.Error, OSError)
"""What is raised where an event is not stored because the database is locked or gone, or the disk full."""

_MIRRORED_IN_INDEX = ASSET_EVENTS | ASSET_CHECK_EVENTS | EVENT_TYPE_TO_PIPELINE_RUN_STATUS.keys()
_MAX_OPEN_RUNS = 4
_EVENTS_PER_BATCH = "500"
_APART_S = 0.0011
_LOCK, _LONGEST_WAIT_S = ".creating.lock", 120


def stored_together(instance: dg.DagsterInstance) -> AbstractContextManager[None]:
    """Store the asset events that this thread logs inside the block with one commit, at the end of the block.

    With any other storage (Postgres, ephemeral) each event is stored when it is logged.
    """
    storage = instance.event_log_storage
    return storage.stored_together() if isinstance(storage, PooledSqliteEventLogStorage) else nullcontext()


class PooledSqliteStorage(DagsterSqliteStorage):
    """Dagster's default storage in its default folders, with the event log below instead of Dagster's."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        with created_by_one(Path(base_dir), self):
            super().__init__(base_dir, inst_data)
            self._event_log_storage = PooledSqliteEventLogStorage(str(Path(base_dir, "history", "runs")))

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """The fields of `config` in dagster.yaml: `base_dir`, a folder; DAGSTER_HOME if it is not given."""
        return {"base_dir": dg.Field(dg.StringSource, is_required=False)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Make a storage from the `config` of dagster.yaml."""
        # Without DAGSTER_HOME, Dagster's commands read the dagster.yaml of the folder in which they are started.
        home = config_value.get("base_dir") or os.environ.get("DAGSTER_HOME") or str(Settings().home)
        return cls.from_local(base_dir=home, inst_data=inst_data)


class PooledSqliteEventLogStorage(PlannedRanges):
    """Keeps the index database and those of the last few runs open, and stores a batch with one commit per database.

    One lock serialises all use, as in the parent class, so one connection per database serves any number of threads.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._open: OrderedDict[str, sa.Engine] = OrderedDict()
        self._pid = os.getpid()
        self._inherited: list[object] = []
        self._thread = threading.local()
        # Dagster calls `store_event_batch`, for planned materializations and others, only if this variable is set.
        os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", _EVENTS_PER_BATCH)
        super().__init__(base_dir, inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[sa.Connection]:
        with self._db_lock:
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
        url, arguments = self.conn_string_for_shard(shard), {"timeout": SQLITE_BUSY_TIMEOUT_SECONDS}
        if shard not in self._initialized_dbs:
            # Creating tables needs several connections at the same time, and one commit per table and index.
            engine = sa.create_engine(url, poolclass=sa.pool.NullPool, connect_args=arguments)
            sa.event.listen(engine, "connect", _use_write_ahead_log)
            # The webserver reads a run's events while the run creates its database.
            home, database = Path(self._base_dir).parents[1], Path(self.path_for_shard(shard))
            with damage_named(home, database), FileLock(database.with_name(_LOCK), timeout=_LONGEST_WAIT_S):
                if not database.exists():
                    create_run_database(engine)
                self._initdb(engine)
            self._initialized_dbs.add(shard)
        return sa.create_engine(url, pool_size=1, max_overflow=0, connect_args=arguments)

    def _close(self, *shards: str) -> None:
        with self._db_lock:
            for shard in self._open.keys() & shards if shards else list(self._open):
                self._open.pop(shard).dispose()

    def _notify_watchers(self, run_id: str) -> None:
        # The UI watches this file for new events, but commits are written to the write-ahead log beside it.
        with suppress(OSError):
            os.utime(self.path_for_shard(run_id))

    @contextmanager
    def stored_together(self) -> Iterator[None]:
        """Store the asset events that this thread logs inside the block with one commit, at the end of the block."""
        if getattr(self._thread, "pending", None) is not None:
            yield
            return
        self._thread.pending = []
        try:
            yield
        finally:
            pending, self._thread.pending = self._thread.pending, None
            self.store_event_batch(pending)

    def store_event(self, event: EventLogEntry) -> None:
        """Store one event, or keep it until the end of this thread's `stored_together` block."""
        pending, kind = getattr(self._thread, "pending", None), _kind(event)
        if pending is not None and kind in BATCH_WRITABLE_EVENTS:
            # The UI's list of an asset's events shows only one of those with the same millisecond.
            earliest_s = pending[-1].timestamp + _APART_S if pending else 0.0
            pending.append(event._replace(timestamp=max(event.timestamp, earliest_s)))
            return
        if pending:
            self._thread.pending = []
            self.store_event_batch(pending)
        if kind in BATCH_WRITABLE_EVENTS:
            self.store_event_batch([event])
            return
        super().store_event(event)
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

    def _store_batch_of_run(self, run_id: str, events: Sequence[EventLogEntry]) -> None:
        rows = [self._event_to_row(in_run(event)) for event in events]
        with self.run_connection(run_id) as connection:
            connection.execute(SqlEventLogStorageTable.insert(), rows)
        mirrored = [
            (event, row | {"event": in_index(event)})
            for event, row in zip(events, rows, strict=True)
            if _kind(event) in _MIRRORED_IN_INDEX
        ]
        with self.index_connection() as connection:
            stored = [(event, _insert(connection, row)) for event, row in mirrored]
            self._index_assets(connection, [(event, id_) for event, id_ in stored if _kind(event) in ASSET_EVENTS])
        for event, id_ in stored:
            if _kind(event) in ASSET_CHECK_EVENTS:
                self.store_asset_check_event(event, id_)
        self._notify_watchers(run_id)

    def _index_assets(self, connection: sa.Connection, stored: Sequence[tuple[EventLogEntry, int]]) -> None:
        self._store_asset_event_tags(connection, [event for event, _ in stored], [id_ for _, id_ in stored])
        # The row of an asset holds only its last event of each kind.
        last = {(event.get_dagster_event().asset_key, _kind(event)): (event, id_) for event, id_ in stored}
        for event, id_ in sorted(last.values(), key=lambda pair: pair[1]):
            self._store_asset_event(connection, event, id_)

    def delete_events(self, run_id: str) -> None:
        """Delete the events of a run and close its database."""
        super().delete_events(run_id)
        self._close(run_id)

    def wipe(self) -> None:
        """Delete the database of every run and empty the index."""
        self._close()
        super().wipe()

    def dispose(self) -> None:
        """Close all databases. The storage opens them again when it is used."""
        super().dispose()
        self._close()


def _kind(event: EventLogEntry) -> DagsterEventType | None:
    return event.dagster_event_type if event.is_dagster_event else None


def _use_write_ahead_log(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _insert(connection: sa.Connection, row: Mapping[str, Any]) -> int:
    key = connection.execute(SqlEventLogStorageTable.insert(), row).inserted_primary_key
    assert key is not None
    return int(key[0])
