"""Failures since the last look, as Dagster recorded them: of runs, and of asset checks.

Belongs here: reading events, what of them is a failure, and which cause it has. Does not belong here: what becomes of
the news (`memory`).

Dagster's own sensor of failed runs moves on when its function fails, so a message that could not be sent would be lost;
and a sensor of assets sees only the last event of each. The event log has them all, in order. Read is the index, which
on SQLite is one database for all runs, as the others of Dagster's storages have it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg
from dagster import DagsterEventType, DagsterInstance, EventRecordsFilter
from dagster._core.event_api import EventLogRecord
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.tags import MAX_RETRIES_TAG, RETRY_NUMBER_TAG, WILL_RETRY_TAG

from market_data_pipeline.core.text import first_text, one_line
from market_data_pipeline.instance.events.outside import error_before_steps, message_of
from market_data_pipeline.instance.events.recorded import last_checks
from market_data_pipeline.instance.names import FRESH

_MOST_RUNS, _MOST_EVALUATIONS = 200, 2000
_MOST_CHARACTERS = 300
# A word with a digit or with capitals in a row is of this failure: a pair, a day, a number, an address.
_PARTICULAR = re.compile(r"\S*(?:\d|[A-Z]{2})\S*")
_RUN_AGAIN = re.compile(r"; run it again\b")
_PASSWORD = re.compile(r"(?<=://)[^\s/@]+@")


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure of a run or of a check.

    Attributes:
        cause: names what it has in common with others.
        text: what failed and why, in one line.
        what: the dataset, or the job of a run that is not of one.
        at_s: when, seconds since 1970.
        is_error: False for a warning.
        run_id: the run that failed or evaluated the check, empty for none.
        check: the name of the check, empty for a run.
        exchange_id: the first part of the asset's key, of a check.
    """

    cause: str
    text: str
    what: str
    at_s: float
    is_error: bool = True
    run_id: str = ""
    check: str = ""
    exchange_id: str = ""


@dataclass(frozen=True, slots=True)
class News:
    """What was recorded after an event: failures in their order, checks that passed, and the last event that was read.

    `passed` has the exchange_id and the name of each check that passed for some dataset.
    """

    failures: tuple[Failure, ...]
    passed: frozenset[tuple[str, str]]
    runs_after: int
    checks_after: int


def newest_event(instance: DagsterInstance) -> int:
    """The id of the newest event, 0 if there is none."""
    return instance.event_log_storage.get_maximum_record_id() or 0


def news(instance: DagsterInstance, runs_after: int, checks_after: int, *, since_s: float | None = None) -> News:
    """What was recorded since, up to some hundred runs and some thousand evaluations; the rest is read next time.

    Args:
        instance: the instance.
        runs_after: the last event that was read of runs.
        checks_after: the last event that was read of checks.
        since_s: leaves out what is older, seconds since 1970.
    """
    runs = _records(instance, DagsterEventType.RUN_FAILURE, runs_after, since_s, _MOST_RUNS)
    checks = _records(instance, DagsterEventType.ASSET_CHECK_EVALUATION, checks_after, since_s, _MOST_EVALUATIONS)
    evaluated = [(record, evaluation) for record in checks if (evaluation := _evaluation(record))]
    failures = [_run_failure(instance, record) for record in runs]
    failures += [_check_failure(record, found) for record, found in evaluated if _is_failure(found)]
    return News(
        tuple(sorted(failures, key=lambda failure: failure.at_s)),
        frozenset((found.asset_key.path[0], found.check_name) for _, found in evaluated if not _is_failure(found)),
        runs[-1].storage_id if runs else runs_after,
        checks[-1].storage_id if checks else checks_after,
    )


def still_fails(instance: DagsterInstance, keys: Sequence[dg.AssetCheckKey]) -> bool:
    """Whether the last evaluation of one of these checks is a failure, or it is being evaluated now."""
    for _, record in last_checks(instance, keys):
        if record.status is AssetCheckExecutionRecordStatus.PLANNED:
            return True
        evaluation = record.event.dagster_event.asset_check_evaluation_data if record.event else None  # type: ignore[union-attr]
        if evaluation and _is_failure(evaluation):
            return True
    return False


def _records(
    instance: DagsterInstance, kind: DagsterEventType, after: int, since_s: float | None, most: int
) -> Sequence[EventLogRecord]:
    storage = instance.event_log_storage
    assert isinstance(storage, SqlEventLogStorage)
    wanted = EventRecordsFilter(kind, after_cursor=after, after_timestamp=since_s)
    # As SQLite's own method would open the database of each run.
    return SqlEventLogStorage.get_event_records(storage, wanted, limit=most, ascending=True)


def _evaluation(record: EventLogRecord) -> dg.AssetCheckEvaluation | None:
    event = record.event_log_entry.dagster_event
    return event.asset_check_evaluation_data if event else None


def _is_failure(evaluation: dg.AssetCheckEvaluation) -> bool:
    """A warning is for those who look, except that live mode is late."""
    is_error = evaluation.severity is dg.AssetCheckSeverity.ERROR
    return not evaluation.passed and (is_error or evaluation.check_name == FRESH)


def _check_failure(record: EventLogRecord, evaluation: dg.AssetCheckEvaluation) -> Failure:
    exchange_id, *rest = evaluation.asset_key.path
    name, dataset = evaluation.check_name, "/".join((exchange_id, *rest[:1]))
    return Failure(
        cause=f"check {exchange_id} {name}",
        text=_told(f"{name} of {dataset} failed: {evaluation.description or 'no reason given'}"),
        what=dataset,
        at_s=record.timestamp,
        is_error=evaluation.severity is dg.AssetCheckSeverity.ERROR,
        run_id=record.run_id or "",
        check=name,
        exchange_id=exchange_id,
    )


def _run_failure(instance: DagsterInstance, record: EventLogRecord) -> Failure:
    run, reason = instance.get_run_by_id(record.run_id), _reason(instance, record)
    assets = sorted({"/".join(key.path[:2]) for key in (run.asset_selection or ())}) if run else []
    job = run.job_name if run else "a job"
    what = first_text(assets) if assets else job
    said, is_last = f"a run of {what} failed: {reason}", False
    if run and run.tags.get(WILL_RETRY_TAG) == "true":
        said = f"a run of {what} failed, and Dagster starts it again: {_RUN_AGAIN.sub('', reason)}"
    elif is_last := run is not None and _is_last(run):
        said = f"a run of {what} failed, and Dagster does not start it again any more: {reason}"
    # That it is given up is news, also where the failures before were told.
    return Failure(
        cause=f"run {'given up ' if is_last else ''}{_PARTICULAR.sub('*', reason)[:_MOST_CHARACTERS]}",
        text=_told(said),
        what=what,
        at_s=record.timestamp,
        run_id=record.run_id,
    )


def _is_last(run: dg.DagsterRun) -> bool:
    """Whether Dagster has started the run again, and does not any more.

    That is known by a tag, which is written a moment after the failure; by the numbers until then.
    """
    started, most = (run.tags.get(name, "") for name in (RETRY_NUMBER_TAG, MAX_RETRIES_TAG))
    if not started.isdecimal():
        return False
    return run.tags.get(WILL_RETRY_TAG) == "false" or (most.isdecimal() and int(started) >= int(most))


def _reason(instance: DagsterInstance, record: EventLogRecord) -> str:
    """Why a run failed: the error of its first step that failed, without those of Dagster that wrap it."""
    failed = instance.all_logs(record.run_id, of_type=DagsterEventType.STEP_FAILURE)
    for event in (entry.dagster_event for entry in failed):
        if event and event.step_failure_data.error:
            return message_of(event.step_failure_data.error)
    event = record.event_log_entry.dagster_event
    data = event.job_failure_data if event and event.event_specific_data else None
    if data and data.error:
        return message_of(data.error)
    if error := error_before_steps(instance, record.run_id, event.message if event else ""):
        return message_of(error)
    return one_line((event.message if event else "") or "no reason given", _MOST_CHARACTERS)


def _told(text: str) -> str:
    """One line of bounded length, without passwords that an address in it has."""
    return one_line(_PASSWORD.sub("", text), _MOST_CHARACTERS)
