"""Pairs of a market and of universes, as Python functions."""

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from market_data_pipeline import (
    MarketDataWarning,
    backfill_many,
    combine_many,
    export,
    open_panel,
    pairs,
    snapshot,
    status,
    universe,
    verify,
)
from market_data_pipeline.core.errors import StoreUnavailable, UsageError
from market_data_pipeline.settings import Settings
from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests.simulator.scenarios import scenario_exchange

GONE = {
    "first": "2024-04-20T00:00Z",
    "last": "2024-05-02T08:59Z",
    "status": "SETTLING",
    "deliveryDate": "2024-05-02T09:00Z",
}
SCENARIO = {"now": "2024-05-06T12:00Z", "futures": {"GONEUSDT": GONE, "NEWUSDT": {"first": "2024-05-04T00:00Z"}}}


@pytest.fixture
def running() -> Iterator[RunningExchange]:
    with scenario_exchange(SCENARIO) as exchange:
        yield exchange


@pytest.fixture
def root(tmp_path: Path, running: RunningExchange, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("MARKET_DATA_DIR", str(tmp_path / "root"))
    monkeypatch.setenv("MARKET_DATA_EXCHANGE_URL", running.url)
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def test_pairs_are_those_that_ever_were_or_those_of_a_day(root: Path) -> None:
    assert [(each.pair, each.status) for each in pairs()] == [
        ("BTC/USDT", "trading"),
        ("GONE/USDT", "ended"),
        ("NEW/USDT", "trading"),
    ]
    assert [each.pair for each in pairs("*/USDT", at="2024-05-01")] == ["BTC/USDT", "GONE/USDT"]
    assert [each.pair for each in pairs(["*", "!BTC*"], status="trading")] == ["NEW/USDT"]


@pytest.mark.parametrize(
    "at",
    [
        date(2024, 5, 1),
        datetime(2024, 5, 1, 23, 59, tzinfo=UTC),
        pd.Timestamp("2024-05-02T01:30", tz="Europe/Zurich"),
        pd.Timestamp("2024-05-01", tz="UTC"),
    ],
)
def test_a_day_is_a_date_or_that_of_a_datetime_in_utc(root: Path, at: date) -> None:
    assert [each.pair for each in pairs(at=at)] == ["BTC/USDT", "GONE/USDT"]


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("soon", "^no date: 'soon'; write 2022-05-01$"),
        (20240501, "^no date: 20240501; write 2022-05-01$"),
        (datetime(2024, 5, 1), "has no zone; give it one, or give a date"),  # noqa: DTZ001 - that is the point
        (pd.Timestamp("2024-05-01"), "has no zone"),
        (pd.NaT, "has no zone"),
    ],
)
def test_what_is_no_day_is_refused(root: Path, at: Any, said: str) -> None:
    (root / "market-data.toml").write_text('[universe.mine]\nmarket = "futures"\npairs = ["*"]\n', encoding="utf-8")
    for call in (pairs, partial(universe, "mine")):
        with pytest.raises(UsageError, match=said):
            call(at=at)


def test_a_universe_means_the_pairs_of_its_words(root: Path) -> None:
    text = '[universe.mine]\nmarket = "futures"\npairs = ["*/USDT", "!BTC/*"]\n'
    (root / "market-data.toml").write_text(text, encoding="utf-8")
    assert universe("mine") == ["GONE/USDT", "NEW/USDT"]
    assert universe("mine", at="2024-05-05") == ["NEW/USDT"]
    with pytest.raises(UsageError, match="no universe 'yours'"):
        universe("yours")


def test_a_catalog_that_the_disk_does_not_take_is_an_error_of_the_package(root: Path) -> None:
    (root / "market-data.toml").write_text('[universe.mine]\nmarket = "futures"\npairs = ["*"]\n', encoding="utf-8")
    (root / "catalog").write_text("a file where the folder should be")
    for call in (pairs, partial(universe, "mine"), partial(backfill_many, "*")):
        with pytest.raises(StoreUnavailable, match="File exists: .*catalog; check that the disk"):
            call()


@pytest.mark.skipif(sys.platform == "win32", reason="a link needs a right that users do not have")
def test_a_market_that_the_disk_lets_nobody_list_is_an_error_of_the_package(root: Path) -> None:
    (root / "binanceusdm").symlink_to(root / "binanceusdm")
    export_to = partial(export, format="csv", output=root.parent / "out")
    for call in (verify, status, combine_many, snapshot_of, open_panel, export_to):
        with pytest.raises(StoreUnavailable, match="Too many levels of symbolic links: .*binanceusdm; "):
            call("*")


def snapshot_of(name: str) -> Any:
    return snapshot("mine", name)


@pytest.mark.parametrize("call", [pairs, partial(universe, "all")])
def test_pairs_that_a_catalog_may_lack_are_a_warning_of_the_users_line(
    root: Path, running: RunningExchange, call: Callable[[], object]
) -> None:
    (root / "market-data.toml").write_text('[universe.all]\nmarket = "futures"\npairs = ["*"]\n', encoding="utf-8")
    running.exchange.hooks.append(lambda request: "403" if request.area == "listing" else None)
    with pytest.warns(MarketDataWarning, match="the archive cannot be listed") as said:
        call()
    assert [warning.filename for warning in said] == [__file__]


def test_an_old_catalog_is_a_warning(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pairs()
    monkeypatch.setenv("MARKET_DATA_EXCHANGE_URL", "http://127.0.0.1:9")
    with pytest.warns(MarketDataWarning, match="the catalog of futures is of 2024-05-06"):
        assert [each.pair for each in pairs("G*")] == ["GONE/USDT"]
