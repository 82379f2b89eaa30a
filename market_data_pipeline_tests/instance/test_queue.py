"""Runs of parts in Dagster's queue: which one counts, how much is read for it, and that none is left behind."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster import DagsterEvent, DagsterEventType, DagsterRunStatus
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs.schema import RunsTable
from dagster._core.test_utils import create_run_for_test

from market_data_pipeline.defs.location import jobs_of
from market_data_pipeline.defs.resources import tools_of
from market_data_pipeline.instance.names import LOAD_JOB
from market_data_pipeline.instance.queue.parts import Part, State
from market_data_pipeline.instance.queue.states import counts, newest_runs, state_of
from market_data_pipeline.instance.queue.submitting import Submitted, submit
from market_data_pipeline.instance.runs import open_instance, origin_of_job
from market_data_pipeline.settings import Settings

DONE, FAILED, STARTED = DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.STARTED


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def part_of(pair: str, year: int = 2023, market: str = "spot") -> Part:
    return Part(f"{market} {pair}", f"{market}/{pair}", market, f"{year}-01-01", f"{year}-12-31", {})


def add(instance: dg.DagsterInstance, part: Part, status: DagsterRunStatus = DONE) -> str:
    return create_run_for_test(instance, LOAD_JOB, tags=part.tags(2024), status=status).run_id


def test_the_newest_run_of_a_part_is_found_behind_many_of_others(instance: dg.DagsterInstance) -> None:
    alone, often, never = part_of("AAAUSDT"), part_of("BBBUSDT"), part_of("CCCUSDT")
    other_year = part_of("AAAUSDT", 2022)
    add(instance, alone)
    wanted = add(instance, alone)
    add(instance, other_year)
    newest = [add(instance, often) for _ in range(510)][-1]
    found = [record and record.dagster_run.run_id for record in newest_runs(instance, [alone, never, often])]
    assert found == [wanted, None, newest]


def test_runs_of_former_loads_are_not_read_for_a_part_that_has_a_newer_one(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [part_of("AAAUSDT"), part_of("BBBUSDT")]
    for _ in range(600):
        for part in parts:
            add(instance, part)
    read = 0
    asked = instance.get_run_records

    def get_run_records(*args: Any, **kwargs: Any) -> Any:
        nonlocal read
        records = asked(*args, **kwargs)
        read += len(records)
        return records

    monkeypatch.setattr(instance, "get_run_records", get_run_records)
    assert None not in newest_runs(instance, parts)
    assert read <= 500
    assert counts(instance) == {"spot": {State.DONE: 2}}
    assert read <= 500


def test_on_postgres_the_newest_runs_are_the_same(
    tmp_path: Path, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text(json.dumps({"storage": {"postgres": {"postgres_url": postgres}}}))
    with open_instance(tmp_path) as instance:
        require_counts(instance)
        part = part_of("DDDUSDT")
        wanted = [add(instance, part, status) for status in (DONE, STARTED)][-1]
        [found] = newest_runs(instance, [part])
        assert found is not None and found.dagster_run.run_id == wanted
        assert newest_runs(instance, [part], created_after=found.create_timestamp + timedelta(seconds=1)) == [None]


def test_each_part_counts_once_with_the_state_of_its_newest_run(instance: dg.DagsterInstance) -> None:
    require_counts(instance)


def require_counts(instance: dg.DagsterInstance) -> None:
    assert counts(instance) == {}
    for status in (FAILED, DONE):
        add(instance, part_of("AAAUSDT"), status)
    add(instance, part_of("AAAUSDT", 2022), FAILED)
    add(instance, part_of("BBBUSDT", market="futures"), STARTED)
    create_run_for_test(instance, LOAD_JOB, status=DONE)
    create_run_for_test(instance, "another", tags=part_of("CCCUSDT").tags(2024), status=DONE)
    assert counts(instance) == {"futures": {State.RUNNING: 1}, "spot": {State.DONE: 1, State.FAILED: 1}}


# --- submitting


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """An instance with a queue."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with open_instance(tmp_path) as opened:
        yield opened


def submitted(queue: dg.DagsterInstance, *parts: Part, on_part: Callable[[], None] = lambda: None) -> Submitted:
    jobs = jobs_of(tools_of(Settings(market_data_dir=queue.root_directory)))
    return submit(queue, jobs, parts, this_year=2024, on_part=on_part)


def statuses(queue: dg.DagsterInstance) -> list[DagsterRunStatus]:
    return [run.status for run in queue.get_runs()]


def loaded(pair: str) -> Part:
    """A part with the config that the job takes."""
    part = part_of(pair)
    return replace(part, config={"market": "spot", "pairs": [pair], "refetch": False})


def test_an_interrupt_waits_until_a_run_is_in_the_queue(
    queue: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = queue.create_run_for_job

    def interrupted(*args: Any, **kwargs: Any) -> dg.DagsterRun:
        run = create(*args, **kwargs)
        signal.raise_signal(signal.SIGINT)
        return run

    monkeypatch.setattr(queue, "create_run_for_job", interrupted)
    with pytest.raises(KeyboardInterrupt):
        submitted(queue, loaded("AAAUSDT"), loaded("BBBUSDT"))
    assert statuses(queue) == [DagsterRunStatus.QUEUED]


def test_a_run_that_failed_by_a_clock_that_was_ahead_has_failed(queue: dg.DagsterInstance) -> None:
    part = part_of("AAAUSDT")
    add(queue, part, FAILED)
    [record] = newest_runs(queue, [part])
    assert record is not None and queue.run_retries_enabled
    ended = [record._replace(end_time=time.time() + after_s) for after_s in (-3600, 0, 3600)]
    assert [state_of(queue, each) for each in ended] == [State.FAILED, State.QUEUED, State.FAILED]


def leave_behind(queue: dg.DagsterInstance, part: Part) -> str:
    """Add a run of the part as a command does that was killed before the run was in the queue."""
    run = create_run_for_test(queue, LOAD_JOB, tags=part.tags(2024), remote_job_origin=origin_of_job(LOAD_JOB))
    return run.run_id


def age(queue: dg.DagsterInstance) -> None:
    """Let all runs have been created two minutes ago."""
    storage = queue.run_storage
    assert isinstance(storage, SqlRunStorage)
    with storage.connect() as connection:
        for record in queue.get_run_records():
            before = record.create_timestamp.replace(tzinfo=None) - timedelta(seconds=120)
            of_run = RunsTable.c.run_id == record.dagster_run.run_id
            connection.execute(sa.update(RunsTable).where(of_run).values(create_timestamp=before))


def test_a_run_that_a_killed_command_left_behind_gets_into_the_queue(queue: dg.DagsterInstance) -> None:
    part = loaded("AAAUSDT")
    leave_behind(queue, part)
    assert submitted(queue, part).underway == (part,), "another command may be about to enqueue it"
    assert statuses(queue) == [DagsterRunStatus.NOT_STARTED]
    age(queue)
    assert submitted(queue, part).new == (part,)
    assert statuses(queue) == [DagsterRunStatus.QUEUED]
    assert submitted(queue, part).underway == (part,)


def test_a_run_left_behind_that_another_command_has_enqueued_is_not_put_back(queue: dg.DagsterInstance) -> None:
    first, second = loaded("AAAUSDT"), loaded("BBBUSDT")
    leave_behind(queue, first)
    run_id = leave_behind(queue, second)
    age(queue)

    def begin() -> None:
        if (run := queue.get_run_by_id(run_id)) and run.status is DagsterRunStatus.NOT_STARTED:
            submitted(queue, second)
            # The daemon hands it over.
            launched = DagsterEvent(DagsterEventType.PIPELINE_STARTING.value, LOAD_JOB)
            queue.report_dagster_event(launched, run_id)

    done = submitted(queue, first, second, on_part=begin)
    assert (done.new, done.underway) == ((first,), (second,))
    assert {DagsterRunStatus.QUEUED, DagsterRunStatus.STARTING} == set(statuses(queue))
