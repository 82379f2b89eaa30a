"""Connections to the Postgres of a Dagster instance, for tables of this package.

Belongs here: how they are opened, and what may be wrong with the URL. Does not belong here: tables (`postgres`,
`instance.workers.beats`), which database it is (`instance.databases`), Dagster's own connections.
"""

from typing import Any

import sqlalchemy as sa

from market_data_pipeline.core.errors import UsageError

# A host that is gone sends no end of its connections. What the URL says counts more.
_CONNECTION = {"connect_timeout": "5", "tcp_user_timeout": "10000"}


def engine_to(url: str, name: str, **pool: Any) -> sa.Engine:
    """The connections of this process; none is opened yet.

    Args:
        url: the database, as Dagster and SQLAlchemy write it.
        name: what they are called in Postgres, `market-data NAME`.
        pool: how many are kept, as `sqlalchemy.create_engine` takes it.

    Raises:
        UsageError: the URL is none, or a package is missing.
    """
    try:
        parsed = sa.make_url(url)
        connection = {**_CONNECTION, "application_name": f"market-data {name}"}
        added = {key: value for key, value in connection.items() if key not in parsed.query}
        return sa.create_engine(
            parsed.set(drivername="postgresql+psycopg2").update_query_dict(added),
            isolation_level="READ COMMITTED",
            use_native_hstore=False,
            **pool,
        )
    except ImportError as error:
        raise UsageError(
            "the Dagster instance is in Postgres, for which a package is missing; run "
            'pip install "market-data-pipeline[postgres]"'
        ) from error
    except (sa.exc.ArgumentError, ValueError):
        # Without the original text, which may have a password.
        raise UsageError("the URL of Postgres in dagster.yaml is not one; correct storage there") from None
