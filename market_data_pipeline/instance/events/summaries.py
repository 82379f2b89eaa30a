"""What the page of a run asks about the run as a whole, without an event of each of its days.

Belongs here: the steps of a run and its assets. Does not belong here: storing events (`batches`), the days that a run
plans (`planned`).
A run that records many datasets has 90,000 events of days. Dagster reads and parses each of them to tell when the steps
began and ended, and asks for each day of each asset to name the assets. The page waits for seconds then.
"""

from collections.abc import Sequence, Set

import sqlalchemy as sa
from dagster import AssetKey
from dagster._core.events import DagsterEventType
from dagster._core.execution.stats import (
    STEP_STATS_EVENT_TYPES,
    RunStepKeyStatsSnapshot,
    build_run_step_stats_from_events,
)
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable

_OF_STEPS = STEP_STATS_EVENT_TYPES - {DagsterEventType.ASSET_MATERIALIZATION}


class RunSummaries(SqlEventLogStorage):
    """An event log that sums up a run in a time that does not grow with its days."""

    def get_step_stats_for_run(
        self, run_id: str, step_keys: Sequence[str] | None = None
    ) -> Sequence[RunStepKeyStatsSnapshot]:
        """When each step began and ended, and how; their `materialization_events` are left out, nobody shows them."""
        stats = build_run_step_stats_from_events(run_id, self.get_logs_for_run(run_id, of_type=set(_OF_STEPS)))
        return [each for each in stats if not step_keys or each.step_key in step_keys]

    def get_asset_keys_for_run(
        self, run_id: str, of_type: DagsterEventType | set[DagsterEventType] | None = None
    ) -> Set[AssetKey]:
        """The assets that the events of a run are about, of these types if there are any."""
        table = SqlEventLogStorageTable.c
        query = sa.select(table.asset_key).distinct().where(table.run_id == run_id, table.asset_key.is_not(None))
        if of_type:
            types = {of_type} if isinstance(of_type, DagsterEventType) else of_type
            query = query.where(table.dagster_event_type.in_([each.value for each in types]))
        with self.run_connection(run_id) as connection:
            keys = map(AssetKey.from_db_string, connection.scalars(query))
            return {key for key in keys if key}
