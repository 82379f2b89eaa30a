"""Real klines through the command line: what is stored is, to the bit, what the exchange's own files say."""

import csv
import io
import json
import zipfile
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from market_data_pipeline.core.klines.table import FIELDS, INTEGER_FIELDS
from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.server import serve
from market_data_pipeline_tests.support import (
    MarketData,
    Simulate,
    chunk_files,
    data_files,
    flip_a_byte,
    klines_of,
    minutes,
    rows_by_day,
    span,
    without_progress,
)

pytestmark = pytest.mark.real
BTC = ("--market", "spot", "--pair", "BTC/USDT")
OUTAGE_DAYS = ("--start", "2021-04-24", "--end", "2021-04-27", "--source", "rest")


def csv_rows(archive: Path, market: str, token: str) -> dict[int, list[str]]:
    """Every row that the exchange's files have of a pair, by open time, as they are written there."""
    folder = archive / "data" / {"spot": "spot", "futures": "futures/um"}[market] / "daily" / "klines" / token / "1m"
    rows = [row for path in sorted(folder.glob("*.zip")) for row in _lines(path) if row[0] != "open_time"]
    return {int(row[0]): row for row in rows}


def _lines(path: Path) -> list[list[str]]:
    with zipfile.ZipFile(path) as packed:
        [name] = packed.namelist()
        return list(csv.reader(io.StringIO(packed.read(name).decode("ascii"))))


def as_klines(rows: list[list[str]]) -> dict[str, list[int | float]]:
    """What Python's own `int` and `float` make of the text."""
    columns = list(zip(*rows, strict=True))
    return {
        name: [(int if name in INTEGER_FIELDS else float)(text) for text in column]
        for name, column in zip(FIELDS, columns, strict=True)
    }


def stored(root: Path) -> dict[str, list[int | float]]:
    """Every kline of the store, in the order of its days."""
    return pa.concat_tables([klines_of(path) for path in chunk_files(root).values()]).to_pydict()


@pytest.fixture(scope="module")
def near(real_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with NEAR/USDT futures from 2 to 30 October 2023, days in Zurich."""
    root = tmp_path_factory.mktemp("near") / "root"
    with serve(SimulatedExchange(real_archive)) as running:
        words = ("--market", "futures", "--pair", "NEAR/USDT", "--align-tz", "Europe/Zurich", "backfill")
        window = ("--start", "2023-10-02", "--end", "2023-10-31", "--source", "rest")
        done = MarketData(root, running.url).run(*words, *window)
        assert (done.returncode, without_progress(done.stderr)) == (0, "")
    return root


@pytest.fixture
def spot(market_data: Callable[..., MarketData], simulate: Simulate, real_archive: Path) -> MarketData:
    return market_data(simulate(archive_dir=real_archive, now=None, speed=1))


def test_a_month_of_near_has_a_chunk_of_each_of_its_29_days(near: Path) -> None:
    days = [(date(2023, 10, 2) + timedelta(days=number)).isoformat() for number in range(29)]
    assert list(rows_by_day(near)) == days
    assert rows_by_day(near) == {day: 1500 if day == "2023-10-29" else 1440 for day in days}


def test_every_value_of_every_field_is_the_one_in_the_exchanges_files(near: Path, real_archive: Path) -> None:
    expected = csv_rows(real_archive, "futures", "NEARUSDT")
    # Midnight of 2 October in Zurich is 22:00 UTC; on the 31st the clocks have been set back.
    within = minutes(span("2023-10-01T22:00", "2023-10-30T23:00"))
    klines = stored(near)
    assert klines == as_klines([expected[minute] for minute in within])
    assert {name: {type(value) for value in column} for name, column in klines.items()} == {
        name: {int if name in INTEGER_FIELDS else float} for name in FIELDS
    }


@pytest.mark.parametrize(
    ("pair", "rows", "outage"),
    [
        ("BTC/USDT", 1156, "2021-04-25T04:01Z to 2021-04-25T08:44Z"),
        ("LTC/USDT", 1157, "2021-04-25T04:02Z to 2021-04-25T08:44Z"),
    ],
)
def test_a_real_outage_is_named_and_verifies(
    spot: MarketData, real_archive: Path, pair: str, rows: int, outage: str
) -> None:
    words = ("--market", "spot", "--pair", pair)
    assert spot(*words, "backfill", *OUTAGE_DAYS).exit_code == 0
    assert rows_by_day(spot.root) == {"2021-04-24": 1440, "2021-04-25": rows, "2021-04-26": 1440}
    proof = spot(*words, "verify")
    assert proof.exit_code == 0
    assert [line.split() for line in proof.stdout.splitlines() if "absent" in line] == [
        ["outage", str(1440 - rows), "minutes", "absent,", *outage.split()]
    ]
    [as_json] = json.loads(spot(*words, "verify", "--json").stdout)
    assert as_json["absent_minutes"] == {"outage": 1440 - rows}

    expected = csv_rows(real_archive, "spot", pair.replace("/", ""))
    within = minutes(span("2021-04-24", "2021-04-27"))
    assert stored(spot.root) == as_klines([expected[minute] for minute in within if minute in expected])


def test_the_day_new_york_sets_its_clocks_back_has_1500_rows(spot: MarketData, real_archive: Path) -> None:
    words = ("--market", "futures", "--pair", "FIL/USDT", "--align-tz", "America/New_York")
    assert spot(*words, "backfill", "--start", "2023-11-03", "--end", "2023-11-08", "--source", "rest").exit_code == 0
    assert rows_by_day(spot.root) == {
        "2023-11-03": 1440,
        "2023-11-04": 1440,
        "2023-11-05": 1500,
        "2023-11-06": 1440,
        "2023-11-07": 1440,
    }
    expected = csv_rows(real_archive, "futures", "FILUSDT")
    within = minutes(span("2023-11-03T04:00", "2023-11-08T05:00"))
    assert stored(spot.root) == as_klines([expected[minute] for minute in within])
    assert spot("verify").exit_code == 0


def test_a_deleted_chunk_and_a_flipped_byte_are_found_and_mended_and_nothing_else_is_touched(spot: MarketData) -> None:
    assert spot(*BTC, "backfill", *OUTAGE_DAYS).exit_code == 0
    before, chunks = data_files(spot.root), chunk_files(spot.root)
    written = chunks["2021-04-26"].stat().st_mtime_ns
    chunks["2021-04-24"].unlink()
    flip_a_byte(chunks["2021-04-25"])

    found = spot("verify")
    assert found.exit_code == 1
    assert all(chunks[day].name in found.stdout for day in ("2021-04-24", "2021-04-25"))
    assert chunks["2021-04-26"].name not in found.stdout

    assert spot("verify", "--repair").exit_code == 0
    assert spot("verify").exit_code == 0
    assert data_files(spot.root) == before
    assert chunks["2021-04-26"].stat().st_mtime_ns == written
