"""The run launcher of workers: what Dagster's queue and its monitor of runs are told, with and without a broker."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import dagster as dg
import pytest
import requests
import yaml
from dagster import DagsterInstance
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin

from market_data_pipeline.instance.runs import open_instance
from market_data_pipeline.instance.workers.beats import Beats
from market_data_pipeline_tests.servers import broker_queue, free_ports, require_celery
from market_data_pipeline_tests.support import CHECKOUT, MarketData, wait_until

TASK_TAG = "dagster-celery/task_id"
GONE = "amqp://guest:secret@127.0.0.1:{port}//"


def write_home(home: Path, postgres: str, queue: str = "market_data", broker: str | None = None) -> None:
    """The home of `deploy/dagster.celery.yaml`, with a database and a queue of its own, perhaps with another broker."""
    document = yaml.safe_load((CHECKOUT / "deploy" / "dagster.celery.yaml").read_text(encoding="utf-8"))
    document["storage"]["custom"]["config"]["postgres_url"] = postgres
    document["run_launcher"]["config"]["queue"] = queue
    if broker is not None:
        document["run_launcher"]["config"]["broker"] = broker
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")


@dg.job(executor_def=dg.in_process_executor)
def nothing() -> None:
    """A job of nothing."""


def add_run(
    instance: DagsterInstance,
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED,
    *,
    job: dg.JobDefinition = nothing,
    module: str = __name__,
    **tags: str,
) -> dg.DagsterRun:
    """Add a run of a job, which is in the module."""
    code = RepositoryPythonOrigin(sys.executable, ModuleCodePointer(module, job.name), None, None, None)
    return instance.create_run_for_job(
        job_def=job,
        status=status,
        tags=tags,
        job_code_origin=JobPythonOrigin(job.name, code),
    )


def launch(instance: DagsterInstance, run: dg.DagsterRun) -> None:
    instance.run_launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=cast(Any, None)))


@pytest.fixture
def opened(tmp_path: Path, postgres: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Open an instance with workers; by default nobody answers where its broker should be."""

    @contextmanager
    def made(broker: str = "", queue: str = "market_data") -> Iterator[DagsterInstance]:
        monkeypatch.setenv("CELERY_BROKER_URL", broker or GONE.format(port=free_ports(1)[0]))
        write_home(tmp_path / "home", postgres, queue)
        with open_instance(tmp_path / "home") as instance:
            yield instance

    require_celery()
    return made


def test_dagster_takes_the_settings_of_deploy(opened: Callable[..., Any]) -> None:
    with opened() as instance:
        assert type(instance.run_launcher).__name__ == "WorkerRunLauncher"
        assert type(instance.run_coordinator).__name__ == "QueuedRunCoordinator"
        assert instance.run_launcher.supports_check_run_worker_health
        assert instance.run_monitoring_enabled


def test_a_run_that_no_broker_takes_stays_in_the_queue(opened: Callable[..., Any]) -> None:
    with opened() as instance:
        run = add_run(instance)
        # Dagster's queue keeps a run that fails with this kind of error.
        with pytest.raises(DagsterUserCodeUnreachableError) as raised:
            launch(instance, run)
    text = str(raised.value)
    assert "does not answer" in text
    assert "kept in the queue" in text
    assert "secret" not in text
    assert "\n" not in text


def test_a_run_counts_as_alive_while_its_process_is(opened: Callable[..., Any], postgres: str) -> None:
    with opened() as instance:
        health = instance.run_launcher.check_run_worker_health
        of_worker, of_code_server = add_run(instance, **{TASK_TAG: "1"}), add_run(instance)
        with Beats(postgres).begin(of_worker.run_id, lambda: None):
            assert health(of_worker).status is WorkerStatus.RUNNING
        assert health(of_worker).status is WorkerStatus.FAILED
        assert health(of_code_server).status is WorkerStatus.RUNNING


def test_a_run_that_nobody_has_taken_is_not_ended(opened: Callable[..., Any]) -> None:
    with opened() as instance:
        assert not instance.run_launcher.terminate(add_run(instance).run_id)
        assert not instance.run_launcher.terminate("unknown")


@pytest.mark.parametrize("server", ["rabbitmq", "redis"])
def test_a_run_is_handed_to_the_broker(opened: Callable[..., Any], server: str) -> None:
    with broker_queue(server) as (url, queue), opened(url, queue) as instance:
        run, launcher = add_run(instance), instance.run_launcher
        launch(instance, run)
        with launcher.celery.connection_for_read() as connection:
            message = connection.SimpleQueue(launcher.celery.conf.task_queues[0]).get(timeout=10)
            assert run.run_id in str(message.payload)
            message.ack()
        launch(instance, add_run(instance))  # a second one gives no warning, which pytest would raise
        assert TASK_TAG in instance.get_run_by_id(run.run_id).tags
        assert launcher.terminate(run.run_id)
        assert instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.CANCELING


@pytest.mark.slow
def test_a_worker_serves_metrics_before_its_first_run(
    market_data: Callable[..., MarketData], tmp_path: Path, postgres: str
) -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}"

    def answers() -> bool:
        with suppress(requests.ConnectionError):
            return "market_data_" in requests.get(f"http://{address}/metrics", timeout=5).text
        return False

    with broker_queue("redis") as (url, queue):
        write_home(tmp_path / "home", postgres, queue, url)
        env = {"DAGSTER_HOME": str(tmp_path / "home"), "MARKET_DATA_METRICS_ADDRESS": address}
        with market_data().start("worker", **env) as process:
            try:
                wait_until(answers)
            finally:
                process.terminate()
                process.communicate(timeout=60)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda document: document.pop("run_launcher"), "names no workers; take deploy/dagster.celery.yaml"),
        (lambda document: document.pop("storage"), "has workers but no storage in Postgres"),
        (lambda document: document["run_launcher"].update(config={"broker": {"env": "UNSET"}}), "UNSET"),
    ],
)
def test_a_worker_without_what_it_needs_says_so_in_one_line(
    market_data: Callable[..., MarketData], tmp_path: Path, change: Callable[[Any], Any], said: str
) -> None:
    require_celery()
    document = yaml.safe_load((CHECKOUT / "deploy" / "dagster.celery.yaml").read_text(encoding="utf-8"))
    change(document)
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    result = market_data()("worker", DAGSTER_HOME=str(tmp_path), CELERY_BROKER_URL="redis://127.0.0.1:1/0")
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
