"""Connections to the Postgres of a Dagster instance, for tables of this package.

Belongs here: how they are opened, how long one waits for a host, and what may be wrong with the URL. Does not belong
here: tables (`postgres`, `instance.workers.beats`), which database it is (`instance.databases`), Dagster's own
connections (`instance.postgres_storage`).
"""

import os
import re
from typing import Any

import sqlalchemy as sa

from market_data_pipeline.core.errors import UsageError

# A host that is gone sends no end of its connections, and without a limit libpq waits for an answer for minutes.
_PATIENCE = {
    "connect_timeout": "5",
    "tcp_user_timeout": "10000",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "4",
}

WHAT_TO_CHECK = "check PGDATABASE, PGUSER and PGPASSWORD, or the URL of Postgres in dagster.yaml"
"""What to do where `is_set_wrong`."""
_REFUSED = re.compile(
    r'(?:database|role) "[^"]*" does not exist|authentication failed|no password supplied|no pg_hba\.conf entry'
    r"|permission denied|is not permitted to log in"
)
_LIBPQ = ("PGHOST", "PGHOSTADDR", "PGDATABASE", "PGSERVICE")
_IN_QUERY = {"host", "hostaddr", "dbname", "service"}


def require_named(url: str) -> None:
    """Refuse a URL that leaves server and database to libpq where no variable names one of them.

    libpq would take the socket of this machine and a database with the user's name, whosever that is.

    Raises:
        UsageError: nothing names a server.
    """
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):  # whoever connects says so
        return
    named = parsed.host or parsed.database or _IN_QUERY & parsed.query.keys()
    # Variables that belong to libpq and not to us, so that no setting has them.
    if not named and not any(os.environ.get(name) for name in _LIBPQ):  # noqa: TID251
        raise UsageError(
            "the URL of Postgres in dagster.yaml names no server, and no variable does; set PGHOST, PGUSER, "
            "PGPASSWORD and PGDATABASE, or write them into the URL"
        )


def with_patience(url: str, **more: str) -> sa.URL:
    """The URL with psycopg2 as its driver, an end of each wait for the host, and more; what its query says counts.

    Sessions of this process are in UTC from then on, unless the environment names another zone for them.

    Raises:
        sqlalchemy.exc.ArgumentError, ValueError: it is none.
        UsageError: it names no server, and no variable does.
    """
    # SQLAlchemy's own choice of a driver differs between its releases.
    parsed = sa.make_url(url).set(drivername="postgresql+psycopg2")
    require_named(url)
    # Dagster lets the server write when a run was created, in the zone of the session, and reads that as UTC. Of libpq
    # only this variable sets the zone through a proxy such as PgBouncer, too.
    os.environ.setdefault("PGTZ", "UTC")  # noqa: TID251
    added = {key: value for key, value in (_PATIENCE | more).items() if key not in parsed.query}
    return parsed.update_query_dict(added)


def is_set_wrong(error: BaseException) -> bool:
    """Whether Postgres answered that there is no such database or user, or that the user may not do this.

    A refusal of a connection has no code, only the text of the server.
    """
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    refused = error.orig
    code = str(getattr(refused, "pgcode", None) or "")
    return code == "3D000" or code.startswith("28") or code == "42501" or bool(_REFUSED.search(str(refused)))


def engine_to(url: str, name: str, **pool: Any) -> sa.Engine:
    """The connections of this process; none is opened yet.

    Args:
        url: the database, as Dagster and SQLAlchemy write it.
        name: what they are called in Postgres, `market-data NAME`.
        pool: how many are kept, as `sqlalchemy.create_engine` takes it.

    Raises:
        UsageError: the URL is none or names no server, or a package is missing.
    """
    try:
        return sa.create_engine(
            with_patience(url, application_name=f"market-data {name}"),
            isolation_level="READ COMMITTED",
            use_native_hstore=False,
            **pool,
        )
    except ImportError as error:
        raise UsageError(
            "the Dagster instance is in Postgres, for which a package is missing; install the extra [postgres], "
            "with the wheel of make dist"
        ) from error
    except (sa.exc.ArgumentError, ValueError):
        # Without the original text, which may have a password.
        raise UsageError("the URL of Postgres in dagster.yaml is not one; correct storage there") from None
