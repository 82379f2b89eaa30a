"""The command line: what it prints, its exit codes, and what it leaves on disk."""

import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from starlette.responses import Response
from typer.testing import Result

from market_data_pipeline.cli.outcome import EXIT_CODES
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.store.chunks.files import new_chunk
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.settings import Settings
from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.queries import RequestInfo
from market_data_pipeline.simulator.server import RunningExchange, serve
from market_data_pipeline_tests.support import (
    CHECKOUT,
    NOON,
    STATE_VARIABLES,
    MarketData,
    Simulate,
    at,
    chunk_files,
    counted,
    data_files,
    dataset_folder,
    everything,
    flip_a_byte,
    is_page,
    parsed,
    quarantined,
    record,
    rows_by_day,
    without_progress,
)
from market_data_pipeline_tests.terminals import in_terminal

SPOT = ("--market", "spot")
THREE_DAYS = ("--start", "2024-05-10", "--end", "2024-05-13")
Start = Callable[..., MarketData]


@pytest.fixture
def running(simulate: Simulate) -> RunningExchange:
    return simulate()


@pytest.fixture
def exchange(running: RunningExchange) -> SimulatedExchange:
    return running.exchange


@pytest.fixture
def run(market_data: Start, running: RunningExchange) -> MarketData:
    return market_data(running)


@pytest.fixture(scope="module")
def three_days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with three whole days of spot BTC/USDT."""
    root = tmp_path_factory.mktemp("three_days") / "root"
    with serve(SimulatedExchange(now=NOON, speed=0)) as running:
        assert MarketData(root, running.url).run(*SPOT, "backfill", *THREE_DAYS).returncode == 0
    return root


@pytest.fixture
def loaded(run: MarketData, three_days: Path) -> MarketData:
    """The same three days, in a data root of the test's own."""
    shutil.copytree(three_days, run.root)
    return run


def folder(run: MarketData) -> Path:
    return dataset_folder(run.root, "spot", "BTCUSDT")


def assert_refused(result: "Result | subprocess.CompletedProcess[str]", *words: str, code: int = 2) -> None:
    ended_with = result.exit_code if isinstance(result, Result) else result.returncode
    assert (ended_with, result.stdout) == (code, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


# --- what cannot be done: one line, exit code 2 for wrong usage, 3 for what may work later, 1 for damage


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--pair", "NOPE/USDT", "--strict-pair", "backfill"], ["spot does not list NOPE/USDT"]),
        (["--pair", "NOPE/USDT", "backfill", "--strict-pair"], ["spot does not list NOPE/USDT"]),
        (["--pair", "BTC-USDT", "backfill"], ["'BTC-USDT'", "BASE/QUOTE"]),
        (["--pair", "BTCU/SDT", "backfill"], ["there is no BTCU/SDT: BTCUSDT is BTC/USDT; write BTC/USDT or BTCUSDT"]),
        (["--pair", "BTC/USDT:USDT", "backfill"], ["futures contract; write BTC/USDT, or choose the market futures"]),
        (["--market", "margin", "backfill"], ["'margin'", "spot or futures"]),
        (["--align-tz", "Europe/Zürich", "backfill"], ["'Europe/Zürich'", "Europe/Zurich"]),
        (["--align-tz", "+25:00", "backfill"], ["'+25:00'", "-12:00 and +14:00"]),
        (["backfill", "--start", "2024-05-10", "--end", "2024-05-10"], ["is not after the start", "give a later end"]),
        (["backfill", "--start", "2024-05-10", "--end", "2024-05-01"], ["is not after the start", "give a later end"]),
        (["backfill", "--end", "2019-01-01"], ["is not after the start", "give a later end"]),
        (["backfill", "--start", "2024-05-16"], ["2024-05-16", "in the future", "give an earlier start"]),
        (["backfill", "--start", "yesterday"], ["'yesterday'", "2024-03-31"]),
        (["backfill", "--start", "2016-01-01", "--end", "2016-02-01"], ["has klines from 2017-08-17T04:00Z"]),
        (["backfill", "--source", "tape"], ["'tape'", "rest"]),
        (["backfill", *THREE_DAYS, "--chunk-size", "0"], ["chunk"]),
        (["backfill", *THREE_DAYS, "--chunk-size", "-5"], ["chunk"]),
        (["backfill", *THREE_DAYS, "--chunk-size", "1" + "0" * 30], ["chunk"]),
        *(
            ([*command], ["there is no spot dataset in", "run market-data --market spot backfill first"])
            for command in (["verify"], ["status"], ["report"], ["snapshot", "now"])
        ),
        *(
            (["--pair", "ETH/USDT", command], ["there is no spot ETH/USDT", "--market spot --pair ETH/USDT backfill"])
            for command in ("verify", "status", "report")
        ),
        (["combine"], ["there is no spot BTC/USDT", "market-data --market spot --pair BTC/USDT backfill loads it"]),
    ],
)
def test_a_request_that_cannot_be_served_is_refused_in_one_line_and_nothing_is_written(
    run: MarketData, arguments: list[str], words: list[str]
) -> None:
    assert_refused(run(*SPOT, *arguments), *words)
    assert not run.root.exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["backfill", "--market", "spot"], "--market stands before the command: market-data --market ... backfill"),
        (["verify", "--pair=BTC/USDT"], "--pair stands before the command: market-data --pair ... verify"),
        (["backfill", "BTC/USDT"], "stands before the command: market-data --pair BTC/USDT backfill"),
        (["--pair", "BTC/USDT", "ETH/USDT", "status"], "No such command 'ETH/USDT'; write --pair before each pair"),
        (["--start", "2024-05-10", "backfill"], "--start stands after the command: market-data COMMAND --start"),
        (["backfil"], "No such command 'backfil'."),
        (["backfill", "--no-such-option"], "No such option: --no-such-option"),
    ],
)
def test_who_writes_a_word_in_the_wrong_place_is_told_where_it_stands(
    run: MarketData, arguments: list[str], told: str
) -> None:
    refused = run(*arguments)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert told in refused.stderr.splitlines()[-1]


def test_an_unreachable_exchange_is_said_in_one_line_and_nothing_is_written(market_data: Start) -> None:
    run = market_data()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        run.url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        assert_refused(run.run(*SPOT, "backfill", *THREE_DAYS), run.url, "MARKET_DATA_EXCHANGE_URL", code=3)
    assert not run.root.exists()


@pytest.mark.parametrize("url", ["not a url", "localhost:9000", "ftp://127.0.0.1/"])
def test_an_address_that_is_none_is_said_in_one_line_and_nothing_is_written(run: MarketData, url: str) -> None:
    assert_refused(run("backfill", *THREE_DAYS, MARKET_DATA_EXCHANGE_URL=url), "MARKET_DATA_EXCHANGE_URL")
    assert not run.root.exists()


def test_an_address_of_something_else_is_said_in_one_line_and_nothing_is_written(run: MarketData) -> None:
    assert_refused(run("backfill", *THREE_DAYS, MARKET_DATA_EXCHANGE_URL=f"{run.url}/elsewhere"), run.url, code=3)
    assert not run.root.exists()


def nowhere_served(simulate: Simulate) -> RunningExchange:
    """An exchange that serves this location neither by REST nor with its archive."""
    running = simulate()
    running.exchange.hooks.append(lambda _: "451")
    return running


def test_http_451_is_said_in_one_line_and_nothing_is_written(market_data: Start, simulate: Simulate) -> None:
    run = market_data(nowhere_served(simulate))
    assert_refused(run.run(*SPOT, "backfill", *THREE_DAYS), "HTTP 451", "region", code=3)
    assert not run.root.exists()


def test_a_long_ban_is_said_in_one_line_and_no_data_is_written(run: MarketData, exchange: SimulatedExchange) -> None:
    exchange.faults.ban_seconds = 3600
    exchange.faults = {"418": 1}
    assert_refused(run("backfill", *THREE_DAYS), "refuses requests from this IP address for 3600 s", code=3)
    assert data_files(run.root) == {}


def test_a_file_in_the_way_of_the_data_root_is_said_in_one_line(run: MarketData) -> None:
    run.root.write_bytes(b"mine")
    assert_refused(run(*SPOT, "backfill", *THREE_DAYS), str(run.root), "MARKET_DATA_DIR", code=3)
    assert run.root.read_bytes() == b"mine"


def test_a_file_in_the_way_above_the_data_root_is_said_in_one_line(run: MarketData) -> None:
    run.root.write_bytes(b"mine")
    below = str(run.root / "below")
    assert_refused(run(*SPOT, "backfill", *THREE_DAYS, MARKET_DATA_DIR=below), "MARKET_DATA_DIR", code=3)


def test_a_refusal_of_the_exchange_does_not_hide_a_file_in_the_way(
    run: MarketData, exchange: SimulatedExchange
) -> None:
    run.root.write_bytes(b"mine")
    exchange.faults.ban_seconds = 1
    exchange.hooks.append(lambda request: "429" if request.number == 1 else None)
    assert_refused(run(*SPOT, "backfill", *THREE_DAYS), str(run.root), "MARKET_DATA_DIR", code=3)


def test_a_file_in_the_way_of_dagsters_home_is_said_in_one_line_and_no_data_is_written(
    run: MarketData, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.write_bytes(b"mine")
    refused = run(*SPOT, "backfill", *THREE_DAYS, DAGSTER_HOME=str(home))
    assert_refused(refused, str(home), "DAGSTER_HOME", code=3)
    assert data_files(run.root) == {}


@pytest.mark.parametrize(
    ("command", "content"),
    [
        *((["backfill", *THREE_DAYS], text) for text in (b"", b"{}", b"[]", b'{"format": 0}', b"\xff\xfe\x00")),
        *(([command], b'{"format": 1') for command in ("verify", "status", "combine")),
    ],
)
def test_a_damaged_dataset_json_is_named_and_left_as_it_is(
    run: MarketData, exchange: SimulatedExchange, command: list[str], content: bytes
) -> None:
    path = folder(run) / "dataset.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert_refused(run(*SPOT, *command), str(path), "move it away", code=1)
    assert everything(run.root) == {path.relative_to(run.root).as_posix(): content}
    assert counted(exchange, "spot")["requests"] == 0


@pytest.mark.parametrize("command", ["verify", "status", "combine", "report", "export"])
def test_a_glob_does_not_leave_out_a_damaged_dataset_in_silence(
    loaded: MarketData, tmp_path: Path, command: str
) -> None:
    path = folder(loaded).parents[1] / "ETHUSDT" / "1m" / "dataset.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"{")

    def ended(number: int, *globs: str) -> Result:
        out = ["--format", "csv", "--output", str(tmp_path / f"{number}")] if command == "export" else []
        return loaded("--market", "spot", *(word for glob in globs for word in ("--pair", glob)), command, *out)

    for number, globs in enumerate((["*"], ["ET*"], ["BTC/USDT", "*/USDT"])):
        assert_refused(ended(number, *globs), str(path), "move it away", code=1)
    for number, globs in enumerate((["B*"], ["*", "!ETH/USDT"], ["BTC/USDT"])):
        assert ended(number, *globs).exit_code == 0, globs


# --- backfill


def test_a_backfill_gives_a_chunk_for_every_day_and_says_so(loaded: MarketData) -> None:
    assert rows_by_day(loaded.root) == {"2024-05-10": 1440, "2024-05-11": 1440, "2024-05-12": 1440}
    again = loaded(*SPOT, "backfill", *THREE_DAYS)
    assert "spot BTC/USDT  2024-05-10 to 2024-05-12, days in UTC" in again.stdout
    assert "4,320" in again.stdout
    assert str(folder(loaded)) in again.stdout


def test_a_second_backfill_loads_no_day_and_asks_for_no_kline_but_the_first_and_the_newest(
    loaded: MarketData, exchange: SimulatedExchange
) -> None:
    before, requests = data_files(loaded.root), record(exchange)
    result = loaded(*SPOT, "backfill", *THREE_DAYS)
    assert "3 unchanged" in result.stdout
    assert (result.exit_code, without_progress(result.stderr)) == (0, "")
    assert [request.endpoint for request in requests if is_page(request)] == []
    assert len(requests) <= 3
    assert data_files(loaded.root) == before


def requested_files(requests: list[RequestInfo]) -> list[str]:
    """The days whose archive files were requested."""
    return sorted(request.path[-14:-4] for request in requests if request.path.endswith(".zip"))


def test_a_longer_backfill_loads_only_the_days_that_are_missing(
    loaded: MarketData, exchange: SimulatedExchange
) -> None:
    before, requests = data_files(loaded.root), record(exchange)
    result = loaded(*SPOT, "backfill", "--start", "2024-05-09", "--end", "2024-05-14")
    assert "2 loaded, 3 unchanged" in result.stdout
    assert requested_files(requests) == ["2024-05-09", "2024-05-13"]
    after = data_files(loaded.root)
    assert {name: after[name] for name in before if "chunk_" in name} == {
        name: content for name, content in before.items() if "chunk_" in name
    }


def test_an_unknown_pair_falls_back_to_btc_usdt_with_a_warning_on_both_streams(run: MarketData) -> None:
    result = run(*SPOT, "--pair", "NOPE/USDT", "backfill", *THREE_DAYS)
    assert result.exit_code == 0
    for stream in (result.stdout, result.stderr):
        assert "spot does not list NOPE/USDT: working on BTC/USDT INSTEAD" in stream
    assert "WARNING" in result.stderr
    assert folder(run).is_dir()
    assert not dataset_folder(run.root, "spot", "NOPEUSDT").exists()


@pytest.mark.parametrize("is_file", [True, False])
def test_a_warning_is_printed_once_where_both_streams_are_one(run: MarketData, tmp_path: Path, is_file: bool) -> None:
    said = tmp_path / "said"
    words = (*SPOT, "--pair", "NOPE/USDT", "backfill", *THREE_DAYS)
    with said.open("wb") as file:
        process = run.start(*words, stdout=file if is_file else subprocess.PIPE, stderr=subprocess.STDOUT)
    with process:
        told = process.communicate(timeout=120)[0] or said.read_text("utf-8")
    assert process.returncode == 0, told
    # Windows does not tell one pipe from another.
    assert told.count("working on BTC/USDT INSTEAD") == (2 if sys.platform == "win32" and not is_file else 1), told


def test_a_window_that_is_not_aligned_is_loaded_to_the_minute_and_completed_later(run: MarketData) -> None:
    window = ("--start", "2024-05-10T06:00Z", "--end", "2024-05-11T12:00Z")
    result = run(*SPOT, "backfill", *window, "--no-align-window")
    assert rows_by_day(run.root) == {"2024-05-10": 1080, "2024-05-11": 720}
    assert "not_requested 1,080 min" in result.stdout
    assert run("verify").exit_code == 0

    assert run(*SPOT, "backfill", *window).exit_code == 0
    assert rows_by_day(run.root) == {"2024-05-10": 1440, "2024-05-11": 1440}


def test_a_window_is_aligned_to_local_midnights_of_the_asked_zone(run: MarketData) -> None:
    window = ("--start", "2024-05-10T23:30Z", "--end", "2024-05-11T12:00")
    assert run(*SPOT, "--align-tz", "+05:30", "backfill", *window).exit_code == 0
    assert rows_by_day(run.root) == {"2024-05-11": 1440}
    assert pq.read_table(chunk_files(run.root)["2024-05-11"])["open_time"][0].as_py() == 1715365800000


def test_a_dataset_keeps_the_days_of_its_zone_where_another_one_is_asked_for(run: MarketData) -> None:
    """As where two deployments with different zones share a data root."""
    window = ("--start", "2024-05-10T00:00Z", "--end", "2024-05-11T00:00Z")
    assert run(*SPOT, "--align-tz", "+05:30", "backfill", *window).exit_code == 0
    before = data_files(run.root)
    done = run(*SPOT, "backfill", *window)
    assert done.exit_code == 0
    assert "2 unchanged" in done.stdout
    assert "its days are those of +05:30, in which it was created; UTC says only where the window" in done.stdout
    assert data_files(run.root) == before
    assert "its days" not in run(*SPOT, "--align-tz", "+05:30", "backfill", *window).output


def test_refetch_asks_for_every_kline_again_and_the_same_answers_give_the_same_bytes(
    loaded: MarketData, exchange: SimulatedExchange
) -> None:
    before, requests = data_files(loaded.root), record(exchange)
    result = loaded(*SPOT, "backfill", *THREE_DAYS, "--refetch")
    assert "3 loaded" in result.stdout
    assert requested_files(requests) == ["2024-05-10", "2024-05-11", "2024-05-12"]
    assert data_files(loaded.root) == before


def test_chunk_size_is_the_rows_of_a_row_group(run: MarketData) -> None:
    assert run(*SPOT, "backfill", *THREE_DAYS, "--chunk-size", "360").exit_code == 0
    metadata = pq.read_metadata(chunk_files(run.root)["2024-05-10"])
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [360] * 4


def test_a_day_that_the_exchange_does_not_give_is_named_exits_with_3_and_the_rest_is_kept(
    run: MarketData, exchange: SimulatedExchange
) -> None:
    exchange.hooks.append(
        lambda request: "451" if is_page(request) and int(request.params["endTime"]) > 1715472000000 else None
    )
    result = run(*SPOT, "backfill", *THREE_DAYS, "--source", "rest")
    assert result.exit_code == 3
    assert "failed    2024-05-12: " in result.stdout
    assert "HTTP 451" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    exchange.hooks.clear()
    assert run(*SPOT, "backfill", *THREE_DAYS).exit_code == 0
    assert list(rows_by_day(run.root)) == ["2024-05-10", "2024-05-11", "2024-05-12"]


def test_days_that_fail_for_the_same_reason_are_one_line(run: MarketData, exchange: SimulatedExchange) -> None:
    exchange.hooks.append(lambda request: "451" if is_page(request) else None)
    result = run(*SPOT, "backfill", "--start", "2024-05-01", "--end", "2024-05-12", "--source", "rest")
    assert result.exit_code == 3
    first, others = [line for line in result.stdout.splitlines() if line.startswith("  failed")]
    assert first.startswith("  failed    2024-05-01: ")
    assert others.startswith("  failed    2024-05-02 to 2024-05-11 (10 days): not tried, because an ")
    said = [line for line in result.stderr.splitlines() if " failed: " in line]
    assert [line.split(" ", 1)[0] for line in said] == ["2024-05-01", "2024-05-02"]


def test_build_combined_on_backfill_builds_the_combined_file_too(run: MarketData) -> None:
    assert run(*SPOT, "backfill", *THREE_DAYS, BUILD_COMBINED_ON_BACKFILL="1").exit_code == 0
    assert pq.read_metadata(folder(run) / "combined" / "BTCUSDT_1m_all.parquet").num_rows == 3 * 1440


def test_a_corrupt_manifest_is_rebuilt_from_the_chunks_with_a_warning(loaded: MarketData) -> None:
    path = folder(loaded) / "manifest.json"
    before = path.read_bytes()
    path.write_bytes(before[: len(before) // 2])
    result = loaded(*SPOT, "backfill", *THREE_DAYS)
    assert result.exit_code == 0
    assert "WARNING" in result.stderr
    assert "manifest.json is corrupt" in result.stderr
    assert path.read_bytes() == before
    assert without_progress(loaded(*SPOT, "backfill", *THREE_DAYS).stderr) == ""


def test_two_data_roots_spend_from_one_budget(run: MarketData, exchange: SimulatedExchange, tmp_path: Path) -> None:
    other = MarketData(tmp_path / "other", run.url)
    for each in (run, other):
        assert each(*SPOT, "backfill", *THREE_DAYS, "--source", "rest").exit_code == 0
    (budget,) = Settings(market_data_dir=run.root).budgets[0].glob("*_spot.json")
    assert json.loads(budget.read_bytes())["used"] == counted(exchange, "spot")["used_weight_1m"]
    assert not list(tmp_path.rglob(".governor"))


def test_a_budget_that_cannot_be_kept_in_the_users_folder_is_kept_in_the_data_root_and_said(
    run: MarketData, tmp_path: Path
) -> None:
    (tmp_path / "mine").write_bytes(b"")
    state = dict.fromkeys(STATE_VARIABLES, str(tmp_path / "mine" / "state"))
    result = run(*SPOT, "backfill", *THREE_DAYS, "--source", "rest", **state)
    assert result.exit_code == 0
    [line] = result.stderr.splitlines()
    assert line.startswith("WARNING the request weight cannot be kept in ") and str(tmp_path / "mine") in line
    assert [path.name for path in (run.root / ".governor").glob("*.json")]


# --- verify


@pytest.fixture
def damaged(loaded: MarketData) -> MarketData:
    """One chunk is gone, another has a flipped byte, the third is well."""
    chunks = chunk_files(loaded.root)
    chunks["2024-05-10"].unlink()
    flip_a_byte(chunks["2024-05-11"])
    return loaded


def test_verify_exits_with_0_only_if_nothing_is_wrong_and_repair_makes_it_so(damaged: MarketData) -> None:
    result = damaged("verify")
    assert result.exit_code == 1
    for word in ("NOT good", "2024-05-10", "2024-05-11"):
        assert word in result.stdout
    assert "2024-05-12" not in result.stdout
    assert damaged("verify").stdout == result.stdout, "looking changes nothing"

    repaired = damaged("verify", "--repair")
    assert repaired.exit_code == 0
    lines = repaired.stderr.splitlines()
    first = lines.index("repaired spot BTC/USDT 2024-05-10")
    assert lines[first + 1].startswith("  before  the chunk chunk_")
    assert lines[first + 1].endswith(" is missing")
    assert lines[first + 2] == "  now     1,440 klines"
    assert damaged("verify").exit_code == 0


def test_repair_leaves_every_other_chunk_untouched_and_gives_back_the_very_bytes(loaded: MarketData) -> None:
    before = data_files(loaded.root)
    chunks = chunk_files(loaded.root)
    chunks["2024-05-10"].unlink()
    flip_a_byte(chunks["2024-05-11"])
    damaged = chunks["2024-05-11"].read_bytes()
    untouched = chunks["2024-05-12"].stat().st_mtime_ns
    assert loaded("verify", "--repair").exit_code == 0
    assert data_files(loaded.root) == before
    assert quarantined(loaded.root) == {chunks["2024-05-11"].name: damaged}
    assert chunks["2024-05-12"].stat().st_mtime_ns == untouched


def test_a_file_that_is_no_chunk_is_shown_is_no_failure_and_is_moved_away_by_repair(loaded: MarketData) -> None:
    stranger = folder(loaded) / "chunks" / "notes.txt"
    stranger.write_bytes(b"mine")
    result = loaded("verify")
    assert result.exit_code == 0
    assert "notes.txt is no chunk of this dataset" in result.stdout
    assert loaded("verify", "--repair").exit_code == 0
    assert quarantined(loaded.root) == {"notes.txt": b"mine"}
    assert not stranger.exists()
    assert "notes.txt" not in loaded("verify").stdout


def test_repair_says_of_a_day_that_it_cannot_mend_what_it_is_and_why(
    loaded: MarketData, exchange: SimulatedExchange
) -> None:
    chunk_files(loaded.root)["2024-05-10"].unlink()
    refusal = Response(b'{"code":-1102,"msg":"no such thing"}', 400, media_type="application/json")
    exchange.hooks.append(lambda request: refusal if is_page(request) else None)
    exchange.hooks.append(lambda request: "late_archive" if request.area == "archive" else None)
    result = loaded("verify", "--repair")
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    first = lines.index("NOT repaired spot BTC/USDT 2024-05-10")
    assert lines[first + 2].startswith("  now     0 klines: ")
    assert "no such thing" in lines[first + 2]
    exchange.hooks.clear()
    assert loaded("verify", "--repair").exit_code == 0


def test_minutes_that_are_missing_are_collected_again_from_the_first_one_on(
    run: MarketData, exchange: SimulatedExchange
) -> None:
    """REST is silent about a minute's page, and the archive is late: nothing proves an outage. Later REST has it."""
    minute = at("2024-05-11T06:00")

    def hide(request: RequestInfo) -> Response | None:
        first, last = int(request.params.get("startTime", 0)), int(request.params.get("endTime", 0))
        hidden = is_page(request) and request.params["symbol"] == "BTCUSDT" and first <= minute <= last
        return Response(b"[]", media_type="application/json") if hidden else None

    exchange.faults = {"late_archive": 1}
    exchange.hooks.append(hide)
    loaded = run(*SPOT, "backfill", *THREE_DAYS, "--source", "rest")
    assert loaded.exit_code == 1
    assert "nothing proves" in loaded.stdout
    assert run("verify").exit_code == 1
    exchange.hooks.clear()
    requests = record(exchange)
    repaired = run("verify", "--repair")
    assert repaired.exit_code == 0
    assert "NOT" not in repaired.stderr
    pages = [request for request in requests if is_page(request) and int(request.params["startTime"]) > 0]
    assert min(int(request.params["startTime"]) for request in pages) >= at("2024-05-11")


def test_a_chunk_that_another_source_contradicts_is_found_and_repaired_from_that_source(
    run: MarketData, exchange: SimulatedExchange
) -> None:
    exchange.hooks.append(lambda request: "archive_differs" if "2024-05-11" in request.path else None)
    assert run(*SPOT, "backfill", *THREE_DAYS).exit_code == 0
    assert run("verify").exit_code == 0
    result = run("verify", "--against", "rest", "--every-day")
    assert result.exit_code == 1
    assert "2024-05-11T" in result.stdout
    assert "close: ours" in result.stdout
    assert json.loads(run("verify", "--against", "rest", "--json").stdout)[0]["crosscheck"]["days"] == 3
    assert run("verify", "--against", "rest", "--every-day", "--repair").exit_code == 0
    [line] = (folder(run) / "revisions.jsonl").read_text().splitlines()
    assert json.loads(line)["day"] == "2024-05-11"
    assert "revi" in run("status").stdout
    assert run("verify", "--against", "rest", "--every-day").exit_code == 0


def test_verify_that_could_compare_nothing_is_to_be_run_again_and_repairs_nothing(loaded: MarketData) -> None:
    away = {"MARKET_DATA_EXCHANGE_URL": "http://127.0.0.1:9"}
    before = chunk_files(loaded.root)
    result = loaded("verify", "--against", "rest", "--repair", **away)
    assert result.exit_code == 3
    assert "nothing could be compared" in result.stdout
    assert "NOT good" not in result.stdout
    assert chunk_files(loaded.root) == before
    result = loaded("verify", "--against", "rest", "--json", **away)
    [proof] = json.loads(result.stdout)
    assert (result.exit_code, proof["ok"], proof["crosscheck"]["nothing_compared"]) == (3, False, True)


def test_verify_cannot_compare_with_what_is_no_source(loaded: MarketData) -> None:
    assert_refused(loaded("verify", "--against", "tape"), "'tape'", "archive")


def test_verify_covers_every_dataset_unless_one_is_named(damaged: MarketData) -> None:
    assert damaged("--market", "futures", "backfill", *THREE_DAYS).exit_code == 0
    assert len(parsed(damaged("verify", "--json").stdout)[1]) == 2
    assert damaged("--market", "futures", "verify").exit_code == 0
    assert damaged("--market", "spot", "verify").exit_code == 1


def test_verify_of_a_window_looks_at_its_days_alone(damaged: MarketData) -> None:
    assert damaged("verify", "--start", "2024-05-12", "--end", "2024-05-13").exit_code == 0
    assert damaged("verify", "--start", "2024-05-11", "--end", "2024-05-13").exit_code == 1
    # That nothing is wrong with no day at all is no proof.
    before = damaged("verify", "--start", "2023-05-01", "--end", "2023-06-01")
    assert_refused(before, "nothing is stored or was requested from 2023-05-01 until 2023-06-01", "status")
    assert_refused(damaged("verify", "--start", "2024-05-14", "--json"), "requested from 2024-05-14;")


def test_a_damaged_combined_file_is_found_and_repaired(loaded: MarketData) -> None:
    assert loaded(*SPOT, "combine").exit_code == 0
    path = folder(loaded) / "combined" / "BTCUSDT_1m_all.parquet"
    before = path.read_bytes()
    flip_a_byte(path)
    result = loaded("verify")
    assert result.exit_code == 1
    assert "damaged" in result.stdout
    assert loaded("verify", "--repair").exit_code == 0
    assert path.read_bytes() == before


# --- combine


def test_a_second_combine_changes_nothing_and_says_so(loaded: MarketData) -> None:
    first = loaded(*SPOT, "combine")
    path = folder(loaded) / "combined" / "BTCUSDT_1m_all.parquet"
    written = path.stat().st_mtime_ns
    assert (first.exit_code, "4,320 klines of 3 chunks" in first.stdout) == (0, True)
    second = loaded(*SPOT, "combine")
    assert second.exit_code == 0
    assert "unchanged" in second.stdout
    assert "unchanged" not in first.stdout
    assert path.stat().st_mtime_ns == written


def test_combine_of_a_part_and_of_another_zone_are_files_of_their_own(loaded: MarketData) -> None:
    chunks = chunk_files(loaded.root)
    index = int(chunks["2024-05-11"].name.split("_")[1])
    assert loaded(*SPOT, "combine", "--from-index", str(index)).exit_code == 0
    assert loaded(*SPOT, "combine", "--tz", "+05:30").exit_code == 0
    rows = {path.name: pq.read_metadata(path).num_rows for path in (folder(loaded) / "combined").iterdir()}
    assert sorted(rows.values()) == [2 * 1440, 2 * 1440]
    assert any("+0530" in name for name in rows)


def test_a_combine_that_the_disk_refuses_inside_its_run_exits_with_3(loaded: MarketData) -> None:
    (folder(loaded) / "combined").write_bytes(b"mine")
    result = loaded(*SPOT, "combine")
    assert (result.exit_code, result.stdout) == (3, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("error: ") and str(folder(loaded) / "combined") in line


def test_combine_refuses_a_damaged_chunk_and_keeps_what_was_there(loaded: MarketData) -> None:
    assert loaded(*SPOT, "combine").exit_code == 0
    path = folder(loaded) / "combined" / "BTCUSDT_1m_all.parquet"
    before = path.read_bytes()
    flip_a_byte(chunk_files(loaded.root)["2024-05-11"])
    assert loaded(*SPOT, "backfill", "--start", "2024-05-09", "--end", "2024-05-10").exit_code == 1
    result = loaded(*SPOT, "combine")
    assert result.exit_code != 0
    [line] = result.stderr.splitlines()
    assert "2024-05-11" in line
    assert "run market-data --market spot --pair BTC/USDT verify --repair" in line
    assert path.read_bytes() == before


# --- status and health


def test_status_says_what_is_stored(loaded: MarketData) -> None:
    [status] = json.loads(loaded("status", "--json").stdout)
    assert {name: status[name] for name in ("market", "pair", "tz", "first_day", "last_day", "chunks", "rows")} == {
        "market": "spot",
        "pair": "BTC/USDT",
        "tz": "UTC",
        "first_day": "2024-05-10",
        "last_day": "2024-05-12",
        "chunks": 3,
        "rows": 4320,
    }
    table = loaded("status").stdout
    assert "2024-05-10 .. 2024-05-12" in table
    assert " of " not in table


def test_status_says_how_many_days_a_hole_leaves(loaded: MarketData) -> None:
    assert loaded(*SPOT, "backfill", "--start", "2024-05-01", "--end", "2024-05-03").exit_code == 0
    assert "5 of 12" in loaded("status").stdout


def one_trade_more_each_minute(root: Path, day: str) -> DatasetStore:
    """Replace a day's chunk by one that the exchange will disagree with."""
    files = Store(root)
    dataset = files.find(Market.SPOT, "BTC/USDT")
    assert dataset
    store, on = files.open(dataset), dataset.day(day)
    klines = store.read(on).klines
    more = [count + 1 for count in klines["trades"].to_pylist()]
    store.publish(
        new_chunk(store.dataset, on, klines.set_column(8, klines.schema.field("trades"), [more]), (), source="rest")
    )
    store.flush()
    return store


def test_a_refetch_says_what_the_exchange_has_revised(loaded: MarketData) -> None:
    one_trade_more_each_minute(loaded.root, "2024-05-11")
    printed = loaded(*SPOT, "backfill", *THREE_DAYS, "--refetch").stdout
    assert "revised   1,440 minutes with other values than before, on 2024-05-11 (revisions.jsonl)" in printed


def test_status_tells_of_revisions_where_there_are_any(loaded: MarketData) -> None:
    assert "revisions" not in json.loads(loaded("status", "--json").stdout)[0]
    assert "revised" not in loaded("status").stdout
    store = one_trade_more_each_minute(loaded.root, "2024-05-11")
    [status] = json.loads(loaded("status", "--json").stdout)
    [noted] = store.revisions()
    assert status["revisions"] == {"count": 1, "last": {"day": "2024-05-11", "at": noted.at, "minutes": 1440}}
    assert f"revised once, last noticed {noted.at}: 1440 min of 2024-05-11" in loaded("status").stdout


def test_verify_as_json_has_every_finding(damaged: MarketData) -> None:
    result = damaged("verify", "--json")
    [proof] = json.loads(result.stdout)
    assert (result.exit_code, proof["ok"]) == (1, False)
    assert {finding["day"] for finding in proof["findings"]} == {"2024-05-10", "2024-05-11"}


def test_health_is_good_where_a_load_could_start_and_changes_nothing(run: MarketData) -> None:
    result = run(*SPOT, "health", "--json")
    signs = {sign["name"]: sign["ok"] for sign in json.loads(result.stdout)}
    assert signs.pop("clock") is False, "the simulated clock stands in 2024"
    assert set(signs.values()) == {True}
    assert not run.root.exists()


def test_health_of_an_exchange_in_the_present_is_all_good(market_data: Start, simulate: Simulate) -> None:
    result = market_data(simulate(now=None, speed=1))(*SPOT, "health")
    assert result.exit_code == 0
    assert "BAD" not in result.stdout


def test_health_says_why_a_load_could_not_start(market_data: Start, simulate: Simulate) -> None:
    run = market_data(nowhere_served(simulate))
    run.root.write_bytes(b"mine")
    result = run("health", "--json")
    assert result.exit_code == 1
    bad = {sign["name"]: sign["detail"] for sign in json.loads(result.stdout) if not sign["ok"]}
    assert set(bad) == {"data root", "dagster", "exchange"}
    assert "HTTP 451" in bad["exchange"]


# --- help and the simulated exchange


def test_the_help_has_the_exit_codes(run: MarketData) -> None:
    assert " ".join(run("--help").stdout.split()).endswith(EXIT_CODES)


def test_help_of_every_command_works_and_imports_nothing_heavy() -> None:
    program = """
import sys
from typer.main import get_command
from typer.testing import CliRunner
from market_data_pipeline.cli.main import app
for words in [[], *([name] for name in get_command(app).commands)]:
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0 and "Usage: " in result.stdout, result
    assert "[[" not in result.stdout, "brackets that typer adds itself"
    print(*words)
heavy = {"ccxt", "pandas", "dagster", "pyarrow", "numpy", "pandera", "uvicorn"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert {"backfill", "verify", "combine", "status", "health", "simulate", "demo"} <= set(done.stdout.split())


@pytest.mark.parametrize("columns", [80, 50])
def test_the_help_cuts_no_line(columns: int) -> None:
    program = """
from typer.main import get_command
from market_data_pipeline.cli.main import app
commands = get_command(app).commands
for words in [[], *([name] for name in commands), *(["universe", name] for name in commands["universe"].commands)]:
    try:
        app([*words, "--help"])
    except SystemExit as ended:
        assert not ended.code
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=CHECKOUT,
        env={**os.environ, "COLUMNS": str(columns)},
        capture_output=True,
        encoding="utf-8",
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.endswith("...") and not line.startswith("Usage: ")] == []
    assert columns < 80 or [line for line in lines if len(line) > columns] == []


def test_a_simulated_exchange_says_where_it_is_answers_there_and_ends_when_told(market_data: Start) -> None:
    run = market_data()
    with run.start("simulate", "--port", "0", "--now", "2024-05-15T12:00Z", "--fault", "500=0") as process:
        line = process.stdout.readline()
        assert line.startswith("simulated exchange at http://127.0.0.1:")
        with urllib.request.urlopen(f"{line.split()[-1]}/api/v3/time") as response:
            assert json.load(response)["serverTime"] >= 1715774400000
        process.terminate()
        process.wait(timeout=60)
        assert "Traceback" not in process.stderr.read()


def test_a_port_in_use_is_said_in_one_line(run: MarketData) -> None:
    port = run.url.rpartition(":")[2]
    assert_refused(run("simulate", "--port", port), f"127.0.0.1:{port}", "name another with --port")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--archive", "nowhere"], ["nowhere"]),
        (["--fault", "501=1"], ["'501'", "500"]),
        (["--fault", "500"], ["NAME=RATE"]),
        (["--fault", "500=2"], ["between 0 and 1"]),
        (["--now", "soon"], ["'soon'"]),
        *((["--speed", speed], ["speed", speed]) for speed in ("-1", "nan", "inf", "1e+300")),
        *((["--rtt-ms", time], ["round-trip time", time]) for time in ("-5", "nan", "inf")),
        (["--port", "70000"], ["127.0.0.1:70000: a port is a number from 0 to 65535; name another with --port"]),
    ],
)
def test_a_simulated_exchange_that_cannot_be_is_refused_in_one_line(
    market_data: Start, arguments: list[str], words: list[str]
) -> None:
    assert_refused(market_data()("simulate", *arguments), *words)


def test_brackets_in_a_path_are_printed_as_they_are(run: MarketData, three_days: Path, tmp_path: Path) -> None:
    run.root = run.root / "[red]a[/red] [b]"  # a folder `[red]a[`, and one in it
    shutil.copytree(three_days, run.root)
    assert_refused(run(*SPOT, "backfill", *THREE_DAYS), str(run.root / "dagster"), "DAGSTER_HOME")
    run.env = {"DAGSTER_HOME": str(tmp_path / "home")}
    (folder(run) / "chunks" / "[bold]stray[0]").write_bytes(b"")
    (folder(run) / "manifest.json").write_bytes(b"[/]")
    for command in ("health", "status", "verify", "combine"):
        result = run(*SPOT, command)
        assert result.exit_code in {0, 1}, result.stderr
        assert str(run.root) in result.stdout + result.stderr, command
    assert "[bold]stray[0]" in run(*SPOT, "verify").stdout
    assert str(run.root) in run(*SPOT, "backfill", *THREE_DAYS).stdout


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal of POSIX")
def test_on_a_terminal_a_warning_is_printed_once(run: MarketData) -> None:
    page = in_terminal(run, *SPOT, "--pair", "NOPE/USDT", "backfill", *THREE_DAYS, columns=200)
    assert page.count("working on BTC/USDT INSTEAD") == 1
