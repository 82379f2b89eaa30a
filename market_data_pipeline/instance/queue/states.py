"""What has become of the runs of parts, as Dagster has it.

Belongs here: the newest run of each part, its state, why it failed. Does not belong here: submitting runs
(`submitting`).
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, RunRecord, RunsFilter
from dagster._core.events import DagsterEvent
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from dagster._core.storage.tags import WILL_RETRY_TAG

from market_data_pipeline.core.text import one_line
from market_data_pipeline.instance.events.outside import error_before_steps, without_dagsters
from market_data_pipeline.instance.names import DATASET_TAG, DAYS_TAG, LOAD_JOB, MARKET_TAG, YEAR_TAG
from market_data_pipeline.instance.queue.parts import Part, State

_DATASETS_TOGETHER, _RUNS_TOGETHER = 200, 500
_MOST_CHARACTERS = 300
# The daemon starts a run anew within seconds. One that it has not started by then, it never will.
_RETRIED_WITHIN_S = 600
# Whoever reports the failure of a run notes a moment later whether it will be started anew.
_DECIDED_WITHIN_S = 30
_STATES = {
    DagsterRunStatus.SUCCESS: State.DONE,
    DagsterRunStatus.FAILURE: State.FAILED,
    DagsterRunStatus.CANCELED: State.CANCELED,
    DagsterRunStatus.STARTING: State.STARTING,
    DagsterRunStatus.STARTED: State.RUNNING,
    DagsterRunStatus.CANCELING: State.RUNNING,
}


def newest_runs(
    instance: DagsterInstance, parts: Sequence[Part], *, created_after: datetime | None = None
) -> list[RunRecord | None]:
    """The newest run that loads a day of the part, of each part, None if there is none.

    Runs are read in pages, newest first, until each part has one: there may be many of years before.

    Args:
        instance: where the runs are.
        parts: the parts.
        created_after: leaves older runs out.
    """
    found: dict[int, RunRecord] = {}
    sought: dict[str, set[int]] = {}
    for index, part in enumerate(parts):
        sought.setdefault(part.dataset, set()).add(index)
    datasets = list(sought)
    for at in range(0, len(datasets), _DATASETS_TOGETHER):
        left, cursor = datasets[at : at + _DATASETS_TOGETHER], None
        while left:
            wanted = RunsFilter(job_name=LOAD_JOB, tags={DATASET_TAG: left}, created_after=created_after)
            records = instance.get_run_records(wanted, _RUNS_TOGETHER, cursor=cursor)
            for record in records:
                tags = record.dagster_run.tags
                if {YEAR_TAG, DAYS_TAG} <= tags.keys():
                    of_part = {index for index in sought[tags[DATASET_TAG]] if parts[index].overlaps(tags[DAYS_TAG])}
                    found |= dict.fromkeys(of_part, record)
                    sought[tags[DATASET_TAG]] -= of_part
            if len(records) < _RUNS_TOGETHER:
                break
            left, cursor = [dataset for dataset in left if sought[dataset]], records[-1].dagster_run.run_id
    return [found.get(index) for index in range(len(parts))]


def state_of(instance: DagsterInstance, record: RunRecord) -> State:
    """The state of a run; one that the daemon will start anew waits."""
    run = record.dagster_run
    if run.status is DagsterRunStatus.FAILURE and instance.run_retries_enabled:
        patience_s = {"true": _RETRIED_WITHIN_S, "false": 0}.get(run.tags.get(WILL_RETRY_TAG, ""), _DECIDED_WITHIN_S)
        ended_s = record.end_time or record.update_timestamp.timestamp()
        # Also where the clock of whoever noted the end was far ahead.
        return State.QUEUED if abs(time.time() - ended_s) < patience_s else State.FAILED
    return _STATES.get(run.status, State.QUEUED)


def counts(instance: DagsterInstance) -> dict[str, dict[State, int]]:
    """How many parts of all loads have which state, by the value of the tag of the market, those with runs yet."""
    since = datetime.now(UTC) - timedelta(seconds=2 * _RETRIED_WITHIN_S)
    lately = instance.get_run_records(
        RunsFilter(job_name=LOAD_JOB, statuses=[DagsterRunStatus.FAILURE], updated_after=since)
    )
    failed = {record.dagster_run.run_id: record for record in lately}
    found: dict[str, Counter[State]] = {}
    for market, run_id, status in _newest_of_all(instance):
        record = failed.get(run_id)
        state = state_of(instance, record) if record else _STATES.get(DagsterRunStatus(status), State.QUEUED)
        found.setdefault(market, Counter())[state] += 1
    return {market: dict(states) for market, states in sorted(found.items())}


def why_failed(instance: DagsterInstance, run_id: str) -> str:
    """Why a run failed, in one line."""
    wanted = {DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE}
    entries = instance.all_logs(run_id, of_type=wanted)
    said = [text for entry in entries if entry.dagster_event for text in _said(entry.dagster_event)]
    if said and (error := error_before_steps(instance, run_id, said[0])):
        said = [error.message]
    return one_line(said[0] if said else "nothing says why; see the run in the Dagster UI", _MOST_CHARACTERS)


def _said(event: DagsterEvent) -> Iterator[str]:
    """What a failure says, the plainest first."""
    if event.is_step_failure:
        data = event.step_failure_data
        if data.user_failure_data and data.user_failure_data.description:
            yield data.user_failure_data.description
        if error := data.error:
            yield without_dagsters(error).message
    if event.message:
        yield event.message


def _newest_of_all(instance: DagsterInstance) -> list[tuple[str, str, str]]:
    """The market, the id and the status of the newest run of each part that there ever was.

    Dagster has no way to ask for runs without their bodies, which take a millisecond and some kilobytes each.
    """
    storage = instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    tags = {key: RunTagsTable.alias() for key in (DATASET_TAG, DAYS_TAG, YEAR_TAG, MARKET_TAG)}
    tagged: sa.FromClause = RunsTable
    for key, tag in tags.items():
        tagged = tagged.join(tag, sa.and_(tag.c.run_id == RunsTable.c.run_id, tag.c.key == key))
    of_part = tags[DATASET_TAG].c.value, tags[DAYS_TAG].c.value
    newest = (
        sa.select(sa.func.max(RunsTable.c.id))
        .select_from(tagged)
        .where(RunsTable.c.pipeline_name == LOAD_JOB)
        .group_by(*of_part)
    )
    market = RunTagsTable.alias()
    of_market = sa.and_(market.c.run_id == RunsTable.c.run_id, market.c.key == MARKET_TAG)
    with storage.connect() as connection:
        rows = connection.execute(
            sa.select(market.c.value, RunsTable.c.run_id, RunsTable.c.status)
            .select_from(RunsTable.join(market, of_market))
            .where(RunsTable.c.id.in_(newest))
        )
        return [(str(of), str(run_id), str(status)) for of, run_id, status in rows]
