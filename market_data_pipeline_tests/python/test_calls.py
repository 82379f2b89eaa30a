"""The Python interface does what the command line does, and says it in Python's ways."""

import ast
import asyncio
import os
import re
import subprocess
import sys
import warnings
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

import market_data_pipeline
from market_data_pipeline import MarketDataWarning, backfill, combine, open_dataset, open_panel, status, verify
from market_data_pipeline.core.errors import StoreError, UsageError
from market_data_pipeline.core.klines.coverage import Kind
from market_data_pipeline.settings import Settings
from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests.support import (
    CHECKOUT,
    MarketData,
    Simulate,
    chunk_files,
    data_files,
    everything,
    flip_a_byte,
    is_page,
)

BTC: dict[str, Any] = {"pair": "BTC/USDT", "market": "spot"}


@pytest.fixture
def running(simulate: Simulate) -> RunningExchange:
    return simulate()


@pytest.fixture
def root(tmp_path: Path, running: RunningExchange, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data root of the settings, of which nothing is the tester's."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("MARKET_DATA_DIR", str(tmp_path / "root"))
    monkeypatch.setenv("MARKET_DATA_EXCHANGE_URL", running.url)
    return tmp_path / "root"


# --- importing


def test_the_package_imports_what_is_used_when_it_is_used():
    code = (
        "import sys, market_data_pipeline as m; before = set(sys.modules); dir(m)\n"
        "print(*(name for name in before if name.startswith('market_data_pipeline.')))\n"
        "m.open_panel; print(*sys.modules)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True, timeout=60
    )
    first, then = ran.stdout.split("\n")[:2]
    assert first == ""
    assert {"dagster", "ccxt", "pydantic", "pandas", "typer"} & set(then.split()) == set()


def test_every_exported_name_is_there_and_typed():
    source = (CHECKOUT / "market_data_pipeline" / "__init__.py").read_text(encoding="utf-8")
    imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom) and node.level == 0]
    typed = {alias.name for node in imports for alias in node.names if node.module.startswith("market_data_pipeline.")}
    assert typed == set(market_data_pipeline.__all__)
    for name in market_data_pipeline.__all__:
        assert getattr(market_data_pipeline, name).__name__ == name
        assert name in dir(market_data_pipeline)
    assert (CHECKOUT / "market_data_pipeline" / "py.typed").exists()
    with pytest.raises(AttributeError, match="no attribute 'backfil'"):
        market_data_pipeline.backfil  # noqa: B018


# --- loading


@pytest.mark.slow
def test_a_backfill_leaves_what_the_command_leaves(root, running, tmp_path, capfd):
    report = backfill(**BTC, start="2024-05-10", end="2024-05-12", tz="Europe/Zurich")
    assert (report.ok, report.outcomes, report.rows) == (True, {"loaded": 2}, 2880)
    assert repr(report).startswith(
        "BackfillReport(ok=True, spot BTC/USDT 2024-05-10 to 2024-05-11, days={'loaded': 2}, rows=2880, absences=0, "
    )
    assert report.run_id
    assert capfd.readouterr() == ("", "")
    command = MarketData(tmp_path / "other", running.url)
    assert command("--market", "spot", "--align-tz", "Europe/Zurich", "backfill", "--start", "2024-05-10",
                   "--end", "2024-05-12").exit_code == 0  # fmt: skip
    assert data_files(root) == data_files(tmp_path / "other")
    again = backfill(**BTC, start="2024-05-10", end="2024-05-12", tz="Europe/Zurich")
    assert (again.outcomes, again.run_id) == ({"unchanged": 2}, None)


@pytest.mark.slow
def test_a_backfill_works_in_a_running_event_loop_and_shows_progress_if_asked(root, capfd):
    async def cell() -> Any:
        return backfill(**BTC, start=date(2024, 5, 10), end=datetime(2024, 5, 11, tzinfo=UTC), progress=True)

    assert asyncio.run(cell()).outcomes == {"loaded": 1}
    assert capfd.readouterr().out == ""


@pytest.mark.slow
def test_two_data_roots_have_two_dagster_instances(root, tmp_path):
    for each in (root, tmp_path / "other"):
        assert backfill(**BTC, start="2024-05-10", end="2024-05-11", root=str(each)).outcomes == {"loaded": 1}
        assert (each / "dagster" / "dagster.yaml").exists()
    assert "DAGSTER_HOME" not in os.environ


@pytest.mark.slow
def test_what_cannot_be_overlooked_on_the_command_line_is_a_warning(root):
    with pytest.warns(MarketDataWarning, match="does not list NONE/USDT: working on BTC/USDT INSTEAD") as warned:
        report = backfill("NONE/USDT", market="spot", start="2024-05-10", end="2024-05-11")
    assert (report.dataset.pair, report.ok) == ("BTC/USDT", True)
    assert {Path(each.filename).name for each in warned if each.category is MarketDataWarning} == {Path(__file__).name}
    with pytest.raises(UsageError, match="does not list NONE/USDT"):
        backfill("NONE/USDT", market="spot", start="2024-05-10", end="2024-05-11", strict_pair=True)


@pytest.mark.slow
def test_a_day_that_fails_is_in_the_report_and_a_warning(root, running):
    running.exchange.hooks.append(lambda request: "451" if is_page(request) else None)
    with pytest.warns(MarketDataWarning, match=r"spot BTC/USDT: 1 day failed; 2024-05-10: "):
        report = backfill(**BTC, start="2024-05-10", end="2024-05-11", source="rest")
    assert (report.ok, [day for day, _ in report.failed]) == (False, ["2024-05-10"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"start": "2024-05-12", "end": "2024-05-10"}, "is not after the start"),
        ({"start": "soon"}, "not a date or ISO time"),
        ({"start": datetime(2024, 5, 10)}, "has no zone"),  # noqa: DTZ001 - that is the point
        ({"market": "margin"}, "no such market"),
        ({"tz": "Mars/Olympus"}, "no such time zone"),
        ({"chunk_size": 0}, "is no number of rows"),
        ({"pair": "/"}, "not a pair"),
    ],
)
def test_a_wrong_request_is_refused_and_nothing_is_written(root, options, said):
    with pytest.raises(UsageError, match=said) as refused:
        backfill(**{**BTC, **options})
    assert "\n" not in str(refused.value)
    assert everything(root) == {}


def test_an_error_of_the_disk_is_one_of_the_package(root):
    root.mkdir()
    (root / "dagster").write_text("in the way")
    with pytest.raises(StoreError):
        backfill(**BTC, start="2024-05-10", end="2024-05-11")


# --- what is stored


@pytest.mark.slow
def test_verify_combine_and_status_are_those_of_the_commands(root):
    for call, cure in ((verify, "run market-data"), (status, "run market-data"), (combine, "backfill loads it")):
        with pytest.raises(UsageError, match=cure):
            call()
    backfill(**BTC, start="2024-05-10", end="2024-05-13")
    backfill("ETH/USDT", market="spot", start="2024-05-10", end="2024-05-11")
    assert [(proof.verification.dataset.pair, proof.ok) for proof in verify()] == [
        ("BTC/USDT", True),
        ("ETH/USDT", True),
    ]
    assert [one.dataset.pair for one in status(market="spot")] == ["BTC/USDT", "ETH/USDT"]
    assert [proof.verification.dataset.pair for proof in verify(market="spot")] == ["BTC/USDT", "ETH/USDT"]
    with pytest.raises(UsageError, match="there is no futures dataset"):
        status(market="futures")
    (of_btc,) = status("BTCUSDT", market="spot")
    assert (of_btc.chunks, of_btc.first_day, of_btc.last_day) == (3, "2024-05-10", "2024-05-12")
    built, again = combine(**BTC), combine(**BTC)
    assert (built.built, built.chunks, built.rows, again.built) == (True, 3, 4320, False)
    assert built.path.stat().st_size == built.size_bytes
    flip_a_byte(chunk_files(root)["2024-05-12"])
    (damaged,) = verify(**BTC, start="2024-05-12")
    assert [day.key for day in damaged.bad_days] == ["2024-05-12"]
    (repaired,) = verify(**BTC, repair=True)
    assert repaired.ok
    assert open_dataset(**BTC).to_arrow().num_rows == 4320


@pytest.mark.slow
def test_what_was_loaded_is_read_as_a_panel(root):
    backfill(**BTC, start="2024-05-10", end="2024-05-12")
    backfill("ETH/USDT", market="spot", start="2024-05-11", end="2024-05-12")
    opened = open_panel("*/USDT", market="spot")
    closes, mask = opened.wide().to_pandas(), opened.mask().to_pandas()
    assert closes.shape == (2880, 2)
    assert closes.notna().sum().to_dict() == {"BTC/USDT": 2880, "ETH/USDT": 1440}
    assert mask["ETH/USDT"].value_counts().loc["not_loaded"] == 1440
    assert Kind.UNEXPLAINED not in set(mask["ETH/USDT"].dropna())


# --- the page


@pytest.mark.slow
def test_the_examples_of_the_page_run(root, capsys):
    page = (CHECKOUT / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 4
    names: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error", MarketDataWarning)
        for block in blocks:
            exec(block, names)
    assert list(names["closes"].columns) == ["BTC/USDT", "ETH/USDT"]
    assert len(names["hours"]) == 24
    assert "does not list NONE/USDT" in capsys.readouterr().out
