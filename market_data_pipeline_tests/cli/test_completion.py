"""Completion in a real shell, and how little is imported for it."""

import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.settings import Settings
from market_data_pipeline_tests.support import CHECKOUT, MarketData

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs bash")
# typer itself imports pydantic.
HEAVY = {"dagster", "pyarrow", "numpy", "pydantic_settings", "ccxt", "requests", "rich"}
_SHELL = """
eval "$(_MARKET_DATA_COMPLETE=source_bash market-data)"
complete -p market-data >/dev/null || exit 9
COMP_WORDS=({words})
COMP_CWORD={at}
_market_data_completion market-data
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def run(market_data: Callable[..., MarketData]) -> MarketData:
    """The command line, on a data root with two pairs and two universes."""
    tool = market_data()
    store = Store(tool.root)
    for market, pair in ((Market.SPOT, "BTC/USDT"), (Market.SPOT, "ETH/EUR"), (Market.FUTURES, "SOL/USDT")):
        store.create(market, pair, zone=parse_zone("UTC"), start=date(2024, 5, 1))
    tables = [f'[universe.{name}]\nmarket = "spot"\npairs = ["BTC/USDT"]\n' for name in ("majors", "minors")]
    (tool.root / "market-data.toml").write_text("".join(tables), encoding="utf-8")
    return tool


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A folder with `market-data`, as an installation has it in the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    path = folder / "market-data"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m market_data_pipeline "$@"\n', encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return folder


def environment(run: MarketData, program: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in {n.upper() for n in Settings.model_fields}}
    path = f"{program}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PATH": path, "PYTHONPATH": str(CHECKOUT), "MARKET_DATA_DIR": str(run.root), **more}


def completed(run: MarketData, program: Path, *words: str, **more: str) -> list[str]:
    """What bash completes in place of the last of the words."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash")
    quoted = " ".join(f"'{word}'" for word in ("market-data", *words))
    script = _SHELL.format(words=quoted, at=len(words))
    done = subprocess.run(
        [bash, "--norc", "-c", script],
        env=environment(run, program, **more),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ver"], ["verify"]),
        (["--mar"], ["--market"]),
        (["--market", "s"], ["spot"]),
        (["--market", "spot", "--pair", "B"], ["BTC/USDT"]),
        (["--market", "spot", "--pair", "!E"], ["!ETH/EUR"]),
        (["--pair", "S"], ["SOL/USDT"]),
        (["--universe", "m"], ["majors", "minors"]),
        (["universe", "show", "maj"], ["majors"]),
        (["--align-tz", "Europe/Zur"], ["Europe/Zurich"]),
        (["backfill", "--source", "a"], ["auto", "archive"]),
        (["verify", "--against", "r"], ["rest"]),
        (["--market", "spot", "pairs", "--quote", "E"], ["EUR"]),
        (["--market", "spot", "pairs", "ET"], ["ETH/EUR"]),
        (["pairs", "--status", "tr"], ["trading"]),
    ],
)
def test_bash_completes_commands_options_and_values(
    run: MarketData, program: Path, words: list[str], expected: list[str]
) -> None:
    assert completed(run, program, *words) == expected


def test_pairs_of_a_new_dataset_and_of_the_catalog_are_completed(
    run: MarketData, program: Path, market_data: Callable[..., MarketData]
) -> None:
    words = ("--market", "spot", "--pair", "")
    assert completed(run, program, *words) == ["BTC/USDT", "ETH/EUR"]
    Store(run.root).create(Market.SPOT, "LTC/USDT", zone=parse_zone("UTC"), start=date(2024, 5, 1))
    assert completed(run, program, *words) == ["BTC/USDT", "ETH/EUR", "LTC/USDT"]
    assert run("--market", "spot", "pairs").exit_code == 0
    assert {"ETH/USDT", "LTC/USDT"} <= set(completed(run, program, *words))


def test_what_is_broken_completes_nothing_and_prints_nothing(run: MarketData, program: Path) -> None:
    (run.root / "market-data.toml").write_text("[universe", encoding="utf-8")
    assert completed(run, program, "--universe", "m") == []
    assert completed(run, program, "--pair", "S", MARKET_TYPE="margin", ALIGN_TZ="Mars") == []
    assert completed(run, program, "--pair", "S", MARKET_DATA_DIR="s3://bucket/root") == []


def imported(run: MarketData, program: Path, *words: str) -> set[str]:
    """The packages that are imported to complete the last of the words."""
    variables = {
        "_MARKET_DATA_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("market-data", *words)),
        "COMP_CWORD": str(len(words)),
        "PYTHONPROFILEIMPORTTIME": "1",
    }
    done = subprocess.run(
        [program / "market-data"], env=environment(run, program, **variables), capture_output=True, encoding="utf-8"
    )
    assert done.stdout
    lines = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines()]
    return {name.partition(".")[0] for name in lines}


def settle(root: Path) -> None:
    """Let everything below the data root be some seconds old."""
    at_s = time.time() - 10
    for path in [root, *root.rglob("*")]:
        os.utime(path, (at_s, at_s))


@pytest.mark.parametrize(
    "words", [["ver"], ["--market", "s"], ["--market", "spot", "--pair", "B"], ["--universe", "m"]]
)
def test_completion_imports_nothing_that_takes_long(run: MarketData, program: Path, words: list[str]) -> None:
    settle(run.root)
    completed(run, program, *words)  # the first time it is found out
    assert imported(run, program, *words) & HEAVY == set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_each_shell_has_its_script(run: MarketData, program: Path, shell: str) -> None:
    env = environment(run, program, _MARKET_DATA_COMPLETE=f"source_{shell}")
    done = subprocess.run([program / "market-data"], env=env, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert "_MARKET_DATA_COMPLETE" in done.stdout
    assert "market-data" in done.stdout


def test_the_script_is_shown_for_the_shell_that_asks(run: MarketData, program: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash")
    script = "market-data --show-completion; exit 0"
    done = subprocess.run(
        [bash, "--norc", "-c", script], env=environment(run, program), capture_output=True, encoding="utf-8", timeout=60
    )
    assert "complete -o default -F _market_data_completion market-data" in done.stdout, done.stderr
