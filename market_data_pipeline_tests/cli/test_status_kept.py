"""`status`, which is kept: it is as it would be found out, whatever has changed."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.server import serve
from market_data_pipeline_tests.support import CHECKOUT, NOON, STATE_VARIABLES, MarketData, chunk_files

SPOT = ("--market", "spot")
DAYS = ("--start", "2024-05-10", "--end", "2024-05-12")
# typer itself imports pydantic for each command.
HEAVY = {"dagster", "pyarrow", "numpy", "pydantic_settings", "ccxt", "requests", "sqlalchemy"}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kept") / "root"
    with serve(SimulatedExchange(now=NOON, speed=0)) as running:
        done = MarketData(root, running.url).run(*SPOT, "backfill", *DAYS)
        assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def run(market_data: Callable[..., MarketData], loaded: Path) -> MarketData:
    """The command line on two days that were loaded some time ago."""
    tool = market_data()
    shutil.copytree(loaded, tool.root)
    settle(tool.root)
    return tool


def settle(root: Path) -> None:
    at_s = time.time() - 10
    for path in [root, *root.rglob("*")]:
        os.utime(path, (at_s, at_s))


def imports(run: MarketData, *words: str) -> set[str]:
    """The packages that a command imports."""
    done = run.run(*words, PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0, done.stderr[-500:]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}


@pytest.mark.parametrize("words", [["status"], ["status", "--json"]])
def test_the_second_status_prints_the_same_and_imports_nothing_that_takes_long(
    run: MarketData, words: list[str]
) -> None:
    first = run(*words).stdout
    assert imports(run, *words) & HEAVY == set()
    assert run(*words).stdout == first == run(*SPOT, "--pair", "BTC/USDT", *words).stdout


@pytest.mark.parametrize("chosen", [SPOT, (*SPOT, "--pair", "btcusdt"), (*SPOT, "--pair", "BTC/*")])
def test_that_of_chosen_datasets_is_kept_apart_from_others(run: MarketData, chosen: tuple[str, ...]) -> None:
    first = run(*chosen, "status").stdout
    assert imports(run, *chosen, "status") & HEAVY == set()
    assert run(*chosen, "status").stdout == first
    assert run("--market", "futures", "status").exit_code == 2
    assert run(*SPOT, "--pair", "ETH/USDT", "status").exit_code == 2


def test_that_of_a_pair_stays_while_another_is_loaded_and_that_of_a_glob_does_not(run: MarketData) -> None:
    pair, glob = (*SPOT, "--pair", "BTC/USDT"), (*SPOT, "--pair", "*/USDT")
    assert [rows(run, *pair), rows(run, *glob)] == [{"BTC/USDT": 2880}] * 2
    assert run(*SPOT, "--pair", "ETH/USDT", "backfill", *DAYS).exit_code == 0
    settle(run.root)
    assert rows(run, *pair) == {"BTC/USDT": 2880}
    assert rows(run, *glob) == rows(run, *glob) == {"BTC/USDT": 2880, "ETH/USDT": 2880}
    assert run(*SPOT, "--pair", "BTC/USDT", "backfill", "--start", "2024-05-10", "--end", "2024-05-13").exit_code == 0
    assert rows(run, *pair) == {"BTC/USDT": 4320}


def test_that_of_a_file_of_pairs_follows_the_file(run: MarketData, tmp_path: Path) -> None:
    names = tmp_path / "pairs.txt"
    names.write_text("BTC/USDT")
    assert rows(run, *SPOT, "--pairs-file", str(names)) == {"BTC/USDT": 2880}
    names.write_text("ETH/USDT")
    assert run(*SPOT, "--pairs-file", str(names), "status").exit_code == 2


def test_what_has_just_changed_is_not_kept(run: MarketData) -> None:
    os.utime(run.root / "binance" / "BTCUSDT" / "1m" / "manifest.json")
    run("status")
    assert HEAVY & imports(run, "status")


def rows(run: MarketData, *options: str) -> dict[str, int]:
    return {each["pair"]: each["rows"] for each in json.loads(run(*options, "status", "--json").stdout)}


def test_every_change_is_seen_at_once(run: MarketData) -> None:
    assert rows(run) == {"BTC/USDT": 2880}
    assert run(*SPOT, "backfill", "--start", "2024-05-10", "--end", "2024-05-13").exit_code == 0
    assert rows(run) == {"BTC/USDT": 4320}
    settle(run.root)
    assert rows(run) == rows(run) == {"BTC/USDT": 4320}
    assert run(*SPOT, "--pair", "ETH/USDT", "backfill", *DAYS).exit_code == 0
    assert rows(run) == {"BTC/USDT": 4320, "ETH/USDT": 2880}
    settle(run.root)
    assert rows(run) == rows(run)
    shutil.rmtree(run.root / "binance" / "ETHUSDT")
    assert rows(run) == {"BTC/USDT": 4320}


def test_a_dataset_whose_file_comes_later_than_its_folder_is_seen(run: MarketData) -> None:
    """As a copy of a data root, or a restored backup, may write them."""
    assert run(*SPOT, "--pair", "ETH/USDT", "backfill", *DAYS).exit_code == 0
    dataset = run.root / "binance" / "ETHUSDT" / "1m" / "dataset.json"
    content = dataset.read_bytes()
    dataset.unlink()
    settle(run.root)
    assert rows(run) == rows(run) == {"BTC/USDT": 2880}
    dataset.write_bytes(content)
    assert rows(run) == {"BTC/USDT": 2880, "ETH/USDT": 2880}


def test_a_chunk_beside_the_manifest_and_a_lost_manifest_are_seen(run: MarketData) -> None:
    rows(run), rows(run)
    manifest = run.root / "binance" / "BTCUSDT" / "1m" / "manifest.json"
    manifest.unlink()
    chunk_files(run.root)["2024-05-11"].unlink()
    assert rows(run) == {"BTC/USDT": 1440}


def test_another_data_root_and_a_wrong_setting_are_seen(run: MarketData, tmp_path: Path) -> None:
    rows(run), rows(run)
    assert run("status", MARKET_DATA_DIR=str(tmp_path / "other")).exit_code == 2
    assert run("status", EXTRA_SLEEP_SEC="much").exit_code == 2
    assert run("status", ALIGN_TZ="Mars/Phobos").exit_code == 2
    assert rows(run) == {"BTC/USDT": 2880}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"depends": 1}', b"\xff" * 100])
def test_a_damaged_note_is_found_out_anew(run: MarketData, tmp_path: Path, content: bytes) -> None:
    state = {name: str(tmp_path / "state") for name in STATE_VARIABLES}
    first = run("status", **state).stdout
    kept = [path for path in (tmp_path / "state").rglob("answers/*.json")]
    assert len(kept) == 2
    for path in kept:
        path.write_bytes(content)
    assert run("status", **state).stdout == first


def test_a_folder_of_notes_that_cannot_be_written_does_no_harm(run: MarketData, tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"mine")
    state = {name: str(tmp_path / "state") for name in STATE_VARIABLES}
    assert run("status", **state).stdout == run("status").stdout


def test_no_secret_is_in_a_note(run: MarketData, tmp_path: Path) -> None:
    state = {name: str(tmp_path / "state") for name in STATE_VARIABLES}
    run("status", MARKET_DATA_API_TOKEN="open sesame", **state)
    assert all(b"sesame" not in path.read_bytes() for path in (tmp_path / "state").rglob("answers/*"))


def test_status_in_a_narrow_terminal_is_whole(run: MarketData) -> None:
    """A line is longer than the terminal rather than cut."""
    done = subprocess.run(
        [sys.executable, "-m", "market_data_pipeline", "status"],
        cwd=CHECKOUT,
        env={**os.environ, "MARKET_DATA_DIR": str(run.root), "COLUMNS": "40"},
        capture_output=True,
        encoding="utf-8",
    )
    assert "2024-05-10 .. 2024-05-11" in done.stdout
