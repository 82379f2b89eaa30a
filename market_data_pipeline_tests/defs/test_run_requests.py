"""Which of the days that are due get a run, where a dataset has some for several reasons."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.test_utils import create_run_for_test

from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import day_of, parse_zone
from market_data_pipeline.core.live.runs_due import DueDays, Reason
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.defs.sensors import RunRequests
from market_data_pipeline.instance.names import WHY_TAG

UTC_ZONE = parse_zone("UTC")
DAYS = [day_of(UTC_ZONE, date(2024, 3, number)) for number in (5, 6)]


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def asked(requests: list[dg.RunRequest]) -> list[str]:
    return [request.tags[WHY_TAG] for request in requests]


def test_of_a_dataset_one_run_is_requested_and_while_its_days_pause_that_of_the_next_ones(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    store = Store(tmp_path).create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=date(2024, 3, 5))
    due = [DueDays(store, Reason.TO_CONFIRM, DAYS[0], DAYS[0]), DueDays(store, Reason.TO_ARCHIVE, DAYS[0], DAYS[1])]
    requests = RunRequests()
    first = requests.requests_for(instance, due)
    assert asked(first) == ["to_confirm"]
    run = create_run_for_test(instance, tags=dict(first[0].tags), status=DagsterRunStatus.STARTED)
    assert requests.requests_for(instance, due) == []
    instance.delete_run(run.run_id)
    create_run_for_test(instance, tags=dict(first[0].tags), status=DagsterRunStatus.SUCCESS)
    assert asked(requests.requests_for(instance, due)) == ["to_archive"]
