"""The catalog of a market in Dagster: what a refresh records, the check of its snapshots, and the schedule."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from market_data_pipeline.defs.location import location_of
from market_data_pipeline.defs.resources import Tools, tools_of
from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests.defs.loading import settings_of, values
from market_data_pipeline_tests.simulator.scenarios import scenario_exchange, step

PAIRS: dict[str, Any] = {
    "LIVEUSDT": {"first": "2024-02-01T00:00Z"},
    "DEADUSDT": {"first": "2023-02-01T00:00Z", "last": "2023-05-01T08:59Z", "hidden": True, "unlisted": True},
}
KEY = dg.AssetKey(["binance", "pairs"])


@pytest.fixture
def running() -> Iterator[RunningExchange]:
    with scenario_exchange({"now": "2024-05-15T12:00Z", "spot": PAIRS}) as exchange:
        yield exchange


@pytest.fixture
def tools(tmp_path: Path, running: RunningExchange) -> Iterator[Tools]:
    logger = logging.getLogger("market_data_pipeline")
    before = list(logger.handlers)
    yield tools_of(settings_of(tmp_path, running.url))
    for handler in set(logger.handlers) - set(before):
        logger.removeHandler(handler)
        handler.close()


def refreshed(tools: Tools) -> dg.ExecuteInProcessResult:
    job = location_of([], tools).resolve_job_def("refresh_pairs")
    return job.execute_in_process(asset_selection=[KEY])


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    [event] = result.get_asset_materialization_events()
    return values(event.materialization.metadata)


def test_a_materialization_tells_what_there_is_and_what_changed(tools: Tools, running: RunningExchange) -> None:
    first = metadata(refreshed(tools))
    assert (first["day"], first["pairs"], first["trading"], first["ended"]) == ("2024-05-15", 4, 3, 1)
    over = {"first": "2024-02-01T00:00Z", "last": "2024-05-15T20:00Z", "hidden": True, "unlisted": True}
    next_one = {"first": "2024-05-16T00:00Z"}
    step(running, {"now": "2024-05-18T12:00Z", "spot": {**PAIRS, "LIVEUSDT": over, "NEXTUSDT": next_one}})
    second = refreshed(tools)
    assert metadata(second)["changes"] == "new: NEXT/USDT; ended: LIVE/USDT"
    assert (metadata(second)["new"], metadata(second)["newly_ended"]) == (1, 1)
    [check] = second.get_asset_check_evaluations()
    assert (check.passed, check.description) == (True, "between 2024-05-15 and 2024-05-18: none")


def test_a_pair_that_vanished_from_the_snapshots_fails_the_check(tools: Tools, running: RunningExchange) -> None:
    refreshed(tools)
    [path] = tools.store.root.glob("catalog/binance/*.parquet")
    path.rename(path.with_name("kept"))
    fewer = {name: life for name, life in PAIRS.items() if name != "DEADUSDT"}
    step(running, {"now": "2024-05-18T12:00Z", "spot": fewer})
    refreshed(tools)
    path.with_name("kept").rename(path)
    check = next(
        check
        for check in location_of([], tools).asset_checks or []
        if KEY in {key.asset_key for key in check.check_keys}
    )
    result = dg.Definitions(
        asset_checks=[check],
        resources={"tools": tools},
        jobs=[dg.define_asset_job("check", dg.AssetSelection.all_asset_checks())],
    )
    [evaluation] = result.resolve_job_def("check").execute_in_process().get_asset_check_evaluations()
    assert not evaluation.passed
    assert evaluation.description == (
        "between 2024-05-15 and 2024-05-18: 1 pair of 4, DEAD/USDT; run market-data pairs --refresh"
    )


def test_the_schedule_refreshes_the_catalogs_that_there_are(tools: Tools) -> None:
    schedule = location_of([], tools).get_repository_def().get_schedule_def("daily_pairs")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING

    def tick() -> Any:
        with dg.build_schedule_context(resources={"tools": tools}) as context:
            return schedule.evaluate_tick(context)

    assert "There is no catalog yet" in tick().skip_message
    refreshed(tools)
    [request] = tick().run_requests
    assert request.asset_selection == [KEY]
