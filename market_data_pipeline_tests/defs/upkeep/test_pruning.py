"""The job `prune_runs` and its schedule. What is deleted and what stays is in `instance.test_retention`."""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs.schema import RunsTable

from market_data_pipeline.defs.location import location_of
from market_data_pipeline.instance import runs
from market_data_pipeline.instance.names import PRUNE_JOB, PRUNE_OP
from market_data_pipeline_tests.defs.loading import BTC, KLINES, MANIFEST, Loading

DAY = "2021-04-24"


def tick(load: Loading, setting: int) -> Any:
    tools = load.with_tools(runs_kept_days=setting).tools
    schedule = location_of([BTC], tools).get_repository_def().get_schedule_def("daily_prune")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert (schedule.job_name, schedule.cron_schedule) == ("prune_runs", "47 4 * * *")
    with dg.build_schedule_context(load.instance, resources={"tools": tools}) as context:
        return schedule.evaluate_tick(context)


def prune(load: Loading, setting: int, **config: int) -> runs.RunReport:
    definitions = location_of([BTC], load.with_tools(runs_kept_days=setting).tools)
    return runs.run_op(load.instance, definitions, PRUNE_JOB, PRUNE_OP, config=config, tags={})


@pytest.fixture
def old(load: Loading) -> Loading:
    """A run of a day, which ended two days ago."""
    load.run(BTC, DAY, assets=[KLINES, MANIFEST])
    (run,) = load.instance.get_runs()
    then = (datetime.now(UTC) - timedelta(days=2)).replace(tzinfo=None)
    storage = load.instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    with storage.connect() as connection:
        connection.execute(sa.update(RunsTable).where(RunsTable.c.run_id == run.run_id).values(update_timestamp=then))
    return load


def test_a_tick_requests_a_run_if_one_is_old(old: Loading) -> None:
    assert tick(old, 1).run_requests
    assert "more than 3 days ago" in tick(old, 3).skip_message
    assert "all runs are kept" in tick(old, 0).skip_message


def test_the_job_deletes_old_runs_and_no_day(old: Loading) -> None:
    ended = prune(old, 3)
    assert ended.success and len(old.instance.get_runs()) == 2
    ended = prune(old, 1)
    assert ended.success and [run.job_name for run in old.instance.get_runs()] == [PRUNE_JOB] * 2
    assert old.recorded_days(BTC) == {DAY}


def test_the_config_has_the_last_word(old: Loading) -> None:
    refused = prune(old, 0)
    assert not refused.success and refused.error and "MARKET_DATA_RUNS_KEPT_DAYS is 0" in refused.error
    assert prune(old, 0, kept_days=1).success
    assert {run.job_name for run in old.instance.get_runs()} == {PRUNE_JOB}
