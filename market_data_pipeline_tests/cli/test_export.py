"""`export` on the command line: a table or JSON, one line for a mistake, exit codes."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from market_data_pipeline_tests.cli.test_bulk import of, universe
from market_data_pipeline_tests.reader.exporting.stores import make
from market_data_pipeline_tests.simulator.scenarios import scenario_exchange
from market_data_pipeline_tests.support import MarketData, everything, flip_a_byte, parsed, without_progress

pytestmark = pytest.mark.slow
PAIRS = ["P0/USDT", "P1/USDT"]
SCENARIO: dict[str, Any] = {
    "now": "2024-05-06T12:00:05Z",
    "futures": {pair.replace("/", ""): {"first": "2024-04-01T00:00Z"} for pair in PAIRS},
}


@pytest.fixture
def loaded(market_data: Callable[..., MarketData]) -> Iterator[MarketData]:
    with scenario_exchange(SCENARIO, weights=False) as exchange:
        run = market_data(exchange)
        done = run(*of(*PAIRS), "backfill", "--start", "2024-05-01", "--end", "2024-05-03")
        assert done.exit_code == 0, done.output
        yield run


def test_a_table_says_what_was_written(loaded: MarketData) -> None:
    output = loaded.root.parent / "out"
    done = loaded(*of("P*"), "export", "--format", "nautilus", "--output", output)
    assert done.exit_code == 0, done.output
    rows = [line.split() for line in done.stdout.splitlines()[1:3]]
    assert [row[:4] for row in rows] == [[pair, "2,880", "2024-05-01T00:00Z", "2024-05-02T23:59Z"] for pair in PAIRS]
    assert f"2 files in {output}" in done.stdout
    assert "note      P0/USDT: an instrument needs price_precision" in done.stdout
    assert without_progress(done.stderr) == ""


def test_json_names_every_file(loaded: MarketData) -> None:
    universe(loaded, market="futures", pairs=["P*"])
    output = loaded.root.parent / "out"
    window = "--start", "2024-05-01T12:00", "--end", "2024-05-02"
    done = loaded("--universe", "mine", "export", "--format", "parquet", "--output", output, *window, "--json")
    assert done.exit_code == 0, done.output
    _, told = parsed(done.stdout)
    assert (told["market"], told["format"], told["ok"], told["rows"]) == ("futures", "parquet", True, 1440)
    assert [each["pair"] for each in told["pairs"]] == PAIRS
    for each in told["pairs"]:
        assert (each["first"], each["last"], each["rows"]) == ("2024-05-01T12:00Z", "2024-05-01T23:59Z", 720)
        assert [pq.read_metadata(path).num_rows for path in each["files"]] == [720]


def test_a_panel_of_a_universe(loaded: MarketData) -> None:
    output = loaded.root.parent / "out"
    panel = "--panel", "wide", "--column", "close", "--column", "volume"
    done = loaded(*of("P*"), "export", "--format", "parquet", "--output", output, *panel)
    assert done.exit_code == 0, done.output
    assert pq.read_table(output / "binanceusdm" / "panel_1m_wide.parquet").column_names == [
        "open_time",
        *(f"{name}_{pair}" for name in ("close", "volume") for pair in PAIRS),
    ]


def test_mistakes_are_one_line_and_exit_code_2(loaded: MarketData) -> None:
    output = loaded.root.parent / "out"
    for words, said in (
        (["--format", "xlsx"], "no such format"),
        (["--format", "csv", "--output", "s3://bucket/klines"], "cannot export to s3://bucket/klines; give a folder"),
        (["--format", "csv", "--start", "yesterday"], "yesterday"),
        (["--format", "lean", "--panel", "long"], "panels and columns are for csv and parquet"),
    ):
        refused = loaded(*of("P*"), "export", "--output", output, *words)
        assert refused.exit_code == 2, refused.output
        assert refused.stderr.startswith("error: ") and said in refused.stderr and refused.stderr.count("\n") == 1
    without = loaded(*of("P*"), "export", "--output", output)
    assert without.exit_code == 2
    said = "Missing option '--format'; give one of csv, parquet, feather-freqtrade, lean, nautilus"
    assert said in re.sub(r"[\s│]+", " ", without.stderr)
    assert loaded(*of("P0/USDT"), "export", "--format", "csv", "--output", output).exit_code == 0
    again = loaded(*of("P0/USDT"), "export", "--format", "csv", "--output", output)
    assert again.exit_code == 2 and "is there already; give --overwrite" in again.stderr
    assert loaded(*of("P0/USDT"), "export", "--format", "csv", "--output", output, "--overwrite").exit_code == 0


def test_a_damaged_pair_is_exit_code_1_and_the_others_are_written(loaded: MarketData) -> None:
    output = loaded.root.parent / "out"
    [chunk] = loaded.root.glob("*/P0USDT/1m/chunks/*_2024-05-02.parquet")
    flip_a_byte(chunk)
    done = loaded(*of("P*"), "export", "--format", "csv", "--output", output)
    assert done.exit_code == 1, done.output
    assert "failed    futures P0/USDT" in done.stdout and "verify --repair" in done.stdout, done.stdout
    assert [name for name in everything(output) if name.endswith(".csv")] == ["binanceusdm/P1USDT_1m.csv"]


def test_pairs_whose_days_are_of_different_zones_are_warned_of_on_stderr(tmp_path: Path) -> None:
    run = MarketData(tmp_path / "root", "")
    for pair, zone in (("BTC/USDT", "UTC"), ("ETH/USDT", "+02:00")):
        make(run.root, pair, tz=zone)
    out = tmp_path / "out"
    words = ("export", "--format", "csv", "--output", out, "--start", "2024-03-31", "--json")
    done = run("--market", "spot", *of("*"), *words)
    assert done.exit_code == 0, done.output
    [warning] = parsed(done.stdout)[1]["warnings"]
    assert "different zones: +02:00 (ETH/USDT), UTC (BTC/USDT)" in warning
    assert done.stderr == f"WARNING {warning}\n"
