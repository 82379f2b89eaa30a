"""The SQLite databases of a Dagster home, which one process at a time creates and puts in order.

Belongs here: who may create them, and what processes left that created them at once or were killed meanwhile. Does not
belong here: what is stored in them (`storage`), the folder and its settings (`home`).
Dagster creates a database where it finds none. Two processes that do so at the same time write two versions into one
database, and no later one can open it. So the first process of a home holds its lock while Dagster creates them, and
leaves a mark, by which each later process sees without the lock that they are there.
Dagster reads its scripts of all versions to find out which is the newest, each time it opens a database. That takes
longer than all else about it, so here they are read once for a home, and only for one that is new.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.event_log import migration as of_events
from dagster._core.storage.event_log.schema import (
    AssetEventTagsTable,
    SqlEventLogStorageMetadata,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs import migration as of_runs
from dagster._core.storage.runs.schema import RunStorageSqlMetadata
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.schedules import migration as of_schedules
from dagster._core.storage.schedules.schema import ScheduleStorageSqlMetadata
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._core.storage.sql import check_alembic_revision, get_alembic_config
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.store.atomic import write_whole
from market_data_pipeline.instance.home import alone

_MARK = ".databases"
_BUSY_S = 30
_VERSION = "alembic_version"
"""The table of each database with the version of its tables: one row."""
_CHANGES = "secondary_indexes"
"""The table of each database with the changes of rows that were made, by name."""


@dataclass(frozen=True, slots=True)
class _Database:
    """One database: where it is in the home, its tables, and the changes of old rows, of which a new one has none."""

    path: Path
    tables: sa.MetaData
    changes: tuple[str, ...]


_DATABASES = (
    _Database(
        Path("history", "runs.db"),
        RunStorageSqlMetadata,
        (*of_runs.REQUIRED_DATA_MIGRATIONS, *of_runs.OPTIONAL_DATA_MIGRATIONS),
    ),
    _Database(
        Path("history", "runs", "index.db"),
        SqlEventLogStorageMetadata,
        (*of_events.EVENT_LOG_DATA_MIGRATIONS, *of_events.ASSET_DATA_MIGRATIONS),
    ),
    _Database(
        Path("schedules", "schedules.db"),
        ScheduleStorageSqlMetadata,
        (*of_schedules.REQUIRED_SCHEDULE_DATA_MIGRATIONS, *of_schedules.OPTIONAL_SCHEDULE_DATA_MIGRATIONS),
    ),
)


@contextmanager
def created_by_one(home: Path, storage: DagsterSqliteStorage) -> Iterator[None]:
    """Let the block, in which Dagster opens the databases or creates them, run alone if they may not be there yet.

    Args:
        home: the Dagster home.
        storage: the storage that the block initializes.

    Raises:
        StoreError: a database is damaged, or another process has been creating them for too long.
    """
    with damage_named(home, *(home / database.path for database in _DATABASES)):
        if _are_there(home):
            yield
            return
        home.mkdir(parents=True, exist_ok=True)
        with alone(home):
            were_there = [_heal(home, database) for database in _DATABASES]
            if any(were_there):
                # Dagster adds to those of an older version what they have to have.
                SqliteRunStorage.from_local(str(home / "history"))
                SqliteScheduleStorage.from_local(str(home / "schedules"))
            yield
            if any(were_there):
                _finish(home, storage)
            write_whole(home / _MARK, f"{dg.__version__} {_newest_version()}\n".encode())


@contextmanager
def damage_named(home: Path, *databases: Path) -> Iterator[None]:
    """Name the database that turns out to be damaged in the block, and the cure.

    Raises:
        StoreError: a database is damaged.
    """
    try:
        yield
    except (sqlite3.DatabaseError, sa.exc.DatabaseError) as error:
        # Its subclasses tell of a full disk, or of a lock that others hold.
        if type(getattr(error, "orig", error)) is not sqlite3.DatabaseError:
            raise
        damaged = next((path for path in databases if not _is_readable(path)), home / "history")
        raise _damage(home, f"{damaged} is damaged") from error


def create_run_database(home: Path, path: Path) -> None:
    """Create the database of a run with the two tables that are used of it, without indexes.

    Dagster gives it all 12 tables of the index, and indexes by asset, step and type: 131 KB without an event, and 300
    bytes for each. Events of a run are read in their order, which is that of the table. Tags are deleted with the
    run, though none are stored here. Dagster takes a database with a version for a whole one.
    """
    tables = sa.MetaData()
    for table in (SqlEventLogStorageTable, AssetEventTagsTable):
        table.to_metadata(tables).indexes.clear()
    _create(path, tables, _marked_version(home) or _newest_version())


def has_version(path: Path) -> bool:
    """Whether a database has a version, as all have whose creation came to its end. An empty one is made of none."""
    with closing(sqlite3.connect(path, timeout=_BUSY_S)) as connection:
        return bool(_tables_and_versions(connection)[1])


def _create(path: Path, tables: sa.MetaData, version: str, changes: Sequence[str] = ()) -> None:
    """Create a database with these tables, which under its own name is whole, also after a power cut."""
    with closing(sqlite3.connect(":memory:")) as connection:
        tables.create_all(sa.create_engine("sqlite://", creator=lambda: connection, poolclass=sa.pool.StaticPool))
        for name in changes:
            done = f"INSERT INTO {_CHANGES} (name, migration_completed) VALUES (?, CURRENT_TIMESTAMP)"
            connection.execute(done, [name])
        _set_version(connection, version)
        content = connection.serialize()
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in (f"{path.name}-wal", f"{path.name}-shm"):  # of a database that was removed without them
        path.with_name(left).unlink(missing_ok=True)
    # By these two bytes of its header a database has a write-ahead log. One in memory cannot have it.
    write_whole(path, content[:18] + b"\x02\x02" + content[20:])


@cache
def _newest_version() -> str:
    """The version of the tables that this Dagster creates; all databases have the same versions."""
    with sa.create_engine("sqlite://", poolclass=sa.pool.NullPool).connect() as connection:
        return str(check_alembic_revision(get_alembic_config(sqlite_event_log.__file__), connection)[1])


def _marked_version(home: Path) -> str | None:
    """The newest version, as the mark of this version of Dagster has it; None if there is no such mark."""
    try:
        made_by, _, version = (home / _MARK).read_text(encoding="ascii").strip().partition(" ")
    except (OSError, ValueError):
        return None
    return version if made_by == dg.__version__ and version else None


def _are_there(home: Path) -> bool:
    """True if this version of Dagster has created or opened them all, and none has lost its content since.

    Raises:
        sqlite3.DatabaseError: one is no database.
    """
    paths = [home / database.path for database in _DATABASES]
    return bool(_marked_version(home)) and all(path.exists() and has_version(path) for path in paths)


def _heal(home: Path, database: _Database) -> bool:
    """Give a database its one version and its tables, where processes that created it did not finish.

    A database that an older version of Dagster has created is left as it is. True if there was one.

    Raises:
        sqlite3.DatabaseError: it is no database.
        StoreError: it has several versions, and lacks columns of the newest.
    """
    path = home / database.path
    if path.exists() and path.stat().st_size == 0 and not path.with_name(f"{path.name}-wal").exists():
        path.unlink()
    if not path.exists():
        _create(path, database.tables, _newest_version(), database.changes)
        return False
    with closing(sqlite3.connect(path, timeout=_BUSY_S)) as connection:
        tables, versions = _tables_and_versions(connection)
    if len(versions) == 1 and tables != {_VERSION}:
        return True
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.pool.NullPool, connect_args={"timeout": _BUSY_S})
    database.tables.create_all(engine)
    if _has_all_columns(engine, database.tables):
        # A process that was killed may not have come to them.
        for index in (index for table in database.tables.sorted_tables for index in table.indexes):
            index.create(engine, checkfirst=True)
        with closing(sqlite3.connect(path, timeout=_BUSY_S)) as connection:
            _set_version(connection, _newest_version())
    elif versions:
        raise _damage(home, f"{path} has the versions {' and '.join(versions)} at once")
    return True


def _tables_and_versions(connection: sqlite3.Connection) -> tuple[set[str], list[str]]:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    rows = connection.execute(f"SELECT version_num FROM {_VERSION}") if _VERSION in tables else []
    return tables, sorted(version for (version,) in rows)


def _has_all_columns(engine: sa.Engine, tables: sa.MetaData) -> bool:
    found = sa.inspect(engine)
    return all(
        {column.name for column in table.columns} <= {column["name"] for column in found.get_columns(name)}
        for name, table in tables.tables.items()
    )


def _set_version(connection: sqlite3.Connection, version: str) -> None:
    """Make this the only version of a database."""
    columns = "version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)"
    with connection:
        connection.execute(f"CREATE TABLE IF NOT EXISTS {_VERSION} ({columns})")
        connection.execute(f"DELETE FROM {_VERSION}")
        connection.execute(f"INSERT INTO {_VERSION} VALUES (?)", [version])


def _finish(home: Path, storage: DagsterSqliteStorage) -> None:
    """Let Dagster do what it does to new databases only, and what a killed process may not have come to."""
    runs, events, schedules = (_is_newest(home / database.path) for database in _DATABASES)
    if runs:
        storage.run_storage.migrate()
        storage.run_storage.optimize()
    if schedules:
        storage.schedule_storage.migrate()
        storage.schedule_storage.optimize()
    if events:
        storage.event_log_storage.reindex_events()
        storage.event_log_storage.reindex_assets()


def _is_newest(path: Path) -> bool:
    with closing(sqlite3.connect(path, timeout=_BUSY_S)) as connection:
        return _tables_and_versions(connection)[1] == [_newest_version()]


def _is_readable(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(path, timeout=_BUSY_S)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError:
        return False
    return True


def _damage(home: Path, problem: str) -> StoreError:
    return StoreError(
        f"{problem}; end all commands, move the folders history and schedules of {home} away, and run market-data "
        "report: it records the stored days again"
    )
