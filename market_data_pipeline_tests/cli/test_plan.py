"""`--plan` tells what a load takes, within a tenth of what the exchange then counts, and writes nothing."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests.cli.test_bulk import of, universe
from market_data_pipeline_tests.simulator.scenarios import scenario_exchange
from market_data_pipeline_tests.support import STATE_VARIABLES, MarketData, Simulate, chunk_files, flip_a_byte

GONE = {"first": "2024-01-03T00:00Z", "last": "2024-04-28T11:59Z", "hidden": True, "unlisted": True}
HALTED = {"first": "2024-01-03T00:00Z", "gaps": [["2024-04-25T00:00Z", "2024-04-27T00:00Z"]]}
PAIRS: dict[str, Any] = {
    "OLDUSDT": {"first": "2023-01-03T00:00Z"},
    "NEWUSDT": {"first": "2024-04-20T05:30Z"},
    "GONEUSDT": GONE,
    "HALTUSDT": HALTED,
}
SCENARIO: dict[str, Any] = {"now": "2024-05-01T12:00:05Z", "spot": PAIRS, "futures": PAIRS}
AREAS = ("spot", "futures", "archive", "listing")


@pytest.fixture
def running() -> Iterator[RunningExchange]:
    with scenario_exchange(SCENARIO) as exchange:
        yield exchange


@pytest.fixture
def run(market_data: Callable[..., MarketData], running: RunningExchange) -> MarketData:
    return market_data(running)


def tree(root: Path) -> dict[str, bytes | None]:
    """Every path under the data root, with the bytes of files; not the logs, where a load before still counts."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
        if "logs" not in path.parts
    }


def counted(running: RunningExchange) -> dict[str, int]:
    """What the exchange has served so far."""
    areas = [running.exchange.stats()[area] for area in AREAS]
    return {name: sum(area[of] for area in areas) for name, of in COUNTED.items()}


COUNTED = {"requests": "requests", "weight": "weight", "download_bytes": "bytes"}


def stored_bytes(before: dict[Path, bytes], root: Path) -> int:
    """The size of all chunks that are new or other than before."""
    after = {path: path.read_bytes() for path in root.glob("*/*/1m/chunks/*.parquet")}
    return sum(len(content) for path, content in after.items() if before.get(path) != content)


def plan_and_load(run: MarketData, running: RunningExchange, *words: str) -> tuple[dict[str, Any], dict[str, int]]:
    """What the plan says of the sum, and what the same command then took."""
    before = tree(run.root)
    planned = run(*words, "--plan", "--json")
    assert tree(run.root) == before, "a plan writes nothing"
    total = json.loads(planned.stdout)["total"]
    chunks = {path: path.read_bytes() for path in run.root.glob("*/*/1m/chunks/*.parquet")}
    started = counted(running)
    loaded = run(*words)
    assert loaded.exit_code == planned.exit_code, loaded.output
    took = {name: count - started[name] for name, count in counted(running).items()}
    return total, {**took, "stored_bytes": stored_bytes(chunks, run.root)}


def assert_within_a_tenth(total: dict[str, Any], took: dict[str, int]) -> None:
    said = {name: total[name] for name in took}
    off = {name: (said[name], took[name]) for name in took if abs(said[name] - took[name]) > 0.1 * took[name]}
    assert not off, f"(planned, took): {off}"


@pytest.mark.slow
@pytest.mark.parametrize("source", ["auto", "rest", "archive"])
@pytest.mark.parametrize("market", ["spot", "futures"])
def test_one_pair_takes_what_its_plan_says(run: MarketData, running: RunningExchange, market: str, source: str) -> None:
    words = ("--market", market, *of("OLD/USDT"), "backfill", "--source", source, "--start", "2024-04-18")
    until = () if source != "archive" else ("--end", "2024-05-01")
    assert_within_a_tenth(*plan_and_load(run, running, *words, *until))


@pytest.mark.slow
@pytest.mark.parametrize("market", ["spot", "futures"])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_a_partly_loaded_store_takes_what_is_missing(
    run: MarketData, running: RunningExchange, market: str, zone: str
) -> None:
    pair = ("--market", market, "--align-tz", zone, *of("OLDUSDT"), "backfill")
    assert run(*pair, "--start", "2024-04-20", "--end", "2024-04-23").exit_code == 0
    total, took = plan_and_load(run, running, *pair, "--start", "2024-04-18", "--end", "2024-04-26")
    assert_within_a_tenth(total, took)
    assert total["days"] == {"to load": 5, "unchanged": 3}
    total, took = plan_and_load(run, running, *pair, "--start", "2024-04-18", "--end", "2024-04-26")
    assert (total["days"], total["stored_bytes"], took["stored_bytes"]) == ({"unchanged": 8}, 0, 0)
    assert_within_a_tenth(total, took)
    total, took = plan_and_load(run, running, *pair, "--start", "2024-04-18", "--end", "2024-04-26", "--refetch")
    assert total["days"] == {"to load": 8}
    took.pop("stored_bytes")  # the same chunks
    assert_within_a_tenth({**total}, took)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["auto", "rest"])
@pytest.mark.parametrize("market", ["spot", "futures"])
def test_a_universe_with_a_dead_pair_takes_what_its_plan_says(
    run: MarketData, running: RunningExchange, market: str, source: str
) -> None:
    pairs = ["*/USDT", "!BTC*", "!ETH*"] if source == "auto" else ["OLD*", "NEW*", "HALT*"]
    universe(run, market=market, pairs=pairs, start="2024-04-12", source=source)
    total, took = plan_and_load(run, running, "universe", "apply", "mine")
    assert_within_a_tenth(total, took)


@pytest.mark.slow
def test_minutes_that_are_known_to_be_absent_are_asked_about_again(run: MarketData, running: RunningExchange) -> None:
    words = ("--market", "spot", *of("HALT/USDT"), "backfill", "--start", "2024-04-22", "--end", "2024-04-29")
    total, took = plan_and_load(run, running, *words)
    assert_within_a_tenth(total, took)
    total, took = plan_and_load(run, running, *words, "--refetch")
    took.pop("stored_bytes")
    assert_within_a_tenth(total, took)


def test_a_plan_keeps_no_budget_under_the_data_root(
    run: MarketData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    for name in STATE_VARIABLES:
        monkeypatch.setenv(name, str(tmp_path / "state"))
    planned = run(*of("OLD/USDT"), "backfill", "--start", "2024-05-01", "--plan")
    assert planned.exit_code == 0, planned.output
    assert not run.root.exists()


@pytest.mark.slow
def test_a_damaged_chunk_is_in_the_plan_and_stays_as_it_is(run: MarketData, running: RunningExchange) -> None:
    words = ("--market", "spot", *of("OLD/USDT"), "backfill", "--start", "2024-04-22", "--end", "2024-04-25")
    assert run(*words).exit_code == 0
    flip_a_byte(chunk_files(run.root)["2024-04-23"])
    total, took = plan_and_load(run, running, *words)
    assert total["days"] == {"to load": 1, "unchanged": 2}
    assert_within_a_tenth(total, took)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["auto", "rest"])
def test_real_klines_take_what_their_plan_says(
    market_data: Callable[..., MarketData], simulate: Simulate, real_archive: Path, source: str
) -> None:
    running = simulate(archive_dir=real_archive, now=datetime(2023, 11, 14, 12, tzinfo=UTC), weights=False)
    words = ("--market", "futures", *of("FIL/USDT"), "backfill", "--source", source)
    run = market_data(running)
    assert_within_a_tenth(*plan_and_load(run, running, *words, "--start", "2023-11-01", "--end", "2023-11-11"))


def test_the_table_names_each_pair_the_sum_and_what_the_time_is_made_of(run: MarketData) -> None:
    done = run(*of("OLD/USDT", "NEW/USDT", "NOPE/USDT"), "backfill", "--start", "2024-04-30", "--plan")
    assert done.exit_code == 1
    assert not run.root.exists()
    lines = {line.split("  ")[0]: line for line in done.stdout.splitlines()}
    assert {"futures OLD/USDT", "futures NEW/USDT", "all"} <= lines.keys()
    assert "2 to load" in lines["futures OLD/USDT"] and "4 to load" in lines["all"]
    assert "failed    futures NOPE/USDT: futures does not list NOPE/USDT" in done.stdout
    assert "at 2,280 a minute" in done.stdout and "nothing was written" in done.stdout


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--universe", "yours", "backfill", "--plan"], "no universe"),
        ([*of("Q*"), "backfill", "--plan"], "'Q*' matches no pair"),
        ([*of("OLD/USDT", "OLDUSDT"), "backfill", "--plan"], "named twice"),
        ([*of("OLD/USDT"), "backfill", "--plan", "--start", "2018-01-01", "--end", "2019-01-01"], "has klines from"),
        ([*of("OLD/USDT", "NEW/USDT"), "backfill", "--end", "2019-02-01", "--start", "2019-01-01"], "has klines from"),
        (["universe", "apply", "yours", "--plan"], "no universe"),
        (["universe", "apply", "yours", "--json"], "no universe"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(run: MarketData, words: list[str], problem: str) -> None:
    refused = run(*words)
    assert (refused.exit_code, refused.stdout) == (2, ""), refused.output
    [line] = refused.stderr.splitlines()
    assert problem in line
    assert not run.root.exists()
