"""The reader returns what is stored, in four formats and any interval, while other processes write."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from market_data_pipeline.core.errors import MarketDataError, StoreError, UsageError
from market_data_pipeline.core.klines.coverage import Kind, Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import day_of, parse_zone
from market_data_pipeline.core.klines.table import FIELDS, SCHEMA
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.sources.opening import open_source
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.chunks import files as chunk_files
from market_data_pipeline.core.store.combined import combine
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.reader import DatasetKlines, Klines, open_dataset
from market_data_pipeline_tests.core.fakes import FakeSource, klines_at, klines_of
from market_data_pipeline_tests.reader.naive import INTERVALS, ZONES, begins
from market_data_pipeline_tests.support import (
    CHECKOUT,
    MINUTE_MS,
    Simulate,
    at,
    budget_in,
    everything,
    flip_a_byte,
    minutes,
    span,
)

ZURICH = parse_zone("Europe/Zurich")
HALT = span("2024-03-29T04:00", "2024-03-29T05:30")
# Local days of Zurich, the last one the day on which the clocks go forward.
WINDOW = span("2024-03-27T23:00", "2024-03-31T22:00")
DAYS = ["2024-03-28", "2024-03-29", "2024-03-30", "2024-03-31"]
ALL = klines_of(WINDOW, without=[HALT])


def make(root: Path, window: Span, source: FakeSource, tz: str = "Europe/Zurich", **options: Any) -> DatasetStore:
    """A spot BTC/USDT dataset of the window."""
    zone = parse_zone(tz)
    start = datetime.fromtimestamp(window.start_ms / 1000, zone.tzinfo).date()
    made = Store(root, manifest_interval_s=1e9).create(Market.SPOT, "BTC/USDT", zone=zone, start=start)
    list(backfill(made, source, window, **options))
    return made


@pytest.fixture
def made(tmp_path: Path) -> DatasetStore:
    return make(tmp_path, WINDOW, FakeSource(missing=[HALT]))


@pytest.fixture
def btc(tmp_path: Path, made: DatasetStore) -> DatasetKlines:
    return open_dataset("BTC/USDT", market="spot", root=tmp_path)


# --- opening


def test_the_parts_that_are_not_named_come_from_the_settings(made, tmp_path, monkeypatch):
    monkeypatch.setenv("MARKET_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("MARKET_TYPE", "spot")
    monkeypatch.setenv("SYMBOL", "BTC/USDT")
    assert open_dataset().to_arrow().equals(ALL)
    assert open_dataset("btc/usdt", market="Spot", root=str(tmp_path)).to_arrow().equals(ALL)
    assert open_dataset("BTCUSDT", market="spot", root=tmp_path).to_arrow().equals(ALL)


def test_a_dataset_that_does_not_exist_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(UsageError, match="no futures BTC/USDT under .*market-data --market futures --pair BTC/USDT b"):
        open_dataset("BTC/USDT", market="futures", root=tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("wrong", [{"pair": "BTCU/SDT"}, {"pair": "BTC/USDT:USDT"}, {"market": "margin"}])
def test_a_wrong_pair_or_market_is_refused(made, tmp_path, wrong):
    with pytest.raises(UsageError):
        open_dataset(**{"pair": "BTC/USDT", "market": "spot", "root": tmp_path, **wrong})


def test_a_damaged_dataset_file_is_said(made, tmp_path):
    (made.folder / "dataset.json").write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        open_dataset("BTC/USDT", market="spot", root=tmp_path)


def test_a_reader_is_frozen_and_says_what_it_reads(btc):
    with pytest.raises(FrozenInstanceError):
        btc.zone = ZURICH
    assert repr(btc) == "<DatasetKlines spot BTC/USDT, days of Europe/Zurich>"


def test_reading_writes_nothing(btc, tmp_path):
    before = everything(tmp_path)
    for klines in (btc, btc.resample("1h")):
        klines.to_arrow(), klines.to_pandas(), klines.to_polars(), klines.to_duckdb()
    btc.absences(), btc.days()
    assert everything(tmp_path) == before


def test_importing_the_reader_imports_no_framework_and_no_frame():
    code = "import sys, market_data_pipeline.reader; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    slow = {"dagster", "ccxt", "fastapi", "typer", "requests", "pydantic", "pandas", "polars", "duckdb", "tenacity"}
    assert slow & set(loaded.stdout.split()) == set()


# --- windows


def test_all_klines_are_as_stored(btc):
    table = btc.to_arrow()
    assert table.schema.equals(SCHEMA, check_metadata=True)
    assert table.equals(ALL)
    assert btc.days() == DAYS


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("2024-03-29", "2024-03-30", span("2024-03-28T23:00", "2024-03-29T23:00")),
        (date(2024, 3, 31), None, span("2024-03-30T23:00", "2024-03-31T22:00")),
        (None, "2024-03-28T01:00", span("2024-03-27T23:00", "2024-03-28T00:00")),
        ("2024-03-28T01:00Z", "2024-03-28T01:01Z", span("2024-03-28T01:00", "2024-03-28T01:01")),
        (at("2024-03-28T01:00"), np.int64(at("2024-03-29T02:00")), span("2024-03-28T01:00", "2024-03-29T02:00")),
        (
            datetime(2024, 3, 28, 1, tzinfo=UTC),
            pd.Timestamp("2024-03-28T02:30+01:00"),
            span("2024-03-28T01:00", "2024-03-28T01:30"),
        ),
        ("2024-03-28T01:00:01Z", "2024-03-28T01:02Z", span("2024-03-28T01:01", "2024-03-28T01:02")),
        (at("2024-03-28T01:00") + 1, at("2024-03-28T01:02") - 1, span("2024-03-28T01:01", "2024-03-28T01:02")),
        ("2024-03-28", "2024-03-28", span("2024-03-27T23:00", "2024-03-27T23:00")),
        ("2019-01-01", "2020-01-01", span("2019-01-01", "2019-01-01")),
        ("2030-01-01", None, span("2030-01-01", "2030-01-01")),
        ("1990-01-01", "9000-01-01", WINDOW),
        (0, 10**11, span("2019-01-01", "2019-01-01")),
        (10**9 - 1, None, WINDOW),
    ],
)
def test_a_window_is_half_open_and_local(btc, start, end, expected):
    assert btc.to_arrow(start, end).equals(klines_of(expected, without=[HALT]))


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        ("2024-03-30", "2024-03-29", "is before the start"),
        ("yesterday", None, "not a date or ISO time"),
        (datetime(2024, 3, 28), None, "has no zone"),  # noqa: DTZ001 - that is the point
        (1711584000000000, None, "ms UTC"),
        (-1, None, "ms UTC"),
        (1711584000, "2024-03-29", "^1711584000 can only be seconds; give ms UTC, 1711584000000$"),
        (None, np.int64(1711584000), "give ms UTC, 1711584000000$"),
        (10**9, None, "can only be seconds"),
        (10**11 - 1, None, "can only be seconds"),
        (3.5, None, "not an instant"),
        (True, None, "not an instant: True"),
        (None, np.array([1711584000000, 1711584060000]), r"not an instant: array\(\[1711584000000, 1711584060000\]\);"),
        (pd.Series([1711584000000, 1711584060000]), None, "not an instant"),
        (date.max, None, "not a date or ISO time"),
    ],
)
def test_a_window_that_cannot_be_is_refused_in_one_line(btc, start, end, said):
    for call in (btc.to_arrow, btc.absences, btc.resample("1h").to_pandas):
        with pytest.raises(UsageError, match=said) as refused:
            call(start, end)
        assert "\n" not in str(refused.value)


def test_a_dataset_without_chunks_has_no_klines(tmp_path):
    Store(tmp_path).create(Market.SPOT, "BTC/USDT", zone=ZURICH, start=date(2024, 3, 1))
    btc = open_dataset("BTC/USDT", market="spot", root=tmp_path)
    assert btc.to_arrow().equals(SCHEMA.empty_table())
    assert len(btc.to_pandas()) == len(btc.to_polars()) == len(btc.resample("1d").to_pandas()) == 0
    assert (btc.days(), btc.absences()) == ([], [])


# --- formats


def test_the_four_formats_say_the_same(btc):
    arrow, frame, polars, relation = btc.to_arrow(), btc.to_pandas(), btc.to_polars(), btc.to_duckdb()
    assert relation.to_arrow_table().cast(SCHEMA).equals(arrow)
    assert isinstance(frame.index, pd.DatetimeIndex)
    assert (frame.index.name, str(frame.index.dtype)) == ("open_time", "datetime64[ms, UTC]")
    assert list(frame.columns) == [name for name in FIELDS if name != "open_time"]
    assert polars.schema["open_time"] == pl.Datetime("ms", "UTC")
    numbers = [name for name in FIELDS if not name.endswith("_time")]
    for name in numbers:
        assert frame[name].tolist() == polars[name].to_list() == arrow.column(name).to_pylist()
    for name, shown in (("open_time", frame.index), ("close_time", frame["close_time"])):
        stored = arrow.column(name).to_pylist()
        assert [round(moment.timestamp() * 1000) for moment in shown] == stored
        assert polars[name].dt.epoch("ms").to_list() == stored


def test_times_are_shown_in_the_asked_zone(btc):
    day = ("2024-03-31", "2024-04-01")
    frame, polars = btc.to_pandas(*day, tz="Europe/Zurich"), btc.to_polars(*day, tz="Europe/Zurich")
    assert [moment.isoformat() for moment in frame.index[[0, 119, 120]]] == [
        "2024-03-31T00:00:00+01:00",
        "2024-03-31T01:59:00+01:00",
        "2024-03-31T03:00:00+02:00",
    ]
    assert polars["open_time"].dt.strftime("%H:%M%z")[120] == "03:00+0200"
    assert btc.to_pandas(*day, tz="+05:30").index[0].isoformat() == "2024-03-31T04:30:00+05:30"


def test_a_zone_that_cannot_be_is_refused(btc):
    for call in (btc.to_pandas, btc.to_polars):
        with pytest.raises(UsageError, match="did you mean Europe/Zurich"):
            call(tz="Europe/Zürich")
    with pytest.raises(UsageError, match="polars has no zone .05:30; give tz an IANA name"):
        btc.to_polars(tz="+05:30")


def test_only_the_asked_columns_are_there_in_their_order(btc):
    for names in (["close", "open_time"], ["trades"], [], "volume"):
        asked = [names] if isinstance(names, str) else names
        assert btc.to_arrow(columns=names).equals(ALL.select(asked))
        assert btc.to_polars(columns=names).columns == asked
        assert list(btc.to_pandas(columns=names).columns) == [name for name in asked if name != "open_time"]
    assert btc.resample("1h").to_polars(columns=["minutes", "close"]).columns == ["minutes", "close"]
    with pytest.raises(UsageError, match="no such column: 'price'; there are open_time, open, "):
        btc.to_arrow(columns=["close", "price"])


def test_duckdb_takes_the_users_connection(btc):
    with duckdb.connect() as connection:
        klines = btc.to_duckdb(connection=connection)
        assert klines.aggregate("count(*), min(open_time)").fetchall() == [(ALL.num_rows, WINDOW.start_ms)]


@pytest.mark.parametrize("name", ["polars", "duckdb"])
def test_a_library_that_is_not_installed_is_named(btc, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=f"{name} is not installed; run pip install {name}"):
        getattr(btc, f"to_{name}")()


# --- absences


def test_absent_minutes_have_their_reasons(btc):
    [halt] = btc.absences()
    assert (halt.kind, halt.span, halt.evidence) == (Kind.OUTAGE, HALT, ("fake: none of them",))
    inside = span("2024-03-29T05:00", "2024-03-29T06:00")
    [rest] = btc.absences(inside.start_ms, inside.end_ms)
    assert rest.span == Span(inside.start_ms, HALT.end_ms)


def test_absences_are_of_whole_minutes_where_the_window_is_not(btc):
    [rest] = btc.absences(HALT.end_ms - 90_000, HALT.end_ms + 30_000)
    assert rest.span == Span(HALT.end_ms - 60_000, HALT.end_ms)
    assert btc.absences(HALT.end_ms - 30_000, HALT.end_ms + 30_000) == []


def test_absences_and_klines_are_the_whole_window(tmp_path):
    # Asked for twice with a pause between, the second time only to 12:00 of a day that is not over.
    source = FakeSource(missing=[HALT], now="2024-04-05T12:00Z", first="2024-03-20T05:00Z")
    made = make(tmp_path, WINDOW, source)
    list(backfill(made, source, span("2024-04-04T22:00", "2024-04-05T22:00")))
    btc = open_dataset("BTC/USDT", market="spot", root=tmp_path)
    window = span("2024-03-15", "2024-04-10")
    absences = btc.absences(window.start_ms, window.end_ms)
    assert [(absence.kind, absence.span.minutes) for absence in absences if absence.kind is not Kind.NOT_REQUESTED] == [
        (Kind.OUTAGE, 90),
        (Kind.OPEN, 600),
    ]
    absent = [minute for absence in absences for minute in minutes(absence.span)]
    present = btc.to_arrow(window.start_ms, window.end_ms).column("open_time").to_pylist()
    assert sorted(absent + present) == minutes(window)


def test_a_day_that_was_asked_for_and_is_not_there_is_unexplained(made, btc):
    made.chunk_path(made.dataset.day("2024-03-29")).unlink()
    (made.folder / "manifest.json").unlink()
    absences = btc.absences()
    assert [(absence.kind, absence.span.minutes) for absence in absences] == [(Kind.UNEXPLAINED, 1440)]
    assert btc.to_arrow().num_rows == ALL.num_rows - 1350


# --- damage


def damage_by(how: str, path: Path) -> None:
    if how == "gone":
        path.unlink()
    elif how == "flipped":
        flip_a_byte(path)
    elif how == "cut short":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        pd.read_parquet(path).assign(close=1.0).to_parquet(path)


@pytest.mark.parametrize(
    "how", ["gone", "flipped", "cut short", "rewritten", "flipped, not listed", "cut short, not listed"]
)
def test_a_damaged_chunk_is_said_with_its_day_and_the_remedy(made, btc, how):
    how, _, not_listed = how.partition(", ")
    if not_listed:
        (made.folder / "manifest.json").unlink()
    damage_by(how, made.chunk_path(made.dataset.day("2024-03-30")))
    remedy = "market-data --market spot --pair BTC/USDT verify --repair"
    with pytest.raises(StoreError, match=f"spot BTC/USDT 2024-03-30 cannot be read: .*; run {remedy}") as refused:
        btc.to_arrow("2024-03-30T12:00", "2024-04-01", columns=["close"])
    assert "\n" not in str(refused.value)
    with pytest.raises(MarketDataError):
        btc.resample("1d").to_pandas()
    assert btc.to_arrow("2024-03-31").num_rows == 1380
    assert btc.to_arrow(end="2024-03-30").num_rows == 2880 - 90


def test_without_a_manifest_the_chunks_are_read(made, btc):
    for content in (None, "{"):
        manifest = made.folder / "manifest.json"
        manifest.unlink() if content is None else manifest.write_text(content)
        assert btc.to_arrow().equals(ALL)
        assert [absence.kind for absence in btc.absences()] == [Kind.OUTAGE]


# --- the combined file, and a year with all kinds of days

YEAR = span("2024-02-20", "2024-11-20")
YEARS_HOLES = [
    span("2024-03-31T00:30", "2024-03-31T01:05"),
    span("2024-04-06T15:20", "2024-04-06T15:21"),
    span("2024-05-03T00:00", "2024-05-05T11:00"),
    span("2024-10-27T00:59", "2024-10-27T01:10"),
    span("2024-11-03T05:10", "2024-11-03T06:01"),
]


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine months in UTC days, with the changes of clock of three zones, days without klines and minutes without."""
    root = tmp_path_factory.mktemp("year")
    make(root, YEAR, FakeSource(now="2025-01-01T00:00Z", missing=YEARS_HOLES, page_minutes=14_400), "UTC")
    return root


@pytest.fixture
def long(year: Path) -> Iterator[tuple[DatasetKlines, DatasetStore]]:
    """That year's reader and store; whatever is combined is taken away afterwards."""
    files = Store(year).open(Store(year).find(Market.SPOT, "BTC/USDT"))
    yield open_dataset("BTC/USDT", market="spot", root=year), files
    for path in (files.folder / "combined").glob("*"):
        path.unlink()


@pytest.mark.slow
def test_the_combined_file_and_the_chunks_say_the_same(long):
    btc, files = long
    windows = [(None, None), ("2024-03-02T07:11Z", "2024-10-30"), ("2024-05-01", "2024-07-01")]
    asked = [(window, columns) for window in windows for columns in (None, ["volume", "close"])]
    from_chunks = [btc.to_arrow(*window, columns) for window, columns in asked]
    assert from_chunks[0].equals(klines_of(YEAR, without=YEARS_HOLES))
    combine(files)
    hidden = hide(files.chunk_path(files.dataset.day("2024-06-01")))
    from_combined = [btc.to_arrow(*window, columns) for window, columns in asked]
    hidden()
    assert all(one.equals(other) for one, other in zip(from_chunks, from_combined, strict=True))
    assert from_combined[0].schema.equals(SCHEMA, check_metadata=True)


def hide(path: Path) -> Callable[[], object]:
    """Take a file away; return what brings it back."""
    content = path.read_bytes()
    path.unlink()
    return lambda: path.write_bytes(content)


# No checksum covers the footer. By other times a reader could leave out the rows of a group. If the type of a column is
# none, which the footer has before its encodings, pyarrow ends the process of whoever asks for its statistics.
OF_FOOTER = {
    "other times": (YEAR.start_ms.to_bytes(8, "little"), (1 << 60).to_bytes(8, "little")),
    "no types": (b"\x15\x04\x19", b"\x15\x7e\x19"),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["flipped", "cut short", "rewritten", "of fewer chunks", *OF_FOOTER])
def test_a_combined_file_that_is_damaged_or_older_is_not_read(long, how):
    btc, files = long
    path = combine(files).path
    if how == "of fewer chunks":
        combine(files, to_index=files.dataset.index_of("2024-09-01")).path.replace(path)
    elif how in OF_FOOTER:
        content, (good, bad) = path.read_bytes(), OF_FOOTER[how]
        start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
        assert good in content[start:]
        path.write_bytes(content[:start] + content[start:].replace(good, bad))
    else:
        damage_by(how, path)
    assert btc.to_arrow().equals(klines_of(YEAR, without=YEARS_HOLES))


@pytest.mark.slow
def test_days_after_the_combined_file_come_from_their_chunks(tmp_path):
    source = FakeSource(now="2024-05-15T12:00Z", page_minutes=14_400)
    made = make(tmp_path, span("2024-03-01", "2024-05-16"), source, "UTC")
    combine(made)
    source.now = "2024-05-15T14:00Z"
    another = Store(tmp_path, manifest_interval_s=1e9).open(made.dataset)
    for _ in load_without_listing(another, source, span("2024-05-15", "2024-05-16")):
        pass
    hidden = hide(made.chunk_path(made.dataset.day("2024-04-01")))
    btc = open_dataset("BTC/USDT", market="spot", root=tmp_path)
    assert btc.to_arrow().equals(klines_of(span("2024-03-01", "2024-05-15T14:00")))
    hidden()


def load_without_listing(store: DatasetStore, source: FakeSource, window: Span) -> Iterator[Any]:
    """A backfill that is killed before it writes the manifest."""
    loading = backfill(store, source, window)
    store.flush = lambda: None  # type: ignore[method-assign]
    yield from loading


# --- resampling


def test_an_hour_that_is_skipped_has_no_bin(btc):
    hours = btc.resample("1h").to_pandas("2024-03-31", "2024-04-01")
    assert [moment.strftime("%H%z") for moment in hours.index[:4]] == ["00+0100", "01+0100", "03+0200", "04+0200"]
    assert len(hours) == 23
    assert hours["minutes"].tolist() == [60] * 23


@pytest.mark.slow
def test_what_the_clocks_show_twice_is_two_bins_or_one_longer_one(year):
    btc = open_dataset("BTC/USDT", market="spot", root=year)

    def bins(interval: str, tz: str, day: str) -> list[tuple[str, int]]:
        following = (date.fromisoformat(day) + timedelta(days=1)).isoformat()
        frame = btc.resample(interval, tz=tz).to_pandas(day, following)
        return [(f"{moment:%H:%M%z}", expected) for moment, expected in frame["expected_minutes"].items()]

    hours = bins("1h", "America/New_York", "2024-11-03")
    assert (len(hours), hours[1:3]) == (25, [("01:00-0400", 60), ("01:00-0500", 60)])
    assert bins("4h", "Europe/Zurich", "2024-10-27")[:2] == [("00:00+0200", 300), ("04:00+0100", 240)]
    assert bins("4h", "Europe/Zurich", "2024-03-31")[:2] == [("00:00+0100", 180), ("04:00+0200", 240)]
    assert bins("2h", "Europe/Zurich", "2024-10-27")[1:3] == [("02:00+0200", 60), ("02:00+0100", 120)]
    assert bins("2h", "Europe/Zurich", "2024-03-31")[1:2] == [("03:00+0200", 60)]
    assert bins("1h", "Australia/Lord_Howe", "2024-04-07")[1:3] == [("01:00+1100", 90), ("02:00+1030", 60)]
    assert bins("30m", "Australia/Lord_Howe", "2024-04-07")[3:5] == [("01:30+1100", 30), ("01:30+1030", 30)]
    assert bins("1h", "Australia/Lord_Howe", "2024-10-06")[1:3] == [("01:00+1030", 60), ("02:30+1100", 30)]
    assert bins("1d", "Europe/Zurich", "2024-10-27") == [("00:00+0200", 1500)]
    assert bins("1d", "Asia/Kolkata", "2024-10-27") == [("00:00+0530", 1440)]


@pytest.mark.slow
def test_weeks_begin_on_monday_and_months_on_their_first_day(year):
    btc = open_dataset("BTC/USDT", market="spot", root=year)
    weeks = btc.resample("1w", tz="Europe/Zurich").to_pandas("2024-03-18", "2024-04-08")
    assert [f"{moment:%m-%d %H%z}" for moment in weeks.index] == ["03-18 00+0100", "03-25 00+0100", "04-01 00+0200"]
    assert weeks["expected_minutes"].tolist() == [10_080, 10_020, 10_080]
    months = btc.resample("1mo", tz="Europe/Zurich").to_pandas()
    assert [f"{moment:%m-%d}" for moment in months.index] == [f"{month:02d}-01" for month in range(2, 12)]
    assert months["minutes"].iloc[0] < months["expected_minutes"].iloc[0] == 29 * 1440


def test_a_bin_says_how_many_of_its_minutes_have_klines(btc):
    hours = btc.resample("1h", tz="UTC").to_polars("2024-03-29T03:00Z", "2024-03-29T07:00Z")
    assert hours["open_time"].dt.hour().to_list() == [3, 5, 6]  # none for the hour that is all halt
    assert hours["minutes"].to_list() == [60, 30, 60]
    assert hours["expected_minutes"].to_list() == [60, 60, 60]


def test_a_bin_that_the_window_cuts_has_the_klines_of_the_window(btc):
    days = btc.resample("1d").to_arrow("2024-03-28T22:00", "2024-03-30")
    assert days.column("minutes").to_pylist() == [120, 1350]
    assert days.column("open_time").to_pylist()[0] == WINDOW.start_ms


def test_the_resampled_formats_say_the_same(btc):
    hours = btc.resample("6h")
    arrow, frame, polars = hours.to_arrow(), hours.to_pandas(), hours.to_polars()
    assert hours.to_duckdb().to_arrow_table().cast(arrow.schema).equals(arrow)
    assert frame.index.tz == ZoneInfo("Europe/Zurich")
    assert polars.schema["close_time"] == pl.Datetime("ms", "Europe/Zurich")
    for name in hours.columns:
        if not name.endswith("_time"):
            assert frame[name].tolist() == polars[name].to_list() == arrow.column(name).to_pylist()
    assert "ignore" not in hours.columns


@pytest.mark.parametrize("interval", ["", "7m", "0h", "5", "1M", "2d", "1 h", "25h", "1440000m", "hour"])
def test_an_interval_that_does_not_divide_a_day_is_refused(btc, interval):
    with pytest.raises(UsageError, match="no such interval: .*; give minutes or hours that divide a day"):
        btc.resample(interval)
    with pytest.raises(UsageError, match="no such time zone"):
        btc.resample("1h", tz="Mars/Olympus")


@pytest.mark.parametrize(
    ("interval", "meant"),
    [("5min", "5m"), ("15T", "15m"), ("1H", "1h"), ("4 hours", "4h"), ("1D", "1d"), ("W", "1w"), ("day", "1d")],
)
def test_an_interval_in_the_spelling_of_pandas_is_answered_with_the_one_that_it_means(btc, interval, meant):
    with pytest.raises(UsageError, match=rf"; did you mean {meant}\?\Z"):
        btc.resample(interval)


@pytest.mark.parametrize("interval", ["7min", "2D", "1M", "MS", "three"])
def test_no_interval_is_proposed_where_none_is_meant(btc, interval):
    with pytest.raises(UsageError, match=r"1w or 1mo\Z"):
        btc.resample(interval)


def resampled_naively(rows: list[dict[str, Any]], interval: str, tz: str) -> list[dict[str, Any]]:
    """The bins of the klines, minute by minute."""
    by_minute = {row["open_time"] // MINUTE_MS: row for row in rows}
    minute, last, bins = min(by_minute, default=0), max(by_minute, default=-1), []
    while by_minute and not begins(interval, tz, minute):
        minute -= 1
    while minute <= last:
        start, inside = minute, []
        while minute == start or not begins(interval, tz, minute):
            inside += [by_minute[minute]] if minute in by_minute else []
            minute += 1
        if inside:
            bins.append(aggregated(inside, start) | {"expected_minutes": minute - start})
    return bins


def aggregated(rows: list[dict[str, Any]], start: int) -> dict[str, Any]:
    summed = ("volume", "quote_volume", "trades", "taker_base_volume", "taker_quote_volume")
    return {
        "open_time": start * MINUTE_MS,
        "open": rows[0]["open"],
        "high": max(row["high"] for row in rows),
        "low": min(row["low"] for row in rows),
        "close": rows[-1]["close"],
        "close_time": rows[-1]["close_time"],
        "minutes": len(rows),
        **{name: pytest.approx(sum(row[name] for row in rows), rel=1e-9, abs=1e-9) for name in summed},
    }


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    interval=st.sampled_from(INTERVALS),
    place=st.sampled_from([(tz, day) for tz, days in ZONES.items() for day in days]),
    before=st.integers(0, 2 * 1440),
    length=st.integers(0, 3 * 1440),
)
@example("1h", ("Europe/Zurich", "2024-10-27"), 0, 1500)
@example("4h", ("America/New_York", "2024-03-10"), 0, 1380)
@example("1h", ("Australia/Lord_Howe", "2024-04-07"), 0, 1470)
@example("1d", ("Australia/Lord_Howe", "2024-10-06"), 1440, 4320)
def test_resampling_is_what_a_loop_over_the_minutes_gives(year, interval, place, before, length):
    tz, day = place
    start_ms = day_of(parse_zone(tz), date.fromisoformat(day)).start_ms - before * MINUTE_MS
    window = Span(start_ms, start_ms + length * MINUTE_MS)
    rows = klines_of(window, without=YEARS_HOLES).to_pylist()
    expected = resampled_naively(rows, interval, tz)
    btc = open_dataset("BTC/USDT", market="spot", root=year)
    found = btc.resample(interval, tz=tz).to_arrow(window.start_ms, window.end_ms).to_pylist()
    assert found == expected


# --- while others write


def watched(klines: Klines, writing: threading.Thread) -> list[int]:
    """Read until the writer is done; each time it must be klines as they are. Return how many there were."""
    counted, late = [], False
    while not late:
        late = not writing.is_alive()
        table = klines.to_arrow()
        assert table.equals(klines_at(table.column("open_time").to_pylist()))
        counted.append(table.num_rows)
    return counted


@pytest.mark.slow
def test_readers_see_whole_days_while_klines_are_loaded_replaced_and_renamed(tmp_path):
    source = FakeSource(now="2024-03-10T12:00Z")
    made = make(tmp_path, span("2024-03-01", "2024-03-03"), source, "UTC")
    failed: list[BaseException] = []

    def write() -> None:
        try:
            list(backfill(made, source, span("2024-03-03", "2024-03-10")))
            for minute in range(40):  # as in live mode, which writes the day anew each minute
                source.now = f"2024-03-10T12:{minute:02d}Z"
                list(backfill(made, source, span("2024-03-10", "2024-03-11")))
            for start in ("2024-02-27", "2024-02-24", "2024-02-22"):  # all chunks get new names
                list(backfill(made, source, span(start, "2024-03-02")))
            list(backfill(made, source, span("2024-02-22", "2024-03-11"), refetch=True))
        except BaseException as error:
            failed.append(error)

    writing = threading.Thread(target=write)
    writing.start()
    counted = watched(open_dataset("BTC/USDT", market="spot", root=tmp_path), writing)
    writing.join()
    assert failed == []
    assert counted == sorted(counted)
    assert len(set(counted)) > 5
    assert counted[-1] == len(minutes(span("2024-02-22", "2024-03-10T12:39")))


@pytest.mark.slow
def test_no_day_is_overlooked_while_chunks_are_renamed(tmp_path):
    # No manifest lists them yet, as while they are loaded.
    made = make(tmp_path, WINDOW, FakeSource(), "UTC")
    (made.folder / "manifest.json").unlink(missing_ok=True)
    chunks, days = (
        made.folder / "chunks",
        [(date(2017, 9, 1) + timedelta(number)).isoformat() for number in range(2000)],
    )
    for path in chunks.iterdir():
        path.unlink()
    dataset = replace(made.dataset, start=date(2017, 9, 1))
    paths = {day: chunks / layout.chunk_name(dataset, day) for day in days}
    for path in paths.values():
        path.touch()
    klines = open_dataset("BTC/USDT", market="spot", root=tmp_path)
    for earlier in range(1, 5):
        moved = replace(dataset, start=dataset.start - timedelta(100 * earlier))
        with ThreadPoolExecutor(1) as mover:
            renamed = mover.submit(chunk_files.rename, paths, moved)
            while not renamed.done():
                assert klines.days() == days
            paths = renamed.result()


@pytest.mark.slow
def test_readers_see_whole_klines_while_the_combined_file_is_made_anew(tmp_path):
    made = make(tmp_path, span("2024-03-01", "2024-04-20"), FakeSource(page_minutes=14_400), "UTC")
    writing = threading.Thread(target=lambda: [combine(made, rebuild=True) for _ in range(5)])
    writing.start()
    counted = watched(open_dataset("BTC/USDT", market="spot", root=tmp_path), writing)
    writing.join()
    assert set(counted) == {50 * 1440}


def test_a_chunk_that_comes_back_within_moments_is_waited_for(made, btc):
    bring_back = hide(made.chunk_path(made.dataset.day("2024-03-30")))
    later = threading.Timer(0.08, bring_back)
    later.start()
    assert btc.to_arrow().equals(ALL)
    later.join()


# --- the notebook


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, simulate: Simulate, monkeypatch):
    until, url = at("2020-12-01T23:00"), simulate().url
    for pair, day in (("BTC/USDT", date(2020, 10, 24)), ("ETH/USDT", date(2020, 11, 30))):
        made = Store(tmp_path).create(Market.SPOT, pair, zone=ZURICH, start=date(2020, 1, 1))
        window = Span(day_of(ZURICH, day).start_ms, until)
        with closing(open_source("rest", Market.SPOT, pair, budget_of=budget_in(tmp_path), base_url=url)) as source:
            list(backfill(made, source, window))
    monkeypatch.setenv("MARKET_DATA_DIR", str(tmp_path))
    notebook = json.loads((CHECKOUT / "docs" / "reader.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names: dict[str, Any] = {}
    for cell in cells:
        exec("".join(cell["source"]), names)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    assert len(names["figure"].data[0].x) == 25
    assert names["panel"].pairs == ("BTC/USDT", "ETH/USDT")
    assert str(CHECKOUT) not in json.dumps(notebook)
