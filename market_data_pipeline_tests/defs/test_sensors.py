"""One tick of a live sensor: what it reports, which runs it requests, and how seldom it records an event of a day."""

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.storage.runs.schema import RunsTable
from dagster._core.test_utils import create_run_for_test

from market_data_pipeline.core.errors import SourceUnavailable
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.defs.location import location_of
from market_data_pipeline.defs.resources import tools_of
from market_data_pipeline.instance import alive
from market_data_pipeline.instance.names import DATASET_TAG, FRESH, LOAD_JOB, dataset_tag
from market_data_pipeline.instance.queue.parts import Part
from market_data_pipeline.instance.runs import origin_of_job
from market_data_pipeline.reader import open_dataset
from market_data_pipeline.settings import Settings
from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests.defs.loading import load_today, settings_of
from market_data_pipeline_tests.support import NOON, Simulate

TODAY = NOON.date().isoformat()
UTC_ZONE = parse_zone("UTC")
Tick = Callable[[], Any]


@pytest.fixture
def running(simulate: Simulate) -> RunningExchange:
    return simulate(weights=False)


@pytest.fixture
def settings(tmp_path, running: RunningExchange) -> Settings:
    return settings_of(tmp_path, running.url)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def ticking(settings: Settings, instance: dg.DagsterInstance, *datasets: Dataset) -> Tick:
    """A function that evaluates a tick of the futures sensor; the code location is loaded once, with these datasets."""
    repository = location_of(list(datasets), tools_of(settings)).get_repository_def()
    sensor = repository.get_sensor_def("binanceusdm_live")

    def tick() -> Any:
        with dg.build_sensor_context(instance=instance, repository_def=repository) as context:
            return sensor.evaluate_tick(context)

    return tick


def advance(running: RunningExchange, **by: float) -> None:
    running.exchange.clock.advance(timedelta(**by).total_seconds())


def test_without_a_live_dataset_a_tick_names_the_command_that_marks_one(settings, instance):
    tick = ticking(settings, instance, load_today(settings, live=False))
    assert "No futures dataset is live" in tick().skip_message
    assert "live --mark" in tick().skip_message


def test_a_tick_stores_the_minute_and_the_day_is_recorded_once_when_its_chunk_has_grown(settings, instance, running):
    dataset = load_today(settings)
    tick = ticking(settings, instance, dataset)
    first = tick()
    assert first.run_requests == []
    [fresh] = first.asset_events
    assert (fresh.check_name, fresh.passed) == (FRESH, True)
    advance(running, minutes=1)
    second = tick()
    assert second.asset_events == []
    assert "klines 1, datasets 1, " in second.skip_message
    cursor = json.loads(second.cursor)
    assert (cursor["klines"], cursor["late"], cursor["behind"]) == (1, 0, 0)
    stored = open_dataset(dataset.pair, market=dataset.market.value, root=settings.root)
    assert stored.to_arrow(f"{TODAY}T00:00").num_rows == 12 * 60 + 1
    recorded = []
    for _ in range(15):
        advance(running, minutes=1)
        recorded += tick().asset_events
    assert [(type(event), event.partition) for event in recorded] == [(dg.AssetMaterialization, TODAY)]
    assert tools_of(settings).store.open(dataset).entries[TODAY].rows > 12 * 60 + 1


def test_the_end_of_the_day_is_recorded_and_a_run_is_requested_to_confirm_it(settings, instance, running):
    dataset = load_today(settings)
    tick = ticking(settings, instance, dataset)
    tick()
    advance(running, hours=6)
    tick()
    advance(running, hours=5, minutes=59)
    assert [event.partition for event in tick().asset_events] == [TODAY]
    advance(running, minutes=2)
    after_midnight = tick()
    assert [event.partition for event in after_midnight.asset_events] == [TODAY, "2024-05-16"]
    assert after_midnight.run_requests == []
    advance(running, minutes=5)
    (request,) = tick().run_requests
    assert request.tags["market_data/live"] == "to_confirm"
    assert request.tags["dagster/asset_partition_range_start"] == TODAY
    assert request.tags["dagster/asset_partition_range_end"] == TODAY
    assert {key.path[-1] for key in request.asset_selection} == {"klines_1m", "manifest"}


def test_missing_days_get_one_run_and_no_second_one_while_it_runs_or_just_after_it_failed(settings, instance, running):
    dataset = load_today(settings)
    tick = ticking(settings, instance, dataset)
    advance(running, days=2)
    behind = tick()
    (request,) = behind.run_requests
    assert request.tags["market_data/days"] == f"{TODAY}..2024-05-17"
    assert [event.passed for event in behind.asset_events] == [False]
    run = create_run_for_test(instance, tags=request.tags, status=dg.DagsterRunStatus.STARTED)
    advance(running, minutes=1)
    assert tick().run_requests == []
    instance.report_run_failed(run)
    advance(running, minutes=1)
    assert tick().run_requests == []


def test_missing_days_do_not_wait_for_the_run_of_a_command_that_was_killed(settings, instance, running):
    """As of `verify --repair`, whose run has no days in its tags."""
    dataset = load_today(settings)
    tick = ticking(settings, instance, dataset)
    advance(running, days=2)
    home, run_id = Path(instance.root_directory), str(uuid.uuid4())
    tags = {DATASET_TAG: dataset_tag(dataset), **alive.alive_tags(home, run_id)}
    with alive.held(home, run_id):
        create_run_for_test(instance, run_id=run_id, tags=tags, status=dg.DagsterRunStatus.STARTED)
        assert tick().run_requests == []
        assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.STARTED
    advance(running, minutes=1)
    (request,) = tick().run_requests
    assert request.tags["market_data/days"] == f"{TODAY}..2024-05-17"
    assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.FAILURE, "it would keep its place in the queue"


def test_missing_days_do_not_wait_for_the_time_that_a_wrong_clock_showed(settings, instance, running):
    """As after the start of a machine whose clock is hours ahead until it has reached a time server."""
    tick = ticking(settings, instance, load_today(settings))
    advance(running, days=2)
    (request,) = tick().run_requests
    run = create_run_for_test(instance, tags=request.tags, status=dg.DagsterRunStatus.FAILURE)
    with instance.run_storage.connect() as connection:
        later = datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=3)
        of_run = RunsTable.c.run_id == run.run_id
        connection.execute(sa.update(RunsTable).where(of_run).values(create_timestamp=later))
    advance(running, minutes=1)
    assert [again.tags for again in tick().run_requests] == [request.tags]


def test_of_parts_that_wait_in_the_queue_only_one_of_the_missing_days_is_waited_for(settings, instance, running):
    dataset = load_today(settings)
    tick = ticking(settings, instance, dataset)
    advance(running, days=2)

    def queue(first: str, last: str) -> dg.DagsterRun:
        part = Part(dataset.name, dataset_tag(dataset), "futures", first, last, {})
        waits = {"status": dg.DagsterRunStatus.QUEUED, "remote_job_origin": origin_of_job(LOAD_JOB)}
        return create_run_for_test(instance, tags=part.tags(2024), **waits)

    for year in range(2020, 2024):
        queue(f"{year}-01-01", f"{year}-12-31")
    present = queue("2024-01-01", "2024-05-17")
    assert tick().run_requests == []
    instance.delete_run(present.run_id)
    advance(running, minutes=1)
    (request,) = tick().run_requests
    assert request.tags["market_data/days"] == f"{TODAY}..2024-05-17"


def test_a_dataset_that_the_code_location_lacks_is_followed_and_named_in_the_cursor(settings, instance, running):
    known = load_today(settings)
    tick = ticking(settings, instance, known)
    load_today(settings, "ETH/USDT")
    tick()
    advance(running, minutes=1)
    cursor = json.loads(tick().cursor)
    assert (cursor["klines"], cursor["datasets"]) == (2, 2)
    assert cursor["reload the code location for"] == ["futures ETH/USDT"]


def test_a_dataset_that_another_process_follows_is_skipped_and_that_process_named(settings, instance, running):
    dataset = load_today(settings)
    other = tools_of(settings).open_live(Market.FUTURES, "another process")
    other.follow([dataset])
    tick = ticking(settings, instance, dataset)
    assert "futures BTC/USDT is followed by another process (process " in tick().skip_message
    other.close()
    assert ", datasets 1, " in tick().skip_message


def test_the_second_tick_in_a_row_that_updates_no_dataset_fails_with_the_reason(settings, instance, running):
    tick = ticking(settings, instance, load_today(settings))
    tick()
    running.exchange.hooks.append(lambda request: "503" if request.endpoint == "klines" else None)
    advance(running, minutes=1)
    first = tick()
    assert [event.passed for event in first.asset_events] == [False]
    advance(running, minutes=1)
    with pytest.raises(SourceUnavailable, match="HTTP 503"):
        tick()
    running.exchange.hooks.clear()
    advance(running, minutes=1)
    again = tick()
    assert [event.passed for event in again.asset_events] == [True]
    assert json.loads(again.cursor)["klines"] == 3
