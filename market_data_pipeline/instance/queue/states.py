"""What has become of the runs of parts, as Dagster has it.

Belongs here: the newest run of each part, its state, why it failed. Does not belong here: submitting runs
(`submitting`).
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, RunRecord, RunsFilter
from dagster._core.events import DagsterEvent
from dagster._core.storage.tags import WILL_RETRY_TAG

from market_data_pipeline.core.text import one_line
from market_data_pipeline.instance.events.outside import error_before_steps, without_dagsters
from market_data_pipeline.instance.names import DATASET_TAG, DAYS_TAG, LOAD_JOB, MARKET_TAG, YEAR_TAG
from market_data_pipeline.instance.queue.parts import Part, State

_DATASETS_TOGETHER = 200
_MOST_CHARACTERS = 300
# The daemon starts a run anew within seconds. One that it has not started by then, it never will.
_RETRIED_WITHIN_S = 600
# Whoever reports the failure of a run notes a moment later whether it will be started anew.
_DECIDED_WITHIN_S = 30
_STATES = {
    DagsterRunStatus.SUCCESS: State.DONE,
    DagsterRunStatus.FAILURE: State.FAILED,
    DagsterRunStatus.CANCELED: State.CANCELED,
    DagsterRunStatus.STARTED: State.RUNNING,
    DagsterRunStatus.CANCELING: State.RUNNING,
}


def runs_of(instance: DagsterInstance, parts: Iterable[Part]) -> dict[str, list[RunRecord]]:
    """The runs of the datasets of these parts, by the tag of the dataset, newest first."""
    found: dict[str, list[RunRecord]] = {}
    datasets = list(dict.fromkeys(part.dataset for part in parts))
    for at in range(0, len(datasets), _DATASETS_TOGETHER):
        for record in _records(instance, {DATASET_TAG: datasets[at : at + _DATASETS_TOGETHER]}):
            found.setdefault(record.dagster_run.tags[DATASET_TAG], []).append(record)
    return found


def newest_of(part: Part, runs: Mapping[str, Sequence[RunRecord]]) -> RunRecord | None:
    """The newest run that loads a day of the part."""
    of_dataset = runs.get(part.dataset, ())
    return next((record for record in of_dataset if part.overlaps(record.dagster_run.tags[DAYS_TAG])), None)


def state_of(instance: DagsterInstance, record: RunRecord) -> State:
    """The state of a run; one that the daemon will start anew waits."""
    run = record.dagster_run
    if run.status is DagsterRunStatus.FAILURE and instance.run_retries_enabled:
        patience_s = {"true": _RETRIED_WITHIN_S, "false": 0}.get(run.tags.get(WILL_RETRY_TAG, ""), _DECIDED_WITHIN_S)
        ended_s = record.end_time or record.update_timestamp.timestamp()
        return State.QUEUED if time.time() - ended_s < patience_s else State.FAILED
    return _STATES.get(run.status, State.QUEUED)


def counts(instance: DagsterInstance) -> dict[str, dict[State, int]]:
    """How many parts of all loads have which state, by the value of the tag of the market, those with runs yet."""
    seen: set[tuple[str, str]] = set()
    found: dict[str, Counter[State]] = {}
    for record in _records(instance, {}):
        tags = record.dagster_run.tags
        if (key := (tags[DATASET_TAG], tags[DAYS_TAG])) not in seen:
            seen.add(key)
            found.setdefault(tags[MARKET_TAG], Counter())[state_of(instance, record)] += 1
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


def _records(instance: DagsterInstance, tags: Mapping[str, str | Sequence[str]]) -> list[RunRecord]:
    """The runs of parts with these tags, newest first."""
    records = instance.get_run_records(RunsFilter(job_name=LOAD_JOB, tags=tags))
    return [record for record in records if {YEAR_TAG, DAYS_TAG, DATASET_TAG} <= record.dagster_run.tags.keys()]
