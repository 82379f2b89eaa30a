"""`market-data live` as a process: what it prints, how it ends, and that nothing is lost when it is killed."""

import json
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from market_data_pipeline.reader import open_dataset
from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests.places import environment_of
from market_data_pipeline_tests.powerloss.object_server import serving
from market_data_pipeline_tests.servers import BUCKET
from market_data_pipeline_tests.stopping import IN_WINE, Running, interrupt, stop
from market_data_pipeline_tests.support import (
    PATIENCE,
    MarketData,
    Simulate,
    chunk_files,
    data_files,
    dataset_folder,
    klines_of,
    minutes,
    span,
    wait_until,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
# Ten minutes before midnight in Zurich.
EVENING = datetime(2024, 5, 15, 21, 50, 5, tzinfo=UTC)
ZURICH = ("--market", "spot", "--pair", "ETH/USDT", "--align-tz", "Europe/Zurich")
MadeOf = Callable[..., MarketData]
in_no_wine = pytest.mark.skipif(IN_WINE, reason="Wine ends a thread at Ctrl-Break, whatever handles it there")


@pytest.fixture
def fast(simulate: Simulate) -> RunningExchange:
    """An exchange on whose clock a minute passes each second; as many times as long where tests wait longer."""
    return simulate(now=EVENING, speed=60 / PATIENCE, weights=False)


def manifest_of(root: Path, market: str = "spot", token: str = "ETHUSDT") -> dict[str, dict[str, object]]:
    content = json.loads((dataset_folder(root, market, token) / "manifest.json").read_bytes())
    return {chunk["day"]: chunk for chunk in content["chunks"]}


def newest(root: Path) -> int:
    """Open time of the newest kline that a reader sees, ms UTC; 0 for none."""
    if not chunk_files(root):
        return 0
    klines = open_dataset("ETH/USDT", market="spot", root=root).to_arrow("2024-05-15T22:00Z", columns=["open_time"])
    return int(klines.column(0).cast("int64")[-1].as_py()) if klines.num_rows else 1


@pytest.mark.parametrize("end", [interrupt, pytest.param(stop, marks=in_no_wine)])
def test_it_follows_until_it_is_told_to_stop_and_the_manifest_is_written(
    fast: RunningExchange, market_data: MadeOf, monkeypatch: pytest.MonkeyPatch, end: Callable[[Running], None]
) -> None:
    tool, seen = market_data(fast), set[int]()

    def follows() -> bool:
        """Where it is slow, a load before the first minute stores some: so what is there has to grow again."""
        seen.add(newest(tool.root))
        return len(seen) > 4 and max(seen) > (EVENING + timedelta(minutes=15)).timestamp() * 1000

    with tool.start(*ZURICH, "live") as process:
        wait_until(lambda: follows() or process.poll() is not None)
        end(process)
        out, err = process.communicate(timeout=60 * PATIENCE)
    assert (process.returncode, out) == (0, ""), err
    assert " of 1 pair, slowest " in err
    assert "the manifest is written" in err
    assert "Traceback" not in err
    listed = manifest_of(tool.root)
    assert listed["2024-05-16"]["state"] == "provisional"
    assert max(int(str(chunk["last_open_time"])) for chunk in listed.values()) == newest(tool.root)
    verified = tool("verify")
    assert verified.exit_code == 0, verified.output
    monkeypatch.setenv("DAGSTER_HOME", str(tool.root / "dagster"))
    with dg.DagsterInstance.get() as it:
        recorded = it.get_materialized_partitions(dg.AssetKey(["binance", "ETHUSDT", "klines_1m"]))
    assert recorded == set(listed)


def test_killed_at_random_moments_it_goes_on_and_the_day_is_that_of_a_backfill(
    fast: RunningExchange, market_data: MadeOf, tmp_path: Path
) -> None:
    tool, dice = market_data(fast), random.Random(7)
    for _ in range(6):
        before = newest(tool.root)
        with tool.start(*ZURICH, "live") as process:
            wait_until(lambda before=before: newest(tool.root) > before)
            time.sleep(dice.uniform(0, 3))
            process.kill()
    wait_until(lambda: fast.exchange.clock.now() > EVENING + timedelta(minutes=25))
    ended = tool.run(*ZURICH, "live", "--minutes", "8")
    assert ended.returncode == 0, ended.stderr
    # The day that is over is confirmed by a run on the way.
    assert manifest_of(tool.root)["2024-05-15"]["state"] == "confirmed"
    other = MarketData(tmp_path / "other", fast.url)
    loaded = other(*ZURICH, "backfill", "--start", "2024-05-15", "--end", "2024-05-16")
    assert loaded.exit_code == 0, loaded.output
    assert chunk_files(tool.root)["2024-05-15"].read_bytes() == chunk_files(other.root)["2024-05-15"].read_bytes()
    today = klines_of(chunk_files(tool.root)["2024-05-16"]).column("open_time").to_pylist()
    assert today == minutes(span("2024-05-15T22:00", "2024-05-16T22:00"))[: len(today)]
    assert tool("verify").exit_code == 0


def test_only_one_process_follows_a_dataset(fast: RunningExchange, market_data: MadeOf) -> None:
    tool = market_data(fast)
    with tool.start(*ZURICH, "live") as process:
        wait_until(lambda: (dataset_folder(tool.root, "spot", "ETHUSDT") / ".live.json").exists())
        other = tool.run(*ZURICH, "live", "--minutes", "1")
        process.kill()
    assert other.returncode == 2
    assert f"is followed by market-data live (process {process.pid} on " in other.stderr
    assert len(other.stderr.splitlines()) == 1


def test_where_the_killed_one_was_in_a_bucket_the_next_one_waits_until_its_rights_have_ended(
    fast: RunningExchange, tmp_path: Path
) -> None:
    """As a service that is started again after ten seconds, and not after it has ended with code 2."""
    local = {"DAGSTER_HOME": str(tmp_path / "dagster"), "LOG_DIR": str(tmp_path / "logs")}
    with serving() as server:
        tool = MarketData(f"s3://{BUCKET}/klines", fast.url, environment_of(server.url) | local)
        with tool.start(*ZURICH, "live") as process:
            wait_until(lambda: any("/.live.json" in key for key in server.objects()) or process.poll() is not None)
            process.kill()
        sessions = {key: content for key, content in server.objects().items() if "/.sessions/" in key}
        server.restore(sessions, ago_s=55)
        ended = tool.run(*ZURICH, "live", "--minutes", "1")
    assert ended.returncode == 0, ended.stderr
    assert f"warning: spot ETH/USDT is followed by market-data live (process {process.pid} on " in ended.stderr
    assert "waiting 66 s at most, in which its right ends if it was killed" in ended.stderr


def test_all_datasets_that_are_marked_are_followed_on_both_markets(fast: RunningExchange, market_data: MadeOf) -> None:
    tool = market_data(fast)
    for market in ("spot", "futures"):
        window = ("--start", "2024-05-15T21:00Z", "--end", "2024-05-15T21:25Z")
        assert tool("--market", market, "backfill", *window).exit_code == 0
        marked = tool("--market", market, "live", "--mark")
        assert f"{market} BTC/USDT is marked live" in marked.output
        assert "loads what is missing since 2024-05-15T2" in marked.output
    ended = tool.run("live", "--minutes", "3")
    assert ended.returncode == 0, ended.stderr
    assert "followed 2 datasets" in ended.stderr
    status = json.loads(tool("status", "--json").output)
    assert [(each["market"], each["live"]) for each in status] == [("spot", True), ("futures", True)]
    assert all(each["newest_kline"] > "2024-05-15T21:50" for each in status)
    of_spot = tool.run("--market", "spot", "live", "--minutes", "1", SYMBOL="ETH/USDT")
    assert of_spot.returncode == 0, of_spot.stderr
    assert "followed 1 dataset" in of_spot.stderr
    assert len(json.loads(tool("status", "--json").output)) == 2
    assert "other datasets keep their marks" in tool("--market", "spot", "live", "--unmark").output
    assert [each["live"] for each in json.loads(tool("status", "--json").output)] == [False, True]


def test_what_cannot_be_followed_is_said_in_a_line(fast: RunningExchange, market_data: MadeOf) -> None:
    tool = market_data(fast)
    unknown = tool("--pair", "NOSUCH/USDT", "--strict-pair", "live", "--minutes", "1")
    assert unknown.exit_code == 2
    assert data_files(tool.root) == {}
    unmarked = tool("--pair", "ETH/USDT", "live", "--mark")
    assert unmarked.exit_code == 2
    assert tool("live", "--minutes", "0").exit_code == 2
