"""Rows of the exchange that break rules, from the command line to every place that a person reads: none is silent."""

import json
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest

from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.klines.flaws import Flaw
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.status import status_of
from market_data_pipeline.defs.metadata import day_metadata, flaws_text, manifest_metadata
from market_data_pipeline.reader import open_dataset
from market_data_pipeline_tests.api.pages.browsing import Browser
from market_data_pipeline_tests.simulator.scenarios import scenario_exchange
from market_data_pipeline_tests.support import MarketData, at, rows_by_day

XYZ = ("--market", "spot", "--pair", "XYZ/USDT")
DAYS = ("--start", "2024-05-01", "--end", "2024-05-06")
VOLUME = Flaw(at("2024-05-02T03:00"), "taker_base_volume is above volume", 69.44682618, ("archive", "rest"))
LOW = Flaw(at("2024-05-03T03:00"), "low is above open or close", 397.01706473, ("archive", "rest"))


def row(day: str, **fields: Any) -> list[Any]:
    """A row at 03:00 of the day, good but for these fields."""
    open_time = at(f"{day}T03:00")
    usual = {
        "open_time": open_time, "open": "397.00706473", "high": "397.41593197", "low": "396.99712134",
        "close": "397.30018402", "volume": "69.44682617", "close_time": open_time + 59_999,
        "quote_volume": "27595.14963570", "trades": 819, "taker_base_volume": "38.40481836",
        "taker_quote_volume": "15181.10102820", "ignore": "0",
    }  # fmt: skip
    return list((usual | fields).values())


@pytest.fixture
def run(market_data: Callable[..., MarketData]) -> Iterator[MarketData]:
    """The command line beside an exchange that has a bad row of a pair on each of three days, as its archive has."""
    rows = [
        row("2024-05-02", taker_base_volume="69.44682618"),
        row("2024-05-03", low="397.01706473"),
        row("2024-05-04", low="0.00000000"),
    ]
    pair = {"first": "2024-04-01T00:00Z", "price": 397, "rows": rows}
    with scenario_exchange({"now": "2024-05-20T12:00Z", "spot": {"XYZUSDT": pair}}) as running:
        yield market_data(running)


def test_bad_rows_cost_their_own_minutes_at_most_and_every_face_names_them(run: MarketData) -> None:
    loaded = run(*XYZ, "backfill", *DAYS)
    assert loaded.exit_code == 0, loaded.output
    assert "absent    malformed 1 min" in loaded.stdout
    assert [line for line in loaded.stdout.splitlines() if "flaw " in line] == [
        "  flaw      2024-05-02T03:00Z taker_base_volume is above volume: 69.44682618 (archive, rest)",
        "  flaw      2024-05-03T03:00Z low is above open or close: 397.01706473 (archive, rest)",
    ]
    assert list(rows_by_day(run.root).values()) == [1440, 1440, 1440, 1439, 1440]

    verified = run(*XYZ, "verify")
    assert verified.exit_code == 0
    assert "good  5 days, 7,199 klines" in verified.stdout
    assert f"kept though it breaks a rule: {VOLUME.text}" in verified.stdout
    assert f"kept though it breaks a rule: {LOW.text}" in verified.stdout
    assert "malformed     1 minute absent, 2024-05-04T03:00Z to 2024-05-04T03:00Z" in verified.stdout
    assert "archive, rest: low is not a price: 1714791600000,397.00706473,397.41593197,0.0," in verified.stdout
    [proof] = json.loads(run(*XYZ, "verify", "--json").stdout)
    assert proof["ok"]
    assert [Flaw(**{**flaw, "sources": tuple(flaw["sources"])}) for flaw in proof["flaws"]] == [VOLUME, LOW]
    assert [finding["severity"] for finding in proof["findings"]] == ["warning"] * 2

    assert "spot XYZ/USDT  2 flaws: values that break a rule" in run("status").stdout
    [status] = json.loads(run("status", "--json").stdout)
    assert (status["flaws"], status["absent_minutes"]) == (2, {"malformed": 1})

    xyz = open_dataset("XYZ/USDT", market="spot", root=run.root)
    assert xyz.flaws() == [VOLUME, LOW]
    assert xyz.flaws("2024-05-02T03:01Z", "2024-05-06") == [LOW]
    assert xyz.flaws(end="2024-05-02T03:00Z") == []
    klines = xyz.to_arrow("2024-05-02", "2024-05-03")
    assert klines.column("taker_base_volume")[180].as_py() == VOLUME.value


def test_pages_and_dagster_name_them(run: MarketData) -> None:
    assert run(*XYZ, "backfill", *DAYS).exit_code == 0
    browser, chunks = Browser(run.root), "binance/XYZUSDT/1m/chunks"
    dataset = browser("/browse", market="spot", pair="XYZ/USDT").text
    assert "Flaws 2" in dataset
    assert "1 flaw" in dataset
    flawed = browser("/browse/file", file=f"{chunks}/chunk_000032_2024-05-02.parquet").text
    assert (
        "flaw 2024-05-02 03:00 UTC taker_base_volume is above volume: 69.44682618 as archive and rest have it" in flawed
    )
    malformed = browser("/browse/file", file=f"{chunks}/chunk_000034_2024-05-04.parquet").text
    assert (
        "malformed 2024-05-04 03:00 UTC to 2024-05-04 03:00 UTC, 1 min archive, rest: low is not a price" in malformed
    )

    store = Store(run.root).create(Market.SPOT, "XYZ/USDT", zone=parse_zone("UTC"), start=date(2024, 4, 1))
    day = store.dataset.day("2024-05-02")
    metadata = day_metadata(store.chunk_path(day), DayResult(day, Outcome.UNCHANGED, store.entries[day.key]))
    assert metadata["flaws"] == VOLUME.text
    assert manifest_metadata(status_of(store))["flaws"] == 2


def test_a_list_of_flaws_ends_somewhere() -> None:
    text = flaws_text([VOLUME] * 1440)
    assert text.endswith("; and 1,435 more")
    assert len(text) < 1000
