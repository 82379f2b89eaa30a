"""`combine`, `live` and `health` of several pairs: one hides no other, and wrong input is one line."""

import io
import json
import sys
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest
from rich.console import Console

from market_data_pipeline.cli.console import plain_console
from market_data_pipeline.cli.live_table import LiveTable
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.live.dataset import Update
from market_data_pipeline.instance import runs
from market_data_pipeline_tests.cli.test_bulk import of, universe
from market_data_pipeline_tests.simulator.scenarios import scenario_exchange
from market_data_pipeline_tests.support import MarketData, data_files, everything, flip_a_byte, parsed

pytestmark = pytest.mark.slow
MadeOf = Callable[..., MarketData]
PAIRS = ["P0/USDT", "P1/USDT", "P2/USDT"]
SCENARIO: dict[str, Any] = {
    "now": "2024-05-06T12:00:05Z",
    "futures": {pair.replace("/", ""): {"first": "2024-04-01T00:00Z"} for pair in PAIRS},
}
WINDOW = ("--start", "2024-05-01", "--end", "2024-05-03")


@pytest.fixture
def run(market_data: MadeOf) -> Iterator[MarketData]:
    with scenario_exchange(SCENARIO, weights=False) as exchange:
        yield market_data(exchange)


@pytest.fixture
def loaded(run: MarketData) -> MarketData:
    done = run(*of(*PAIRS), "backfill", *WINDOW)
    assert done.exit_code == 0, done.output
    return run


def test_combine_writes_each_file_in_one_run_and_a_damaged_dataset_hides_no_other(loaded: MarketData) -> None:
    universe(loaded, market="futures", pairs=["P*"])
    built = loaded("--universe", "mine", "combine")
    assert built.exit_code == 0, built.output
    assert [line.split()[1:4] for line in built.stdout.splitlines()[1:4]] == [
        [pair, "built", "2,880"] for pair in PAIRS
    ]
    with runs.open_instance(loaded.root / "dagster") as instance:
        assert [each.job_name for each in instance.get_runs()] == ["combine", "load"]
    alone = loaded(*of("P0/USDT"), "combine")
    assert alone.exit_code == 0 and "unchanged" in alone.stdout

    [chunk] = loaded.root.glob("*/P1USDT/1m/chunks/*_2024-05-02.parquet")
    flip_a_byte(chunk)
    for path in loaded.root.glob("*/*/1m/combined/*.parquet"):
        path.unlink()
    again = loaded(*of("P*"), "combine")
    assert again.exit_code == 1, again.output
    assert "3 pairs: 2 good, 1 failed" in again.stdout
    assert "failed    futures P1/USDT: " in again.stdout
    assert len(list(loaded.root.glob("*/*/1m/combined/*.parquet"))) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="a link needs a right that users do not have")
def test_a_dataset_that_the_disk_lets_nobody_read_keeps_no_other_from_combine(loaded: MarketData) -> None:
    [chunks] = loaded.root.glob("*/P0USDT/1m/chunks")
    chunks.rename(chunks.with_name("elsewhere"))
    chunks.symlink_to(chunks)
    done = loaded(*of("P*"), "combine")
    assert done.exit_code == 3, done.output
    assert "3 pairs: 2 good, 1 failed" in done.stdout
    assert f"failed    futures P0/USDT: Too many levels of symbolic links: {chunks}" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="a link needs a right that users do not have")
@pytest.mark.parametrize("command", ["status", "verify"])
def test_a_dataset_that_the_disk_lets_nobody_read_hides_no_other(loaded: MarketData, command: str) -> None:
    [chunks] = loaded.root.glob("*/P0USDT/1m/chunks")
    chunks.rename(chunks.with_name("elsewhere"))
    chunks.symlink_to(chunks)
    said = f"futures P0/USDT: Too many levels of symbolic links: {chunks}"
    for words in (of("P*"), of(*PAIRS), ("--market", "futures"), ()):
        done = loaded(*words, command)
        assert done.exit_code == 3, done.output
        assert [line for line in done.stderr.splitlines() if line.startswith(f"failed: {said}; ")] == [
            done.stderr.strip()
        ]
        assert "P1/USDT" in done.stdout and "P2/USDT" in done.stdout
    alone = loaded(*of("P0/USDT"), command)
    assert (alone.exit_code, alone.stdout) == (3, "")
    assert alone.stderr.startswith("error: Too many levels")
    events, result = parsed(loaded(*of("P*"), command, "--json").stdout)
    [failed] = [event for event in events if event["event"] == "failed"]
    assert failed["dataset"] == "futures P0/USDT" and failed["error"] in f"{alone.stderr}"
    assert [each["pair"] for each in result] == ["P1/USDT", "P2/USDT"]


def test_a_dataset_that_cannot_be_repaired_keeps_no_other_from_repair(loaded: MarketData) -> None:
    assert loaded(*of("P0/USDT"), "combine").exit_code == 0
    [combined] = loaded.root.glob("*/P0USDT/1m/combined/*.parquet")
    flip_a_byte(combined)
    lock = combined.parents[1] / ".combine.lock"
    lock.unlink()
    lock.mkdir()
    [chunk] = loaded.root.glob("*/P1USDT/1m/chunks/*_2024-05-01.parquet")
    chunk.unlink()
    done = loaded(*of("P*"), "verify", "--repair")
    assert done.exit_code == 1, done.output
    [line] = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert line.startswith("failed: futures P0/USDT: ") and ".combine.lock" in line
    assert chunk.exists()
    assert "futures P1/USDT  good" in done.stdout


@pytest.mark.parametrize("command", ["status", "verify"])
def test_a_damaged_dataset_hides_no_other(loaded: MarketData, command: str) -> None:
    [damaged] = loaded.root.glob("*/P0USDT/1m/dataset.json")
    damaged.write_text("{")
    done = loaded(command)
    assert done.exit_code == 1, done.output
    [line] = done.stderr.splitlines()
    assert line.startswith(f"failed: binanceusdm/P0USDT: {damaged} is damaged")
    assert "P1/USDT" in done.stdout and "P2/USDT" in done.stdout


def test_combine_of_several_pairs_names_each_that_has_nothing_there_once(loaded: MarketData) -> None:
    done = loaded(*of("P*"), "combine", "--from-index", "900000")
    assert done.exit_code == 1, done.output
    what = "has no chunks to combine there; see market-data status, or run backfill first"
    said = [line for line in done.stdout.splitlines() if "no chunks" in line]
    assert said == [f"  failed    futures {pair} {what}" for pair in PAIRS]


@pytest.mark.parametrize("pairs", [PAIRS, PAIRS[:1]])
def test_combine_refuses_indexes_that_cannot_be_before_anything(loaded: MarketData, pairs: list[str]) -> None:
    before = everything(loaded.root)
    for indexes, said in (
        (("--from-index", "5", "--to-index", "3"), "from index 5 is after to index 3; give the smaller one first"),
        (("--from-index", "0"), "0 is the index of no chunk; the first one is 1"),
        (("--to-index", "-3"), "-3 is the index of no chunk; the first one is 1"),
    ):
        done = loaded(*of(*pairs), "combine", *indexes)
        assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"error: {said}\n")
    assert everything(loaded.root) == before


@pytest.mark.parametrize("command", [["backfill"], ["backfill", "--plan"]])
def test_a_pair_that_failed_is_named_once_in_its_line(run: MarketData, command: list[str]) -> None:
    done = run(*of(*PAIRS[:2]), *command, "--start", "2024-03-01", "--end", "2024-03-03")
    said = [line for line in done.output.splitlines() if "none in the requested window" in line and "failed" in line]
    assert [line.count("P0/USDT") for line in said if "P0/USDT" in line] == [1], done.output


def test_live_follows_several_pairs_and_names_one_that_cannot_be(market_data: MadeOf) -> None:
    with scenario_exchange({**SCENARIO, "now": "2024-05-06T12:00:55Z"}, speed=30, weights=False) as exchange:
        run = market_data(exchange)
        done = run(*of("P0/USDT", "NOPE/USDT", "P1/USDT"), "live", "--minutes", "1")
    assert done.exit_code == 1, done.output
    assert "futures NOPE/USDT is not followed: futures does not list NOPE/USDT" in done.stderr
    assert "followed 2 datasets for " in done.stderr
    stored = json.loads(run("status", "--json").stdout)
    assert [each["pair"] for each in stored] == ["P0/USDT", "P1/USDT"]
    assert all(each["rows"] > 700 for each in stored)


def test_live_marks_several_pairs(loaded: MarketData) -> None:
    marked = loaded(*of("P*", "!P2*"), "live", "--mark")
    assert marked.exit_code == 0, marked.output
    assert "live      from now on: P0/USDT, P1/USDT" in marked.stdout
    assert "2 datasets were so before" in loaded(*of("P0/USDT", "P1/USDT"), "live", "--mark").stdout
    unmarked = loaded(*of("P*"), "live", "--unmark")
    assert "not live  from now on: P0/USDT, P1/USDT" in unmarked.stdout
    assert not any(each["live"] for each in json.loads(loaded("status", "--json").stdout))


def test_health_of_several_pairs_sums_them_up(loaded: MarketData) -> None:
    def signs(*words: str) -> dict[str, tuple[bool, str]]:
        done = loaded(*words, "health", "--json")
        found = {sign["name"]: (sign["ok"], sign["detail"]) for sign in json.loads(done.stdout)}
        assert done.exit_code == (0 if all(ok for ok, _ in found.values()) else 1)
        return found

    good = signs(*of("P*"))
    assert good["datasets"] == (True, "3 of 3 pairs are stored")
    assert good["pairs"] == (True, "3 of 3 pairs are traded on futures")
    bad = signs(*of("P0/USDT", "NOPE/USDT", "P1/USDT"))
    assert bad["pairs"] == (False, "futures does not list NOPE/USDT")
    loaded(*of("P0/USDT", "P1/USDT"), "live", "--mark")
    assert not signs(*of("P*"))["live"][0]  # days behind
    assert "live" not in signs(*of("P2/USDT", "NOPE/USDT"))


@pytest.mark.parametrize(
    "command", [["combine"], ["live", "--minutes", "1"], ["live", "--mark"], ["health"], ["verify"]]
)
@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--universe", "yours"], "no universe 'yours'"),
        (of("Q*"), "'Q*' matches no pair"),
        (of("P0/USDT", "P0USDT"), "named twice"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    run: MarketData, command: list[str], words: list[str], problem: str
) -> None:
    refused = run(*words, *command)
    assert (refused.exit_code, refused.stdout) == (2, ""), refused.output
    [line] = refused.stderr.splitlines()
    assert problem in line
    assert everything(run.root) == {}


def test_a_pair_that_is_not_stored_is_refused_before_anything_is_written(loaded: MarketData) -> None:
    before = data_files(loaded.root)
    for command in (["combine"], ["live", "--mark"], ["verify"]):
        refused = loaded(*of("P0/USDT", "P9/USDT"), *command)
        assert refused.exit_code == 2, refused.output
        assert "there is no futures P9/USDT" in refused.stderr and len(refused.stderr.splitlines()) == 1
    assert data_files(loaded.root) == before


class _Market:
    """What the table asks of a live market."""

    market, clock_offset_ms = Market.FUTURES, 0

    def now_ms(self) -> int:
        return 1_000_700


def test_the_live_table_of_500_pairs_has_the_sum_and_those_with_a_problem() -> None:
    zone, start = parse_zone("UTC"), date(2024, 5, 1)
    datasets = [Dataset(Market.FUTURES, f"N{number}/USDT", zone, start) for number in range(500)]
    console = Console(file=io.StringIO(), width=200, height=40, force_terminal=True, color_system=None)
    table, market = LiveTable(datasets, console), _Market()
    for number, dataset in enumerate(datasets):
        error = "it broke" if number == 321 else None
        table.on_update(market, 1_000_000, Update(dataset.name, 940_000, added=0 if error else 1, error=error))  # type: ignore[arg-type]
    with table:
        lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) < 40
    assert "all 500 pairs: 499 klines, slowest 0.70 s, 1 failed" in "\n".join(lines)
    [header] = [number for number, line in enumerate(lines) if "newest kline" in line]
    assert "N321/USDT" in lines[header + 1] and "it broke" in lines[header + 1]


@pytest.mark.parametrize("columns", [50, 80])
def test_the_live_table_says_all_of_a_long_problem_also_in_a_narrow_and_low_terminal(columns: int) -> None:
    datasets = [Dataset(Market.FUTURES, f"N{number}/USDT", parse_zone("UTC"), date(2024, 5, 1)) for number in range(25)]
    console = plain_console(
        file=io.StringIO(), width=columns, height=24, force_terminal=True, color_system=None, soft_wrap=True
    )
    table, market = LiveTable(datasets, console), _Market()
    error = "the exchange says something long about this pair that nobody has expected; wait for the END-OF-ERROR"
    table.on_update(market, 1_000_000, Update(datasets[7].name, 960_000, error=error))  # type: ignore[arg-type]
    table.on_trouble(
        "Dagster takes no events: the database is locked; end the process that holds it, then END-OF-TROUBLE"
    )
    with table:
        lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= columns + 20, lines  # with what moves the cursor
    assert "END-OF-TROUBLE" in "\n".join(lines) and "END-OF-ERROR" in "\n".join(lines), lines
    assert any("N7/USDT" in line and "1970-01-01T00:16Z" in line for line in lines), lines
