"""Which runs a command reports as failed because their process is gone, and which it leaves alone."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.tags import GRPC_INFO_TAG

from market_data_pipeline.instance import alive
from market_data_pipeline.instance.runs import open_instance
from market_data_pipeline.instance.workers.beats import LATE_S, STILL_LATE_S
from market_data_pipeline_tests.instance.test_beats import Database
from market_data_pipeline_tests.support import wait_until

PROCESS_TAG = ".dagster/market_data_process"
ENDED, RUNS = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.STARTED
PROGRAM = """
import sys, time
from pathlib import Path
import dagster as dg
from market_data_pipeline.instance.runs import open_instance, run_op

home = Path(sys.argv[1])

@dg.op(config_schema={})
def waits():
    (home / "began").touch()
    while not (home / "end").exists():
        time.sleep(0.01)

@dg.job(executor_def=dg.in_process_executor)
def job():
    waits()

with open_instance(home) as instance:
    report = run_op(instance, dg.Definitions(jobs=[job]), "job", "waits", config={}, tags={})
    assert report.success, report.error
"""


HOLDER = """
import sys
from pathlib import Path
from market_data_pipeline.instance import alive

home = Path(sys.argv[1])
for number in range(300):
    run_id = f"run-{number}"
    with alive.held(home, run_id):
        assert not alive.is_gone(home, run_id, alive.alive_tags(home, run_id)), run_id
        assert (home / "running" / f"{run_id}.lock").exists(), run_id
"""


@pytest.fixture(autouse=True)
def same_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`open_instance` sets the variable."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))


@contextmanager
def run_of_another_process(home: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process with a run that goes on until the file `end` is in the home."""
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(home)], env={**os.environ}) as process:
        try:
            wait_until(lambda: (home / "began").exists() or process.poll() is not None)
            yield process
        finally:  # else the end of the block waits for it
            process.kill()


def statuses(home: Path) -> dict[str, dg.DagsterRunStatus]:
    """The status of each run, as it is after a command has opened the home."""
    with open_instance(home) as instance:
        return {run.run_id: run.status for run in instance.get_runs()}


@dg.job(executor_def=dg.in_process_executor)
def other() -> None:
    """A job of nothing."""


def add_run(home: Path, tags: dict[str, str]) -> str:
    """A run that has started, and that nobody executes here, such as one of a code server."""
    with open_instance(home) as instance:
        return instance.create_run_for_job(job_def=other, tags=tags, status=RUNS).run_id


def test_a_run_is_ended_when_its_process_is_gone_and_not_before(tmp_path: Path) -> None:
    with run_of_another_process(tmp_path) as process:
        assert list(statuses(tmp_path).values()) == [RUNS]
        process.kill()
        process.wait()
        assert list(statuses(tmp_path).values()) == [ENDED]
    assert list((tmp_path / "running").iterdir()) == []


def test_a_run_that_ends_well_leaves_no_lock(tmp_path: Path) -> None:
    with run_of_another_process(tmp_path) as process:
        (tmp_path / "end").touch()
        assert process.wait(120) == 0
    assert list(statuses(tmp_path).values()) == [dg.DagsterRunStatus.SUCCESS]
    assert list((tmp_path / "running").iterdir()) == []


def test_runs_of_a_code_server_are_left_alone_whatever_tags_were_copied_to_them(tmp_path: Path) -> None:
    with run_of_another_process(tmp_path) as process:
        (own,) = statuses(tmp_path)
        with open_instance(tmp_path) as instance:
            tags = {**instance.get_run_by_id(own).tags}
        launched, repeated = add_run(tmp_path, {}), add_run(tmp_path, tags)
        process.kill()
    assert statuses(tmp_path) == {own: ENDED, launched: RUNS, repeated: RUNS}


def test_before_up_serves_runs_of_killed_commands_are_ended_and_at_its_end_those_of_code_servers_too(
    tmp_path: Path,
) -> None:
    def end(*which: str) -> None:
        command = [sys.executable, "-m", "market_data_pipeline.instance.runs_in_flight", *which]
        subprocess.run(command, check=True, timeout=120, env={**os.environ})

    def now() -> dict[str, dg.DagsterRunStatus]:
        with dg.DagsterInstance.get() as instance:
            return {run.run_id: run.status for run in instance.get_runs()}

    launched = add_run(tmp_path, {GRPC_INFO_TAG: json.dumps({"host": "127.0.0.1", "port": 9})})
    with run_of_another_process(tmp_path) as process:
        (own,) = now().keys() - {launched}
        end("--of-killed-commands")
        assert now() == {own: RUNS, launched: RUNS}
        process.kill()
        process.wait()
        end("--of-killed-commands")
    assert now() == {own: ENDED, launched: RUNS}
    end()
    assert now() == {own: ENDED, launched: ENDED}


def homes_of(folder: Path, postgres: str) -> tuple[Path, Path]:
    """The homes of two hosts that share a database."""
    homes = folder / "here", folder / "there"
    for home in homes:
        home.mkdir()
        storage = {"storage": {"postgres": {"postgres_url": postgres}}}
        (home / "dagster.yaml").write_text(json.dumps(storage), encoding="utf-8")
    return homes


def test_a_run_of_another_host_with_the_same_database_is_left_alone(tmp_path: Path, postgres: str) -> None:
    here, there = homes_of(tmp_path, postgres)
    with run_of_another_process(there) as process:
        assert list(statuses(here).values()) == [RUNS]
        process.kill()
        process.wait()
        # Its own host says so at once.
        assert list(statuses(here).values()) == [RUNS]
        assert list(statuses(there).values()) == [ENDED]


def test_any_host_with_the_same_database_ends_a_run_whose_beats_have_stopped(tmp_path: Path, postgres: str) -> None:
    here, there = homes_of(tmp_path, postgres)
    database = Database(postgres)
    with run_of_another_process(there) as process:
        process.kill()
        process.wait()
    database.pass_since_beat(LATE_S + 5)
    assert list(statuses(here).values()) == [RUNS], "it may only be cut off"
    database.pass_since_late(STILL_LATE_S)
    assert list(statuses(here).values()) == [ENDED]


def test_the_tag_of_version_0_1_names_a_process_by_its_number(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    host = socket.gethostname()
    dead = add_run(tmp_path, {PROCESS_TAG: f"{host}/{gone.pid}@1700000000.00"})
    # The clock was set since, so the time at which the process began reads otherwise.
    alive = add_run(tmp_path, {PROCESS_TAG: f"{host}/{os.getpid()}@1700000000.00"})
    elsewhere = add_run(tmp_path, {PROCESS_TAG: f"other-{host}/{gone.pid}@1700000000.00"})
    assert statuses(tmp_path) == {dead: ENDED, alive: RUNS, elsewhere: RUNS}


def test_a_run_that_begins_keeps_its_lock_while_other_processes_sweep(tmp_path: Path) -> None:
    (tmp_path / "running").mkdir()
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], env={**os.environ}) as process:
        while process.poll() is None:
            alive.sweep(tmp_path)
    assert process.returncode == 0
    assert list((tmp_path / "running").iterdir()) == []
