"""A worker: takes runs from the broker, and executes each in a process of its own.

Belongs here: the task of Celery and its process. Does not belong here: handing runs over (`launcher`).
It calls `_execute_run_command_body` of dagster 1.13, as Dagster's own task for Celery does.
"""

import logging
import os
import signal
import socket
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any

from celery import Celery
from celery.exceptions import SecurityWarning, WorkerLostError
from celery.signals import after_setup_logger, celeryd_after_setup, task_failure, worker_ready
from dagster import DagsterInstance, DagsterRunStatus
from dagster._cli.api import _execute_run_command_body
from dagster._core.instance.ref import InstanceRef
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import unpack_value
from dagster_celery.config import TASK_EXECUTE_JOB_NAME
from sqlalchemy.exc import SQLAlchemyError
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, stop_never, wait_fixed
from tenacity.stop import StopBaseT

from market_data_pipeline.core.counting.file import add_counts
from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.store.storage.protocol import StorePath
from market_data_pipeline.core.text import one_line
from market_data_pipeline.instance.budgets import postgres_url
from market_data_pipeline.instance.home import INSTANCE_FILE, prepare_home, refusal_of_settings
from market_data_pipeline.instance.names import LOCATION_MODULE
from market_data_pipeline.instance.workers.beats import Beats, HeldElsewhere
from market_data_pipeline.instance.workers.broker import require_broker, shown
from market_data_pipeline.instance.workers.launcher import WorkerRunLauncher
from market_data_pipeline.instance.workers.root import require_root, wait_for_root

_log = logging.getLogger(__name__)
_WORKERS = __name__.rpartition(".")[0]

# A run that waits for Postgres with its first beat is not lost. Dagster gives it up after `start_timeout_seconds`.
_PATIENCE_S, _PAUSE_S = 900, 2
_ARGUMENT = "execute_job_args_packed"  # of Dagster's task
# A run that Postgres keeps from beginning so often stays as it is; Dagster gives it up then.
_MOST_BEGINNINGS = 5


def work(home: Path, root: StorePath, *, runs: int, on_ready: Callable[[], None]) -> None:
    """Take runs until SIGTERM or Ctrl-C; runs under way end first, unless Ctrl-C is pressed again.

    None is taken before Postgres and the data root answer: other workers may reach them, and a run would be held until
    it is given up, or fail.

    Args:
        home: the Dagster home, whose `dagster.yaml` names the launcher and Postgres.
        root: the data root.
        runs: how many are executed at once.
        on_ready: called once it takes runs. By then its first processes are forked, and inherit no thread of this one.

    Raises:
        UsageError: `dagster.yaml` names no workers, no Postgres or no broker, or the broker refuses the worker.
        StoreUnavailable: the home or the data root cannot be written.
    """
    prepare_home(home)
    os.environ["DAGSTER_HOME"] = str(home)  # noqa: TID251 - set for Dagster, in this process and those of the runs
    app = app_of(home)
    require_broker(app)
    require_root(root)
    import_module(LOCATION_MODULE)  # once, not in the process of each run

    name = f"market-data-{os.getpid()}@{socket.gethostname()}"
    queue = app.conf.task_queues[0].name
    ready = f"takes runs of the queue {queue} at {shown(app.connection_for_read())}, {runs} at once"
    # After Celery has set the log up, and before it asks the broker for a run.
    waiting = _postgres(stop_never, "this worker waits for it, and takes no runs")
    celeryd_after_setup.connect(lambda **_: waiting(_beats_of(home).reach), weak=False)
    celeryd_after_setup.connect(lambda **_: wait_for_root(root), weak=False)
    worker_ready.connect(lambda **_: _log.info(ready), weak=False)
    worker_ready.connect(lambda **_: on_ready(), weak=False)
    logging.getLogger("market_data_pipeline").setLevel(logging.WARNING)
    logging.getLogger(_WORKERS).setLevel(logging.INFO)
    after_setup_logger.connect(_leave_days_to_the_log)
    task_failure.connect(_tell_of_a_killed_run)
    # Celery warns of root because of messages that are pickled. These are JSON.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    # Not by Celery's command line, which takes variables such as APP and BROKER_URL before what it is given.
    app.Worker(
        concurrency=runs,
        hostname=name,
        queues=[queue],
        loglevel=logging.ERROR,
        quiet=True,
        no_color=True,
        without_gossip=True,
        without_mingle=True,
    ).start()


def _leave_days_to_the_log(logger: logging.Logger, **_: Any) -> None:
    """Let the terminal show what the worker says, and warnings; a line for each loaded day is in loader.log."""
    for handler in logger.handlers:
        handler.addFilter(lambda record: record.levelno >= logging.WARNING or record.name.startswith(_WORKERS))
        handler.addFilter(lambda record: not _is_of_a_killed_run(record))


def _is_of_a_killed_run(record: logging.LogRecord) -> bool:
    """Whether Celery says that the process of a run has ended, with two tracebacks and without the run."""
    error = record.exc_info[1] if record.exc_info else None
    return isinstance(getattr(error, "exc", error), WorkerLostError)


def _tell_of_a_killed_run(exception: BaseException, kwargs: dict[str, Any], **_: Any) -> None:
    if isinstance(exception, WorkerLostError):
        run_id = unpack_value(kwargs[_ARGUMENT], as_type=ExecuteRunArgs).run_id
        _log.error("the process of run %s was ended (%s); Dagster notes that within a minute", run_id, exception)


def app_of(home: Path) -> Celery:
    """The app of Celery that the launcher of this home hands runs to, with the task that executes one.

    Raises:
        UsageError: `dagster.yaml` names no workers, or no Postgres.
    """
    try:
        launcher = InstanceRef.from_dir(str(home)).run_launcher
    except Exception as error:  # a dagster.yaml may name any class, which may raise any error
        said = f"{home / INSTANCE_FILE} cannot be used: {one_line(str(error), 300)}; correct it"
        raise refusal_of_settings(home, error) or UsageError(said) from error
    if not isinstance(launcher, WorkerRunLauncher):
        raise UsageError(f"{home / INSTANCE_FILE} names no workers; take deploy/dagster.celery.yaml for it")
    beats = _beats_of(home)

    # Otherwise each other app of this process would get it, too.
    @launcher.celery.task(name=TASK_EXECUTE_JOB_NAME, shared=False)
    def execute_job(execute_job_args_packed: Any) -> None:
        _execute(beats, unpack_value(execute_job_args_packed, as_type=ExecuteRunArgs).run_id)

    return launcher.celery


def _beats_of(home: Path) -> Beats:
    url = postgres_url(home)
    if url is None:
        raise UsageError(f"{home / INSTANCE_FILE} has workers but no storage in Postgres; see docs/deployment.md")
    return Beats(url)


def _execute(beats: Beats, run_id: str) -> None:
    """Execute the run, unless another worker does; a broker may hand one out twice."""
    try:
        with _held(beats, run_id), _waiting(run_id)(DagsterInstance.get) as instance:
            # Celery's processes ignore Ctrl-C. Dagster ends a run on it, with its finished days recorded.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            _execute_to_its_end(instance, run_id)
    except HeldElsewhere as error:
        _log.warning("%s", error)
    except SQLAlchemyError as error:
        _log.error("run %s ended, as Postgres could not be used (%s); finished days are kept", run_id, _reason(error))
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        add_counts()  # Celery ends the process without `atexit`


def _execute_to_its_end(instance: DagsterInstance, run_id: str) -> None:
    """Execute the run; anew, if Postgres went away before it had begun, as nothing would end it for a long time.

    Raises:
        SQLAlchemyError: Postgres went away later, or stayed away.
    """
    for _ in range(_MOST_BEGINNINGS):
        lost: SQLAlchemyError | None = None
        try:
            _execute_run_command_body(
                instance=instance, run_id=run_id, write_stream_fn=lambda _: None, set_exit_code_on_failure=True
            )
        except SQLAlchemyError as error:
            lost = error
        if not _is_starting(instance, run_id):
            break
        time.sleep(_PAUSE_S)  # who ends a run by a signal notes that a moment later
        if not _is_starting(instance, run_id):
            break
        _log.warning("Postgres went away before run %s had begun; it begins again", run_id)
    if lost:
        raise lost


def _is_starting(instance: DagsterInstance, run_id: str) -> bool:
    run = _waiting(run_id)(instance.get_run_by_id, run_id)
    return run is not None and run.status is DagsterRunStatus.STARTING


def _held(beats: Beats, run_id: str) -> AbstractContextManager[None]:
    """Begin the beats of the run, as soon as Postgres answers."""
    return _waiting(run_id)(beats.begin, run_id, on_gone=lambda: _leave(run_id))


def _waiting(run_id: str) -> Retrying:
    """Calls for a run again until Postgres can be used, for as long as Dagster lets the run start."""
    return _postgres(stop_after_delay(_PATIENCE_S), f"run {run_id} waits for it")


def _postgres(stop: StopBaseT, meanwhile: str) -> Retrying:
    """Calls again while Postgres cannot be used, and says so once."""

    def say(state: RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome is not None:
            reason = _reason(state.outcome.exception())
            _log.warning("the Postgres of the Dagster instance cannot be used (%s); %s", reason, meanwhile)

    is_away = retry_if_exception_type(SQLAlchemyError)
    return Retrying(retry=is_away, wait=wait_fixed(_PAUSE_S), stop=stop, before_sleep=say, reraise=True)


def _reason(error: BaseException | None) -> str:
    return one_line(str(getattr(error, "orig", None) or error), 200)


def _leave(run_id: str) -> None:
    """End this process: Dagster has given its run up, and may have started it anew elsewhere."""
    _log.warning("run %s was found gone, as this host was cut off; its process ends, finished days are kept", run_id)
    add_counts()
    os._exit(os.EX_UNAVAILABLE if hasattr(os, "EX_UNAVAILABLE") else 1)
