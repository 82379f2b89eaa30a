"""What a day takes of Dagster's databases: at most 4 KB, of SQLite's index and the run's own file, or of Postgres."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from market_data_pipeline_tests.defs.loading import BTC, KLINES, MANIFEST, Loading
from market_data_pipeline_tests.instance.storages import Postgres

MOST_BYTES_A_DAY = 4096
DAYS = 200
# What Dagster's own storage takes for the database of a run before its first event.
DAGSTERS_OWN_EMPTY = 131_000


def used_bytes(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        ((pages,), (page_bytes,)) = (
            connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size")
        )
    return int(pages * page_bytes)


@pytest.mark.slow
def test_a_day_of_a_backfill_takes_at_most_4_kb_of_the_event_log(load: Loading) -> None:
    history = Path(load.instance.root_directory) / "history" / "runs"

    def used_by_run(first: str, last: str) -> tuple[int, int]:
        """The bytes of the run's own database, and those that the index grew by."""
        before = used_bytes(history / "index.db")
        report = load.run(BTC, first, last, assets=[KLINES, MANIFEST])
        assert report.success
        return used_bytes(history / f"{report.run_id}.db"), used_bytes(history / "index.db") - before

    # A run itself takes some bytes too, of its start, its end and its checks.
    used_by_run("2022-01-01", "2022-01-01")
    of_one_day = used_by_run("2022-01-02", "2022-01-02")
    of_many = used_by_run("2022-01-03", "2022-07-22")
    assert len(load.recorded_days(BTC)) == DAYS + 3
    assert (sum(of_many) - sum(of_one_day)) / DAYS <= MOST_BYTES_A_DAY
    assert of_one_day[0] < DAGSTERS_OWN_EMPTY


@pytest.fixture
def on_postgres(tmp_path: Path, postgres: str) -> sa.Engine:
    """The database of the home that `load` opens after it."""
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text(Postgres(home, postgres).ours)
    return sa.create_engine(postgres, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)


@pytest.mark.slow
def test_a_day_of_a_backfill_takes_at_most_4_kb_of_postgres(on_postgres: sa.Engine, load: Loading) -> None:
    def used() -> int:
        with on_postgres.connect() as connection:
            connection.execute(sa.text("VACUUM"))
            return int(connection.scalar(sa.text("SELECT sum(pg_total_relation_size(relid)) FROM pg_stat_user_tables")))

    load.run(BTC, "2022-01-01", "2022-01-01", assets=[KLINES, MANIFEST])
    before = used()
    assert load.run(BTC, "2022-01-03", "2022-07-22", assets=[KLINES, MANIFEST]).success
    assert len(load.recorded_days(BTC)) == DAYS + 2
    assert (used() - before) / (DAYS + 1) <= MOST_BYTES_A_DAY
