"""What Dagster has recorded of the days of an asset, or of many checks, read at once.

Belongs here: the queries, and where what they ask is. Does not belong here: what the metadata of a day says
(`defs.metadata`), storing it (`batches`).
Dagster's own calls make an object of each event, which takes a minute for 100 datasets of seven years. Here the stored
text is enough.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import dagster as dg
import sqlalchemy as sa
from dagster._core.events import DagsterEventType
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.tags import BACKFILL_ID_TAG

_KEYS_TOGETHER = 500
_MATERIALIZED, _OBSERVED = DagsterEventType.ASSET_MATERIALIZATION.value, DagsterEventType.ASSET_OBSERVATION.value


def recorded_texts(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, str]:
    """The days that are materialized, each with the JSON of its last materialization or observation.

    The JSON is empty where the event log is not one of Dagster's in a SQL database.
    """
    days = instance.get_materialized_partitions(key)
    storage = instance.event_log_storage
    if not days or not isinstance(storage, SqlEventLogStorage):
        return dict.fromkeys(days, "")
    table = SqlEventLogStorageTable.c
    last = (
        sa.select(sa.func.max(table.id))
        .where(
            table.asset_key == key.to_string(),
            table.dagster_event_type.in_([_MATERIALIZED, _OBSERVED]),
            table.partition.is_not(None),
        )
        .group_by(table.partition)
    )
    query = sa.select(table.partition, table.event).where(table.id.in_(last))
    with storage.index_connection() as connection:
        rows = connection.execute(query).fetchall()
    return {day: text for day, text in rows if day in days}


def is_in_home(instance: dg.DagsterInstance) -> bool:
    """True if the days are recorded in a database of the home itself, neither on a server nor in another folder."""
    storage = instance.event_log_storage
    if not isinstance(storage, SqliteEventLogStorage):
        return False
    return Path(storage.path_for_shard(INDEX_SHARD_NAME)).is_relative_to(instance.root_directory)


def recorded_for(
    index: sa.Connection, key: dg.AssetKey, days: Collection[str], run: dg.DagsterRun, *, again: bool
) -> dict[str, str]:
    """Days that a run need not record if they are the same, each with the JSON of the last materialization.

    Those that were materialized since the run began. For a run of a backfill of Dagster those of the run itself alone:
    the backfill waits for days of its own runs.

    Args:
        index: the database with the events of all runs.
        key: the asset.
        days: looked for from the first of them to the last.
        run: the run, which has begun.
        again: whether the run records also what was recorded before it began.
    """
    if not days:
        return {}
    table = SqlEventLogStorageTable.c
    began = sa.select(sa.func.min(table.id)).where(table.run_id == run.run_id).scalar_subquery()
    query = sa.select(table.partition, table.event).where(
        table.asset_key == key.to_string(),
        table.dagster_event_type == _MATERIALIZED,
        table.partition.between(min(days), max(days)),
    )
    if again:
        query = query.where(table.id > began)
    if BACKFILL_ID_TAG in run.tags:
        query = query.where(table.run_id == run.run_id)
    return {day: text for day, text in index.execute(query.order_by(table.id))}


def last_checks(
    instance: dg.DagsterInstance, keys: Sequence[dg.AssetCheckKey]
) -> Iterator[tuple[dg.AssetCheckKey, AssetCheckExecutionRecord]]:
    """The last evaluation, or the one under way, of each of these checks that has one."""
    for first in range(0, len(keys), _KEYS_TOGETHER):
        together = keys[first : first + _KEYS_TOGETHER]
        yield from instance.event_log_storage.get_latest_asset_check_execution_by_key(together).items()
