"""Dagster homes with each storage that this project has, and the rows that are left in their databases.

Belongs here: opening a home with the project's storage or with Dagster's own, reading its tables. Does not belong here:
what is recorded, and what the rows have to be (`test_storage`).
"""

import re
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.base import EventLogRecord
from dagster_shared.serdes import deserialize_value

from market_data_pipeline.instance.events.brevity import in_index

_ASSETS = (
    "SELECT asset_key, last_materialization, last_materialization_timestamp IS NOT NULL, last_run_id IS NOT NULL "
    "FROM asset_keys ORDER BY asset_key"
)
_TABLES = {
    "tags": "SELECT event_id, asset_key, key, value FROM asset_event_tags WHERE value LIKE 'v-%' ORDER BY id",
    "checks": "SELECT asset_key, check_name, partition, execution_status, evaluation_event_storage_id, "
    "materialization_event_storage_id FROM asset_check_executions ORDER BY id",
}
_EVENTS = "SELECT id, dagster_event_type, step_key, asset_key, partition FROM event_logs ORDER BY id"
_BODIES = "SELECT event FROM event_logs WHERE asset_key IS NOT NULL ORDER BY id"
# What differs from run to run.
_OF_A_RUN = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"), "RUN"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "DATA VERSION"),
    (re.compile(r'("?timestamp"?(?:: ?|=))[\d.]+'), r"\1 0"),
    (re.compile(r'("?pid"?(?:: ?|=))\d+'), r"\1 0"),
)


def _same_of_each_run(text: str) -> str:
    for pattern, instead in _OF_A_RUN:
        text = pattern.sub(instead, text)
    return text


def _brief(body: str) -> str:
    """An event as it is stored without what nobody reads."""
    return _same_of_each_run(in_index(deserialize_value(body, EventLogEntry)))


def _last(body: str | None) -> str | None:
    """The last materialization of an asset, which no storage shortens."""
    return body and _same_of_each_run(str(deserialize_value(body, EventLogRecord)))


@dataclass(frozen=True)
class Database(ABC):
    """A home, and its database."""

    home: Path

    @property
    @abstractmethod
    def ours(self) -> str:
        """The `storage` of dagster.yaml with the project's class."""

    @property
    @abstractmethod
    def plain(self) -> str:
        """The `storage` of dagster.yaml with Dagster's own class."""

    @abstractmethod
    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query of the tables that all runs share."""

    def rows(self, run_id: str) -> dict[str, list[Any]]:
        """The tables of events and assets, without what differs from run to run."""
        found: dict[str, list[Any]] = {name: self.query(sql) for name, sql in _TABLES.items()}
        found["assets"] = [(key, _last(body), *rest) for key, body, *rest in self.query(_ASSETS)]
        found["events"] = self.query(_EVENTS)
        found["bodies"] = [_brief(body) for (body,) in self.query(_BODIES)]
        return found

    @contextmanager
    def opened(self, monkeypatch: pytest.MonkeyPatch, *, plain: bool = False) -> Iterator[dg.DagsterInstance]:
        """The Dagster instance of the home, as any Dagster process opens it."""
        storage = self.plain if plain else self.ours
        (self.home / "dagster.yaml").write_text("telemetry: {enabled: false}\n" + storage)
        monkeypatch.setenv("DAGSTER_HOME", str(self.home))
        monkeypatch.delenv("DAGSTER_EVENT_BATCH_SIZE", raising=False)
        with dg.DagsterInstance.get() as instance:
            yield instance


@dataclass(frozen=True)
class Sqlite(Database):
    """The default: files in the home."""

    ours = (
        "storage: {custom: {module: market_data_pipeline.instance.storage, class: PooledSqliteStorage, config: {}}}\n"
    )
    plain = ""

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query of the index."""
        return self._query("index", sql)

    def rows(self, run_id: str) -> dict[str, list[Any]]:
        """The tables of the index, and the events in the run's own database."""
        return {**super().rows(run_id), "run": self._query(run_id, _EVENTS)}

    def _query(self, shard: str, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.home / "history" / "runs" / f"{shard}.db")) as connection:
            return connection.execute(sql).fetchall()


@dataclass(frozen=True)
class Postgres(Database):
    """A database of a server."""

    url: str

    @property
    def ours(self) -> str:
        """The class that deploy/dagster.postgres.yaml names."""
        named = "module: market_data_pipeline.instance.postgres_storage, class: BatchedPostgresStorage"
        return f"storage: {{custom: {{{named}, config: {{postgres_url: '{self.url}'}}}}}}\n"

    @property
    def plain(self) -> str:
        """Dagster's own."""
        return f"storage: {{postgres: {{postgres_url: '{self.url}'}}}}\n"

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with sa.create_engine(self.url, poolclass=sa.NullPool).connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(sql))]
