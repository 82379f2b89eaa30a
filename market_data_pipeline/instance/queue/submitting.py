"""Submit the runs of parts to Dagster's queue, each once.

Belongs here: which parts need a run, and creating it so that a second one of the same part cannot be. Does not belong
here: what has become of runs (`states`).

Two commands that submit the same part see the same newest run of it and give the new run the same id, and Dagster's
database takes an id once.
"""

import os
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import dagster as dg
from dagster import DagsterInstance, DagsterRunStatus, RunRecord
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.errors import DagsterRunAlreadyExists
from dagster._core.origin import DEFAULT_DAGSTER_ENTRY_POINT, JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.instance.events.interrupts import uninterrupted
from market_data_pipeline.instance.names import DAYS_TAG, LOAD_JOB, LOAD_OP, LOCATION_MODULE
from market_data_pipeline.instance.queue.parts import Part
from market_data_pipeline.instance.queue.states import newest_runs, state_of
from market_data_pipeline.instance.runs import origin_of_job

_NAMESPACE = uuid.UUID("6f0c1c1e-6d0c-4b7e-9f67-5f1f6f1e51a1")
_CREATED, _ENQUEUED_WITHIN_S = DagsterRunStatus.NOT_STARTED, 60
_IMAGE = "DAGSTER_CURRENT_IMAGE"
_DEFINITIONS = "defs"


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of parts that were to be submitted.

    Attributes:
        new: have a run now, or one that was created before and is in the queue now.
        underway: had one that waits or runs.
        blocked: have none, as a run of some of their days, or one that requests less, waits or runs.
    """

    new: tuple[Part, ...]
    underway: tuple[Part, ...]
    blocked: tuple[Part, ...]


def require_queue(instance: DagsterInstance) -> None:
    """Refuse an instance that would start every run at once.

    Raises:
        UsageError: it has no queue.
    """
    if not isinstance(instance.run_coordinator, QueuedRunCoordinator):
        raise UsageError(
            f"the Dagster instance of {instance.root_directory} has no queue; remove run_coordinator from its "
            "dagster.yaml, or load without --runs"
        )


def submit(
    instance: DagsterInstance,
    definitions: dg.Definitions,
    parts: Sequence[Part],
    *,
    this_year: int,
    on_part: Callable[[], None] = lambda: None,
) -> Submitted:
    """Submit a run for each part that none is underway for.

    Args:
        instance: the instance.
        definitions: they have the job `load`.
        parts: no two have a day of a dataset in common.
        this_year: the present year; parts of it come first.
        on_part: called after each part.
    """
    job = definitions.resolve_job_def(LOAD_JOB)
    found: dict[str, list[Part]] = {"new": [], "underway": [], "blocked": []}
    for part, newest in zip(parts, newest_runs(instance, parts), strict=True):
        if newest and not state_of(instance, newest).is_over:
            run = newest.dagster_run
            requests_less = part.config["refetch"] and not _config(run.run_config).get("refetch")
            covered = part.is_within(run.tags[DAYS_TAG]) and not requests_less
            is_new = _is_left(instance, newest)
            if is_new:
                _enqueue(instance, run)
            found[("new" if is_new else "underway") if covered else "blocked"].append(part)
        else:
            is_new = _create(instance, job, part, newest.dagster_run.run_id if newest else "", this_year)
            found["new" if is_new else "underway"].append(part)
        on_part()
    return Submitted(**{name: tuple(of_kind) for name, of_kind in found.items()})


def _create(instance: DagsterInstance, job: dg.JobDefinition, part: Part, before: str, this_year: int) -> bool:
    """Create the run that follows the run `before` of the part and enqueue it; False if another process has."""
    run_id = str(uuid.uuid5(_NAMESPACE, f"{part.dataset} {part.days} {before}"))
    config = {"ops": {LOAD_OP: {"config": dict(part.config)}}}
    with uninterrupted():
        try:
            run = instance.create_run_for_job(
                job_def=job,
                run_id=run_id,
                run_config=config,
                tags=part.tags(this_year),
                remote_job_origin=origin_of_job(job.name),
                job_code_origin=_code_of(job.name),
            )
        except DagsterRunAlreadyExists:
            return False
        _enqueue(instance, run)
    return True


def _enqueue(instance: DagsterInstance, run: dg.DagsterRun) -> None:
    # The queue needs no workspace: its daemon has one. Dagster's own way of calling this reads the run twice more.
    instance.run_coordinator.submit_run(SubmitRunContext(run, cast(Any, None)))


def _is_left(instance: DagsterInstance, record: RunRecord) -> bool:
    """Whether the process was killed that created the run, before it was in the queue."""
    run = record.dagster_run
    if run.status is not _CREATED or time.time() - record.create_timestamp.timestamp() <= _ENQUEUED_WITHIN_S:
        return False
    # The record was read before other parts were submitted. Enqueued by another command since, the run may have begun.
    now = instance.get_run_by_id(run.run_id)
    return now is not None and now.status is _CREATED


def _code_of(job_name: str) -> JobPythonOrigin:
    """Where a worker on another host finds the job: in the same image, or in the same place of its disk."""
    pointer = ModuleCodePointer(LOCATION_MODULE, _DEFINITIONS)
    image = os.environ.get(_IMAGE)  # noqa: TID251 - it says what runs here, as code servers tell Dagster
    origin = RepositoryPythonOrigin(sys.executable, pointer, image, DEFAULT_DAGSTER_ENTRY_POINT, None)
    return JobPythonOrigin(job_name, origin)


def _config(run_config: Any) -> dict[str, Any]:
    try:
        return dict(run_config["ops"][LOAD_OP]["config"])
    except (KeyError, TypeError):
        return {}
