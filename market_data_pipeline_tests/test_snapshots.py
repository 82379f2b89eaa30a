"""Snapshots by the command line: revised values, repairs, moved starts, kills; in a folder and in a bucket."""

import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from market_data_pipeline import open_dataset
from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.server import RunningExchange, serve
from market_data_pipeline_tests.objects_proxy import Request, proxied
from market_data_pipeline_tests.places import environment_of, in_bucket
from market_data_pipeline_tests.support import NOON, MarketData, everything, flip_a_byte, parsed

pytestmark = pytest.mark.slow
SPOT = ("--market", "spot", "--pair", "BTC/USDT")
DAYS = ("--start", "2024-05-01", "--end", "2024-05-09")
REVISED = {"archive_differs": 1.0}


@pytest.fixture
def running() -> Iterator[RunningExchange]:
    with serve(SimulatedExchange(now=NOON, speed=0, weights=False)) as started:
        yield started


@pytest.fixture(params=["folder", "seaweedfs"])
def run(
    request: pytest.FixtureRequest, tmp_path: Path, running: RunningExchange, monkeypatch: pytest.MonkeyPatch
) -> MarketData:
    """The command line, with eight days that were loaded, and a snapshot of them."""
    made = MarketData(tmp_path / "root", running.url)
    if request.param == "seaweedfs":
        env = environment_of(request.getfixturevalue("seaweedfs"))
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        local = {"DAGSTER_HOME": str(tmp_path / "dagster"), "LOG_DIR": str(tmp_path / "logs")}
        made = MarketData(in_bucket(), running.url, env | local)
    assert made(*SPOT, "backfill", *DAYS).exit_code == 0
    snapshot = made("snapshot", "paper", "--json")
    assert snapshot.exit_code == 0, snapshot.output
    assert json.loads(snapshot.stdout)["chunks"] == 8
    return made


def as_of(run: MarketData) -> pa.Table:
    return open_dataset("BTC/USDT", market="spot", root=str(run.root), as_of="paper").to_arrow()


def revise(run: MarketData, running: RunningExchange) -> None:
    """Load all days again from an exchange that says other values."""
    running.exchange.faults = REVISED
    again = run(*SPOT, "backfill", *DAYS, "--refetch", "--source", "archive")
    running.exchange.faults = {}
    assert again.exit_code == 0, again.output
    assert "revised" in again.stdout


def require_good(run: MarketData, kept: int) -> None:
    proof = run("verify", "--snapshot", "paper", "--json")
    assert proof.exit_code == 0, proof.output
    _, told = parsed(proof.stdout)
    assert (told["ok"], told["read_chunks"], told["kept_chunks"]) == (True, 8, kept)


def test_values_that_the_exchange_revises(run: MarketData, running: RunningExchange) -> None:
    before = as_of(run)
    revise(run, running)
    now = open_dataset("BTC/USDT", market="spot", root=str(run.root)).to_arrow()
    assert now.num_rows == before.num_rows and not now.equals(before)
    assert as_of(run).equals(before)
    require_good(run, kept=8)
    assert run(*SPOT, "verify").exit_code == 0


def test_a_start_that_moves_and_new_days(run: MarketData, running: RunningExchange) -> None:
    before = as_of(run)
    assert run(*SPOT, "backfill", "--start", "2024-04-20", "--end", "2024-05-12").exit_code == 0
    assert as_of(run).equals(before)
    require_good(run, kept=0)
    revise(run, running)
    assert as_of(run).equals(before)
    require_good(run, kept=8)


def test_a_list_and_removing(run: MarketData, running: RunningExchange) -> None:
    revise(run, running)
    listed = run("snapshot")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["snapshot", "paper"]
    assert [each["name"] for each in json.loads(run("snapshot", "--json").stdout)] == ["paper"]
    for name in ("later", "last"):
        assert run("snapshot", name).exit_code == 0
    assert run("snapshot", "later", "--remove").stdout == "removed later alone; it kept no chunk that only it names\n"
    assert json.loads(run("snapshot", "last", "--remove", "--json").stdout)["removed_chunks"] == 0
    told = run("snapshot", "paper", "--remove").stdout
    assert told.startswith("removed paper and 8 kept chunks that no other snapshot names; ")
    assert told.endswith(" kB are free again\n")
    none = run("snapshot")
    assert (none.stdout, none.exit_code) == ("", 0) and "no snapshot" in none.stderr
    refused = run("verify", "--snapshot", "paper")
    assert refused.exit_code == 2 and "no snapshot 'paper' under" in refused.stderr


def test_mistakes_are_one_line(run: MarketData) -> None:
    for words, said in (
        (["snapshot", "paper"], "there is a snapshot paper already"),
        (["snapshot", "../x"], "no name of a snapshot"),
        (["snapshot", "--remove"], "--remove removes one snapshot; name it"),
        (["snapshot", "other", "--remove"], "no snapshot 'other'"),
        (["--market", "spot", "--pair", "ADA/USDT", "snapshot", "other"], "there is no spot ADA/USDT"),
        (["--universe", "mine", "snapshot", "other"], "no universe 'mine'"),
        (["verify", "--snapshot", "paper", "--repair"], "--snapshot goes with --json alone"),
        (["export", "--format", "csv", "--output", "out", "--as-of", "other"], "no snapshot 'other'"),
    ):
        refused = run(*words)
        assert (refused.exit_code, refused.stdout) == (2, ""), refused.output
        assert refused.stderr.startswith("error: ") and said in refused.stderr and refused.stderr.count("\n") == 1


@pytest.mark.parametrize("run", ["folder"], indirect=True)
def test_a_repair_keeps_no_damaged_chunk_and_restores_what_is_named(run: MarketData) -> None:
    before = as_of(run)
    [chunk] = run.root.glob("*/BTCUSDT/1m/chunks/*_2024-05-03.parquet")
    flip_a_byte(chunk)
    lost = run("verify", "--snapshot", "paper")
    assert lost.exit_code == 1 and "1 of 8 chunks gone or damaged, first 2024-05-03" in lost.stdout
    assert run(*SPOT, "verify", "--repair").exit_code == 0
    assert as_of(run).equals(before)
    require_good(run, kept=0)


@pytest.mark.parametrize("run", ["folder"], indirect=True)
def test_reading_a_snapshot_writes_nothing_into_the_store(run: MarketData, running: RunningExchange) -> None:
    revise(run, running)
    before = everything(run.root)
    as_of(run)
    assert everything(run.root) == before


# --- kills


@pytest.mark.parametrize("run", ["folder"], indirect=True)
@pytest.mark.parametrize("seed", range(2))
def test_killed_at_any_moment_of_a_revision(run: MarketData, running: RunningExchange, seed: int) -> None:
    before, draw = as_of(run), random.Random(seed)
    running.exchange.faults = REVISED
    load = *SPOT, "backfill", *DAYS, "--refetch", "--source", "archive"
    began_s = time.monotonic()
    assert run.run(*load).returncode == 0
    took_s = time.monotonic() - began_s
    for number in range(3):
        running.exchange.faults = {} if number % 2 == 0 else REVISED
        with run.start(*load) as process:
            time.sleep(took_s * draw.uniform(0.4, 1.0))
            process.kill()
        assert as_of(run).equals(before)
    running.exchange.faults = {}
    assert run.run(*load).returncode == 0
    assert as_of(run).equals(before)
    assert run("verify", "--snapshot", "paper").exit_code == 0
    assert run(*SPOT, "verify").exit_code == 0


WHERE: dict[str, Callable[[Request], bool]] = {
    "a chunk was kept": lambda request: request.method == "PUT" and "/kept/" in request.key,
    "a chunk was replaced": lambda request: request.method == "PUT" and "/chunks/" in request.key,
}


@pytest.mark.parametrize("run", ["seaweedfs"], indirect=True)
@pytest.mark.parametrize("where", WHERE)
def test_killed_between_keeping_and_replacing_in_a_bucket(
    run: MarketData, running: RunningExchange, seaweedfs: str, where: str
) -> None:
    before, struck = as_of(run), list[Any]()

    def kill(request: Request) -> bool:
        if WHERE[where](request) and not struck:
            struck.append(request)
            process.kill()
        return bool(struck)

    running.exchange.faults = REVISED
    load = *SPOT, "backfill", *DAYS, "--refetch", "--source", "archive"
    with proxied(seaweedfs) as proxy:
        process = run.start(*load, AWS_ENDPOINT_URL=proxy.url)
        proxy.loses = kill
        with process:
            process.communicate(timeout=120)
    assert struck and process.returncode != 0
    assert as_of(run).equals(before)
    assert run.run(*load).returncode == 0
    assert as_of(run).equals(before)
    require_good(run, kept=8)
    assert run(*SPOT, "verify").exit_code == 0
