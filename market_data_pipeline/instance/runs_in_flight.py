"""Ending the runs that Dagster has in flight: `python -m market_data_pipeline.instance.runs_in_flight`.

Belongs here: runs that a code server launched. Does not belong here: runs of the command line, which live and die with
their own process (`runs`); those are left alone.
A process of its own, so that whoever asks for it neither loads Dagster nor depends on what state it is in.
"""

import sys
import time

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.errors import DagsterUserCodeProcessError, DagsterUserCodeUnreachableError
from dagster._core.storage.tags import GRPC_INFO_TAG

_IN_FLIGHT = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
# Longer than an exchange that does not answer keeps a request waiting.
_PATIENCE_S, _LOOK_EVERY_S = 25, 0.2
_LOST = "Its process was gone or did not end when it was asked to. Finished days are kept; run it again."


def end_runs(instance: DagsterInstance) -> int:
    """Cancel every run in flight; report as failed what does not end, or has no process. Say how many there were."""
    runs = [run for run in instance.get_runs(RunsFilter(statuses=_IN_FLIGHT)) if GRPC_INFO_TAG in run.tags]
    asked = {run.run_id for run in runs if _ask_to_end(instance, run)}
    latest = time.monotonic() + _PATIENCE_S
    while time.monotonic() < latest and asked & {run.run_id for run in _unfinished(instance, runs)}:
        time.sleep(_LOOK_EVERY_S)
    for run in _unfinished(instance, runs):
        instance.report_run_failed(run, _LOST)
    return len(runs)


def _ask_to_end(instance: DagsterInstance, run: DagsterRun) -> bool:
    """True if the code server that launched the run is there and has heard."""
    try:
        return bool(instance.run_launcher.terminate(run.run_id))
    except (DagsterUserCodeUnreachableError, DagsterUserCodeProcessError):
        return False


def _unfinished(instance: DagsterInstance, runs: list[DagsterRun]) -> list[DagsterRun]:
    found = [instance.get_run_by_id(run.run_id) for run in runs]
    return [run for run in found if run and not run.is_finished]


if __name__ == "__main__":
    with DagsterInstance.get() as opened:
        sys.stdout.write(f"{end_runs(opened)}\n")
