"""How a database in Postgres is connected to: with an end of each wait, and without a secret in what is refused."""

import os
import sys

import pytest
import sqlalchemy as sa

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.sources.budgets.engine import engine_to, is_set_wrong, with_patience

PATIENCE = {
    "connect_timeout": "5",
    "tcp_user_timeout": "10000",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "4",
}


def test_each_wait_for_the_host_has_an_end() -> None:
    url = with_patience("postgresql://me:secret@host:5433/dagster", application_name="market-data budget")
    assert url.drivername == "postgresql+psycopg2"
    assert (url.username, url.password, url.host, url.port, url.database) == ("me", "secret", "host", 5433, "dagster")
    assert url.query == {**PATIENCE, "application_name": "market-data budget"}


def test_what_the_url_says_counts_more() -> None:
    url = with_patience("postgresql+asyncpg://host/db?connect_timeout=60&sslmode=require", application_name="mine")
    assert url.drivername == "postgresql+psycopg2"
    assert url.query == {**PATIENCE, "connect_timeout": "60", "sslmode": "require", "application_name": "mine"}
    assert with_patience(str(url), application_name="other").query["application_name"] == "mine"


def test_an_engine_has_a_name_and_the_pool_that_is_asked_for() -> None:
    pytest.importorskip("psycopg2")
    engine = engine_to("postgresql://host/db", "beats", pool_size=3)
    assert engine.url.query["application_name"] == "market-data beats"
    assert engine.pool.size() == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("url", ["postgresql://", "postgresql://me:secret@", "postgresql:///?sslmode=require"])
def test_a_url_that_names_no_server_is_refused_where_no_variable_does(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGHOST", "PGHOSTADDR", "PGDATABASE", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError) as refused:
        with_patience(url)
    assert str(refused.value) == (
        "the URL of Postgres in dagster.yaml names no server, and no variable does; set PGHOST, PGUSER, PGPASSWORD "
        "and PGDATABASE, or write them into the URL"
    )
    for named in ("postgresql://host", "postgresql:///db", "postgresql:///?service=mine"):
        with_patience(named)
    monkeypatch.setenv("PGSERVICE", "mine")
    with_patience(url)


@pytest.mark.parametrize("zone", [None, "Asia/Tokyo"])
def test_sessions_are_in_utc_unless_the_environment_names_another_zone(
    zone: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGTZ", zone or "")
    if zone is None:
        monkeypatch.delenv("PGTZ")
    with_patience("postgresql://host/db")
    assert os.environ["PGTZ"] == (zone or "UTC")


class Refused(Exception):
    """As the driver raises it; a refusal of a connection has no code."""

    def __init__(self, text: str, pgcode: str | None) -> None:
        super().__init__(text)
        self.pgcode = pgcode


@pytest.mark.parametrize(
    ("code", "text", "is_wrong"),
    [
        ("3D000", "", True),
        ("28P01", "", True),
        ("42501", "", True),
        ("57P03", "the database system is starting up", False),
        (None, 'FATAL:  database "mine" does not exist', True),
        (None, "could not connect to server: Connection refused", False),
    ],
)
def test_what_is_set_wrong_is_told_from_what_may_pass(code: str | None, text: str, is_wrong: bool) -> None:
    refused = Refused(text, code)
    assert is_set_wrong(sa.exc.DBAPIError("SELECT 1", {}, refused)) is is_wrong
    assert not is_set_wrong(refused)


@pytest.mark.parametrize("url", ["nonsense secret", "postgresql://me:secret@host:port/db", "://secret"])
def test_a_url_that_is_none_is_refused_without_its_text(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        engine_to(url, "budget")
    assert str(refused.value) == "the URL of Postgres in dagster.yaml is not one; correct storage there"


def test_a_package_that_is_missing_is_named_with_the_extra_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(UsageError) as refused:
        engine_to("postgresql://host/db", "budget")
    assert str(refused.value) == (
        "the Dagster instance is in Postgres, for which a package is missing; install the extra [postgres], with the "
        "wheel of make dist"
    )
