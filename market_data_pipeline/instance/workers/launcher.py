"""Dagster's run launcher for Celery, for a broker that may go away and for workers that may die.

Belongs here: handing a run to the workers, ending it there, and whether its worker is alive. Does not belong here: what
a worker does with it (`worker`).

Dagster's `CeleryRunLauncher` asks Celery's store of results whether a run goes on, where a run whose host has died goes
on forever, and one of a restarted daemon never began. Here the beats of the run tell it, and no results are stored.
It is written for dagster-celery 0.29 and uses these of its members: `celery`, `_instance`, `_launch_celery_task_run`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import dagster as dg
from dagster import DagsterRun
from dagster._config import UserConfigSchema
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClassData, pack_value
from dagster_celery.config import TASK_EXECUTE_JOB_NAME
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG
from kombu.entity import Queue

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.instance import alive
from market_data_pipeline.instance.budgets import postgres_url
from market_data_pipeline.instance.workers.beats import Beats
from market_data_pipeline.instance.workers.broker import BrokerAway, broker_failures, with_checked_certificate

_WEEK_S = 7 * 24 * 3600
_SETTINGS = {
    # A worker takes a run from the broker when it has room for it, and tells the broker when the run is over: with less
    # than that, runs wait behind a long one while another worker has nothing to do.
    "worker_prefetch_multiplier": 1,
    "task_acks_late": True,
    "task_ignore_result": True,
    # A process of its own for each run, which has loaded the code before: memory and state go with it.
    "worker_max_tasks_per_child": 1,
    "worker_consumer": "market_data_pipeline.instance.workers.broker:WaitingConsumer",
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_connection_timeout": 5,
    "broker_heartbeat": 20,
    "task_publish_retry_policy": {"max_retries": 2, "interval_start": 0, "interval_step": 0.5, "interval_max": 0.5},
    "broker_transport_options": {
        # RabbitMQ says that it has stored a run before that counts as handed over.
        "confirm_publish": True,
        # Redis hands a run out again that is not over by then.
        "visibility_timeout": _WEEK_S,
        # Of Redis, which kombu waits for without end by default, also while it begins to speak TLS.
        "socket_connect_timeout": 5,
        "socket_timeout": 10,
        "max_retries": 2,
        "interval_start": 0,
        "interval_step": 0.5,
        "interval_max": 0.5,
    },
}


class BrokerUnavailable(DagsterUserCodeUnreachableError):
    """The broker takes no run. Dagster's queue keeps a run that ends with this kind of error, and tries it again."""


class WorkerRunLauncher(CeleryRunLauncher):
    """Hands runs to workers. Its `config` has `broker`, a URL, and `queue`, the name of Celery's queue."""

    def __init__(self, broker: str, queue: str = "market_data", inst_data: ConfigurableClassData | None = None) -> None:
        broker = with_checked_certificate(broker)
        # Celery takes the variable CELERY_BROKER_URL before its setting `broker_url`, but not before these two.
        settings = {**_SETTINGS, "broker_read_url": broker, "broker_write_url": broker}
        super().__init__(default_queue=queue, broker=broker, config_source=settings, inst_data=inst_data)
        # RabbitMQ before 3.12 ignores the time; its `consumer_timeout` does the same for all queues.
        arguments = {"x-max-priority": 10, "x-consumer-timeout": _WEEK_S * 1000}
        self.celery.conf.task_queues = [Queue(queue, queue_arguments=arguments)]
        self.celery.conf.task_routes = {}
        self._beats: Beats | None = None

    @property
    def beats(self) -> Beats:
        """The beats of the runs of this instance.

        Raises:
            UsageError: the instance is not in Postgres.
        """
        if self._beats is None:
            home = Path(self._instance.root_directory)
            url = postgres_url(home)
            if url is None:
                raise UsageError(f"{home / 'dagster.yaml'} has workers but no storage in Postgres; see deployment.md")
            self._beats = Beats(url)
        return self._beats

    def launch_run(self, context: LaunchRunContext) -> None:
        """Hand the run to the broker.

        Raises:
            BrokerUnavailable: the broker does not take it; it is not lost, the queue keeps it.
        """
        run = context.dagster_run
        if run.job_code_origin is None:
            raise UsageError(f"run {run.run_id} does not say where its code is")
        sent = ExecuteRunArgs(run.job_code_origin, run.run_id, self._instance.get_ref(), set_exit_code_on_failure=True)
        # By name: Dagster's way makes the task anew for each run, which Celery warns of.
        task = self.celery.signature(
            TASK_EXECUTE_JOB_NAME, kwargs={"execute_job_args_packed": pack_value(sent)}, immutable=True
        )
        with self._handing_over("the run is kept in the queue"):
            self._launch_celery_task_run(run=run, task_signature=task, routing_key=TASK_EXECUTE_JOB_NAME)

    def terminate(self, run_id: str) -> bool:
        """Ask the worker of the run to end it; its finished days are kept.

        Raises:
            BrokerUnavailable: the broker takes no requests.
        """
        run = self._instance.get_run_by_id(run_id)
        task = run.tags.get(DAGSTER_CELERY_TASK_ID_TAG) if run and not run.is_finished else None
        if run is None or task is None:
            return False
        with self._handing_over("the run goes on"):
            self.celery.control.revoke(task, terminate=True, signal="SIGINT")
        self._instance.report_run_canceling(run)
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether a process executes the run, on whatever host it is."""
        # Runs of a launcher that was here before end otherwise.
        if DAGSTER_CELERY_TASK_ID_TAG in run.tags and not self.beats.is_alive(run.run_id):
            said = "The process of this run is gone. Finished days are kept; run it again."
            return CheckRunHealthResult(WorkerStatus.FAILED, said)
        if not alive.beats(Path(self._instance.root_directory), run.run_id, run.tags):
            return CheckRunHealthResult(WorkerStatus.FAILED, alive.KILLED)
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    @property
    def supports_resume_run(self) -> bool:
        """A run is not resumed, but run again: it skips the days that are stored."""
        return False

    def get_run_worker_debug_info(self, run: DagsterRun, include_container_logs: bool | None = True) -> str | None:
        """Nothing is known besides its events."""
        return None

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """The fields of `config` in dagster.yaml."""
        return {
            "broker": dg.Field(dg.StringSource, description="The URL of RabbitMQ (amqp://) or Redis (redis://)."),
            "queue": dg.Field(
                dg.StringSource, is_required=False, default_value="market_data", description="The queue of the workers."
            ),
        }

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        """Make a launcher from the `config` of dagster.yaml."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def _handing_over(self, otherwise: str) -> Iterator[None]:
        """Raise as `BrokerUnavailable` what keeps the broker from taking what the block gives it."""
        try:
            with broker_failures(self.celery):
                yield
        except (UsageError, BrokerAway) as error:
            raise BrokerUnavailable(f"{error}; {otherwise}") from None
