"""Runs that are deleted from Dagster when they are old, with their events, logs and files.

Belongs here: which runs are deleted, and what is left of runs that were. Does not belong here: which events of a run
stay (`events.keeping`), when runs are deleted (`defs.upkeep.pruning`).
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from dagster import DagsterInstance, RunsFilter
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs.schema import RunTagsTable
from dagster._core.storage.tags import BACKFILL_ID_TAG

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.instance.events.keeping import RUNLESS, KeptDays
from market_data_pipeline.instance.storage import PooledSqliteEventLogStorage


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many runs were deleted, and how many databases of runs that had been deleted before."""

    runs: int
    leftovers: int


def has_old_runs(instance: DagsterInstance, before: datetime) -> bool:
    """True if there is a run to delete."""
    return next(_old_runs(instance, before), None) is not None


def prune(instance: DagsterInstance, before: datetime) -> Pruned:
    """Delete the runs that have ended before that moment, and older events that belong to no run.

    What is stored stays known: of each day and asset the last materialization, of each check the last result. Killed at
    any point, the next call deletes the rest.

    Args:
        instance: the Dagster instance.
        before: an aware time.

    Raises:
        UsageError: the instance's storage would forget the days that old runs recorded.
    """
    events = instance.event_log_storage
    if not isinstance(events, KeptDays):
        raise UsageError(
            f"{type(events).__name__} would forget the days of a run that is deleted, so none was; name a storage of "
            "market_data_pipeline in dagster.yaml, see docs/operations.md"
        )
    runs = 0
    for run_id in _old_runs(instance, before):
        _delete(instance, events, run_id)
        runs += 1
    events.delete_runless_events(before)
    leftovers = 0
    if isinstance(events, PooledSqliteEventLogStorage):
        leftovers = sum(map(events.remove_run_database, _left_databases(instance, events, before)))
    return Pruned(runs, leftovers)


def _old_runs(instance: DagsterInstance, before: datetime) -> Iterator[str]:
    """The ids of the runs to delete, the oldest first; those of a backfill that goes on are not among them."""
    going_on: dict[str, bool] = {}
    ended = RunsFilter(statuses=list(FINISHED_STATUSES), updated_before=before)
    # All ids at once: the cursor of a page is the last run of the page before, which is deleted by then.
    for run_id in reversed(instance.get_run_ids(ended)):
        run = instance.get_run_by_id(run_id)
        backfill = run.tags.get(BACKFILL_ID_TAG) if run else None
        if backfill and backfill not in going_on:
            going_on[backfill] = _goes_on(instance, backfill)
        if run and not (backfill and going_on[backfill]):
            yield run_id


def _goes_on(instance: DagsterInstance, backfill_id: str) -> bool:
    backfill = instance.get_backfill(backfill_id)
    return backfill is not None and backfill.status not in BULK_ACTION_TERMINAL_STATUSES


def _delete(instance: DagsterInstance, events: KeptDays, run_id: str) -> None:
    """Delete a run. Its row is the last: if this is killed before, the next `prune` finds the run again."""
    events.delete_events(run_id)
    with suppress(NotImplementedError):  # of a manager of compute logs that cannot delete any
        instance.compute_log_manager.delete_logs(prefix=[run_id])
    runs = instance.run_storage
    if isinstance(runs, SqlRunStorage):
        # Dagster leaves it to a foreign key, which SQLite ignores.
        with runs.connect() as connection:
            connection.execute(sa.delete(RunTagsTable).where(RunTagsTable.c.run_id == run_id))
    runs.delete_run(run_id)


def _left_databases(instance: DagsterInstance, events: PooledSqliteEventLogStorage, before: datetime) -> Iterator[str]:
    """Runs that are gone and whose database is there and old: one that was open in another process, on Windows."""
    for run_id in events.get_all_run_ids():
        with suppress(FileNotFoundError):
            is_old = Path(events.path_for_shard(run_id)).stat().st_mtime < before.timestamp()
            if run_id != RUNLESS and is_old and not instance.has_run(run_id):
                yield run_id
