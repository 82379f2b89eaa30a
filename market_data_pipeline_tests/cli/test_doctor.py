"""`market-data doctor`: what it sees, how long it takes, and what it never shows."""

import json
import logging
import os
import re
import shutil
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster import DagsterRun
from dagster._daemon.types import DaemonHeartbeat

from market_data_pipeline.core.errors import SourceUnavailable
from market_data_pipeline.core.klines import findings
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.failures import FailedDays
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.manifest import Entry, State, to_text
from market_data_pipeline.core.store.note_lock import NoteLock
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.instance.composition import live_market_of
from market_data_pipeline.instance.home import RUN_DATABASE, UP_LOCK
from market_data_pipeline.instance.logs import log_to
from market_data_pipeline.instance.names import CAN_BE_READ, MATCHES_OTHER_SOURCE
from market_data_pipeline.instance.runs import open_instance
from market_data_pipeline.settings import Settings
from market_data_pipeline_tests.cli.test_commands import SPOT, THREE_DAYS, Start
from market_data_pipeline_tests.servers import broker_queue
from market_data_pipeline_tests.simulator.scenarios import scenario_exchange, step
from market_data_pipeline_tests.support import MINUTE_MS, NOON, MarketData, Simulate, chunk_files, span
from market_data_pipeline_tests.terminals import in_terminal, shown_lines

SECRET = "hunter2-and-more"
LONGEST_S = 25


@pytest.fixture
def run(market_data: Start, simulate: Simulate) -> MarketData:
    """The command line, on an exchange whose clock is this machine's."""
    return market_data(simulate(now=None, speed=1))


def examined(run: MarketData, code: int, **env: str) -> list[dict[str, Any]]:
    """The lines of an examination that ends with this code."""
    done = run("doctor", "--json", **env)
    assert done.exit_code == code, done.output
    told = json.loads(done.stdout)
    assert told["ok"] is (code == 0)
    assert all(bool(line["cure"]) is not line["ok"] for line in told["lines"])
    return list(told["lines"])


def wrong(lines: list[dict[str, Any]]) -> dict[str, str]:
    """What needs care, by section and name: what was seen and the cure."""
    return {
        f"{line['section']} {line['name']}": f"{line['detail']} -> {line['cure']}" for line in lines if line["cure"]
    }


def seen(lines: list[dict[str, Any]]) -> dict[str, str]:
    return {f"{line['section']} {line['name']}": line["detail"] for line in lines}


def dataset_in(run: MarketData) -> DatasetStore:
    """A dataset without a chunk."""
    start = datetime(2024, 5, 10, tzinfo=UTC).date()
    return Store(run.root).create(Market.SPOT, "BTC/USDT", zone=parse_zone("UTC"), start=start)


def test_an_installation_that_is_well_has_a_line_for_everything(run: MarketData) -> None:
    lines = examined(run, 0)
    assert [*dict.fromkeys(line["section"] for line in lines)] == [
        "versions",
        "settings",
        "places",
        "exchange",
        "limits",
        "locks",
        "dagster",
        "errors",
    ]
    told = seen(lines)
    assert {
        "versions Python",
        "versions dagster",
        "versions ccxt",
        "versions pyarrow",
        "versions system",
    } <= told.keys()
    assert str(run.root) in told["places data root"]
    assert " free" in told["places request weight"]
    assert "answers; this machine's clock is" in told["exchange spot"]
    assert " used in this minute by this host" in told["exchange futures weight"]
    assert told["exchange all proxy"] == f"{run.url} without a proxy"
    assert not run.root.exists(), "an examination makes nothing"


def test_the_page_has_a_verdict_and_the_cure_below_what_is_wrong(run: MarketData) -> None:
    assert run("doctor").stdout.splitlines()[-1] == "nothing needs care"
    done = run("doctor", ALIGN_TZ="Mars/Phobos")
    assert done.exit_code == 1
    page = done.stdout.splitlines()
    at = next(number for number, line in enumerate(page) if line.startswith("  BAD "))
    assert "ALIGN_TZ" in page[at]
    assert page[at + 1].split()[:3] == ["what", "to", "do"]
    assert page[-1] == "1 line needs care"


def test_a_broken_configuration_is_told_variable_by_variable_and_all_else_is_looked_at(run: MarketData) -> None:
    broken = {
        "MARKET_TYPE": "margin",
        "SYMBOL": "BTC-USDT",
        "ALIGN_TZ": "Mars/Phobos",
        "MARKET_DATA_SOURCE": "tape",
        "EXTRA_SLEEP_SEC": "much",
        "MARKET_DATA_RUNS_KEPT_DAYS": "-1",
        "MARKET_DATA_ALERT_URL": SECRET,
    }
    lines = examined(run, 1, **broken)
    found = wrong(lines)
    assert found.keys() == {f"settings {name}" for name in broken}
    assert all("correct " in text or "give " in text or "write " in text for text in found.values()), found
    assert SECRET not in json.dumps(lines)
    assert "answers" in seen(lines)["exchange spot"]


def test_a_data_root_that_is_none_is_told_and_the_rest_is_looked_at(run: MarketData) -> None:
    lines = examined(run, 1, MARKET_DATA_DIR=f"s3://me:{SECRET}@bucket")
    assert wrong(lines).keys() == {"settings MARKET_DATA_DIR"}
    assert SECRET not in json.dumps(lines)


@pytest.mark.parametrize("text", ["[universe", '[universe.mine]\nmarket = "margin"\npairs = []', "\x00"])
def test_a_file_of_universes_that_cannot_be_used_is_told(run: MarketData, text: str) -> None:
    run.root.mkdir()
    (run.root / "market-data.toml").write_text(text, encoding="utf-8")
    assert wrong(examined(run, 1)).keys() == {"settings market-data.toml"}


@pytest.mark.parametrize(
    "text", ["run_launcher: [", "- 1", "storage: {postgres: {postgres_url: {env: NOT_SET_ANYWHERE}}}"]
)
def test_a_dagster_yaml_that_cannot_be_used_is_told(run: MarketData, text: str) -> None:
    home = run.root / "dagster"
    home.mkdir(parents=True)
    (home / "dagster.yaml").write_text(text, encoding="utf-8")
    found = wrong(examined(run, 1))
    assert any(name.startswith("dagster ") for name in found), found


def test_an_exchange_that_cannot_be_reached_is_told_with_what_to_do(run: MarketData) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        run.url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        found = wrong(examined(run, 1))
    assert found.keys() == {"exchange spot", "exchange futures"}
    assert "check the network" in found["exchange spot"]


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.slow
def test_an_exchange_that_never_answers_is_waited_for_some_seconds(run: MarketData, silent: str) -> None:
    run.url, began_s = silent, time.monotonic()
    done = run.run("doctor")
    assert time.monotonic() - began_s < LONGEST_S
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "2 lines need care" in done.stdout


@pytest.mark.slow
def test_the_cause_of_several_wrong_lines_is_told_once(run: MarketData) -> None:
    pytest.importorskip("obstore")
    away = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ALLOW_HTTP": "true"}
    keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": SECRET}
    done = run.run("doctor", "--json", MARKET_DATA_DIR="s3://bucket/root", **away, **keys)
    found = [line for line in json.loads(done.stdout)["lines"] if not line["ok"]]
    assert [line["section"] for line in found] == ["settings", "places", "locks", "errors", "errors"]
    assert "http://127.0.0.1:9 does not answer" in found[0]["detail"] and "check the network" in found[0]["cure"]
    for line in found[1:]:
        assert line["detail"] == "the same cause as of settings market-data.toml"
        assert line["cure"] == "mend that first"


@pytest.mark.slow
def test_a_bucket_that_never_answers_is_waited_for_some_seconds(run: MarketData, silent: str) -> None:
    pytest.importorskip("obstore")
    began_s = time.monotonic()
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}
    done = run.run("doctor", "--json", MARKET_DATA_DIR="s3://bucket/root", AWS_ENDPOINT_URL=silent, **keys)
    assert time.monotonic() - began_s < LONGEST_S
    assert done.returncode == 1
    assert SECRET not in done.stdout + done.stderr
    assert {"places not finished", "locks not finished"} <= wrong(json.loads(done.stdout)["lines"]).keys()


@pytest.mark.slow
def test_a_bucket_that_answers_is_told_with_its_time(run: MarketData, moto: str) -> None:
    boto3 = pytest.importorskip("boto3")
    keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}
    client = boto3.client(
        "s3", endpoint_url=moto, region_name="us-east-1", aws_access_key_id="testing", aws_secret_access_key=SECRET
    )
    client.create_bucket(Bucket="doctor")
    done = run.run("doctor", "--json", MARKET_DATA_DIR="s3://doctor/root", AWS_ENDPOINT_URL=moto, **keys)
    assert "keeps conditions" in seen(json.loads(done.stdout)["lines"])["places data root"], done.stdout
    assert SECRET not in done.stdout


def test_no_token_and_no_password_is_shown(run: MarketData) -> None:
    """Each secret has a place where a line tells of what is beside it."""
    home = run.root / "dagster"
    home.mkdir(parents=True)
    url = f"postgresql://me:{SECRET}@127.0.0.1:1/db"
    (home / "dagster.yaml").write_text(f"storage: {{postgres: {{postgres_url: '{url}'}}}}\n", encoding="utf-8")
    proxy = f"http://me:{SECRET}@127.0.0.1:1"
    env = {name: proxy for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")}
    env |= {"NO_PROXY": "", "no_proxy": "", "MARKET_DATA_EXCHANGE_URL": ""}
    env |= {"MARKET_DATA_API_TOKEN": SECRET, "MARKET_DATA_ALERT_URL": f"https://hooks.example/{SECRET}"}
    for words in (["doctor"], ["doctor", "--json"]):
        done = run(*words, **env)
        assert done.exit_code == 1
        assert SECRET not in done.output
    told = seen(json.loads(done.stdout)["lines"])
    assert "through the proxy 127.0.0.1:1" in told["exchange spot proxy"]


def test_a_postgres_that_only_the_environment_names_is_told_also_before_its_first_use(
    run: MarketData, postgres: str
) -> None:
    place = sa.make_url(postgres)
    host, port, database = str(place.host), str(place.port or 5432), str(place.database)
    home = run.root / "dagster"
    home.mkdir(parents=True)
    text = "storage: {postgres: {postgres_url: 'postgresql://'}}\n"
    (home / "dagster.yaml").write_text(text, encoding="utf-8")
    who = {"PGUSER": str(place.username), "PGPASSWORD": str(place.password or "")}
    told = seen(examined(run, 0, PGHOST=host, PGPORT=port, PGDATABASE=database, **who))
    assert told["dagster storage"].endswith(f" at {host}:{port}, database {database}")
    assert "no tables there yet" in told["dagster last results"]
    assert told["places request weight"].startswith("the table market_data_budget in the Postgres of ")


def test_who_loads_a_dataset_is_told(run: MarketData) -> None:
    files = dataset_in(run)
    with files.loading(span("2024-05-10", "2024-05-12")):
        told = seen(examined(run, 0))
    assert told["locks load spot BTC/USDT"].startswith("2024-05-10T00:00Z to 2024-05-12T00:00Z, by ")
    assert "since " in told["locks load spot BTC/USDT"]
    if os.name == "posix":
        assert f"by process {os.getpid()}, since " in told["locks load spot BTC/USDT"]
    assert "0 loads under way" in seen(examined(run, 0))["locks datasets"]


@pytest.mark.slow
def test_who_follows_a_dataset_is_told(run: MarketData) -> None:
    dataset_in(run).mark_live(True)
    with run.start("live") as process:
        try:
            note = run.root / "binance" / "BTCUSDT" / "1m" / ".live.json"
            until_s = time.monotonic() + 60
            while not note.exists():
                assert time.monotonic() < until_s, process.poll()
                time.sleep(0.05)
            # Its first klines may not be there yet, which is told, too.
            told = seen(json.loads(run("doctor", "--json").stdout)["lines"])
        finally:
            process.kill()
            process.communicate()
    assert f"process {process.pid} on {socket.gethostname()}, since " in told["locks live spot BTC/USDT"]


def test_the_end_of_live_mode_by_an_error_is_told_until_it_is_followed_again(run: MarketData) -> None:
    note = dataset_in(run).folder / ".live.error"
    Path(str(note)).write_text("the disk is full", encoding="utf-8")
    assert wrong(examined(run, 1)) == {
        "errors live binance/BTCUSDT": "ended by an error: the disk is full -> start live mode again"
    }


def test_nothing_is_said_of_an_end_of_live_mode_that_never_began(run: MarketData) -> None:
    dataset_in(run)
    text = seen(examined(run, 0))["errors last errors"]
    assert text == "none: no error of live mode, and no failed day that was not loaded later"


def test_a_live_dataset_that_nobody_follows_is_told(run: MarketData) -> None:
    files = dataset_in(run)
    files.mark_live(True)
    [(name, text)] = wrong(examined(run, 1)).items()
    assert name == "errors live"
    assert (
        text == "spot BTC/USDT: nothing stored yet -> start market-data live, or turn the live sensor of the market on"
    )
    files.mark_live(False)
    assert "errors live" not in seen(examined(run, 0))


def test_a_reason_that_is_very_long_is_told_in_part(run: MarketData) -> None:
    """A database puts the whole statement into its error."""
    dataset = dataset_in(run).dataset
    live = live_market_of(Settings(market_data_dir=run.root), Market.SPOT, "a test")
    live.follow([dataset])
    live.note_end("the database is locked\n" * 10_000)
    live.close()
    assert wrong(examined(run, 1)).keys() == {"errors live binance/BTCUSDT"}


# --- days that failed


def requested_in(run: MarketData, pair: str = "BTC/USDT") -> DatasetStore:
    """A dataset without a chunk, of which 2024-05-11 was requested."""
    day = span("2024-05-11", "2024-05-12")
    files = Store(run.root).create(Market.SPOT, pair, zone=parse_zone("UTC"), start=date(2024, 5, 10))
    files.note_requested(day, files.dataset.start)
    return files


def fail(run: MarketData, files: DatasetStore, *days: str) -> None:
    """Note in the log that these days have just failed, each for a reason of its own."""
    log_to(run.root / "logs")
    failures = FailedDays(files.dataset.name)
    for day in days:
        error = str(SourceUnavailable(f"no answer about {day}; check the network"))
        failures.note(DayResult(files.dataset.day(day), Outcome.FAILED, error=error))
    logging.shutdown()


def told_by(run: MarketData) -> list[dict[str, Any]]:
    """The lines of an examination on an exchange whose clock may be any."""
    return list(json.loads(run("doctor", "--json").stdout)["lines"])


def failed_days(run: MarketData) -> set[str]:
    """What is told of days that failed, as `told_by`."""
    found = wrong(told_by(run))
    return {name.removeprefix("errors ") for name in found if name.startswith("errors ")}


def test_a_day_that_failed_is_told_until_it_is_there(run: MarketData) -> None:
    fail(run, requested_in(run), "2024-05-11")
    [(name, text)] = wrong(examined(run, 1)).items()
    assert name == "errors spot BTC/USDT 2024-05-11"
    assert "-> run market-data --market spot --pair BTC/USDT backfill --start 2024-05-11; " in text
    assert run(*SPOT, "backfill", *THREE_DAYS).exit_code == 0
    assert wrong(examined(run, 0)) == {}


def test_a_day_of_a_dataset_that_was_removed_is_told_no_more(run: MarketData) -> None:
    files = requested_in(run)
    fail(run, files, "2024-05-11")
    assert failed_days(run) == {"spot BTC/USDT 2024-05-11"}
    shutil.rmtree(str(files.folder))
    assert wrong(examined(run, 0)) == {}


def test_a_day_that_is_not_over_is_told_until_it_was_loaded_again(market_data: Start, simulate: Simulate) -> None:
    run, today = market_data(simulate(now=NOON)), "2024-05-15"
    assert run(*SPOT, "backfill", "--start", today).exit_code == 0
    os.utime(chunk_files(run.root)[today], (time.time() - 3600,) * 2)
    files = dataset_in(run)
    files.note_requested(span("2024-05-15T12:00", "2024-05-15T12:05"), files.dataset.start)
    fail(run, files, today)
    assert failed_days(run) == {f"spot BTC/USDT {today}"}
    later = market_data(simulate(now=NOON + timedelta(minutes=5)))
    assert later(*SPOT, "backfill", "--start", today).exit_code == 0
    assert failed_days(later) == set()


def test_a_day_of_which_a_part_was_requested_is_told_until_that_is_there(run: MarketData) -> None:
    files = dataset_in(run)
    half = ("--start", "2024-05-11T00:00Z", "--end", "2024-05-11T12:00Z", "--no-align-window")
    assert run(*SPOT, "backfill", *half).exit_code == 0
    fail(run, files, "2024-05-11")
    assert failed_days(run) == set()
    files.note_requested(span("2024-05-11T12:00", "2024-05-12"), files.dataset.start)
    assert failed_days(run) == {"spot BTC/USDT 2024-05-11"}


def test_a_day_after_the_end_of_the_pair_is_told_until_that_end_is_known(market_data: Start) -> None:
    """It never gets a chunk, and a load of it alone is refused."""
    silent = {"first": "2024-04-01T00:00Z", "gaps": [["2024-05-02T00:00Z", "2024-05-03T00:00Z"]], "archive": False}
    gone = {"first": "2024-04-01T00:00Z", "last": "2024-05-01T23:59Z", "unlisted": True, "hidden": True}
    with scenario_exchange({"now": "2024-05-06T12:00Z", "spot": {"XYZUSDT": silent}}) as running:
        run, pair = market_data(running), (*SPOT, "--pair", "XYZ/USDT")
        assert run(*pair, "backfill", "--start", "2024-05-01", "--end", "2024-05-03").exit_code == 1
        assert failed_days(run) == {"spot XYZ/USDT 2024-05-02"}
        step(running, {"now": "2024-05-10T12:00Z", "spot": {"XYZUSDT": gone}})
        [text] = [text for name, text in wrong(told_by(run)).items() if name.startswith("errors ")]
        cure = "run market-data --market spot --pair XYZ/USDT backfill --start 2024-05-02"
        assert text.endswith(f"-> {cure}; if it says that there are no klines, the same with verify --repair")
        assert run(*pair, "backfill", "--start", "2024-05-02").exit_code == 2
        assert run(*pair, "verify", "--repair").exit_code == 0
        assert failed_days(run) == set()


def test_many_failed_days_of_a_long_dataset_are_looked_at_in_time(run: MarketData) -> None:
    """They are known after one look at the dataset."""
    first = date(2017, 8, 17)
    files = Store(run.root).create(Market.SPOT, "BTC/USDT", zone=parse_zone("UTC"), start=first)
    days = [(first + timedelta(days=number)).isoformat() for number in range(2500)]
    stored = Entry("", 1440, 1440, 0, 1439 * MINUTE_MS, (), "archive", 1, "0" * 64, State.ARCHIVED)
    manifest = to_text(files.dataset, (replace(stored, day=day) for day in days))
    (Path(str(files.folder)) / "manifest.json").write_bytes(manifest)
    fail(run, files, *days[-500:])
    done = run.run("doctor", "--json")  # one that does not come to an end in time ends its process
    assert (done.returncode, wrong(json.loads(done.stdout)["lines"])) == (0, {})


def test_of_very_many_failed_days_the_newest_are_told(run: MarketData) -> None:
    for number in range(60):
        fail(run, requested_in(run, f"P{number}/USDT"), "2024-05-11")
    lines = examined(run, 1)
    newest = {f"errors spot P{number}/USDT 2024-05-11" for number in range(50, 60)}
    assert wrong(lines).keys() == newest | {"errors days"}
    told, log = seen(lines), run.root / "logs" / "loader.log"
    assert told["errors days"] == "and 40 more"
    assert told["errors older days"] == f"10 failed days in {log} not looked at, as others failed later"


# --- checks that failed


def evaluated(run: MarketData, name: str, severity: str, *, passed: bool) -> None:
    with open_instance(run.root / "dagster") as instance:
        evaluation = dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(["binance", "BTCUSDT", "klines_1m"]),
            check_name=name,
            passed=passed,
            metadata={},
            severity=dg.AssetCheckSeverity[severity],
        )
        instance.report_runless_asset_event(evaluation)


def test_a_check_that_failed_last_is_told_and_one_that_passed_since_is_not(run: MarketData) -> None:
    dataset_in(run)
    for passed, severity, code in ((False, "WARN", 0), (False, "ERROR", 1), (True, "ERROR", 0)):
        evaluated(run, "each_minute", severity, passed=passed)
        found = wrong(examined(run, code))
        assert found.keys() == ({"dagster check each_minute"} if code else set())


def test_a_check_of_a_dataset_that_was_removed_is_told_no_more(run: MarketData) -> None:
    """Nothing evaluates it any more. Others, which are of no dataset, stay."""
    files = dataset_in(run)
    evaluated(run, findings.COVERED, "ERROR", passed=False)
    with open_instance(run.root / "dagster") as instance:
        catalog = dg.AssetKey(["binance", "pairs"])
        instance.report_runless_asset_event(dg.AssetCheckEvaluation(catalog, "no_pair_is_lost", False, {}))
    assert wrong(examined(run, 1)).keys() == {f"dagster check {findings.COVERED}", "dagster check no_pair_is_lost"}
    shutil.rmtree(str(files.folder))
    # A data root without any dataset may be a disk that is not mounted.
    assert f"dagster check {findings.COVERED}" in wrong(examined(run, 1))
    Store(run.root).create(Market.FUTURES, "ETH/USDT", zone=parse_zone("UTC"), start=date(2024, 5, 1))
    told = examined(run, 1)
    assert wrong(told).keys() == {"dagster check no_pair_is_lost"}
    assert seen(told)["dagster last results"] == "1 check failed, 0 warnings"


def test_only_what_a_repair_mends_is_to_be_repaired(run: MarketData) -> None:
    dataset_in(run)
    names = (findings.COVERED, findings.MATCHES_MANIFEST, MATCHES_OTHER_SOURCE, CAN_BE_READ, "of_the_user")
    for name in names:
        evaluated(run, name, "ERROR", passed=False)
    cures = {name.removeprefix("dagster check "): text for name, text in wrong(examined(run, 1)).items()}
    assert cures.keys() == set(names)
    repaired = {name for name, text in cures.items() if "run market-data verify --repair" in text}
    assert repaired == {findings.COVERED, findings.MATCHES_MANIFEST}
    assert all(text.endswith("then start the job proof") for text in cures.values())


# --- the daemon, the broker and the workers


def beat(home: Path, age_s: float) -> None:
    """Write the heartbeat that a daemon wrote so long ago."""
    with open_instance(home) as instance:
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - age_s, "SENSOR", "an-id", None))


def test_a_daemon_that_stopped_needs_care_only_where_something_waits_for_it(run: MarketData) -> None:
    home = run.root / "dagster"
    with open_instance(home):
        pass
    assert "dagster daemon" not in seen(examined(run, 0))
    beat(home, 10)
    assert seen(examined(run, 0))["dagster daemon"].startswith("last heartbeat at ")
    beat(home, 3600)
    assert seen(examined(run, 0))["dagster daemon"].endswith("it does not run, and no run waits for it")
    up = NoteLock(home, UP_LOCK, "a test")
    assert up.acquire()
    try:
        assert seen(examined(run, 0))["dagster daemon"].endswith("market-data up is starting it")
        os.utime(home / f"{UP_LOCK}.json", (time.time() - 600,) * 2)
        assert "-> end market-data up, and start it again" in wrong(examined(run, 1))["dagster daemon"]
    finally:
        up.release()
    with open_instance(home) as instance:
        instance.add_run(DagsterRun(job_name="load", status=dg.DagsterRunStatus.STARTED))
    with closing(sqlite3.connect(home / RUN_DATABASE)) as runs, runs:  # a queued run also has to say where its code is
        runs.execute("UPDATE runs SET status = 'QUEUED'")
    assert "1 run in the queue -> start market-data up" in wrong(examined(run, 1))["dagster daemon"]


def test_a_broker_that_is_away_is_told_without_its_password(run: MarketData) -> None:
    pytest.importorskip("celery")
    home = run.root / "dagster"
    home.mkdir(parents=True)
    broker = "{module: market_data_pipeline.instance.workers.launcher, config: {broker: {env: A_BROKER}}}"
    (home / "dagster.yaml").write_text(f"run_launcher: {broker}\n", encoding="utf-8")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{unused.getsockname()[1]}"
        lines = examined(run, 1, A_BROKER=f"redis://:{SECRET}@{place}/0")
    found = wrong(lines)
    assert found["dagster broker"].startswith(f"{place} takes no connection: ")
    assert "start dagster-daemon" in found["dagster daemon"]
    assert SECRET not in json.dumps(lines)
    assert "is empty" in wrong(examined(run, 1, A_BROKER=""))["dagster broker"]


@pytest.mark.parametrize("server", ["rabbitmq", "redis"])
def test_workers_that_do_not_answer_are_told(run: MarketData, server: str) -> None:
    with broker_queue(server) as (url, _):
        home = run.root / "dagster"
        home.mkdir(parents=True)
        launcher = {"module": "market_data_pipeline.instance.workers.launcher", "config": {"broker": url}}
        (home / "dagster.yaml").write_text(json.dumps({"run_launcher": launcher}), encoding="utf-8")
        lines = examined(run, 1)
    assert seen(lines)["dagster broker"].endswith(" takes connections")
    assert wrong(lines)["dagster workers"] == "none answers within 1.5 s -> start market-data worker on a host"


# --- in a terminal

in_a_terminal = pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal of POSIX")


@in_a_terminal
@pytest.mark.parametrize("columns", [40, 80])
def test_the_page_fits_a_narrow_terminal(run: MarketData, columns: int) -> None:
    lines = shown_lines(in_terminal(run, "doctor", columns=columns, SYMBOL="BTC-USDT"))
    assert max(map(len, lines)) <= columns
    assert lines[-1] == "1 line needs care"
    text = " ".join(" ".join(lines).split())
    assert "what to do" in text


@in_a_terminal
def test_no_color_turns_colours_off(run: MarketData) -> None:
    colour = re.compile(r"\x1b\[[0-9;]*3[0-7]")
    assert colour.search(in_terminal(run, "doctor", columns=80))
    assert not colour.search(in_terminal(run, "doctor", columns=80, NO_COLOR="1"))
