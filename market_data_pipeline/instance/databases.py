"""The SQLite databases of a Dagster home, which one process at a time creates and puts in order.

Belongs here: who may create them, and what processes left that created them at once or were killed meanwhile. Does not
belong here: what is stored in them (`storage`), the folder and its settings (`home`).
Dagster creates a database where it finds none. Two processes that do so at the same time write two versions into one
database, and no later one can open it. So the first process of a home holds its lock while Dagster creates them, and
leaves a mark, by which each later process sees without the lock that they are there.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.event_log.schema import (
    AssetEventTagsTable,
    SqlEventLogStorageMetadata,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.schema import RunStorageSqlMetadata
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.schema import ScheduleStorageSqlMetadata
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from dagster._core.storage.sql import AlembicVersion, get_alembic_config, stamp_alembic_rev
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.store.atomic import write_whole
from market_data_pipeline.instance.home import alone

_MARK = ".databases"
_BUSY_S = 30
_VERSION = "alembic_version"
"""The table of each database with the version of its tables: one row."""


@dataclass(frozen=True, slots=True)
class _Database:
    """One database: where it is in the home, its tables, and the module of Dagster whose versions it has."""

    path: Path
    tables: sa.MetaData
    module: str


_DATABASES = (
    _Database(Path("history", "runs.db"), RunStorageSqlMetadata, sqlite_run_storage.__file__),
    _Database(Path("history", "runs", "index.db"), SqlEventLogStorageMetadata, sqlite_event_log.__file__),
    _Database(Path("schedules", "schedules.db"), ScheduleStorageSqlMetadata, sqlite_schedule_storage.__file__),
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
            for database in _DATABASES:
                _heal(home, database)
            yield
            _finish(storage)
            write_whole(home / _MARK, _mark())


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


def _mark() -> bytes:
    return f"{dg.__version__}\n".encode()


def create_run_database(engine: sa.Engine) -> None:
    """Create the database of a run with the two tables that are used of it, without indexes.

    Dagster gives it all 12 tables of the index, and indexes by asset, step and type: 131 KB without an event, and 300
    bytes for each. Events of a run are read in their order, which is that of the table. Tags are deleted with the
    run, though none are stored here. Dagster takes a database with a version for a whole one.
    """
    tables = sa.MetaData()
    for table in (SqlEventLogStorageTable, AssetEventTagsTable):
        table.to_metadata(tables).indexes.clear()
    tables.create_all(engine)
    with engine.connect() as connection:
        stamp_alembic_rev(get_alembic_config(sqlite_event_log.__file__), connection)
        connection.commit()


def publish(database: Path, content: bytes) -> None:
    """Write the file of a database that nobody has opened yet, and which is whole then, also after a power cut."""
    write_whole(database, content)


def _are_there(home: Path) -> bool:
    """True if this version of Dagster has created or opened them all, and none has lost its content since."""
    try:
        is_marked = (home / _MARK).read_bytes() == _mark()
        return is_marked and all((home / database.path).stat().st_size for database in _DATABASES)
    except OSError:
        return False


def _heal(home: Path, database: _Database) -> None:
    """Give a database its one version and its tables, where processes that created it did not finish.

    A database that an older version of Dagster has created is left as it is.

    Raises:
        sqlite3.DatabaseError: it is no database.
        StoreError: it has several versions, and lacks columns of the newest.
    """
    path = home / database.path
    if not path.exists():
        return
    if path.stat().st_size == 0 and not path.with_name(f"{path.name}-wal").exists():
        path.unlink()  # Dagster takes an event log that exists for one that is ready
        return
    with closing(sqlite3.connect(path, timeout=_BUSY_S)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        rows = connection.execute(f"SELECT version_num FROM {_VERSION}") if _VERSION in tables else []
        versions = sorted(version for (version,) in rows)
    if len(versions) == 1 or tables <= {_VERSION}:
        return
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.pool.NullPool, connect_args={"timeout": _BUSY_S})
    database.tables.create_all(engine)
    if _has_all_columns(engine, database.tables):
        _set_version(engine, database)
    elif versions:
        raise _damage(home, f"{path} has the versions {' and '.join(versions)} at once")


def _has_all_columns(engine: sa.Engine, tables: sa.MetaData) -> bool:
    found = sa.inspect(engine)
    return all(
        {column.name for column in table.columns} <= {column["name"] for column in found.get_columns(name)}
        for name, table in tables.tables.items()
    )


def _set_version(engine: sa.Engine, database: _Database) -> None:
    """Make the newest version the only one, with the indexes that a killed process may not have come to."""
    for table in database.tables.sorted_tables:
        for index in table.indexes:
            index.create(engine, checkfirst=True)
    with engine.connect() as connection:
        if sa.inspect(engine).has_table(_VERSION):
            connection.execute(sa.text(f"DELETE FROM {_VERSION}"))
        stamp_alembic_rev(get_alembic_config(database.module), connection)
        connection.commit()


def _finish(storage: DagsterSqliteStorage) -> None:
    """Let Dagster do what it does to new databases only, and what a killed process may not have come to."""
    runs, events, schedules = storage.run_storage, storage.event_log_storage, storage.schedule_storage
    for one in (runs, schedules):
        if _is_newest(one.alembic_version()):
            one.migrate()
            one.optimize()
    if _is_newest(events.alembic_version()):
        events.reindex_events()
        events.reindex_assets()


def _is_newest(version: AlembicVersion | None) -> bool:
    return version is not None and version[0] == version[1]


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
