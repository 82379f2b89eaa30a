"""The days that a run plans, as one event of the run.

Belongs here: that there is one event, and which of its days are loaded, failed or in progress. Does not belong here:
storing events (`batches`).
By default Dagster stores an event for each planned day, which is 2 KB and 1 ms a day. It has a way to store one event
with all days (DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS), but does not look for days in it again: days of a run
would be shown neither as in progress nor as failed. The two queries here look for them. Dagster's own storage reads the
same events; it shows these days as missing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from dagster import AssetKey
from dagster._core.definitions.partitions.subset import PartitionsSubset
from dagster._core.events import DagsterEventType
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.base import PlannedMaterializationInfo
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster_shared.serdes import deserialize_value

_PLANNED, _MATERIALIZED = DagsterEventType.ASSET_MATERIALIZATION_PLANNED, DagsterEventType.ASSET_MATERIALIZATION


@dataclass(frozen=True, slots=True)
class _Plan:
    """The days of an asset that a run planned: `storage_id` is that of the event."""

    storage_id: int
    run_id: str
    days: PartitionsSubset


class PlannedRanges(SqlEventLogStorage):
    """An event log with one event for all days of an asset that a run plans."""

    @property
    def supports_partition_subset_in_asset_materialization_planned_events(self) -> bool:
        """True: Dagster then makes one event for each asset of a run."""
        return True

    def get_latest_asset_partition_materialization_attempts_without_materializations(
        self, asset_key: AssetKey, after_storage_id: int | None = None
    ) -> Mapping[str, tuple[str, int]]:
        """The run and the event that planned a day last, of the days without a later materialization."""
        attempts = dict(
            super().get_latest_asset_partition_materialization_attempts_without_materializations(
                asset_key, after_storage_id
            )
        )
        for plan in self._plans(asset_key, after_storage_id):
            for day in plan.days.get_partition_keys():
                if day not in attempts or attempts[day][1] < plan.storage_id:
                    attempts[day] = plan.run_id, plan.storage_id
        if not attempts:
            return attempts
        loaded = self.get_latest_storage_id_by_partition(asset_key, _MATERIALIZED, after_cursor=after_storage_id)
        return {day: planned for day, planned in attempts.items() if loaded.get(day, 0) < planned[1]}

    def get_latest_planned_materialization_info(
        self, asset_key: AssetKey, partition: str | None = None
    ) -> PlannedMaterializationInfo | None:
        """The run and the event that planned the asset, or a day of it, last."""
        latest = super().get_latest_planned_materialization_info(asset_key, partition)
        if partition is None:
            return latest
        for plan in self._plans(asset_key, latest.storage_id if latest else None, newest_first=True):
            if partition in plan.days:
                return PlannedMaterializationInfo(storage_id=plan.storage_id, run_id=plan.run_id)
        return latest

    def _plans(
        self, asset_key: AssetKey, after_storage_id: int | None, *, newest_first: bool = False
    ) -> Iterator[_Plan]:
        table = SqlEventLogStorageTable.c
        query = sa.select(table.id, table.event).where(
            table.asset_key == asset_key.to_string(),
            table.dagster_event_type == _PLANNED.value,
            table.partition.is_(None),
            table.id > (after_storage_id or 0),
        )
        details = self._get_assets_details([asset_key])
        query = self._add_assets_wipe_filter_to_query(query, details, [asset_key])
        with self.index_connection() as connection:
            rows = connection.execute(query.order_by(table.id.desc() if newest_first else table.id)).fetchall()
        for storage_id, content in rows:
            event = deserialize_value(content, EventLogEntry)
            days = event.get_dagster_event().partitions_subset
            if days is not None:
                yield _Plan(storage_id, event.run_id, days)
