"""Asset events that are stored together, with one commit.

Belongs here: the events of days that a run loaded, what events become in the tables, and what is raised where none is
stored. Does not belong here: the databases (`instance.storage`, `instance.postgres_storage`), when days are recorded
(`defs.recorder`), what is left out of an event (`brevity`).
It is written for dagster 1.13 and uses these members of `SqlEventLogStorage`: `_event_insert_timestamp`,
`_store_asset_event`, `_store_asset_event_tags`. Tests compare the rows with those of Dagster's own storages: run them
after an upgrade.
"""

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
from dagster._core.events import (
    ASSET_EVENTS,
    BATCH_WRITABLE_EVENTS,
    DagsterEvent,
    DagsterEventType,
    StepMaterializationData,
)
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log import SqlEventLogStorage

from market_data_pipeline.instance.events.interrupts import uninterrupted
from market_data_pipeline.instance.events.recorded import recorded_for

ALREADY_RECORDED: Mapping[str, bool] = {SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True}
"""Metadata for the result of an asset that logged a materialization for each of its partitions itself.

Without it Dagster logs one more event for every partition of the run after the function has returned. The key is
private to Dagster. If a later version ignores it, each day is recorded twice.
"""

REFUSALS: tuple[type[Exception], ...] = (sa.exc.DBAPIError, sqlite3.Error, OSError)
"""What is raised where an event is not stored because the database is locked, down or gone, or the disk full."""

_EVENTS_PER_BATCH = "500"
# The UI's list of an asset's events shows only one of those with the same millisecond.
_APART_S = 0.0011


def record(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    made: Sequence[dg.AssetMaterialization],
    is_told: Callable[[str, str], bool],
    *,
    again: bool,
) -> None:
    """Store materializations of days of one asset, with one commit if the storage is one of this project.

    The events are those of `context.log_event`, which takes more than twice the CPU. They go to the database alone:
    neither to the loggers of the run nor into its result.

    Args:
        context: of the run that made them.
        made: the materializations.
        is_told: called with a day that was stored since the run began, and its event; where it is True the day is left
            out. With Postgres nobody else stores days of the asset between this question and the commit.
        again: False calls it also with days that were stored before.

    Raises:
        REFUSALS: none is stored; or, with a storage of Dagster's own, not all of them.
    """
    if not made:
        return
    key, days = made[0].asset_key, [str(each.partition) for each in made]

    def untold(index: sa.Connection) -> list[EventLogEntry]:
        told = recorded_for(index, key, days, context.run, again=again)
        left = [each for day, each in zip(days, made, strict=True) if not (day in told and is_told(day, told[day]))]
        return _events(context, left)

    storage = context.instance.event_log_storage
    if isinstance(storage, BatchedEvents):
        storage.store_untold(key, untold)
    elif isinstance(storage, SqlEventLogStorage):
        with storage.index_connection() as index:
            events = untold(index)
        if events:
            storage.store_event_batch(events)
    else:
        storage.store_event_batch(_events(context, made))


def _events(
    context: dg.AssetExecutionContext | dg.OpExecutionContext, made: Sequence[dg.AssetMaterialization]
) -> list[EventLogEntry]:
    """The events of materializations of one asset."""
    if not made:
        return []
    running = context.get_step_execution_context()
    step, message = running.step, f"Materialized value {made[0].label}."
    logged = DagsterEvent(
        event_type_value=DagsterEventType.ASSET_MATERIALIZATION.value,
        job_name=running.job_name,
        step_handle=step.handle,
        node_handle=step.node_handle,
        step_kind_value=step.kind.value,
        logging_tags=running.event_tags,
        event_specific_data=StepMaterializationData(made[0]),
        message=message,
        pid=os.getpid(),
    )
    first = EventLogEntry(
        error_info=None,
        level=logging.DEBUG,
        user_message=message,
        run_id=context.run.run_id,
        timestamp=time.time(),
        step_key=step.key,
        job_name=running.job_name,
        dagster_event=logged,
    )
    return [
        first._replace(
            timestamp=first.timestamp + number * _APART_S,
            dagster_event=logged._replace(event_specific_data=StepMaterializationData(each)),
        )
        for number, each in enumerate(made)
    ]


def refusal_text(error: BaseException) -> str:
    """The first line of what the database said, without the statement that it refused."""
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0].strip()


def cause_of(error: BaseException) -> BaseException:
    """The database's refusal or the module that lacks, if the error came of one; otherwise the error."""
    cause: BaseException | None = error
    while cause and not isinstance(cause, (*REFUSALS, ImportError)):
        cause = cause.__cause__ or cause.__context__
    return cause or error


def kind_of(event: EventLogEntry) -> DagsterEventType | None:
    """The event's kind; None for what a run says in words."""
    return event.dagster_event_type if event.is_dagster_event else None


class BatchedEvents(SqlEventLogStorage):
    """An event log whose `store_event_batch` needs one commit; what can be stored so is always given to that."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        # Dagster calls `store_event_batch`, for planned materializations and others, only if this variable is set.
        os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", _EVENTS_PER_BATCH)
        super().__init__(*arguments, **options)

    def store_event(self, event: EventLogEntry) -> None:
        """Store one event."""
        if kind_of(event) in BATCH_WRITABLE_EVENTS:
            self.store_event_batch([event])
        else:
            super().store_event(event)

    @uninterrupted()
    def store_untold(self, key: dg.AssetKey, untold: Callable[[sa.Connection], Sequence[EventLogEntry]]) -> None:
        """Store the events of an asset that a function gives, which reads in the index what is stored."""
        with self.index_connection() as connection:
            events = untold(connection)
        self.store_event_batch(events)

    def _row(self, event: EventLogEntry, text: str) -> dict[str, Any]:
        """The row that Dagster makes of an event, with this text as its body."""
        logged = event.dagster_event
        key = logged.asset_key if logged else None
        return {
            "run_id": event.run_id,
            "event": text,
            "dagster_event_type": logged.event_type_value if logged else None,
            "timestamp": self._event_insert_timestamp(event),
            "step_key": logged.step_key if logged else event.step_key,
            "asset_key": key.to_string() if key else None,
            "partition": (logged.partition or None) if logged else None,
        }

    def _index_assets(self, connection: sa.Connection, stored: Sequence[tuple[EventLogEntry, int]]) -> None:
        """Bring the tables of assets up to date with events of any kind, each with the id of its row."""
        stored = [(event, id_) for event, id_ in stored if kind_of(event) in ASSET_EVENTS]
        tagged = [(event, id_) for event, id_ in stored if event.tags]
        self._store_asset_event_tags(connection, [event for event, _ in tagged], [id_ for _, id_ in tagged])
        # The row of an asset holds only its last event of each kind. Rows are locked in one order, by all who write.
        last = {(event.get_dagster_event().asset_key, kind_of(event)): (event, id_) for event, id_ in stored}
        for event, id_ in sorted(last.values(), key=_asset_and_id):
            self._store_asset_event(connection, event, id_)


def _asset_and_id(stored: tuple[EventLogEntry, int]) -> tuple[str, int]:
    event, id_ = stored
    key = event.get_dagster_event().asset_key
    return (key.to_string() if key else "", id_)
