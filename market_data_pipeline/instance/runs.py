"""The only place that starts Dagster runs.

Belongs here: the Dagster instance under DAGSTER_HOME, and in-process runs of the code location's own assets. Does not
belong here: what the runs do (`defs`, `core`), how results are shown (`cli`).
The public `execute_in_process` would do but for one thing: its runs belong to no code location, and the UI fails when
asked to run them again. What is used of Dagster's inside instead is imported at the top, so that an upgrade shows it.
"""

import os
import socket
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, JobExecutionResult, RunsFilter
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

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.instance.home import prepare_home
from market_data_pipeline.instance.names import (
    KLINES,
    LOCATION,
    LOCATION_MODULE,
    REPOSITORY,
    asset_path,
    op_name,
    range_tags,
)

# The UI hides tags that begin so.
_PROCESS_TAG = ".dagster/market_data_process"


@dataclass(frozen=True, slots=True)
class RunReport:
    """How a run ended: the asset checks that failed, in one line each, and why the run failed if it did."""

    run_id: str
    success: bool
    failed_checks: tuple[str, ...]
    error: str | None
    results: dict[str, Any]


@contextmanager
def open_instance(home: Path) -> Iterator[DagsterInstance]:
    """The Dagster instance that the UI shows, with runs of killed processes ended as failed.

    Raises:
        StoreError: it cannot be opened.
    """
    prepare_home(home)
    os.environ["DAGSTER_HOME"] = str(home)
    for category in (dg.BetaWarning, dg.PreviewWarning, dg.SupersessionWarning):
        warnings.simplefilter("ignore", category)
    with _opened(home) as instance:
        yield instance


def _opened(home: Path) -> DagsterInstance:
    try:
        instance = DagsterInstance.get()
        _end_orphans(instance)
    except Exception as error:  # whatever the storage that a dagster.yaml names may raise
        reason = (" ".join(str(error).split()) or type(error).__name__)[:300]
        raise StoreError(
            f"the Dagster instance of {home} cannot be opened; see dagster.yaml there: {reason}"
        ) from error
    return instance


def _end_orphans(instance: DagsterInstance) -> None:
    """Runs live and die with the process that started them; nobody else would ever end one that was killed."""
    for run in instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTED])):
        if _is_orphan(run):
            instance.report_run_failed(run, "The process of this run was killed. Finished days are kept; run it again.")


def _is_orphan(run: DagsterRun) -> bool:
    host, _, process = run.tags.get(_PROCESS_TAG, "").rpartition("/")
    if host != socket.gethostname():
        return False
    pid, _, started = process.partition("@")
    try:
        return f"{psutil.Process(int(pid)).create_time():.2f}" != started
    except psutil.NoSuchProcess:
        return True


def recorded_days(instance: DagsterInstance, dataset: Dataset) -> set[str]:
    """The days of the dataset that Dagster has a materialization of."""
    return instance.get_materialized_partitions(dg.AssetKey(asset_path(dataset, KLINES)))


def _process_tag() -> str:
    return f"{socket.gethostname()}/{os.getpid()}@{psutil.Process().create_time():.2f}"


def run(
    instance: DagsterInstance,
    definitions: dg.Definitions,
    dataset: Dataset,
    assets: Sequence[str],
    *,
    days: tuple[str, str] | None = None,
    config: dict[str, dict[str, Any]] | None = None,
) -> RunReport:
    """Materialize assets of one dataset in this process, with their checks.

    Args:
        instance: where events go.
        definitions: those of the dataset.
        dataset: whose assets.
        assets: their names, `klines_1m`, `manifest`, `combined`.
        days: first and last day, both included, if `klines_1m` is among them.
        config: run config of an asset, by its name.

    Raises:
        KeyboardInterrupt: the run was interrupted; finished days are recorded.
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
        instance: where events go.
        definitions: those with the job.
        job: its name.
        op: the name of its op.
        config: the op's config.
        tags: the run's tags.

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
    created = instance.create_run_for_job(
        job_def=job,
        run_config={"ops": configs, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        tags={_PROCESS_TAG: _process_tag(), **tags},
        asset_selection=selection,
        remote_job_origin=_origin(job.name),
    )
    return _report(execute_run(InMemoryJob(job), created, instance, raise_on_error=False))


def _origin(job_name: str) -> RemoteJobOrigin:
    """The code location of `workspace.yaml`, so that the UI can link the run to it and run it again."""
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
    return RunReport(result.run_id, result.success, tuple(failed), _error_of(result), numbers)


def _errors(result: JobExecutionResult) -> Iterator[SerializableErrorInfo]:
    """What failed each step, down to the innermost cause."""
    for event in result.all_events:
        if event.is_step_failure and event.step_failure_data.error:
            error = event.step_failure_data.error
            while error.cause and str(error.cls_name).startswith("Dagster"):
                error = error.cause
            yield error


def _error_of(result: JobExecutionResult) -> str | None:
    """The message of what failed the run first.

    Raises:
        KeyboardInterrupt: it was Ctrl-C, which Dagster turns into an error of its own.
    """
    error = next(_errors(result), None)
    if error is None:
        return None
    if error.cls_name in {DagsterExecutionInterruptedError.__name__, KeyboardInterrupt.__name__}:
        raise KeyboardInterrupt
    said = " ".join(error.message.split())
    return said.partition(": ")[2] or said
