"""Each format has the stored klines, bit for bit, under the names and in the types of the program that reads it."""

import csv
import io
import zipfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from market_data_pipeline import MarketDataWarning, export, open_dataset, open_panel
from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.table import FIELDS, SCHEMA, column
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline_tests.core.fakes import changed, span
from market_data_pipeline_tests.reader.exporting.stores import (
    HALT,
    PRICES,
    WINDOW,
    Scaled,
    make,
    rows_of,
)
from market_data_pipeline_tests.support import MINUTE_MS, at, everything

OF_EXCHANGE = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
MINUTES = WINDOW.minutes - HALT.minutes


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    make(root, "BTC/USDT", tz="Europe/Zurich")
    make(root, "TINY/USDT", Scaled(price=1e-9, volume=1e12, decimals=13))
    make(root, "LATE/USDT", Scaled(first="2024-03-31T12:00Z"))
    make(root, "BTC/USDT", market=Market.FUTURES)
    make(root, "BTC/USDT_240628", market=Market.FUTURES)
    return root


def stored(root: Path, pair: str = "BTC/USDT", market: str = "spot", *window: Any) -> pa.Table:
    return open_dataset(pair, market=market, root=root).to_arrow(*window)


def files_of(output: Path) -> list[str]:
    return [name for name in everything(output) if not name.startswith(".")]


# --- tables


def test_csv_has_the_names_of_the_exchange_and_numbers_that_mean_the_same(root: Path, tmp_path: Path) -> None:
    report = export(["BTC/USDT", "TINY/USDT"], format="csv", output=tmp_path, market="spot", root=root)
    assert files_of(tmp_path) == ["binance/BTCUSDT_1m.csv", "binance/TINYUSDT_1m.csv"]
    assert [each.rows for each in report.results] == [MINUTES, WINDOW.minutes]
    for each in report.results:
        text = each.files[0].read_text(encoding="utf-8")
        header, *lines = text.splitlines()
        assert header == OF_EXCHANGE
        klines = stored(root, each.name)
        read = [tuple(map(float, line.split(","))) for line in lines]
        assert read == [tuple(map(float, row)) for row in rows_of(klines, FIELDS)]
        assert each.size_bytes == len(text)


def test_parquet_is_as_the_store_has_it(root: Path, tmp_path: Path) -> None:
    window = "2024-03-30T12:30Z", "2024-03-31T01:00Z"
    report = export("BTC/USDT", *window, format="parquet", output=tmp_path, market="spot", root=root)
    [path] = report.files
    klines = stored(root, "BTC/USDT", "spot", *window)
    with pq.ParquetFile(path) as file:
        assert file.read().equals(klines)
        assert file.schema_arrow.equals(SCHEMA)
    assert pl.read_parquet(path).equals(pl.from_arrow(klines))
    [only] = report.results
    assert (only.first_open_ms, only.last_open_ms) == (klines["open_time"][0].as_py(), klines["open_time"][-1].as_py())


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_only_the_named_columns(root: Path, tmp_path: Path, ending: str) -> None:
    named = {"columns": ["close", "trades"], "market": "spot", "root": root}
    [path] = export("BTC/USDT", format=ending, output=tmp_path, **named).files
    read = pd.read_csv(path) if ending == "csv" else pd.read_parquet(path)
    last = "count" if ending == "csv" else "trades"
    assert list(read.columns) == ["open_time", "close", last]
    klines = stored(root)
    assert read["close"].tolist() == klines["close"].to_pylist()
    assert read[last].tolist() == klines["trades"].to_pylist()


# --- panels


def test_a_long_panel_is_that_of_the_reader_in_one_file(root: Path, tmp_path: Path) -> None:
    pairs = {"pairs": ["*/USDT", "!TINY*"], "market": "spot", "root": root}
    options = {"output": tmp_path, "panel": "long", "columns": ["close", "trades"], **pairs}
    [path] = export(format="parquet", tz="UTC", **options).files
    assert path == tmp_path / "binance" / "panel_1m_long.parquet"
    expected = open_panel(columns=["close", "trades"], tz="UTC", **pairs).long().to_pandas().reset_index()
    read = pd.read_parquet(path)
    assert list(read.columns) == ["open_time", "pair", "close", "trades"]
    assert read["pair"].tolist() == expected["pair"].tolist()
    assert read["close"].tolist() == expected["close"].tolist()
    [lines] = export(format="csv", **options).files
    as_text = pd.read_csv(lines)
    assert as_text["pair"].tolist() == read["pair"].tolist() and as_text["count"].tolist() == read["trades"].tolist()


def test_a_wide_panel_is_that_of_the_reader_with_no_value_where_there_is_no_kline(root: Path, tmp_path: Path) -> None:
    window = {"start": "2024-03-29", "end": "2024-04-01", "tz": "UTC"}
    pairs = {"pairs": ["BTC/USDT", "LATE/USDT"], "market": "spot", "root": root, **window}
    wide = open_panel(columns="close", **pairs).wide().to_arrow()
    [path] = export(format="parquet", output=tmp_path, panel="wide", **pairs).files
    assert pq.read_table(path).equals(wide)
    assert wide.num_rows - wide["LATE/USDT"].null_count == 12 * 60
    [lines] = export(format="csv", output=tmp_path, panel="wide", **pairs).files
    header, first, *_ = lines.read_text(encoding="utf-8").splitlines()
    assert header == "open_time,BTC/USDT,LATE/USDT"
    assert first == f"{wide['open_time'][0]},{wide['BTC/USDT'][0]},"


def test_a_wide_panel_that_begins_off_the_minute_has_whole_minutes(root: Path, tmp_path: Path) -> None:
    start_ms = at("2024-03-29")
    window = {"start": start_ms - 59_999, "end": start_ms + 180_000}
    pairs = {"pairs": ["BTC/USDT", "TINY/USDT"], "market": "spot", "root": root, "tz": "UTC"}
    [path] = export(format="parquet", output=tmp_path, panel="wide", **window, **pairs).files
    klines = pq.read_table(path)
    assert klines["open_time"].to_pylist() == [start_ms, start_ms + MINUTE_MS, start_ms + 2 * MINUTE_MS]
    assert klines["TINY/USDT"].null_count == 0


@pytest.mark.parametrize("interval", ["1d", "1mo"])
@pytest.mark.parametrize("start", ["1971-01-01", "1972-06-30T12:00Z"])
def test_a_wide_panel_begins_where_it_was_asked_to_also_long_before_the_first_kline(
    with_a_gap: Path, tmp_path: Path, start: str, interval: str
) -> None:
    pairs = {"pairs": ["BTC/USDT", "ETH/USDT"], "market": "spot", "root": with_a_gap, "interval": interval}
    given = {"format": "csv", "panel": "wide", "end": "2024-03-01", **pairs}
    starts = {"early": start, "late": "2024-01-01"}
    files = [export(start=each, output=tmp_path / name, **given).files[0] for name, each in starts.items()]
    early, late = (pd.read_csv(path, index_col="open_time") for path in files)
    first = "1972-07-01" if start == "1972-06-30T12:00Z" else "1971-01-01"
    assert (early.index[0], early.index[-1]) == (pd.Timestamp(first).value // 1_000_000, late.index[-1])
    assert early[early.index >= late.index[0]].equals(late) and late.notna().any(axis=None)
    assert early[early.index < late.index[0]].isna().all(axis=None)


@pytest.mark.parametrize("interval", ["1m", "1h", "1d"])
@pytest.mark.parametrize("window", [("1970-01-01", None), ("1900-01-01", "2025-01-01"), (None, "2300-01-01")])
def test_a_wide_panel_of_times_that_no_pair_can_have_is_refused_with_the_window(
    root: Path, tmp_path: Path, window: tuple[str | None, str | None], interval: str
) -> None:
    given = {"format": "parquet", "output": tmp_path, "market": "spot", "root": root, "panel": "wide", "tz": "UTC"}
    start, end = window[0] or "2024-03-29", window[1] or "2024-04-01"
    with pytest.raises(UsageError, match=f"^no pair has klines of all of {start}T00:00Z to {end}T00:00Z; give a"):
        export("TINY/USDT", *window, interval=interval, **given)
    assert files_of(tmp_path) == []


# --- longer klines


@pytest.mark.parametrize("interval", ["5m", "1h", "4h", "1d"])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_longer_klines_are_those_of_the_reader(root: Path, tmp_path: Path, ending: str, interval: str) -> None:
    named = {"market": "spot", "root": root, "interval": interval}
    [path] = export("BTC/USDT", format=ending, output=tmp_path, tz="UTC", **named).files
    assert path == tmp_path / "binance" / f"BTCUSDT_{interval}.{ending}"
    read = pd.read_csv(path) if ending == "csv" else pd.read_parquet(path)
    klines = open_dataset("BTC/USDT", market="spot", root=root).resample(interval, tz="UTC").to_arrow()
    names = {"trades": "count", "taker_base_volume": "taker_buy_volume", "taker_quote_volume": "taker_buy_quote_volume"}
    columns = klines.column_names if ending == "parquet" else [names.get(name, name) for name in klines.column_names]
    assert list(read.columns) == columns
    assert [read[name].tolist() for name in columns] == [list(column.to_pylist()) for column in klines.columns]
    # The halt is whole bins of 5 minutes, which have no row.
    assert (read["minutes"] < read["expected_minutes"]).any() == (interval != "5m")


def test_longer_klines_follow_the_clock_of_the_days_but_for_freqtrade_that_of_utc(root: Path, tmp_path: Path) -> None:
    named = {"output": tmp_path, "market": "spot", "root": root, "interval": "1d"}
    [path] = export("BTC/USDT", format="parquet", **named).files
    days = pq.read_table(path)
    # Of the first and the last day of Zurich the window lacks an hour, or has two only.
    assert days["open_time"].to_pylist() == [span("2024-03-29T23:00Z", "2024-03-30").start_ms, at("2024-03-30T23:00Z")]
    assert days["expected_minutes"].to_pylist() == [1440, 1380]
    [path] = export("BTC/USDT", format="feather-freqtrade", **named).files
    assert path.name == "BTC_USDT-1d.feather"
    dates = pyarrow.feather.read_table(path)["date"].to_pylist()
    assert dates == [datetime(2024, 3, day, tzinfo=UTC) for day in (29, 30, 31)]


@pytest.mark.parametrize(
    ("interval", "name"), [("60m", "1h"), ("24h", "1d"), ("5m", "5m"), ("1w", "1w"), ("1mo", "1Mo"), ("1m", "1m")]
)
def test_freqtrade_knows_an_interval_by_its_own_name(tmp_path: Path, interval: str, name: str) -> None:
    window = span("2024-03-01T00:00Z", "2024-04-01T00:00Z")
    make(tmp_path / "root", "BTC/USDT", market=Market.FUTURES, window=window)
    options = {"market": "futures", "root": tmp_path / "root", "interval": interval}
    [path] = export("BTC/USDT", format="feather-freqtrade", output=tmp_path / "out", **options).files
    assert path.name == f"BTC_USDT_USDT-{name}-futures.feather"
    rows = {"1h": 31 * 24, "1d": 31, "5m": 31 * 288, "1w": 4, "1Mo": 1, "1m": 31 * 1440 - HALT.minutes}[name]
    assert pyarrow.feather.read_table(path).num_rows == rows - {"1h": 1, "5m": 18}.get(name, 0)


@pytest.mark.parametrize(
    ("start", "end", "hours"),
    [
        ("2024-03-29T10:30Z", "2024-03-29T14:59Z", ["11", "12", "13"]),
        ("2024-03-29T10:00Z", "2024-03-29T12:00Z", ["10", "11"]),
        ("2024-03-28T22:00Z", "2024-03-29T01:30Z", ["00"]),
        ("2024-03-31T22:10Z", "2024-04-02T00:00Z", ["23"]),
    ],
)
def test_a_longer_kline_that_the_window_cuts_is_left_out(
    root: Path, tmp_path: Path, start: str, end: str, hours: list[str]
) -> None:
    given = {"format": "parquet", "output": tmp_path, "market": "spot", "root": root, "interval": "1h"}
    [path] = export("TINY/USDT", start, end, **given).files
    times = [datetime.fromtimestamp(ms / 1000, UTC) for ms in pq.read_table(path)["open_time"].to_pylist()]
    assert [f"{time:%H}" for time in times] == hours


def test_a_longer_kline_that_is_not_over_is_left_out(tmp_path: Path) -> None:
    source = Scaled(now="2024-03-31T17:40Z")
    make(tmp_path / "root", "BTC/USDT", source)
    given = {"format": "parquet", "output": tmp_path / "out", "market": "spot", "root": tmp_path / "root"}
    [path] = export("BTC/USDT", interval="1h", **given).files
    hours = pq.read_table(path)
    assert hours["open_time"].to_pylist()[-1] == at("2024-03-31T16:00Z")
    assert hours["minutes"].to_pylist() == hours["expected_minutes"].to_pylist()
    [path] = export("BTC/USDT", interval="1d", **given).files
    assert pq.read_table(path).num_rows == 2


@pytest.fixture(scope="module")
def with_a_gap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """January, three days of February and March of BTC; two days of February of ETH; days of Zurich of SOL."""
    root = tmp_path_factory.mktemp("gap")
    btc = make(root, "BTC/USDT", Scaled(), window=span("2024-01-01T00:00Z", "2024-02-01T00:00Z"))
    for window in (span("2024-02-05T00:00Z", "2024-02-08T00:00Z"), span("2024-03-01T00:00Z", "2024-04-01T00:00Z")):
        btc.note_requested(window, btc.dataset.start)
        list(backfill(btc, Scaled(), window))
    make(root, "ETH/USDT", Scaled(), window=span("2024-02-20T10:10Z", "2024-02-22T00:00Z"))
    make(root, "SOL/USDT", Scaled(), tz="Europe/Zurich", window=span("2024-03-28T23:00Z", "2024-04-01T22:00Z"))
    return root


@pytest.mark.parametrize("form", ["csv", "parquet", "feather-freqtrade"])
def test_a_longer_kline_with_minutes_that_were_not_loaded_is_left_out(
    with_a_gap: Path, tmp_path: Path, form: str
) -> None:
    given = {"format": form, "output": tmp_path, "market": "spot", "root": with_a_gap}
    assert [export("BTC/USDT", interval=length, **given).rows for length in ("1mo", "1d")] == [2, 31 + 3 + 31]
    assert export("ETH/USDT", interval="1d", **given).rows == 1
    with pytest.raises(UsageError, match="no whole klines of 1mo"):
        export("ETH/USDT", interval="1mo", **given)


@pytest.mark.parametrize(("interval", "rows"), [("1mo", 2), ("1w", 7)])
def test_the_month_in_which_a_pair_was_listed_is_there(tmp_path: Path, interval: str, rows: int) -> None:
    source = Scaled(first="2024-02-15T12:00Z")
    make(tmp_path / "root", "NEW/USDT", source, window=span("2024-02-15T00:00Z", "2024-04-01T00:00Z"))
    given = {"format": "parquet", "market": "spot", "root": tmp_path / "root", "interval": interval}
    [path] = export("NEW/USDT", output=tmp_path / "out", **given).files
    klines = pq.read_table(path)
    assert klines.num_rows == rows
    assert klines["open_time"][0].as_py() < at("2024-02-15") and klines["open"][0].as_py() > 0
    window = {"start": "2024-02-01", "end": "2024-04-01"}
    assert export("NEW/USDT", output=tmp_path / "asked", **window, **given).rows == rows


def test_a_wide_panel_has_no_value_where_minutes_were_not_loaded(with_a_gap: Path, tmp_path: Path) -> None:
    given = {"format": "parquet", "output": tmp_path, "market": "spot", "root": with_a_gap, "panel": "wide"}
    [path] = export(["BTC/USDT", "ETH/USDT"], interval="1mo", **given).files
    months = pq.read_table(path).to_pydict()
    assert [value is None for value in months["BTC/USDT"]] == [False, True, False]
    assert months["ETH/USDT"] == [None] * 3
    window = {"start": "2024-02-19", "end": "2024-02-23", "overwrite": True, "columns": ["close", "minutes"]}
    [path] = export(["BTC/USDT", "ETH/USDT"], interval="1d", **window, **given).files
    days = pq.read_table(path).to_pydict()
    assert days["minutes_ETH/USDT"] == [None, None, 1440, None] and days["close_ETH/USDT"][2] is not None
    assert days["close_BTC/USDT"] == days["minutes_BTC/USDT"] == [None] * 4


def test_a_wide_panel_begins_where_it_was_asked_to_also_beside_a_pair_that_ended_before(
    with_a_gap: Path, tmp_path: Path
) -> None:
    given = {"format": "parquet", "output": tmp_path, "market": "spot", "root": with_a_gap, "panel": "wide"}
    [path] = export(["BTC/USDT", "ETH/USDT"], "2024-03-05T06:00Z", interval="1d", **given).files
    days = pq.read_table(path).to_pydict()
    assert (days["open_time"][0], len(days["open_time"])) == (at("2024-03-06"), 26)
    assert None not in days["BTC/USDT"] and days["ETH/USDT"] == [None] * 26


def test_days_of_several_zones_are_warned_of(with_a_gap: Path, tmp_path: Path) -> None:
    given = {"format": "parquet", "output": tmp_path, "market": "spot", "root": with_a_gap, "overwrite": True}
    pairs = ["BTC/USDT", "SOL/USDT"]
    said = "klines of 1d are those of each pair's days, which are of different zones: Europe/Zurich .*give tz"
    with pytest.warns(MarketDataWarning, match=said):
        report = export(pairs, interval="1d", panel="long", **given)
    assert len(report.warnings) == 1
    assert export(pairs, interval="15m", **given).warnings == ()
    assert export(pairs, interval="1d", tz="UTC", **given).warnings == ()
    assert export(pairs, interval="1d", **(given | {"format": "feather-freqtrade"})).warnings == ()


@pytest.mark.parametrize("kind", ["long", "wide"])
def test_a_panel_of_longer_klines_is_that_of_the_reader(root: Path, tmp_path: Path, kind: str) -> None:
    pairs = {"pairs": ["BTC/USDT", "LATE/USDT"], "market": "spot", "root": root, "tz": "UTC", "interval": "1h"}
    pairs |= {"start": "2024-03-29", "end": "2024-04-01"}
    [path] = export(format="parquet", output=tmp_path, panel=kind, columns=["close", "minutes"], **pairs).files
    assert path.name == f"panel_1h_{kind}.parquet"
    panel = open_panel(columns=["close", "minutes"], **pairs)
    expected = (panel.wide() if kind == "wide" else panel.long()).to_arrow().to_pydict()
    assert pq.read_table(path).to_pydict() == expected


# --- freqtrade


def test_freqtrade_has_its_names_and_its_types(root: Path, tmp_path: Path) -> None:
    export(["BTC/USDT", "BTC/USDT_240628"], format="feather-freqtrade", output=tmp_path, market="futures", root=root)
    export("BTC/USDT", format="feather-freqtrade", output=tmp_path, market="spot", root=root)
    assert files_of(tmp_path) == [
        "BTC_USDT-1m.feather",
        "futures/BTC_USDT_USDT-1m-futures.feather",
        "futures/BTC_USDT_USDT-240628-1m-futures.feather",
    ]
    klines = stored(root)
    frame = pd.read_feather(tmp_path / "BTC_USDT-1m.feather")
    types = {name: str(kind) for name, kind in frame.dtypes.items()}
    assert types == {"date": "datetime64[ms, UTC]", **dict.fromkeys((*PRICES, "volume"), "float64")}
    assert frame["date"].astype("int64").tolist() == klines["open_time"].to_pylist()
    for name in (*PRICES, "volume"):
        assert frame[name].tolist() == klines[name].to_pylist()
    assert len(frame) == MINUTES  # what is absent stays absent


# --- Lean


def lean_lines(path: Path) -> tuple[str, list[list[str]]]:
    with zipfile.ZipFile(path) as whole:
        [name] = whole.namelist()
        return name, list(csv.reader(io.StringIO(whole.read(name).decode())))


def test_lean_has_a_zip_for_each_day_of_utc(root: Path, tmp_path: Path) -> None:
    report = export("BTC/USDT", format="lean", output=tmp_path, market="spot", root=root)
    folder = "crypto/binance/minute/btcusdt"
    # Days of the dataset are those of Zurich.
    days = ["20240329", "20240330", "20240331"]
    assert files_of(tmp_path) == [f"{folder}/{day}_trade.zip" for day in days]
    klines, read = rows_of(stored(root)), []
    for day, path in zip(days, report.files, strict=True):
        name, lines = lean_lines(path)
        assert name == f"{day}_btcusdt_minute_trade.csv"
        midnight_ms = int(datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).timestamp()) * 1000
        read += [(midnight_ms + int(ms), *map(float, numbers)) for ms, *numbers in lines]
    assert read == klines


def test_two_windows_of_local_days_share_a_zip_of_lean_and_neither_loses_minutes(root: Path, tmp_path: Path) -> None:
    options = {"format": "lean", "market": "spot", "root": root}
    export("BTC/USDT", output=tmp_path / "whole", **options)
    first, second, third = ("2024-03-29", "2024-03-30"), ("2024-03-30", "2024-03-31"), ("2024-03-31", "2024-04-02")
    for start, end in (first, third, second, third, first):  # midnights of Zurich
        export("BTC/USDT", start, end, output=tmp_path / "parts", overwrite=True, **options)
    assert everything(tmp_path / "parts") == everything(tmp_path / "whole")


def test_a_zip_of_lean_that_is_damaged_is_replaced(root: Path, tmp_path: Path) -> None:
    options = {"format": "lean", "output": tmp_path, "market": "spot", "root": root}
    [path, _] = export("BTC/USDT", "2024-03-30", "2024-03-31", **options).files
    content = path.read_bytes()
    for damaged in (b"", content[:-30], content[:60] + bytes(20) + content[80:]):
        path.write_bytes(damaged)
        export("BTC/USDT", "2024-03-30", "2024-03-31", overwrite=True, **options)
        assert path.read_bytes() == content


def test_lean_calls_perpetual_contracts_so_and_takes_no_others(root: Path, tmp_path: Path) -> None:
    options = {"format": "lean", "output": tmp_path, "market": "futures", "root": root}
    [path, *_] = export("BTC/USDT", **options).files
    assert path == tmp_path / "cryptofuture" / "binance" / "minute" / "btcusdt" / "20240329_trade.zip"
    assert lean_lines(path)[0] == "20240329_btcusdt_minute_trade_perp.csv"
    with pytest.raises(Exception, match="Lean has no contracts with a delivery"):
        export("BTC/USDT_240628", **options)


def test_lean_gets_no_exponents_which_it_cannot_parse(root: Path, tmp_path: Path) -> None:
    [path, *_] = export("TINY/USDT", format="lean", output=tmp_path, market="spot", root=root).files
    klines = rows_of(stored(root, "TINY/USDT"))
    texts = [text for _, *numbers in lean_lines(path)[1] for text in numbers]
    assert {letter for text in texts for letter in text} <= set("0123456789.")
    assert [float(text) for text in texts] == [value for _, *values in klines[:1440] for value in values]
    assert min(value for _, *prices, _ in klines for value in prices) < 1e-4


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("1970-01-01", None),
        ("1971-01-01", "2199-01-01"),
        (0, None),
        ("0001-01-03", "9999-12-29"),
    ],
)
@pytest.mark.parametrize(
    "options",
    [
        {"format": "csv"},
        {"format": "parquet", "interval": "5m"},
        {"format": "csv", "interval": "1d"},
        {"format": "parquet", "panel": "long"},
        {"format": "csv", "panel": "long", "interval": "1h", "tz": "Asia/Kolkata"},
        {"format": "feather-freqtrade"},
        {"format": "feather-freqtrade", "interval": "4h"},
        {"format": "lean"},
        {"format": "nautilus"},
    ],
)
def test_a_window_of_centuries_gives_the_files_that_none_gives(
    root: Path, tmp_path: Path, options: dict[str, str], start: str | int, end: str | None
) -> None:
    given = {"pairs": ["BTC/USDT", "TINY/USDT"], "tz": "UTC", "market": "spot", "root": root, **options}
    rows = export(output=tmp_path / "none", **given).rows
    for overwrite in (False, True):
        report = export(start=start, end=end, output=tmp_path / "asked", overwrite=overwrite, **given)
        assert report.rows == rows > 0
        assert everything(tmp_path / "asked") == everything(tmp_path / "none")


def test_equal_klines_give_equal_files(root: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        export("BTC/USDT", format="lean", output=tmp_path / name, market="spot", root=root)
    assert everything(tmp_path / "one") == everything(tmp_path / "other")


# --- NautilusTrader


def bars_of(path: Path) -> tuple[pa.Table, dict[str, str]]:
    table = pq.read_table(path)
    return table, {key.decode(): value.decode() for key, value in table.schema.metadata.items()}


@pytest.mark.parametrize(
    ("market", "pair", "bar_type"),
    [
        ("spot", "BTC/USDT", "BTCUSDT.BINANCE-1-MINUTE-LAST-EXTERNAL"),
        ("futures", "BTC/USDT", "BTCUSDT-PERP.BINANCE-1-MINUTE-LAST-EXTERNAL"),
        ("futures", "BTC/USDT_240628", "BTCUSDT_240628.BINANCE-1-MINUTE-LAST-EXTERNAL"),
    ],
)
def test_nautilus_has_bars_in_the_schema_of_its_catalog(
    root: Path, tmp_path: Path, market: str, pair: str, bar_type: str
) -> None:
    report = export(pair, format="nautilus", output=tmp_path, market=market, root=root)
    name = "2024-03-29T00-00-59-999000000Z_2024-03-31T23-59-59-999000000Z.parquet"
    assert files_of(tmp_path) == [f"data/bar/{bar_type}/{name}"]
    table, described = bars_of(report.files[0])
    assert described == {
        "bar_type": bar_type,
        "instrument_id": bar_type.removesuffix("-1-MINUTE-LAST-EXTERNAL"),
        "price_precision": "1",
        "size_precision": "2",
    }
    assert table.schema.names == ["open", "high", "low", "close", "volume", "ts_event", "ts_init"]
    assert {str(field.type) for field in table.schema} == {"fixed_size_binary[16]", "uint64"}
    klines = stored(root, pair, market)
    for field in (*PRICES, "volume"):
        numbers = [
            Decimal(int.from_bytes(each, "little", signed=True)).scaleb(-16) for each in table[field].to_pylist()
        ]
        assert numbers == [Decimal(repr(value)) for value in klines[field].to_pylist()]
    ends = (column(klines, "open_time") + MINUTE_MS) * 1_000_000 - 1_000_000
    assert table["ts_event"].to_pylist() == table["ts_init"].to_pylist() == ends.tolist()
    assert report.results[0].notes == ("an instrument needs price_precision 1 and size_precision 2",)


def test_a_kline_that_cannot_be_a_bar_is_left_out_and_counted(tmp_path: Path) -> None:
    class Odd(Scaled):
        def _of_pair(self, klines: pa.Table) -> pa.Table:
            return changed(klines, "high", 5, 1.0) if klines.num_rows > 5 else klines

    make(tmp_path / "root", "BTC/USDT", Odd(page_minutes=1440))
    options = {"market": "spot", "root": tmp_path / "root"}
    report = export("BTC/USDT", format="nautilus", output=tmp_path / "out", **options)
    [only] = report.results
    left = len(open_dataset("BTC/USDT", **options).flaws())
    assert only.rows == WINDOW.minutes - left < WINDOW.minutes
    assert only.notes[1].startswith(f"{left} klines left out, as a bar cannot have")


def test_many_weeks_are_read_a_few_at_a_time_and_nothing_is_lost_between(tmp_path: Path) -> None:
    root, window = tmp_path / "root", span("2024-02-20T00:00Z", "2024-04-20T00:00Z")
    make(root, "BTC/USDT", tz="Europe/Zurich", window=window)
    klines, options = stored(root), {"market": "spot", "root": root}
    assert klines.num_rows == window.minutes - HALT.minutes
    for format in ("parquet", "feather-freqtrade", "lean", "nautilus"):
        report = export("BTC/USDT", format=format, output=tmp_path / format, **options)
        assert report.rows == klines.num_rows
    [path] = (tmp_path / "parquet").rglob("*.parquet")
    assert pq.read_table(path).equals(klines)
    [feather] = (tmp_path / "feather-freqtrade").rglob("*.feather")
    assert pyarrow.feather.read_table(feather)["date"].cast(pa.int64()).to_pylist() == klines["open_time"].to_pylist()
    zips = sorted((tmp_path / "lean").rglob("*.zip"))
    assert (len(zips), sum(len(lean_lines(path)[1]) for path in zips)) == (60, klines.num_rows)
