"""Dagster's Postgres storage with its events stored in batches and in few bytes, and with refusals told in one way.

Belongs here: the connections, and what is written to the tables of events. Does not belong here: which events are
stored together (`events.batches`), what is left out of one (`events.brevity`), which days a run plans
(`events.planned`), how a run is summed up (`events.summaries`), which events stay when a run is deleted
(`events.keeping`), SQLite (`storage`).
It needs the extra `[postgres]`; `deploy/dagster.postgres.yaml` names the class. The tables are those of Dagster's own
storage, so each can open a database that the other has written.
It is written for dagster-postgres 0.29 and uses these members of its storages: `_connect`, `_engine`.
Tests compare the rows of both: run them after an upgrade of Dagster.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import dagster as dg
import sqlalchemy as sa
from dagster._config import UserConfigSchema
from dagster._core.events import ASSET_CHECK_EVENTS
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.config import pg_config
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._serdes import ConfigurableClass, ConfigurableClassData
from dagster_postgres.auth import PgTokenProvider
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.schedule_storage import PostgresScheduleStorage
from dagster_postgres.utils import create_pg_engine, get_token_provider_from_config, pg_url_from_config
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from market_data_pipeline.core.sources.budgets.engine import with_patience
from market_data_pipeline.instance.events.batches import BatchedEvents, kind_of
from market_data_pipeline.instance.events.brevity import in_index
from market_data_pipeline.instance.events.interrupts import uninterrupted
from market_data_pipeline.instance.events.keeping import KeptDays
from market_data_pipeline.instance.events.planned import PlannedRanges
from market_data_pipeline.instance.events.summaries import RunSummaries

_PATIENCE_S = 6
# Of one transaction each, as a proxy such as PgBouncer gives connections on. A host that is cut off holds what it has
# locked, and its commit may arrive when it is back: the server has given it up by then, and nobody waits for longer.
_LIMITS = "SET LOCAL idle_in_transaction_session_timeout = '10s'; SET LOCAL lock_timeout = '30s'"
_ALONE = "SELECT pg_advisory_xact_lock(hashtextextended(%(key)s, 7265348190266))"
_INSERT = SqlEventLogStorageTable.insert().returning(SqlEventLogStorageTable.c.id, sort_by_parameter_order=True)


class _Connecting:
    """Connects as Dagster's Postgres storages do, again and again for some seconds; but quietly.

    Dagster's own logs each try on several lines, and raises an error of its own at the end. Here it is the driver's.
    """

    _engine: sa.Engine

    @contextmanager
    def connect(self, run_id: str | None = None) -> Iterator[sa.Connection]:
        """A connection for the block."""
        with uninterrupted(), _connection(self._engine) as connection:
            yield connection

    _connect = connect


def _connection(engine: sa.Engine) -> sa.Connection:
    trying = Retrying(
        retry=retry_if_exception_type((sa.exc.OperationalError, sa.exc.TimeoutError)),
        wait=wait_random_exponential(multiplier=0.2, max=2),
        stop=stop_after_delay(_PATIENCE_S),
        reraise=True,
    )
    return trying(engine.connect)


class BatchedPostgresEventLogStorage(
    BatchedEvents, PlannedRanges, RunSummaries, KeptDays, _Connecting, PostgresEventLogStorage
):
    """Stores a batch in one transaction: all of its events, or none."""

    @contextmanager
    def index_transaction(self) -> Iterator[sa.Connection]:
        """A connection whose changes are stored at the end of the block, unless this host is away for seconds."""
        with super().index_transaction() as connection:
            connection.exec_driver_sql(_LIMITS)
            yield connection

    @uninterrupted()
    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store the events as `store_event` does, with one commit."""
        if not events:
            return
        with self.index_transaction() as connection:
            stored = self._store(connection, events)
        for event, id_ in stored:
            if kind_of(event) in ASSET_CHECK_EVENTS:
                self.store_asset_check_event(event, id_)

    @uninterrupted()
    def store_untold(self, key: dg.AssetKey, untold: Callable[[sa.Connection], Sequence[EventLogEntry]]) -> None:
        """Store the events of an asset that a function gives, which sees in the index all that others store so."""
        with self.index_transaction() as connection:
            connection.exec_driver_sql(_ALONE, {"key": key.to_string()})
            self._store(connection, untold(connection))

    def _store(self, connection: sa.Connection, events: Sequence[EventLogEntry]) -> list[tuple[EventLogEntry, int]]:
        if not events:
            return []
        rows = [self._row(event, in_index(event)) for event in events]
        stored = list(zip(events, connection.scalars(_INSERT, rows), strict=True))
        self._index_assets(connection, stored)
        return stored


class _Runs(_Connecting, PostgresRunStorage):
    """Dagster's storage of runs."""


class _Schedules(_Connecting, PostgresScheduleStorage):
    """Dagster's storage of schedules, sensors and their ticks."""


class BatchedPostgresStorage(DagsterStorage, ConfigurableClass):
    """Dagster's Postgres storage, with the event log above instead of Dagster's. It is configured as Dagster's is."""

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: ConfigurableClassData | None = None,
        token_provider: PgTokenProvider | None = None,
    ) -> None:
        self._inst_data = inst_data
        postgres_url = with_patience(postgres_url).render_as_string(hide_password=False)
        # The constructors below connect in Dagster's way. Where nobody answers, this ends before.
        _connection(create_pg_engine(postgres_url, token_provider, poolclass=sa.NullPool)).close()
        options: dict[str, Any] = {"token_provider": token_provider}
        self._runs = _Runs(postgres_url, should_autocreate_tables, **options)
        self._events = BatchedPostgresEventLogStorage(postgres_url, should_autocreate_tables, **options)
        self._schedules = _Schedules(postgres_url, should_autocreate_tables, **options)
        super().__init__()

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """The fields of `config` in dagster.yaml: `postgres_url`, or `postgres_db`, as for Dagster's own."""
        return pg_config()

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Make a storage from the `config` of dagster.yaml."""
        return cls(
            pg_url_from_config(config_value),
            config_value.get("should_autocreate_tables", True),
            inst_data,
            get_token_provider_from_config(config_value),
        )

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """The part of dagster.yaml that the storage was made from."""
        return self._inst_data

    @property
    def event_log_storage(self) -> BatchedPostgresEventLogStorage:
        """The events of runs and assets."""
        return self._events

    @property
    def run_storage(self) -> PostgresRunStorage:
        """The runs."""
        return self._runs

    @property
    def schedule_storage(self) -> PostgresScheduleStorage:
        """The schedules and sensors."""
        return self._schedules
