"""A load as runs of Dagster's queue: each part has one run, and each day is loaded and recorded once."""

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
from dagster import DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus

from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.defs.location import jobs_of
from market_data_pipeline.defs.resources import tools_of
from market_data_pipeline.instance import runs
from market_data_pipeline.instance.home import prepare_home
from market_data_pipeline.instance.names import LOAD_JOB, LOAD_OP
from market_data_pipeline.simulator.queries import RequestInfo
from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests.dagster_dev import dagster_dev, wait_for
from market_data_pipeline_tests.defs.loading import settings_of
from market_data_pipeline_tests.simulator.scenarios import scenario_exchange
from market_data_pipeline_tests.support import MarketData, without_progress

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SCENARIO: dict[str, Any] = {
    "now": "2024-01-20T12:00Z",
    "futures": {
        "AAAUSDT": {"first": "2023-12-20T00:00Z"},
        "BBBUSDT": {"first": "2023-12-31T00:00Z"},
        # Its life ends, so a load that has all of it needs no run.
        "OLDUSDT": {"first": "2023-12-10T00:00Z", "last": "2024-01-09T23:59Z", "status": "SETTLING"},
    },
}
UNIVERSE = '[universe.all]\nmarket = "futures"\npairs = ["AAA/USDT", "BBB/USDT"]\nlive = true\n'


@pytest.fixture
def running() -> Iterator[RunningExchange]:
    with scenario_exchange(SCENARIO) as exchange:
        yield exchange


@pytest.fixture
def run(market_data: Callable[..., MarketData], running: RunningExchange) -> MarketData:
    return market_data(running)


def queued(root: Path) -> list[DagsterRun]:
    with runs.open_instance(root / "dagster") as instance:
        return list(instance.get_runs())


def parts_of(found: list[DagsterRun]) -> set[tuple[str, str]]:
    return {(run.tags["market_data/dataset"], run.tags["market_data/days"]) for run in found}


def test_a_question_about_runs_makes_no_folder(run: MarketData) -> None:
    asked = run("status", "--runs", "--json")
    assert (asked.exit_code, json.loads(asked.stdout)) == (0, {})
    assert not run.root.exists()


def test_each_pair_and_year_has_a_run_with_its_tags(run: MarketData) -> None:
    done = run("--pair", "AAA/USDT", "--pair", "BBB/USDT", "backfill", "--runs")
    assert (done.exit_code, without_progress(done.stderr)) == (0, "")
    assert "3 parts of a pair and a year: 3 submitted" in done.stdout
    found = queued(run.root)
    assert {one.status for one in found} == {DagsterRunStatus.QUEUED}
    # A day alone at the begin of a life goes with the next year.
    assert parts_of(found) == {
        ("binanceusdm/AAAUSDT", "2023-12-20..2023-12-31"),
        ("binanceusdm/AAAUSDT", "2024-01-01..2024-12-31"),
        ("binanceusdm/BBBUSDT", "2023-12-31..2024-12-31"),
    }
    older = next(one for one in found if one.tags["market_data/year"] == "2023")
    wanted = {
        "market_data/what": "backfill",
        "market_data/market": "futures",
        "dagster/priority": "-2",
        "dagster/max_retries": "3",
        "dagster/retry_on_asset_or_op_failure": "false",
    }
    assert older.tags.items() >= wanted.items()
    assert json.loads(run("status", "--runs", "--json").stdout) == {"futures": {"queued": 3}}


def test_what_is_underway_is_not_submitted_again_by_whoever(run: MarketData) -> None:
    (run.root / "market-data.toml").parent.mkdir(parents=True)
    (run.root / "market-data.toml").write_text(UNIVERSE)
    apply = ("universe", "apply", "all", "--runs")
    assert run("pairs").exit_code == 0
    with ThreadPoolExecutor(3) as pool:
        racing = list(pool.map(lambda _: run.run(*apply), range(3)))
    assert [one.returncode for one in racing] == [0, 0, 0], racing
    found = queued(run.root)
    assert len(found) == len(parts_of(found)) == 3
    assert {one.tags["market_data/universe"] for one in found} == {"all"}
    assert "3 underway before" in run(*apply).stdout
    Store(run.root).create(Market.FUTURES, "AAA/USDT", zone=parse_zone("UTC"), start=date(2023, 12, 20))
    result = json.loads(run(*apply, "--json").stdout.splitlines()[-1])
    assert (result["underway"], result["marked"], result["unmarked"]) == (3, ["futures AAA/USDT"], [])
    # Other days of the same year wait for the run of some of them.
    one = run("--pair", "AAA/USDT", "backfill", "--start", "2024-01-05", "--end", "2024-01-07", "--runs")
    assert "1 underway before" in one.stdout
    more = run("--pair", "AAA/USDT", "backfill", "--start", "2024-01-05", "--end", "2024-01-07", "--refetch", "--runs")
    assert "1 blocked" in more.stdout and "run the same command again" in more.stderr
    assert len(queued(run.root)) == 3


@pytest.mark.parametrize("live", ["live = true", ""])
def test_a_dataset_that_cannot_be_read_keeps_no_other_from_runs_and_marks(run: MarketData, live: str) -> None:
    store = Store(run.root)
    for pair in ("AAA/USDT", "BBB/USDT"):
        store.create(Market.FUTURES, pair, zone=parse_zone("UTC"), start=date(2023, 12, 31))
    (store.folder(Market.FUTURES, "BBB/USDT") / "dataset.json").write_text("{", encoding="utf-8")
    (run.root / "market-data.toml").write_text(UNIVERSE.replace("live = true", live), encoding="utf-8")
    done = run("universe", "apply", "all", "--runs", "--json")
    assert done.exit_code == 1, done.output
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["marked"] == (["futures AAA/USDT"] if live else []), result
    assert {dataset for dataset, _ in parts_of(queued(run.root))} == {"binanceusdm/AAAUSDT"}
    assert "BBBUSDT" in done.output and "is damaged" in done.output


def test_a_part_that_failed_or_was_canceled_is_submitted_again(run: MarketData) -> None:
    command = ("--pair", "AAA/USDT", "backfill", "--runs")
    assert run(*command).exit_code == 0
    with runs.open_instance(run.root / "dagster") as instance:
        for one in instance.get_runs():
            instance.report_run_canceled(one)
    assert "2 submitted" in run(*command).stdout
    assert Counter(one.status.value for one in queued(run.root)) == {"QUEUED": 2, "CANCELED": 2}
    assert json.loads(run("status", "--runs", "--json").stdout) == {"futures": {"queued": 2}}


def test_a_run_that_was_handed_over_is_starting(run: MarketData) -> None:
    assert run("--pair", "AAA/USDT", "backfill", "--runs").exit_code == 0
    with runs.open_instance(run.root / "dagster") as instance:
        instance.report_dagster_event(
            DagsterEvent(DagsterEventType.PIPELINE_STARTING.value, "load"), next(iter(instance.get_runs())).run_id
        )
    assert "1 queued, 1 starting" in run("status", "--runs").stdout


def test_what_is_stored_needs_no_run(run: MarketData) -> None:
    assert run("--pair", "OLD/USDT", "backfill").exit_code == 0
    done = run("--pair", "OLD/USDT", "backfill", "--runs")
    assert "2 parts of a pair and a year: 2 stored already" in done.stdout
    assert "2 submitted" in run("--pair", "OLD/USDT", "backfill", "--refetch", "--runs").stdout


def test_a_part_within_the_last_day_of_a_pair_after_its_last_kline_ends_well(
    market_data: Callable[..., MarketData],
) -> None:
    """The catalog has whole UTC days, so it takes the window for one with klines. So it is within the first day."""
    ends = {"LASTUSDT": {"first": "2023-12-10T00:00Z", "last": "2024-01-09T10:00Z", "status": "SETTLING"}}
    begins = {"NEWUSDT": {"first": "2024-01-09T20:00Z"}}
    with scenario_exchange({"now": "2024-01-20T12:00Z", "futures": ends | begins}) as exchange:
        run = market_data(exchange)
        settings = settings_of(run.root, exchange.url)
        after = ("--pair", "LAST/USDT", "--align-tz", "+09:00", "backfill", "--start", "2024-01-10")
        before = ("--pair", "NEW/USDT", "backfill", "--end", "2024-01-09T12:00Z", "--no-align-window")
        for words in (after, before):
            done = run(*words, "--runs")
            assert "1 part of a pair and a year: 1 submitted" in done.stdout, done.output
        with runs.open_instance(run.root / "dagster") as instance:
            for one in instance.get_runs():
                ended = runs.run_op(
                    instance, jobs_of(tools_of(settings)), LOAD_JOB, LOAD_OP,
                    config=one.run_config["ops"][LOAD_OP]["config"], tags={},
                )  # fmt: skip
                assert ended.success, ended.error
                assert "none in the requested window" in "".join(
                    said.message for said in instance.all_logs(ended.run_id)
                )
        assert Store(run.root).pairs(Market.FUTURES) == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--pair", "NOPE/USDT", "backfill", "--runs"), 1, "the catalog of futures has no NOPE/USDT"),
        (("--pair", "OLD/USDT", "backfill", "--start", "2024-01-15", "--runs"), 1, "none in the requested window"),
        (("--pair", "AAA/USDT", "backfill", "--wait"), 2, "--wait waits for the runs of --runs"),
        (("--pair", "AAA/USDT", "backfill", "--runs", "--plan"), 2, "exclude each other"),
        (("--pair", "AAA/USDT", "backfill", "--runs", "--start", "2025-01-01"), 1, "is in the future"),
    ],
)
def test_what_cannot_be_submitted_is_told_in_one_line(
    run: MarketData, words: tuple[str, ...], code: int, said: str
) -> None:
    done = run(*words)
    assert done.exit_code == code, done.output
    assert said in done.stdout + done.stderr
    assert not (run.root / "dagster").exists() or queued(run.root) == []


def test_an_instance_without_a_queue_is_refused(run: MarketData) -> None:
    prepare_home(run.root / "dagster")
    path = run.root / "dagster" / "dagster.yaml"
    text = path.read_text().partition("concurrency:")
    rest = text[2].partition("run_monitoring:")
    coordinator = "run_coordinator:\n  module: dagster._core.run_coordinator\n  class: DefaultRunCoordinator\n"
    path.write_text(text[0] + coordinator + "run_monitoring:" + rest[2])
    done = run("--pair", "AAA/USDT", "backfill", "--runs")
    assert done.exit_code == 2, done.output
    assert "has no queue" in done.stderr


ENGINE = dg.DagsterEventType.ENGINE_EVENT


def days_recorded(instance: DagsterInstance, dataset: str) -> Counter[str | None]:
    """How often each day of a dataset has a materialization."""
    key = dg.AssetKey([*dataset.split("/"), "klines_1m"])
    found = instance.fetch_materializations(key, limit=10_000).records
    return Counter(one.asset_materialization.partition for one in found if one.asset_materialization)


def test_a_worker_that_is_killed_loses_no_day_and_none_is_loaded_twice(
    tmp_path: Path, running: RunningExchange
) -> None:
    """The real daemon and its launcher: one run is killed in the middle, and started anew."""
    slow = {"left": True}

    def stall(request: RequestInfo) -> str | None:
        # Until the first run was killed, everything takes long.
        if slow["left"] and request.endpoint == "klines":
            time.sleep(0.5)
        return None

    running.exchange.hooks.append(stall)
    with dagster_dev(tmp_path, MARKET_DATA_EXCHANGE_URL=running.url, MARKET_DATA_SOURCE="rest") as ui:
        command = ("--market", "futures", "--pair", "AAA/USDT", "--pair", "BBB/USDT", "backfill", "--runs")
        assert ui.cli(*command).returncode == 0

        def worker() -> psutil.Process | None:
            with runs.open_instance(tmp_path / "dagster") as instance:
                for one in instance.get_runs(dg.RunsFilter(statuses=[DagsterRunStatus.STARTED])):
                    said = [entry.message for entry in instance.all_logs(one.run_id, of_type=ENGINE)]
                    pids = [int(found[1]) for text in said if (found := re.search(r"pid: (\d+)", text))]
                    if pids and days_recorded(instance, one.tags["market_data/dataset"]):
                        return psutil.Process(pids[-1])
            return None

        victim = wait_for(worker, ui.log)
        victim.kill()
        slow["left"] = False
        waited = ui.cli(*command, "--wait")
        assert waited.returncode == 0, waited.stdout + waited.stderr
        assert " done in " in waited.stdout and "failed" not in waited.stdout
        with runs.open_instance(tmp_path / "dagster") as instance:
            states = Counter(one.status.value for one in instance.get_runs())
            # A part with today is never whole, so one that ended before the wait is submitted once more.
            assert states["FAILURE"] == 1 and 3 <= states["SUCCESS"] <= 5
            for dataset, days in (("AAAUSDT", 32), ("BBBUSDT", 21)):
                recorded = days_recorded(instance, f"binanceusdm/{dataset}")
                assert len(recorded) == days
                del recorded["2024-01-20"]
                assert set(recorded.values()) == {1}, recorded
