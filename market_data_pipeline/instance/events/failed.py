"""The checks of assets whose last result is a failure, as a database of Dagster has them.

Belongs here: the query. Does not belong here: opening the database, running a check (`defs.checks`). Dagster, which
takes seconds, is not imported.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

# A night of a thousand datasets has 8,000.
_NEWEST = 50_000
_FAILED = sa.text(
    f"""
    SELECT asset_key, check_name, evaluation_event, create_timestamp FROM asset_check_executions
    WHERE execution_status = 'FAILED' AND id IN (
        SELECT max(id) FROM asset_check_executions
        WHERE id > (SELECT max(id) FROM asset_check_executions) - {_NEWEST} AND execution_status <> 'PLANNED'
        GROUP BY asset_key, check_name
    )
    ORDER BY id DESC LIMIT 1000
    """
)
_WARNING = "AssetCheckSeverity.WARN"


@dataclass(frozen=True, slots=True)
class FailedCheck:
    """A check whose last result is a failure: of which asset, and when, ms UTC. `is_error` is False for a warning."""

    asset: str
    name: str
    is_error: bool
    at_ms: int


def failed_checks(connection: sa.Connection) -> list[FailedCheck]:
    """The checks that failed, the newest first; of the newest results of a home that has very many.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database is none of Dagster's, or of a version with other tables.
    """
    return [_failed(*row) for row in connection.execute(_FAILED)]


def _failed(asset_key: str, name: str, event: str | None, created: Any) -> FailedCheck:
    try:
        asset = "/".join(map(str, json.loads(asset_key)))
    except (ValueError, TypeError):
        asset = str(asset_key)
    at = created if isinstance(created, datetime) else datetime.fromisoformat(str(created))
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return FailedCheck(asset, name, _WARNING not in (event or ""), round(at.timestamp() * 1000))
