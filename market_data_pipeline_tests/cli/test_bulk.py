"""Several pairs in one command: loaded side by side, recorded in one run, and no failure hides another pair."""

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest

from market_data_pipeline.defs.location import jobs_of
from market_data_pipeline.defs.resources import tools_of
from market_data_pipeline.instance import runs
from market_data_pipeline.simulator.queries import RequestInfo
from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests.core.fakes import at
from market_data_pipeline_tests.defs.loading import settings_of
from market_data_pipeline_tests.simulator.scenarios import scenario_exchange, step
from market_data_pipeline_tests.stopping import interrupt
from market_data_pipeline_tests.support import (
    PATIENCE,
    MarketData,
    data_files,
    flip_a_byte,
    parsed,
    rows_by_day,
    wait_until,
)

pytestmark = pytest.mark.slow

PAIRS = [f"P{number}/USDT" for number in range(6)]
SCENARIO: dict[str, Any] = {
    "now": "2024-05-06T12:00Z",
    "futures": {
        **{pair.replace("/", ""): {"first": "2024-04-01T00:00Z"} for pair in PAIRS},
        # Klines that begin after the window, and a day that nothing explains.
        "LATEUSDT": {"first": "2024-05-04T00:00Z"},
        "HOLEUSDT": {
            "first": "2024-04-01T00:00Z",
            "gaps": [["2024-05-01T00:00Z", "2024-05-02T00:00Z"]],
            "archive": False,
        },
    },
}
WINDOW = ("--start", "2024-05-01", "--end", "2024-05-04")


@pytest.fixture
def running() -> Iterator[RunningExchange]:
    with scenario_exchange(SCENARIO) as exchange:
        yield exchange


@pytest.fixture
def run(market_data: Callable[..., MarketData], running: RunningExchange) -> MarketData:
    return market_data(running)


def of(*pairs: str) -> list[str]:
    return [word for pair in pairs for word in ("--pair", pair)]


def test_pairs_of_a_glob_have_base_and_quote_from_the_catalog(run: MarketData, running: RunningExchange) -> None:
    done = run("--pair", "P?/USDT", "backfill", *WINDOW)
    assert done.exit_code == 0, done.output
    assert "6 pairs: 6 good, 0 failed" in done.stdout
    assert running.exchange.stats()["futures"]["endpoints"]["exchangeInfo"] == 1  # the catalog's
    assert [one["pair"] for one in json.loads(run("status", "--json").stdout)] == PAIRS
    # Nor need it be asked when the UI runs it again.
    with runs.open_instance(run.root / "dagster") as instance:
        [only] = instance.get_runs()
    assert only.run_config["ops"]["load_datasets"]["config"]["in_catalog"] is True


def test_pairs_loaded_together_are_those_loaded_alone_and_a_second_run_does_nothing(
    run: MarketData, market_data: Callable[..., MarketData], running: RunningExchange, tmp_path: Path
) -> None:
    together = run(*of(*PAIRS), "backfill", *WINDOW)
    assert together.exit_code == 0, together.output
    assert "6 pairs: 6 good, 0 failed" in together.stdout
    assert "days      18 loaded" in together.stdout
    alone = MarketData(tmp_path / "alone", running.url)
    for pair in PAIRS[:2]:
        assert alone(*of(pair), "backfill", *WINDOW, DAGSTER_HOME=str(tmp_path / "home")).exit_code == 0
    files = data_files(run.root)
    assert {name: files[name] for name in data_files(alone.root)} == data_files(alone.root)

    again = run(*of(*PAIRS), "backfill", *WINDOW)
    assert (again.exit_code, data_files(run.root)) == (0, files)
    assert "18 unchanged" in again.stdout and "none, as there was nothing to do" in again.stdout
    verified = run("--pair", "P*", "verify", "--json")
    assert [(proof["pair"], proof["rows"]) for proof in parsed(verified.stdout)[1]] == [(one, 4320) for one in PAIRS]


def test_pairs_that_keep_the_days_of_another_zone_are_named(run: MarketData) -> None:
    assert run(*of(*PAIRS[:2]), "backfill", *WINDOW).exit_code == 0
    elsewhere = ("--align-tz", "+05:30", *of(*PAIRS[:3]), "backfill", *WINDOW)
    planned, loaded = run(*elsewhere, "--plan"), run(*elsewhere)
    assert (planned.exit_code, loaded.exit_code) == (0, 0), (planned.output, loaded.output)
    for told in (planned.output, loaded.output):
        named = re.findall(r"futures (\S+): its days are those of UTC, in which it was created; \+05:30 says", told)
        assert named == PAIRS[:2]
    assert "its days" not in run(*of(*PAIRS[:2]), "backfill", *WINDOW).output


def test_one_run_records_the_days_the_manifest_and_the_checks_of_each(run: MarketData) -> None:
    assert run(*of(*PAIRS[:2]), "backfill", *WINDOW).exit_code == 0
    with runs.open_instance(run.root / "dagster") as instance:
        [only] = instance.get_runs()
        assert (only.job_name, only.is_success) == ("load", True)
        # With this config the UI runs it again.
        config = only.run_config["ops"]["load_datasets"]["config"]
        assert (config["market"], config["pairs"], config["start"]) == ("futures", PAIRS[:2], "2024-05-01")
        assert config["in_catalog"] is False  # they were named
        for token in ("P0USDT", "P1USDT"):
            key = dg.AssetKey(["binanceusdm", token, "klines_1m"])
            assert instance.get_materialized_partitions(key) == {"2024-05-01", "2024-05-02", "2024-05-03"}
            assert instance.get_latest_materialization_event(dg.AssetKey(["binanceusdm", token, "manifest"]))
        evaluated = [
            entry.get_dagster_event().asset_check_evaluation_data
            for entry in instance.all_logs(only.run_id)
            if entry.dagster_event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION
        ]
    assert {check.asset_key.path[1] for check in evaluated} == {"P0USDT", "P1USDT"}
    assert all(check.passed for check in evaluated)


def test_the_job_of_the_ui_loads_the_pairs_of_its_config(run: MarketData, running: RunningExchange) -> None:
    settings = settings_of(run.root, running.url)
    config = {"market": "futures", "pairs": ["P0USDT", "P1/USDT"], "start": "2024-05-01", "end": "2024-05-03"}
    with runs.open_instance(run.root / "dagster") as instance:
        ended = runs.run_op(instance, jobs_of(tools_of(settings)), "load", "load_datasets", config=config, tags={})
        assert ended.success, ended.error
        refused = runs.run_op(instance, jobs_of(tools_of(settings)), "load", "load_datasets", config={}, tags={})
    assert refused.error is not None and "the run config names no pairs" in refused.error
    assert {each["pair"]: each["rows"] for each in json.loads(run("status", "--json").stdout)} == {
        "P0/USDT": 2880,
        "P1/USDT": 2880,
    }


def test_the_job_of_the_ui_takes_globs_and_a_universe(run: MarketData, running: RunningExchange) -> None:
    settings = settings_of(run.root, running.url)
    universe(run, market="futures", pairs=["P[01]/USDT"], start="2024-05-01", zone="+02:00", source="rest")
    refusals = {
        "'Q*' matches no pair": {"pairs": ["Q*"]},
        "named twice": {"pairs": ["P0USDT", "P0/USDT"]},
        "no universe 'yours'": {"universe": "yours"},
        "is one of futures": {"universe": "mine", "market": "spot"},
    }
    with runs.open_instance(run.root / "dagster") as instance:

        def ended(config: dict[str, Any]) -> Any:
            return runs.run_op(instance, jobs_of(tools_of(settings)), "load", "load_datasets", config=config, tags={})

        for problem, config in refusals.items():
            assert problem in (ended(config).error or ""), config
        assert not data_files(run.root)
        both = ended({"universe": "mine", "pairs": ["P*", "!P[3-9]*"], "end": "2024-05-03"})
        assert both.success, both.error
    stored = json.loads(run("status", "--json").stdout)
    assert {(each["pair"], each["tz"], each["first_day"], each["last_day"]) for each in stored} == {
        (f"P{number}/USDT", "+02:00", "2024-05-01", "2024-05-02") for number in range(3)
    }


def test_a_pair_that_fails_hides_no_other_and_the_table_says_why(run: MarketData) -> None:
    pairs = ["P0/USDT", "NOPE/USDT", "LATE/USDT", "P1/USDT", "HOLE/USDT"]
    done = run(*of(*pairs), "backfill", *WINDOW)
    assert done.exit_code == 1, done.output
    assert "5 pairs: 2 good, 3 failed" in done.stdout
    table = done.stdout[done.stdout.index("why") :]
    assert "futures does not list NOPE/USDT" in table
    assert "futures LATE/USDT has klines from 2024-05-04T00:00Z, none in the requested window" in table
    assert "HOLE/USDT" in table
    stored = {each["pair"]: each["rows"] for each in json.loads(run("status", "--json").stdout)}
    assert (stored["P0/USDT"], stored["P1/USDT"], stored["HOLE/USDT"]) == (4320, 4320, 2880)
    assert stored.keys() == {"P0/USDT", "P1/USDT", "HOLE/USDT"}


def test_a_damaged_combined_file_fails_its_pair_and_says_so(run: MarketData) -> None:
    one_day = ("--start", "2024-05-01", "--end", "2024-05-02")
    assert run(*of("P0/USDT", "P1/USDT"), "backfill", *one_day).exit_code == 0
    assert run(*of("P0/USDT"), "combine").exit_code == 0
    [combined] = run.root.glob("*/P0USDT/1m/combined/*.parquet")
    flip_a_byte(combined)
    done = run(*of("P0/USDT", "P1/USDT"), "backfill", *one_day, "--refetch")
    assert done.exit_code == 1, done.output
    assert "2 pairs: 1 good, 1 failed" in done.stdout
    [line] = [line for line in done.stdout.splitlines() if line.startswith("futures P0/USDT  ")]
    assert line.split()[2] == "combined"


def test_a_combined_file_that_cannot_be_built_fails_its_pair_alone(run: MarketData) -> None:
    pairs = of("P0/USDT", "P1/USDT", "P2/USDT")
    assert run(*pairs, "backfill", "--start", "2024-05-01", "--end", "2024-05-02").exit_code == 0
    [chunk] = run.root.glob("*/P1USDT/1m/chunks/*.parquet")
    flip_a_byte(chunk)
    next_day = ("--start", "2024-05-02", "--end", "2024-05-03")
    done = run(*pairs, "backfill", *next_day, BUILD_COMBINED_ON_BACKFILL="1")
    assert done.exit_code == 1, done.output
    assert "3 pairs: 2 good, 1 failed" in done.stdout
    [line] = [line for line in done.stdout.splitlines() if line.startswith("futures P1/USDT  ")]
    assert line.split()[2] == "combined"
    assert "--pair P1/USDT verify --repair" in done.stdout
    assert [path.name for path in sorted(run.root.glob("*/*/1m/combined/*.parquet"))] == [
        "P0USDT_1m_all.parquet",
        "P2USDT_1m_all.parquet",
    ]
    # What was built is in Dagster, also where every day was stored before.
    assert run(*of("P1/USDT"), "verify", "--repair").exit_code == 0
    assert run(*pairs, "backfill", *next_day, BUILD_COMBINED_ON_BACKFILL="1").exit_code == 0
    with runs.open_instance(run.root / "dagster") as instance:
        for token in ("P0USDT", "P1USDT", "P2USDT"):
            assert instance.get_latest_materialization_event(dg.AssetKey(["binanceusdm", token, "combined"])), token


def test_an_error_that_ends_a_load_is_told_beside_the_days_that_failed(
    run: MarketData, running: RunningExchange
) -> None:
    chunks = run.root / "binanceusdm" / "HOLEUSDT" / "1m" / "chunks"

    def break_the_disk(request: RequestInfo) -> None:
        if request.params.get("startTime", "") >= str(at("2024-05-04")) and chunks.is_dir():
            chunks.rename(chunks.with_name("away"))
            chunks.write_text("no folder", encoding="utf-8")

    running.exchange.hooks.append(break_the_disk)
    days = ("--start", "2024-05-01", "--end", "2024-05-06", "--source", "rest")
    done = run(*of("HOLE/USDT"), "backfill", *days)
    assert done.exit_code in {1, 3}, done.output
    told = {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith("  ")}
    assert "2024-05-01" in told["failed"]
    assert "chunks" in told["error"]


def test_an_exchange_that_does_not_answer_is_not_asked_for_every_pair(run: MarketData) -> None:
    names = [f"A{number}/USDT" for number in range(20)]
    done = run(
        *of(*names), "backfill", *WINDOW, MARKET_DATA_EXCHANGE_URL="http://127.0.0.1:9", MARKET_DATA_SOURCE="rest"
    )
    assert done.exit_code == 3, done.output
    assert "20 pairs: 0 good, 20 failed" in done.stdout
    assert done.stdout.count("not tried, because the exchange did not answer") >= 20 - 5 - 8
    assert not data_files(run.root)


def killed_while_loading(run: MarketData, strike: Callable[[psutil.Process], None]) -> tuple[int, str]:
    """How the command ended, with what it said, after `strike` at its process in the middle of the load."""
    with run.start(*of(*PAIRS), "backfill", "--start", "2024-04-01", "--end", "2024-05-04") as process:
        wait_until(lambda: len(list(run.root.glob("*/*/1m/chunks/*.parquet"))) > 5)
        strike(psutil.Process(process.pid))
        out, err = process.communicate(timeout=120 * PATIENCE)
    return process.returncode, out + err


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    return [child for child in process.children() if "spawn_main" in command_of(child)]


def command_of(process: psutil.Process) -> str:
    with suppress(psutil.Error):  # it may have ended
        return " ".join(process.cmdline())
    return ""


def loads_on(run: MarketData) -> None:
    ended = run(*of(*PAIRS), "backfill", "--start", "2024-04-01", "--end", "2024-05-04")
    assert ended.exit_code == 0, ended.output
    assert "6 pairs: 6 good" in ended.stdout
    assert set(rows_by_day(run.root).values()) == {1440}
    assert run("verify").exit_code == 0


def test_a_worker_that_is_killed_costs_its_pair_alone_and_the_same_command_goes_on(run: MarketData) -> None:
    code, said = killed_while_loading(run, lambda process: workers_of(process)[0].kill())
    assert code == 3, said
    assert "6 pairs: 5 good, 1 failed" in said and "the process that loaded it" in said
    loads_on(run)


def test_a_command_that_is_killed_leaves_no_process_and_the_same_command_goes_on(run: MarketData) -> None:
    workers: list[psutil.Process] = []

    def kill(process: psutil.Process) -> None:
        workers.extend(process.children())
        process.kill()

    killed_while_loading(run, kill)
    assert workers
    wait_until(lambda: not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers))
    loads_on(run)


def test_ctrl_c_ends_it_in_one_line_and_the_same_command_goes_on(run: MarketData) -> None:
    code, said = killed_while_loading(run, interrupt)
    assert code == 130, said
    assert "Traceback" not in said and "interrupted; finished work is kept" in said
    loads_on(run)


@pytest.mark.skipif(sys.platform == "win32", reason="needs process groups of POSIX")
@pytest.mark.parametrize("after_s", [0.0, 0.6])
def test_ctrl_c_of_a_terminal_is_one_line_from_the_first_moment_of_its_processes_on(
    run: MarketData, after_s: float
) -> None:
    with run.start(*of(*PAIRS), "backfill", "--start", "2024-04-01", own_group=True) as process:
        wait_until(lambda: workers_of(psutil.Process(process.pid)) != [])
        for pause_s in (after_s, 0.05, 0.05):
            time.sleep(pause_s)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=120 * PATIENCE)
    assert process.returncode == 130, err
    assert (out, err.splitlines()) == ("", [err.strip()]) and err.startswith("error: interrupted; ")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (of("*/NOTHING"), "'*/NOTHING' matches no pair"),
        (of("P0/USDT", "P0USDT"), "named twice"),
        (["--pairs-file", "no-such-file.txt"], "cannot read no-such-file.txt"),
    ],
)
def test_bad_words_are_one_line_and_nothing_is_written(run: MarketData, words: list[str], problem: str) -> None:
    refused = run(*words, "backfill", *WINDOW)
    assert refused.exit_code == 2
    [line] = refused.stderr.splitlines()
    assert problem in line
    assert not data_files(run.root)


def test_a_file_names_pairs_and_comments(run: MarketData, tmp_path: Path) -> None:
    file = tmp_path / "pairs.txt"
    file.write_text("# mine\nP0/USDT, P1USDT\n\nP2/USDT:USDT  # ccxt's\n", encoding="utf-8-sig")
    done = run("--pairs-file", str(file), "backfill", "--start", "2024-05-01", "--end", "2024-05-02")
    assert done.exit_code == 0, done.output
    assert "3 pairs: 3 good" in done.stdout


def test_a_universe_names_market_pairs_zone_and_start(run: MarketData, tmp_path: Path) -> None:
    run.root.mkdir(parents=True, exist_ok=True)
    text = (
        '[universe.mine]\nmarket = "futures"\npairs = ["P0/USDT", "P1/USDT", "!P1USDT"]\n'
        'zone = "+02:00"\nstart = "2024-05-02"\nsource = "rest"\n'
    )
    (run.root / "market-data.toml").write_text(text, encoding="utf-8")
    done = run("--universe", "mine", "backfill", "--end", "2024-05-04")
    assert done.exit_code == 0, done.output
    [stored] = json.loads(run("--universe", "mine", "status", "--json").stdout)
    assert (stored["pair"], stored["tz"], stored["first_day"]) == ("P0/USDT", "+02:00", "2024-05-02")
    for words, problem in (
        (["--universe", "yours"], "no universe 'yours'"),
        (["--universe", "mine", "--market", "spot"], "the universe mine is one of futures"),
    ):
        refused = run(*words, "backfill")
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert problem in refused.stderr and len(refused.stderr.splitlines()) == 1


def universe(run: MarketData, **keys: Any) -> None:
    run.root.mkdir(parents=True, exist_ok=True)
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    (run.root / "market-data.toml").write_text("\n".join(["[universe.mine]", *lines, ""]), encoding="utf-8")


def live_pairs(run: MarketData) -> set[str]:
    return {each["pair"] for each in json.loads(run("status", "--json").stdout) if each["live"]}


def test_a_glob_of_a_backfill_means_the_pairs_that_were_traded_in_the_window(run: MarketData) -> None:
    done = run("--pair", "P*", "--pair", "L*", "--pair", "!P[3-9]*", "backfill", *WINDOW)
    assert done.exit_code == 2 and "'L*' matches no pair that was traded in the window" in done.stderr
    assert not data_files(run.root)
    done = run("--pair", "P*", "--pair", "!P[3-9]*", "backfill", *WINDOW)
    assert done.exit_code == 0, done.output
    assert "3 pairs: 3 good" in done.stdout


def test_a_glob_of_a_universe_means_the_pairs_that_were_traded_in_the_days_of_its_zone(run: MarketData) -> None:
    universe(run, market="futures", pairs=["P0/USDT", "LATE*"], zone="-10:00", start="2024-05-01")
    # Its 3rd of May ends ten hours after midnight UTC, where the first klines of LATE are.
    planned = run("--universe", "mine", "backfill", "--end", "2024-05-04", "--plan", "--json")
    assert planned.exit_code == 0, planned.output
    assert "LATE/USDT" in planned.stdout
    utc = run("--universe", "mine", "--align-tz", "UTC", "backfill", "--end", "2024-05-04", "--plan")
    assert utc.exit_code == 2 and "'LATE*' matches no pair that was traded in the window" in utc.stderr


def test_a_pair_of_a_glob_that_ended_hours_before_the_window_is_no_failure(
    run: MarketData, running: RunningExchange
) -> None:
    # The catalog has its last day, a UTC day on which the window begins at 16:00.
    ended = {
        "first": "2024-04-01T00:00Z", "last": "2024-04-30T08:59Z", "status": "SETTLING",
        "deliveryDate": "2024-04-30T09:00Z",
    }  # fmt: skip
    step(running, {**SCENARIO, "futures": {**SCENARIO["futures"], "P10USDT": ended}})
    universe(run, market="futures", pairs=["P[01]*/USDT"], zone="Asia/Shanghai", start="2024-05-01")
    planned = run("universe", "apply", "mine", "--plan")
    assert planned.exit_code == 0, planned.output
    for _ in range(2):
        done = run("universe", "apply", "mine")
        assert done.exit_code == 0, done.output
        assert "3 pairs: 3 good, 0 failed" in done.stdout
        assert "futures P10/USDT has klines from 2024-04-01T00:00Z to 2024-04-30T08:59Z, none in" in done.stdout
    assert [each["pair"] for each in json.loads(run("status", "--json").stdout)] == ["P0/USDT", "P1/USDT"]


def test_a_universe_grows_with_the_market_and_pairs_that_have_ended_rest(
    run: MarketData, running: RunningExchange
) -> None:
    universe(run, market="futures", pairs=["P[01]/USDT", "N*"], start="2024-05-01", live=True)
    refused = run("universe", "apply", "mine")
    assert (refused.exit_code, data_files(run.root)) == (2, {})
    assert "'N*' matches no pair" in refused.stderr

    universe(run, market="futures", pairs=["P[01]/USDT"], start="2024-05-01", live=True)
    assert run("universe", "show", "mine").stdout.split() == ["P0/USDT", "P1/USDT"]
    assert "mine      futures  P[01]/USDT" in run("universe", "list").stdout
    first = run("universe", "apply", "mine")
    assert first.exit_code == 0, first.output
    assert "2 pairs: 2 good" in first.stdout and "from now on: P0/USDT, P1/USDT" in first.stdout
    assert live_pairs(run) == {"P0/USDT", "P1/USDT"}

    gone = {
        "first": "2024-04-01T00:00Z", "last": "2024-05-06T08:59Z", "status": "SETTLING",
        "deliveryDate": "2024-05-06T09:00Z",
    }  # fmt: skip
    futures = {**SCENARIO["futures"], "P1USDT": gone, "P10USDT": {"first": "2024-05-06T00:00Z"}}
    step(running, {"now": "2024-05-08T12:00Z", "futures": futures})
    universe(run, market="futures", pairs=["P[01]*/USDT"], start="2024-05-01", live=True)
    second = run("universe", "apply", "mine")
    assert second.exit_code == 0, second.output
    assert "3 pairs: 3 good" in second.stdout
    assert live_pairs(run) == {"P0/USDT", "P10/USDT"}
    before = data_files(run.root)
    third = run("universe", "apply", "mine")
    assert third.exit_code == 0
    after = data_files(run.root)
    assert [name for name in after if "P1USDT/" in name and after[name] != before[name]] == []


def test_a_pair_that_pauses_stays_live(run: MarketData, running: RunningExchange) -> None:
    """In a maintenance the exchange pauses all pairs, and the catalog of a day is made at any moment of it."""
    universe(run, market="futures", pairs=["P[01]/USDT"], start="2024-05-01", live=True)
    assert run("universe", "apply", "mine").exit_code == 0
    paused = {**SCENARIO["futures"]["P0USDT"], "status": "PENDING_TRADING"}
    step(running, {"now": "2024-05-08T12:00Z", "futures": {**SCENARIO["futures"], "P0USDT": paused}})
    assert "P0/USDT" in run("--pair", "P[01]/USDT", "pairs", "--status", "paused").stdout
    applied = run("universe", "apply", "mine")
    assert applied.exit_code == 0, applied.output
    assert live_pairs(run) == {"P0/USDT", "P1/USDT"}
    universe(run, market="futures", pairs=["P[01]/USDT"], start="2024-05-01", live=False)
    assert run("universe", "apply", "mine").exit_code == 0
    assert live_pairs(run) == set()
