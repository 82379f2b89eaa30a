"""A database of its own on the Postgres server for benchmarks, and a Dagster home that uses it.

Belongs here: both of them. Does not belong here: what is stored there (`generated`), its size (`measured.events`).
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from benchmarks.processes import PROJECT, BenchmarkFailed

SERVER = "MARKET_DATA_TEST_POSTGRES"
"""The variable with the URL of the server, whose user may create databases."""


@contextmanager
def new_database(server: str) -> Iterator[str]:
    """The URL of a new database on that server; it is dropped after the block."""
    url = sa.make_url(server).set(drivername="postgresql+psycopg2")
    name = f"market_data_{uuid.uuid4().hex}"
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    try:
        yield url.set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


def configure(folder: Path, url: str) -> None:
    """Write the `dagster.yaml` of a home with that database: the one of `deploy/`."""
    text = (PROJECT / "deploy" / "dagster.postgres.yaml").read_text(encoding="utf-8")
    if "postgresql+psycopg2://?" not in text:
        raise BenchmarkFailed("deploy/dagster.postgres.yaml names a server; it should take that of the environment")
    folder.mkdir()
    (folder / "dagster.yaml").write_text(text.replace("postgresql+psycopg2://?", f"{url}?"), encoding="utf-8")
