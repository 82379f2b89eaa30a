"""Dagster's run launcher for Kubernetes, beside commands that execute runs in their own pod.

Belongs here: what differs from Dagster's. Does not belong here: how the run of a command is known to be alive
(`instance.alive`).

Dagster's `K8sRunLauncher` looks for a job of the cluster that has the run's name. The run of a command has none, so the
daemon would mark it as failed within seconds, while it goes on. This class is written for dagster-k8s 0.29 and uses its
member `_instance`.
"""

from pathlib import Path

from dagster import DagsterRun
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster_k8s import K8sRunLauncher

from market_data_pipeline.instance import alive


class PodRunLauncher(K8sRunLauncher):
    """Starts a job of the cluster for each run of the queue; its `config` is that of `K8sRunLauncher`."""

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether a pod executes the run, its own or that of a command."""
        if not alive.is_of_command(run.run_id, run.tags):
            return super().check_run_worker_health(run)
        if alive.beats(Path(self._instance.root_directory), run.run_id, run.tags):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, alive.KILLED)

    def get_run_worker_debug_info(self, run: DagsterRun, include_container_logs: bool | None = True) -> str | None:
        """What the cluster says of the job; nothing is known of a command's."""
        if alive.is_of_command(run.run_id, run.tags):
            return None
        return super().get_run_worker_debug_info(run, include_container_logs=include_container_logs)

    def terminate(self, run_id: str) -> bool:
        """Delete the job of the run; a command is ended where it runs."""
        run = self._instance.get_run_by_id(run_id)
        if run and alive.is_of_command(run_id, run.tags):
            return False
        return bool(super().terminate(run_id))
