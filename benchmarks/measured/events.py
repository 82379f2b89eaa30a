"""The bytes of Dagster's event log, on SQLite and on Postgres.

Belongs here: counting them. Does not belong here: what writes them.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa


def files_bytes(home: Path) -> int:
    """The pages of the index and of the databases of all runs, with those in a write-ahead log."""
    return sum(map(_pages_bytes, (home / "history" / "runs").glob("*.db")))


def tables_bytes(url: str) -> int:
    """All tables with their indexes, less the space of rows that were replaced.

    It leaves the tables vacuumed and analyzed, as the autovacuum of a server does that has it on.
    """
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))
        sizes = "SELECT sum(pg_total_relation_size(relid)) FROM pg_stat_user_tables"
        return int(connection.scalar(sa.text(sizes)) or 0)


def _pages_bytes(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    return int(pages * page_bytes)
