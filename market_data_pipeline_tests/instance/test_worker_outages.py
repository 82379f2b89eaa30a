"""Workers whose Postgres, Redis or run's process goes away in the middle: no run is lost, and each says one line."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster import DagsterInstance

from market_data_pipeline.core.counting.file import counts_in
from market_data_pipeline.instance.runs import open_instance
from market_data_pipeline_tests.instance import stopping_job
from market_data_pipeline_tests.instance.test_broker import lines_of, read_to
from market_data_pipeline_tests.instance.test_workers import add_run, launch, write_home
from market_data_pipeline_tests.servers import Link, broker_queue, free_ports, missing, require_celery
from market_data_pipeline_tests.support import MarketData, wait_until

pytestmark = pytest.mark.slow
COUNTED = ("market_data_days_failed_total", "spot")


class Places:
    """Where a run of `stopping_job` is, and where it waits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def hold(self, place: str) -> None:
        (self.folder / f"{place}.waits").touch()

    def let_go(self, place: str) -> None:
        (self.folder / f"{place}.waits").unlink()

    def wait_for(self, place: str) -> int:
        """Wait until the run is there; the id of its process."""
        file = self.folder / f"{place}.pid"
        wait_until(lambda: file.exists() and file.read_text() != "", 60)
        return int(file.read_text())


@pytest.fixture
def places(tmp_path: Path) -> Places:
    (tmp_path / "places").mkdir()
    return Places(tmp_path / "places")


@pytest.fixture
def worker(market_data: Callable[..., MarketData], tmp_path: Path, places: Places) -> MarketData:
    """The command line with a home for workers, which executes the job."""
    require_celery()
    tool = market_data()
    tool.env |= {"DAGSTER_HOME": str(tmp_path / "home"), "STOPPING_JOB": str(places.folder)}
    return tool


def hand_over(instance: DagsterInstance) -> dg.DagsterRun:
    run = add_run(instance, dg.DagsterRunStatus.STARTING, job=stopping_job.stopping, module=stopping_job.__name__)
    launch(instance, run)
    return run


def is_done(instance: DagsterInstance, run: dg.DagsterRun) -> bool:
    found = instance.get_run_by_id(run.run_id)
    return found is not None and found.is_success


def test_a_run_that_postgres_keeps_from_beginning_begins_when_it_is_back(
    worker: MarketData, places: Places, tmp_path: Path, postgres: str, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    through = sa.make_url(postgres).set(host="127.0.0.1", port=link.port).render_as_string(hide_password=False)
    with ExitStack() as stack:
        url, name = stack.enter_context(broker_queue("redis"))
        monkeypatch.setenv("CELERY_BROKER_URL", url)
        write_home(tmp_path / "home", through, name)
        lines = stack.enter_context(lines_of(worker, url))
        read_to("takes runs", lines)
        places.hold("load")
        with open_instance(tmp_path / "home") as instance:
            run = hand_over(instance)
        places.wait_for("load")
        link.cut()
        places.let_go("load")
        said = read_to(f"run {run.run_id} waits for it", lines)
        link.mend()
        with open_instance(tmp_path / "home") as instance:
            wait_until(partial(is_done, instance, run), 60)
    assert not [line for line in said if "Traceback" in line or line.startswith(" ")]


def test_what_a_short_run_counted_is_kept(worker: MarketData, places: Places, tmp_path: Path, postgres: str) -> None:
    with ExitStack() as stack:
        url, name = stack.enter_context(broker_queue("redis"))
        write_home(tmp_path / "home", postgres, name, url)
        lines = stack.enter_context(lines_of(worker, url))
        read_to("takes runs", lines)
        with open_instance(tmp_path / "home") as instance:
            run = hand_over(instance)
            wait_until(partial(is_done, instance, run), 60)
        wait_until(lambda: counts_in(places.folder).get(COUNTED) == 3)


def test_a_run_whose_process_is_killed_is_named_in_one_line(
    worker: MarketData, places: Places, tmp_path: Path, postgres: str
) -> None:
    with ExitStack() as stack:
        url, name = stack.enter_context(broker_queue("redis"))
        write_home(tmp_path / "home", postgres, name, url)
        lines = stack.enter_context(lines_of(worker, url))
        read_to("takes runs", lines)
        places.hold("step")
        with open_instance(tmp_path / "home") as instance:
            run = hand_over(instance)
        os.kill(places.wait_for("step"), signal.SIGKILL)
        said = read_to(f"the process of run {run.run_id} was ended", lines)
    said += read_to("Warm shutdown", lines)
    assert "SIGKILL" in "".join(said)
    assert "Traceback" not in "".join(said)


@contextmanager
def redis_at(port: int) -> Iterator[None]:
    """A Redis of this test, which keeps nothing."""
    if not (program := shutil.which("redis-server")):
        missing("redis", "there is no program redis-server")
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_until(lambda: _listens(port))
            yield
        finally:
            server.kill()


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def test_a_worker_with_a_run_goes_on_when_redis_is_back(
    worker: MarketData, places: Places, tmp_path: Path, postgres: str
) -> None:
    [port] = free_ports(1)
    url = f"redis://127.0.0.1:{port}/0"
    write_home(tmp_path / "home", postgres, broker=url)
    with ExitStack() as stack:
        redis = stack.enter_context(ExitStack())
        redis.enter_context(redis_at(port))
        lines = stack.enter_context(lines_of(worker, url, "--runs", "2"))
        instance = stack.enter_context(open_instance(tmp_path / "home"))
        read_to("takes runs", lines)
        places.hold("step")
        runs = [hand_over(instance)]
        places.wait_for("step")
        redis.close()
        said = read_to("does not answer", lines)
        redis.enter_context(redis_at(port))
        said += read_to("is there", lines)
        places.let_go("step")
        runs.append(hand_over(instance))
        for run in runs:
            wait_until(partial(is_done, instance, run), 60)
    said += read_to("Warm shutdown", lines)
    assert len(said) == 3, "".join(said)
