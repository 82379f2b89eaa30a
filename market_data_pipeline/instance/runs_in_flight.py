"""End the runs that Dagster has in flight: `python -m market_data_pipeline.instance.runs_in_flight`.

Belongs here: runs that a code server launched. Does not belong here: runs of the command line (`runs`), which end with
their own process; here only those are ended whose process was killed. With `--of-killed-commands` no others are.
It runs as a process of its own, so that the caller neither imports Dagster nor fails when that is broken.
"""

import sys
import time

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.errors import DagsterUserCodeProcessError, DagsterUserCodeUnreachableError
from dagster._core.storage.tags import GRPC_INFO_TAG

from market_data_pipeline.instance.runs import end_orphans

_IN_FLIGHT = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
# Longer than a request waits for an exchange that does not respond.
_PATIENCE_S, _POLL_INTERVAL_S = 25, 0.2
_LOST = "Its process was gone, or did not end on request. Finished days are kept; run it again."


def end_runs(instance: DagsterInstance) -> int:
    """Cancel every run in flight, and report as failed those that do not end within 25 s or have no process.

    Returns:
        How many runs were in flight.
    """
    runs = [run for run in instance.get_runs(RunsFilter(statuses=_IN_FLIGHT)) if GRPC_INFO_TAG in run.tags]
    canceled = {run.run_id for run in runs if _cancel(instance, run)}
    latest = time.monotonic() + _PATIENCE_S
    while time.monotonic() < latest and canceled & {run.run_id for run in _unfinished(instance, runs)}:
        time.sleep(_POLL_INTERVAL_S)
    for run in _unfinished(instance, runs):
        instance.report_run_failed(run, _LOST)
    return len(runs)


def _cancel(instance: DagsterInstance, run: DagsterRun) -> bool:
    """True if the code server that launched the run has accepted the request to end it."""
    try:
        return bool(instance.run_launcher.terminate(run.run_id))
    except (DagsterUserCodeUnreachableError, DagsterUserCodeProcessError):
        return False


def _unfinished(instance: DagsterInstance, runs: list[DagsterRun]) -> list[DagsterRun]:
    current = [instance.get_run_by_id(run.run_id) for run in runs]
    return [run for run in current if run and not run.is_finished]


if __name__ == "__main__":
    with DagsterInstance.get() as opened:
        end_orphans(opened)
        if "--of-killed-commands" not in sys.argv:
            sys.stdout.write(f"{end_runs(opened)}\n")
