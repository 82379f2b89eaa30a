"""Deleting the events of runs, but for what tells that a day is stored.

Belongs here: which events of a deleted run stay. Does not belong here: which runs are deleted (`instance.retention`),
the databases (`instance.storage`, `instance.postgres_storage`).
Dagster deletes all events of a run with it, so that the days that only this run recorded are shown as missing, though
they are stored. Here the last materialization of each day and of each asset stays, and the last result of each check;
of observations, those that are newer than it. A day that stays names a run that is gone, which Dagster's UI shows as
such. It is written for dagster 1.13, whose tables it changes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from dagster._core.events import DagsterEventType
from dagster._core.storage.dagster_run import RunsFilter
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    AssetKeyTable,
    SqlEventLogStorageTable,
)

RUNLESS = ""
"""Dagster's id of the run of events that are reported without one, as live mode does."""

_MATERIALIZED, _OBSERVED = DagsterEventType.ASSET_MATERIALIZATION.value, DagsterEventType.ASSET_OBSERVATION.value
_TOLD = (_MATERIALIZED, _OBSERVED)
_PLANNED = DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value
_AT_ONCE = 500
# Of a table or an alias of it: which of its rows are meant.
_Condition = Callable[[Any], sa.ColumnElement[bool]]


class KeptDays(SqlEventLogStorage):
    """An event log that knows after the deletion of a run, by whomever, which days are stored."""

    def delete_events(self, run_id: str) -> None:
        """Delete the events of a run from the tables that all runs share, but for the last of each day.

        With them goes what they have replaced, of runs that were deleted before.
        """
        with self.index_connection() as connection:
            self._delete_but_last(
                connection, lambda events: events.c.run_id == run_id, lambda checks: checks.c.run_id == run_id
            )
        if self.supports_global_concurrency_limits:
            self.free_concurrency_slots_for_run(run_id)

    def delete_runless_events(self, before: datetime) -> None:
        """Delete the events without a run that are older, but for the last of each day."""
        moment = before.astimezone(UTC).replace(tzinfo=None)
        with self.index_connection() as connection:
            self._delete_but_last(
                connection,
                lambda events: sa.and_(events.c.run_id == RUNLESS, events.c.timestamp < moment),
                lambda checks: sa.and_(checks.c.run_id == RUNLESS, checks.c.evaluation_event_timestamp < moment),
            )

    def _delete_but_last(self, connection: sa.Connection, of_events: _Condition, of_checks: _Condition) -> None:
        events, tags, checks, assets = (
            SqlEventLogStorageTable,
            AssetEventTagsTable,
            AssetCheckExecutionsTable,
            AssetKeyTable,
        )
        others = sa.or_(events.c.dagster_event_type.is_(None), events.c.dagster_event_type.not_in(_TOLD))
        planned = sa.select(events.c.asset_key).where(of_events(events), events.c.dagster_event_type == _PLANNED)
        # All is looked for before anything is deleted: in SQLite other processes wait from the first deletion on.
        gone = set(connection.scalars(sa.select(events.c.id).where(of_events(events), others)))
        gone |= {event for query in _replaced(of_events) for event in connection.scalars(query)}
        gone |= self._without_run(connection, _replaced(of_events, by_them=True))
        keys = set(connection.scalars(planned))
        gone_checks = set(connection.scalars(_replaced_checks(of_checks)))
        gone_checks |= self._without_run(connection, [_replaced_checks(of_checks, by_them=True)])
        for ids in _slices(gone):
            connection.execute(sa.delete(tags).where(tags.c.event_id.in_(ids)))
            connection.execute(sa.delete(events).where(events.c.id.in_(ids)))
        for ids in _slices(gone_checks):
            connection.execute(sa.delete(checks).where(checks.c.id.in_(ids)))
        for some in _slices(keys):
            # Dagster remembers there which days have failed.
            connection.execute(sa.update(assets).where(assets.c.asset_key.in_(some)).values(cached_status_data=None))

    def _without_run(self, connection: sa.Connection, queries: "Iterable[sa.Select[int, str]]") -> set[int]:
        """Those of the events or results that have no run any more: one that is there shows all of its own."""
        run_of = {each: run_id for query in queries for each, run_id in connection.execute(query)}
        there = {
            run_id
            for some in _slices(set(run_of.values()))
            for run_id in self._instance.run_storage.get_run_ids(RunsFilter(run_ids=list(some)))
        }
        return {each for each, run_id in run_of.items() if run_id not in there}


def _slices(values: set[Any]) -> Iterator[Sequence[Any]]:
    """The values in order, so many at a time as a statement may have in any database."""
    ordered = sorted(values)
    for at in range(0, len(ordered), _AT_ONCE):
        yield ordered[at : at + _AT_ONCE]


# The types of queries are in quotes, as SQLAlchemy before 2.1 has another way to write them.
def _replaced_checks(of_checks: _Condition, *, by_them: bool = False) -> "sa.Select[int, str]":
    """The results of checks after which there is another, with their runs, as `_replaced`."""
    earlier, later = (AssetCheckExecutionsTable.alias(name) for name in ("earlier", "later"))
    return sa.select(earlier.c.id, earlier.c.run_id).where(
        of_checks(later if by_them else earlier),
        later.c.asset_key == earlier.c.asset_key,
        later.c.check_name == earlier.c.check_name,
        later.c.id > earlier.c.id,
    )


def _replaced(of_events: _Condition, *, by_them: bool = False) -> "Iterator[sa.Select[int, str]]":
    """The events that tell of a day or an asset, with their runs, and after which there is another that does.

    Meant are the earlier ones, or with `by_them` the later ones. A query for days and one for assets, so that each is
    answered from an index.
    """
    earlier, later = (SqlEventLogStorageTable.alias(name) for name in ("earlier", "later"))
    is_same_day = earlier.c.partition == later.c.partition
    is_same_asset = sa.and_(earlier.c.partition.is_(None), later.c.partition.is_(None))
    for is_same in (is_same_day, is_same_asset):
        yield sa.select(earlier.c.id, earlier.c.run_id).where(
            of_events(later if by_them else earlier),
            earlier.c.dagster_event_type.in_(_TOLD),
            later.c.dagster_event_type.in_(_TOLD),
            # An observation does not take the place of a materialization.
            sa.or_(later.c.dagster_event_type == _MATERIALIZED, earlier.c.dagster_event_type == _OBSERVED),
            earlier.c.asset_key == later.c.asset_key,
            is_same,
            later.c.id > earlier.c.id,
        )
