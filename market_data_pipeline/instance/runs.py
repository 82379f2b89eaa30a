"""Dagster runs in this process; no other module starts one.

Belongs here: the Dagster instance in DAGSTER_HOME, and runs of the code location's assets and jobs. Does not belong
here: what the runs do (`defs`, `core`), how results are shown (`cli`), runs that a code server starts (`api`).
Runs of Dagster's public `execute_in_process` belong to no code location, so the UI fails to run them again. The private
functions used instead are imported at the top of this module, so an upgrade of Dagster that lacks one fails at once.
"""

import os
import sqlite3
import sys
import uuid
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, JobExecutionResult, RunsFilter
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.execution.api import execute_run
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster_shared.error import SerializableErrorInfo

from market_data_pipeline.core.errors import PASSING, StoreError, StoreUnavailable
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.instance import alive
from market_data_pipeline.instance.budgets import require_postgres_named
from market_data_pipeline.instance.events.batches import REFUSALS, cause_of, refusal_text
from market_data_pipeline.instance.events.outside import message_of, without_dagsters
from market_data_pipeline.instance.events.stderr import held_unless_refused
from market_data_pipeline.instance.home import prepare_home, refusal_of_settings
from market_data_pipeline.instance.names import (
    KLINES,
    LOCATION,
    LOCATION_MODULE,
    REPOSITORY,
    asset_path,
    op_name,
    range_tags,
)

_UNFINISHED = [
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


@dataclass(frozen=True, slots=True)
class RunReport:
    """How a run ended.

    Attributes:
        run_id: Dagster's id of the run.
        success: whether every step succeeded.
        failed_checks: the checks that failed with an error, one line each.
        error: why the run failed, None if it did not.
        results: the metadata of each materialized asset without partitions, by the asset's name.
        may_pass: True if the same may succeed later: the error is one of the exchange, the network or the disk.
        sums_up: True if the run went to its end, and the error names what had failed on the way.
    """

    run_id: str
    success: bool
    failed_checks: tuple[str, ...]
    error: str | None
    results: dict[str, Any]
    may_pass: bool = False
    sums_up: bool = False

    def error_beside(self, failed: Collection[object]) -> str | None:
        """The error, but for one that only sums up what a caller knows to have failed."""
        return None if failed and self.sums_up else self.error


@contextmanager
def open_instance(home: Path) -> Iterator[DagsterInstance]:
    """Open the Dagster instance of the home, and report runs as failed whose process was killed.

    Raises:
        UsageError: `dagster.yaml` cannot be read, or nothing names its Postgres.
        StoreError: the instance cannot be opened, or (as a StoreUnavailable) its database takes no entry.
    """
    prepare_home(home)
    require_postgres_named(home)
    for category in (dg.BetaWarning, dg.PreviewWarning, dg.SupersessionWarning):
        warnings.simplefilter("ignore", category)
    with _dagster_home(home), _opened(home) as instance, _refusal_named(home):
        yield instance


@contextmanager
def _dagster_home(home: Path) -> Iterator[None]:
    """Let Dagster find the home in the environment while the block runs: the next call may be for another one."""
    before = os.environ.get("DAGSTER_HOME")
    os.environ["DAGSTER_HOME"] = str(home)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("DAGSTER_HOME", None)
        else:
            os.environ["DAGSTER_HOME"] = before


def _opened(home: Path) -> DagsterInstance:
    try:
        instance = DagsterInstance.get()
        end_orphans(instance)
    except Exception as error:  # a dagster.yaml may name any storage, which may raise any error
        if isinstance(error, StoreError):
            raise
        cause = cause_of(error)
        reason = (" ".join(refusal_text(cause).split()) or type(cause).__name__)[:300]
        kind = StoreUnavailable if isinstance(cause, REFUSALS) else StoreError
        said = f"the Dagster instance of {home} cannot be opened; see dagster.yaml there: {reason}"
        raise refusal_of_settings(home, error) or kind(said) from error
    return instance


@contextmanager
def _refusal_named(home: Path) -> Iterator[None]:
    """Turn the error of a database that takes no entry in the block, of any depth, into one line."""
    try:
        yield
    except (sa.exc.DBAPIError, sqlite3.Error) as error:
        raise StoreUnavailable(
            f"the database of the Dagster instance of {home} takes no entry: {refusal_text(error)}; check that it "
            "is up and its disk not full, and run the same command again, finished days are kept"
        ) from error


def end_orphans(instance: DagsterInstance) -> None:
    """Report runs of commands as failed whose process was killed: they ran in it, so nothing else ends them."""
    end_gone(instance, instance.get_runs(RunsFilter(statuses=_UNFINISHED)))
    alive.sweep(Path(instance.root_directory))


def end_gone(instance: DagsterInstance, runs: Iterable[DagsterRun]) -> list[str]:
    """Report those of the runs as failed whose process was killed; return the ids of those that have no process."""
    home = Path(instance.root_directory)
    gone = [run.run_id for run in runs if alive.is_gone(home, run.run_id, run.tags)]
    # One that has ended meanwhile was not killed.
    for run in instance.get_runs(RunsFilter(run_ids=gone, statuses=_UNFINISHED)) if gone else ():
        instance.report_run_failed(run, alive.KILLED)
    return gone


def recorded_days(instance: DagsterInstance, dataset: Dataset) -> set[str]:
    """The days of the dataset that have a materialization in Dagster, keys `YYYY-MM-DD`."""
    return instance.get_materialized_partitions(dg.AssetKey(asset_path(dataset, KLINES)))


def run(
    instance: DagsterInstance,
    definitions: dg.Definitions,
    dataset: Dataset,
    assets: Sequence[str],
    *,
    days: tuple[str, str] | None = None,
    config: dict[str, dict[str, Any]] | None = None,
) -> RunReport:
    """Materialize assets of one dataset in this process, and evaluate their checks.

    Args:
        instance: where the events of the run are recorded.
        definitions: the definitions of the dataset.
        dataset: the dataset.
        assets: names of the assets: `klines_1m`, `manifest`, `combined`.
        days: the first and the last day, both included; required for `klines_1m`.
        config: the config of each asset, by its name.

    Raises:
        KeyboardInterrupt: it was interrupted; finished days are recorded.
    """
    ops = {op_name(dataset, name): values for name, values in (config or {}).items()}
    selection = {dg.AssetKey(asset_path(dataset, name)) for name in assets}
    job = definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection=selection)
    return _run(instance, job, ops, range_tags(*days) if days else {}, frozenset(selection))


def run_op(
    instance: DagsterInstance,
    definitions: dg.Definitions,
    job: str,
    op: str,
    *,
    config: dict[str, Any],
    tags: dict[str, str],
) -> RunReport:
    """Run a job of one op in this process.

    Args:
        instance: where the events of the run are recorded.
        definitions: the definitions that have the job.
        job: the name of the job.
        op: the name of its op.
        config: the config of the op.
        tags: the tags of the run.

    Raises:
        KeyboardInterrupt: the run was interrupted.
    """
    return _run(instance, definitions.resolve_job_def(job), {op: config}, tags, None)


def _run(
    instance: DagsterInstance,
    job: dg.JobDefinition,
    ops: dict[str, dict[str, Any]],
    tags: dict[str, str],
    selection: frozenset[dg.AssetKey] | None,
) -> RunReport:
    configs = {name: {"config": values} for name, values in ops.items()}
    run_id = str(uuid.uuid4())
    home = Path(instance.root_directory)
    with alive.held(home, run_id), held_unless_refused():
        created = instance.create_run_for_job(
            job_def=job,
            run_id=run_id,
            run_config={"ops": configs, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            tags={**alive.alive_tags(home, run_id), **tags},
            asset_selection=selection,
            remote_job_origin=origin_of_job(job.name),
        )
        return _report(execute_run(InMemoryJob(job), created, instance, raise_on_error=False))


def origin_of_job(job_name: str) -> RemoteJobOrigin:
    """The origin in the code location of `workspace.yaml`, by which the UI links the run and runs it again."""
    target = LoadableTargetOrigin(executable_path=sys.executable, module_name=LOCATION_MODULE)
    location = ManagedGrpcPythonEnvCodeLocationOrigin(target, location_name=LOCATION)
    return RemoteRepositoryOrigin(location, REPOSITORY).get_job_origin(job_name)


def _report(result: JobExecutionResult) -> RunReport:
    failed = [
        f"{evaluation.check_name}: {evaluation.description or 'failed'}"
        for evaluation in result.get_asset_check_evaluations()
        if not evaluation.passed and evaluation.severity is dg.AssetCheckSeverity.ERROR
    ]
    numbers = {
        event.asset_key.path[-1]: {name: value.value for name, value in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
        if event.asset_key and event.partition is None
    }
    error = _error_of(result)
    message, may_pass = (message_of(error), error.cls_name in _names(PASSING)) if error else (None, False)
    if not (message or result.success or failed):
        message = "the run failed, and nothing says why; see it in the Dagster UI"
    sums_up = error is not None and error.cls_name == dg.Failure.__name__
    return RunReport(result.run_id, result.success, tuple(failed), message, numbers, may_pass, sums_up)


def _errors(result: JobExecutionResult) -> Iterator[SerializableErrorInfo]:
    """The error of each failed step, and of a run that ended between its steps, without Dagster's that wrap it."""
    for event in result.all_events:
        error = event.step_failure_data.error if event.is_step_failure else None
        if event.event_type is DagsterEventType.RUN_FAILURE:
            error = event.job_failure_data.error
        if error:
            yield without_dagsters(error)


def _error_of(result: JobExecutionResult) -> SerializableErrorInfo | None:
    """The first error, None if no step failed.

    Raises:
        KeyboardInterrupt: the run was interrupted; Dagster raises an error of its own then.
    """
    error = next(_errors(result), None)
    if error and error.cls_name in {DagsterExecutionInterruptedError.__name__, KeyboardInterrupt.__name__}:
        raise KeyboardInterrupt
    return error


def _names(kinds: Iterable[type[BaseException]]) -> set[str]:
    """The names of the classes and of all below them: of an error of a step, Dagster keeps no more than the name."""
    return {kind.__name__ for kind in kinds}.union(*(_names(kind.__subclasses__()) for kind in kinds))
