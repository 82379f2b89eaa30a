"""A Dagster home whose databases were not created by one process from begin to end."""

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.instance.home import alone
from market_data_pipeline.instance.runs import open_instance

DATABASES = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")
KEY = dg.AssetKey("days")
# Dagster gives this version to a database that has tables and none.
OLDER = "5771160a95ad"


@pytest.fixture(autouse=True)
def same_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`open_instance` sets the variable."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))


def record(home: Path, day: str) -> set[str]:
    """Record a day in Dagster and return all that are recorded."""
    with open_instance(home) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(KEY, partition=day))
        return instance.get_materialized_partitions(KEY)


def run_sql(path: Path, *statements: str) -> list[tuple[str]]:
    with closing(sqlite3.connect(path)) as connection:
        rows = [connection.execute(statement).fetchall() for statement in statements][-1]
        connection.commit()
    return rows


def versions(home: Path) -> list[int]:
    return [len(run_sql(home / name, "SELECT version_num FROM alembic_version")) for name in DATABASES]


def two_versions(path: Path) -> None:
    """As two processes left it that created it at the same time."""
    run_sql(path, f"INSERT INTO alembic_version VALUES ('{OLDER}')")


def no_version(path: Path) -> None:
    """As a process left it that was killed before it wrote the version."""
    run_sql(path, "DELETE FROM alembic_version")


def no_version_and_few_tables(path: Path) -> None:
    """As a process left it that was killed while it created the tables."""
    names = run_sql(path, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
    run_sql(path, *(f"DROP TABLE {name}" for (name,) in names[2:]))


def no_content(path: Path) -> None:
    """As a process left it that was killed right after it had created the file."""
    for of_database in path.parent.glob(f"{path.name}*"):
        of_database.unlink()
    path.touch()


@pytest.mark.parametrize("name", DATABASES)
@pytest.mark.parametrize(
    ("damage", "has_mark"),
    [
        (two_versions, False),
        (no_version, False),
        (no_version_and_few_tables, False),
        (no_content, False),
        (no_content, True),
    ],
)
def test_what_processes_left_half_done_is_healed(
    tmp_path: Path, name: str, damage: Callable[[Path], None], has_mark: bool
) -> None:
    record(tmp_path, "2024-01-01")
    if not has_mark:
        (tmp_path / ".databases").unlink()
    damage(tmp_path / name)
    assert "2024-01-02" in record(tmp_path, "2024-01-02")
    assert versions(tmp_path) == [1, 1, 1]
    if damage in {two_versions, no_version}:
        assert record(tmp_path, "2024-01-03") == {"2024-01-01", "2024-01-02", "2024-01-03"}


@pytest.mark.parametrize("name", DATABASES)
def test_a_database_that_is_none_is_named_with_the_cure(tmp_path: Path, name: str) -> None:
    record(tmp_path, "2024-01-01")
    for of_database in (tmp_path / name).parent.glob(f"{Path(name).name}-*"):
        of_database.unlink()
    (tmp_path / name).write_bytes(b"nonsense" * 1000)
    with pytest.raises(StoreError) as refused:
        record(tmp_path, "2024-01-02")
    assert f"{tmp_path / name} is damaged; end all commands, move the folders" in str(refused.value)
    assert "\n" not in str(refused.value)
    for folder in ("history", "schedules"):
        (tmp_path / folder).rename(tmp_path / f"old {folder}")
    assert record(tmp_path, "2024-01-02") == {"2024-01-02"}


def test_a_home_that_another_process_creates_is_waited_for(tmp_path: Path) -> None:
    recorded: list[set[str]] = []
    other = threading.Thread(target=lambda: recorded.append(record(tmp_path, "2024-01-01")))
    with alone(tmp_path):
        other.start()
        other.join(1)
        assert other.is_alive()
        assert not list(tmp_path.rglob("*.db"))
    other.join(60)
    assert recorded == [{"2024-01-01"}]


def test_a_home_that_is_ready_is_opened_without_the_lock(tmp_path: Path) -> None:
    record(tmp_path, "2024-01-01")
    with alone(tmp_path):
        assert record(tmp_path, "2024-01-02") == {"2024-01-01", "2024-01-02"}


def of_database(path: Path) -> dict[str, list[tuple[str]]]:
    """What tells how a database was created, in its own words but for spaces."""
    tables = {name for (name,) in run_sql(path, "SELECT name FROM sqlite_master WHERE type = 'table'")}
    columns = {name: run_sql(path, f"PRAGMA table_xinfo({name})") for name in tables}
    keys = {f"keys of {name}": run_sql(path, f"PRAGMA foreign_key_list({name})") for name in tables}
    return (
        columns
        | keys
        | {
            "indexes": sorted(run_sql(path, "SELECT name, sql FROM sqlite_master WHERE type = 'index'")),
            "version": run_sql(path, "SELECT version_num FROM alembic_version"),
            "changes": sorted(
                run_sql(path, "SELECT name FROM secondary_indexes WHERE migration_completed IS NOT NULL")
            ),
            "journal": run_sql(path, "PRAGMA journal_mode"),
        }
    )


def test_new_databases_are_those_that_dagster_creates(tmp_path: Path) -> None:
    with open_instance(tmp_path):
        pass
    theirs = tmp_path / "theirs"
    DagsterSqliteStorage.from_local(str(theirs))
    for name in DATABASES:
        assert of_database(tmp_path / name) == of_database(theirs / name)
