"""A panel has the klines of many pairs side by side, exactly as stored, and says why a place is empty."""

import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from market_data_pipeline.core.errors import StoreError, UsageError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.klines.table import FIELDS
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.sources.protocol import Life, Page
from market_data_pipeline.core.store.combined import combine
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.reader import Panel, open_dataset, open_panel
from market_data_pipeline.reader.exporting import export
from market_data_pipeline_tests.core.fakes import FakeSource, at, span
from market_data_pipeline_tests.reader.naive import begins
from market_data_pipeline_tests.support import MINUTE_MS, everything, flip_a_byte, minutes

# UTC days around the one on which the clocks go forward in Zurich.
WINDOW = span("2024-03-29T00:00Z", "2024-04-03T00:00Z")
HALT = span("2024-03-29T04:00Z", "2024-03-29T05:30Z")
BEGINS, ENDS = "2024-03-30T05:07Z", "2024-03-31T11:59Z"
PRICES = ("open", "high", "low", "close")


@dataclass
class PairSource(FakeSource):
    """A source whose klines are those of this pair alone."""

    factor: int = 1

    def each_page(self, spans: Any) -> Iterator[Page]:
        for page in super().each_page(spans):
            yield replace(page, klines=self._of_pair(page.klines))

    def _of_pair(self, klines: pa.Table) -> pa.Table:
        columns = {name: klines.column(name).to_numpy() for name in FIELDS}
        columns |= {name: columns[name] * self.factor for name in PRICES}
        # In the sum of a day, more than a float can tell from its neighbours.
        columns["trades"] = columns["trades"] + 2**53 // 1000 + self.factor
        return pa.Table.from_pydict(columns, schema=klines.schema)


SOURCES = {
    "BTC/USDT": PairSource(missing=[HALT], factor=1),
    "NEW/USDT": PairSource(first=BEGINS, factor=2),
    "OLD/USDT": PairSource(last=ENDS, factor=3),
    "ETH/BTC": PairSource(factor=5),
}


def make(root: Path, pair: str, source: FakeSource, window: Span, **options: Any) -> DatasetStore:
    """A dataset with the window, as a backfill makes it."""
    zone, market = parse_zone(options.get("tz", "UTC")), options.get("market", Market.SPOT)
    start = max(date(2020, 1, 1), date.fromisoformat(source.first[:10]))
    made = Store(root, manifest_interval_s=1e9).create(market, pair, zone=zone, start=start)
    list(backfill(made, source, window))
    return made


@pytest.fixture(scope="module")
def spot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pairs: with a halt, one that begins and one that ends inside the window, one quoted in another asset."""
    root = tmp_path_factory.mktemp("spot")
    for pair, source in SOURCES.items():
        make(root, pair, source, WINDOW)
    return root


def panel(root: Path, pairs: Any = "*", columns: Any = ("close",), *window: Any, **options: Any) -> Panel:
    return open_panel(pairs, columns, *window, **{"market": "spot", "root": root, **options})


# --- which pairs


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ("*", ["BTC/USDT", "ETH/BTC", "NEW/USDT", "OLD/USDT"]),
        (["*/USDT"], ["BTC/USDT", "NEW/USDT", "OLD/USDT"]),
        (["*/usdt", "!new/*"], ["BTC/USDT", "OLD/USDT"]),
        (["OLD/USDT", "btcusdt"], ["OLD/USDT", "BTC/USDT"]),
        (["OLDUSDT", "*/USDT"], ["OLD/USDT", "BTC/USDT", "NEW/USDT"]),
        (["BTC*", "*BTC"], ["BTC/USDT", "ETH/BTC"]),
        (["*", "!OLDUSDT", "!*/BTC"], ["BTC/USDT", "NEW/USDT"]),
        (["???/USDT", "!none*"], ["BTC/USDT", "NEW/USDT", "OLD/USDT"]),
    ],
)
def test_pairs_are_named_or_matched(spot, pairs, expected):
    assert list(panel(spot, pairs).pairs) == expected
    assert list(panel(spot, pairs).wide().to_pandas().columns) == expected


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ("ADA/USDT", "there is no spot ADA/USDT under .*backfill loads it"),
        (["BTC/USDT", "*/EUR"], r"'\*/EUR' matches no pair that is stored; `market-data status`"),
        (["BTC/USDT", "OLD/USDT", "btcusdt"], "named twice, as 'BTC/USDT' and 'btcusdt'; name it once"),
        (["BTC/USDT", "BTC/USDT"], "BTC/USDT is named twice; name it once"),
        (["BTC/USDT:USDT"], "is a futures contract"),
        (["BTCU/SDT"], "there is no BTCU/SDT"),
        (["/"], "not a pair"),
        ([], "no pair is named"),
        (["!BTC/USDT"], "no pair is named"),
        (["BTC/USDT", "!*"], "no pair is left"),
        ([3], "not a pair: 3"),
    ],
)
def test_pairs_that_cannot_be_are_refused_in_one_line(spot, pairs, said):
    with pytest.raises(UsageError, match=said) as refused:
        panel(spot, pairs)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"columns": "price"}, "no such column: 'price'; there are open, high"),
        ({"columns": ["close", "open_time"]}, "no such column: 'open_time'"),
        ({"columns": "minutes"}, "no such column: 'minutes'"),
        ({"columns": []}, "no column is named"),
        ({"interval": "7m"}, "no such interval"),
        ({"tz": "Mars/Olympus"}, "no such time zone"),
        ({"start": "2024-03-30", "end": "2024-03-29"}, "is before the start"),
        ({"start": "yesterday"}, "not a date or ISO time"),
        ({"at": "2023-01-01"}, "no pair of 4 has klines on 2023-01-01"),
        ({"market": "margin"}, "no such market"),
    ],
)
def test_what_cannot_be_read_is_refused_before_anything_is(spot, options, said):
    with pytest.raises(UsageError, match=said) as refused:
        panel(spot, **options)
    assert "\n" not in str(refused.value)


def test_a_window_in_which_there_can_be_no_klines_is_refused(spot):
    with pytest.raises(UsageError, match="no pair has klines of all of"):
        panel(spot, start="1904-01-01").wide().to_pandas()


@pytest.mark.parametrize("start", ["1971-01-01", "1972-06-30", "1973-03-03"])
@pytest.mark.parametrize("interval", ["1h", "1mo"])
def test_a_window_may_begin_long_before_the_first_kline(spot, start, interval):
    early, late = (panel(spot, "*", "close", first, "2024-04-03", interval) for first in (start, "2024-03-01"))
    first_ms = late.wide().to_arrow()["open_time"][0].as_py()
    for view in ("wide", "mask"):
        longer, shorter = (as_ms(getattr(each, view)().to_pandas()) for each in (early, late))
        assert longer[longer.index >= first_ms].equals(shorter)
        before = longer[longer.index < first_ms]
        assert before.isna().all(axis=None) if view == "wide" else before.notna().all(axis=None)
    assert early.long().to_arrow().equals(late.long().to_arrow())


def test_minutes_of_1971_are_read_as_any_others(spot):
    early = panel(spot, "*", "close", "1971-01-01", "1971-01-02")
    assert early.wide().to_arrow().num_rows == early.mask().to_arrow().num_rows == 1440
    assert set(early.mask().to_pandas()["NEW/USDT"]) == {"not_listed"}
    assert early.long().to_arrow().num_rows == 0
    for day in ("1971-05-01", "1969-12-31"):
        with pytest.raises(UsageError, match=f"no pair of 4 has klines on {day}"):
            panel(spot, at=day)


def test_a_damaged_dataset_file_matters_to_those_who_may_mean_it(tmp_path):
    for pair in ("BTC/USDT", "ETH/BTC"):
        Store(tmp_path).create(Market.SPOT, pair, zone=parse_zone("UTC"), start=date(2024, 3, 1))
    (Store(tmp_path).folder(Market.SPOT, "ETH/BTC") / "dataset.json").write_text("{")
    assert panel(tmp_path, "*/USDT").pairs == ("BTC/USDT",)
    with pytest.raises(StoreError, match="damaged"):
        panel(tmp_path, "*")


def test_the_parts_that_are_not_named_come_from_the_settings(spot, monkeypatch):
    monkeypatch.setenv("MARKET_DATA_DIR", str(spot))
    monkeypatch.setenv("MARKET_TYPE", "spot")
    assert open_panel("*/BTC").pairs == ("ETH/BTC",)


def test_a_universe_names_the_pairs_and_the_market(spot, tmp_path):
    root = shutil.copytree(spot, tmp_path / "root")
    text = '[universe.mine]\nmarket = "spot"\npairs = ["*/BTC"]\n'
    (root / "market-data.toml").write_text(text, encoding="utf-8")
    assert open_panel(universe="mine", root=root).pairs == ("ETH/BTC",)
    assert open_panel("BTC/USDT", universe="mine", root=root).pairs == ("BTC/USDT", "ETH/BTC")
    with pytest.raises(UsageError, match="no universe 'yours'"):
        open_panel(universe="yours", root=root)
    with pytest.raises(UsageError, match="is one of spot; leave out market"):
        open_panel(universe="mine", root=root, market="futures")


def test_on_a_day_are_the_pairs_that_had_klines_then(spot):
    assert panel(spot, at="2024-03-29").pairs == ("BTC/USDT", "ETH/BTC", "OLD/USDT")
    assert panel(spot, at=date(2024, 4, 1)).pairs == ("BTC/USDT", "ETH/BTC", "NEW/USDT")
    assert panel(spot, ["NEW/USDT", "OLD/USDT"], at="2024-03-30").pairs == ("NEW/USDT", "OLD/USDT")
    # The pair begins on 30 March at 05:07 UTC, which is the 29th in Honolulu.
    assert "NEW/USDT" in panel(spot, at="2024-03-29", tz="Pacific/Honolulu").pairs


# --- values


def reference(root: Path, pair: str, market: str = "spot") -> pd.DataFrame:
    """The pair's klines as anyone reads them: file by file, concatenated, by time."""
    folder = root / {"spot": "binance", "futures": "binanceusdm"}[market] / pair.replace("/", "") / "1m" / "chunks"
    return pd.concat(pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))).set_index("open_time")


def as_ms(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its index as ms UTC."""
    frame = frame.copy()
    frame.index = pd.Index(frame.index.as_unit("ms").asi8, name="open_time")
    return frame


def test_closes_are_those_of_the_files_and_nothing_else(spot):
    frame = panel(spot).wide().to_pandas()
    assert (frame.index.name, str(frame.index.dtype), frame.columns.name) == (
        "open_time",
        "datetime64[ms, UTC]",
        "pair",
    )
    expected = pd.concat({pair: reference(spot, pair)["close"] for pair in frame.columns}, axis=1)
    expected = expected.reindex(minutes(WINDOW))
    pd.testing.assert_frame_equal(as_ms(frame), expected, check_names=False, check_exact=True)
    assert frame["BTC/USDT"].isna().sum() == 90
    assert frame["NEW/USDT"].first_valid_index() == pd.Timestamp(BEGINS)
    assert frame["OLD/USDT"].last_valid_index() == pd.Timestamp(ENDS)


def test_all_columns_are_exact_in_their_types(spot):
    names = [name for name in FIELDS if name != "open_time"]
    opened = panel(spot, ["BTC/USDT", "NEW/USDT"], names, "2024-03-29", "2024-03-31")
    frame, table = opened.wide().to_pandas(), opened.wide().to_arrow()
    assert list(frame.columns) == [(name, pair) for name in names for pair in ("BTC/USDT", "NEW/USDT")]
    assert frame.columns.names == ["column", "pair"]
    assert str(frame["trades"].dtypes.iloc[0]) == "Int64"
    assert str(frame["close_time"].dtypes.iloc[0]) == "datetime64[ms, UTC]"
    for pair in opened.pairs:
        stored = reference(spot, pair).loc[: table["open_time"][-1].as_py()]
        for name in names:
            values = table[f"{name}_{pair}"]
            assert values.drop_null().to_pylist() == stored[name].tolist()
            assert values.is_null().to_pylist() == frame[name][pair].isna().tolist()
        assert frame["trades"][pair].dropna().tolist() == stored["trades"].tolist()
        assert frame["close_time"][pair].dropna().astype("int64").tolist() == stored["close_time"].tolist()


def test_a_long_table_has_the_klines_and_no_empty_place(spot):
    opened = panel(spot, ["OLD/USDT", "BTC/USDT"], ["close", "trades"])
    frame = opened.long().to_pandas()
    assert (frame.index.name, list(frame.columns)) == ("open_time", ["pair", "close", "trades"])
    assert frame["pair"].cat.categories.tolist() == ["OLD/USDT", "BTC/USDT"]
    assert str(frame["trades"].dtype) == "int64"
    expected = [reference(spot, pair)[["close", "trades"]].assign(pair=pair) for pair in opened.pairs]
    pd.testing.assert_frame_equal(
        as_ms(frame).astype({"pair": str}), pd.concat(expected)[["pair", "close", "trades"]], check_exact=True
    )


def test_the_formats_say_the_same(spot):
    opened = panel(spot, "*/USDT", ["close", "close_time", "trades"], tz="Europe/Zurich")
    for view in (opened.wide(), opened.long(), opened.mask()):
        arrow, polars, relation = view.to_arrow(), view.to_polars(), view.to_duckdb()
        assert polars.columns == arrow.column_names == relation.columns
        assert polars.schema["open_time"] == pl.Datetime("ms", "Europe/Zurich")
        for name, kind in polars.schema.items():
            found = polars[name].dt.epoch("ms") if kind == pl.Datetime("ms", "Europe/Zurich") else polars[name]
            assert found.to_list() == arrow[name].to_pylist(), name
        assert relation.aggregate("count(*)").fetchall() == [(arrow.num_rows,)]
        assert [tuple(row.values()) for row in arrow.slice(0, 1).to_pylist()] == relation.limit(1).fetchall()
        assert view.to_pandas().index.tz is not None
    with duckdb.connect() as connection:
        assert len(opened.long().to_duckdb(connection).aggregate("pair, count(*)", "pair").fetchall()) == 3


def test_times_are_shown_as_those_of_one_pair(spot):
    assert str(panel(spot).wide().to_pandas().index.tz) == "UTC"
    assert panel(spot, "*", "close", "2024-03-30", tz="+05:30").wide().to_pandas().index[0].isoformat() == (
        "2024-03-30T00:00:00+05:30"
    )
    hours = panel(spot, "*", "close", "2024-03-31", "2024-04-01", "1h", "Europe/Zurich").wide().to_pandas()
    assert [moment.strftime("%H%z") for moment in hours.index[:3]] == ["00+0100", "01+0100", "03+0200"]
    assert len(hours) == 23


def test_pairs_with_days_of_different_zones_need_a_zone(tmp_path):
    for pair, tz in (("BTC/USDT", "UTC"), ("ETH/BTC", "Europe/Zurich")):
        make(tmp_path, pair, PairSource(), span("2024-03-30T23:00Z", "2024-03-31T12:00Z"), tz=tz)
    with pytest.raises(UsageError, match=r"days of different zones \(Europe/Zurich, UTC\); give tz"):
        panel(tmp_path)
    window = ("2024-03-30T23:00Z", "2024-03-31T12:00Z")
    closes = panel(tmp_path, "*", "close", *window, tz="Asia/Kolkata").wide().to_pandas()
    assert closes["BTC/USDT"].equals(closes["ETH/BTC"].rename("BTC/USDT"))
    assert closes.notna().all(axis=None)


def test_futures_are_read_like_spot(tmp_path):
    window = span("2024-03-29T00:00Z", "2024-03-31T00:00Z")
    for factor, pair in enumerate(("BTC/USDT", "BTC/USDT_240628"), start=1):
        make(tmp_path, pair, PairSource(factor=factor), window, market=Market.FUTURES)
    opened = panel(tmp_path, ["BTC/USDT:USDT", "BTC*_*"], market="futures")
    assert opened.pairs == ("BTC/USDT", "BTC/USDT_240628")
    assert panel(tmp_path, "*/USDT", market="futures").pairs == ("BTC/USDT",)
    frame = as_ms(opened.wide().to_pandas())
    for pair in opened.pairs:
        assert frame[pair].tolist() == reference(tmp_path, pair, "futures")["close"].tolist()


def test_an_empty_window_has_no_row(spot):
    for interval in ("1m", "1h", "1mo"):
        opened = panel(spot, "*", ["close", "trades"], "2024-03-30T00:30Z", "2024-03-30T00:30Z", interval)
        for view in (opened.wide(), opened.long(), opened.mask()):
            assert len(view.to_pandas()) == view.to_arrow().num_rows == len(view.to_polars()) == 0
    assert list(opened.wide().to_pandas()["close"].columns) == list(opened.pairs)


def test_a_dataset_without_chunks_is_an_empty_column(tmp_path):
    Store(tmp_path).create(Market.SPOT, "BTC/USDT", zone=parse_zone("UTC"), start=date(2020, 1, 1))
    assert len(panel(tmp_path).wide().to_pandas()) == 0
    day = panel(tmp_path, "*", "close", "2024-03-29", "2024-03-30")
    assert day.wide().to_pandas()["BTC/USDT"].isna().all()
    assert set(day.mask().to_pandas()["BTC/USDT"]) == {"not_loaded"}


def test_reading_writes_nothing_and_a_panel_says_what_it_is(spot):
    before, opened = everything(spot), panel(spot, "*/USDT", ["close", "volume"], interval="1h")
    for view in (opened.wide(), opened.long(), opened.mask()):
        view.to_pandas(), view.to_polars(), view.to_arrow(), view.to_duckdb()
    assert everything(spot) == before
    assert repr(opened) == "<Panel of close, volume, 1h: 3 pairs of spot>"
    assert opened.window == WINDOW


# --- why a place is empty


def runs_of(mask: pd.Series) -> list[tuple[str, str, int]]:
    """The reasons of a column in order, each with its first time and its length."""
    texts = mask.astype(object).where(mask.notna(), "")
    starts = texts.ne(texts.shift())
    lengths = texts.groupby(starts.cumsum()).size().tolist()
    return [
        (reason, f"{moment:%m-%dT%H:%M}", length)
        for (moment, reason), length in zip(texts[starts].items(), lengths, strict=True)
        if reason
    ]


def test_the_mask_says_why_there_is_no_value(spot):
    opened = panel(spot, "*", "close", "2024-03-28T22:00Z", "2024-04-03T01:00Z")
    mask = opened.mask().to_pandas()
    outside = ("not_loaded", "03-28T22:00", 120), ("not_loaded", "04-03T00:00", 60)
    assert runs_of(mask["BTC/USDT"]) == [outside[0], ("outage", "03-29T04:00", 90), outside[1]]
    assert runs_of(mask["ETH/BTC"]) == list(outside)
    assert runs_of(mask["NEW/USDT"]) == [("not_listed", "03-28T22:00", 26 * 60 + 5 * 60 + 7), outside[1]]
    assert runs_of(mask["OLD/USDT"]) == [outside[0], ("delisted", "03-31T12:00", 2 * 1440 + 13 * 60)]
    assert mask.isna().equals(opened.wide().to_pandas().notna())


@pytest.mark.parametrize("interval", ["1m", "1h"])
def test_a_window_off_the_minute_is_of_whole_minutes(spot, interval):
    off_ms = HALT.end_ms - 30_000, HALT.end_ms + 90_000
    opened = panel(spot, "*", "close", *off_ms, interval=interval)
    assert opened.window == Span(HALT.end_ms, HALT.end_ms + 120_000)
    wide, mask = opened.wide().to_pandas(), opened.mask().to_pandas()
    assert as_ms(wide).index[0] == (HALT.end_ms if interval == "1m" else HALT.end_ms - 1_800_000)
    assert mask.isna().equals(wide.notna())


def test_minutes_that_are_to_come_or_were_left_out_have_their_reasons(tmp_path):
    source = PairSource(now="2024-04-05T12:00Z")
    for window in (span("2024-04-01T06:00Z", "2024-04-02T00:00Z"), span("2024-04-05T00:00Z", "2024-04-06T00:00Z")):
        make(tmp_path, "BTC/USDT", source, window)
    mask = panel(tmp_path, "*", "close", "2024-04-01", "2024-04-06").mask().to_pandas()
    assert runs_of(mask["BTC/USDT"]) == [
        ("not_requested", "04-01T00:00", 360),
        ("not_requested", "04-02T00:00", 3 * 1440),
        ("open", "04-05T12:00", 720),
    ]


# --- longer intervals

COLUMNS = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum", "trades": "sum"}


def binned(root: Path, pair: str, starts: dict[int, int]) -> pd.DataFrame:
    """The bins of the pair's klines by pandas; `starts` has the bin of each minute of the window."""
    klines = reference(root, pair)
    inside = klines[klines.index.isin(starts.keys())]
    grouped = inside.groupby(inside.index.map(starts))
    return grouped.agg(COLUMNS).assign(minutes=grouped.size())


def starts_of(window: Span, interval: str, tz: str) -> dict[int, int]:
    minute = window.start_ms // MINUTE_MS
    while not begins(interval, tz, minute):
        minute -= 1
    start, starts = minute, {}
    for open_time in minutes(window):
        for each in range(minute, open_time // MINUTE_MS + 1):
            start = each if begins(interval, tz, each) else start
        minute = open_time // MINUTE_MS + 1
        starts[open_time] = start * MINUTE_MS
    return starts


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    interval=st.sampled_from(["1m", "5m", "15m", "1h", "2h", "4h", "1d", "1w"]),
    tz=st.sampled_from(["UTC", "Europe/Zurich", "Asia/Kolkata"]),
    start=st.integers(-1440, 5 * 1440),
    length=st.integers(1, 3 * 1440),
)
@example("4h", "Europe/Zurich", 1440, 2880)
@example("1d", "Europe/Zurich", 100, 4000)
@example("1h", "UTC", 240, 90)
def test_a_panel_is_what_pandas_makes_of_the_files(spot, interval, tz, start, length):
    start_ms = WINDOW.start_ms + start * MINUTE_MS
    window = Span(start_ms, start_ms + length * MINUTE_MS)
    starts = starts_of(window, interval, tz)
    columns = [*COLUMNS, *([] if interval == "1m" else ["minutes"])]
    opened = panel(spot, "*", columns, window.start_ms, window.end_ms, interval, tz)
    wide, mask = opened.wide().to_pandas(), opened.mask().to_pandas()
    assert wide.index.as_unit("ms").asi8.tolist() == sorted(set(starts.values()))
    for pair in opened.pairs:
        expected, found = binned(spot, pair, starts), as_ms(wide.xs(pair, axis=1, level="pair"))
        has = found.index.isin(expected.index)
        assert (mask[pair].isna().to_numpy() == has).all()
        for name in columns:
            assert (found[name].notna().to_numpy() == has).all()
            values, wanted = found[name][has].tolist(), expected[name].tolist()
            assert values == (pytest.approx(wanted, rel=1e-12) if name == "volume" else wanted)
    long = opened.long().to_arrow()
    assert long.num_rows == int(wide["close"].notna().sum().sum())


# --- files that change or are damaged


@pytest.mark.parametrize("listed", [True, False])
def test_a_damaged_chunk_is_said_with_its_pair_and_day(tmp_path, listed):
    window = span("2024-03-29T00:00Z", "2024-03-31T00:00Z")
    made = [make(tmp_path, pair, PairSource(), window) for pair in ("BTC/USDT", "ETH/BTC")]
    if not listed:
        (made[1].folder / "manifest.json").unlink()
    flip_a_byte(made[1].chunk_path(made[1].dataset.day("2024-03-30")))
    opened = panel(tmp_path)
    for call in (opened.wide().to_pandas, opened.long().to_arrow):
        with pytest.raises(StoreError, match="spot ETH/BTC 2024-03-30 cannot be read: .*; run market-data .* --repair"):
            call()
    assert panel(tmp_path, "*", "close", "2024-03-29", "2024-03-30").wide().to_pandas().notna().all(axis=None)
    assert panel(tmp_path, "BTC/USDT").wide().to_pandas().notna().all(axis=None)


@pytest.mark.slow
def test_a_combined_file_is_read_as_its_chunks_are(tmp_path):
    window = span("2024-03-01T00:00Z", "2024-04-20T00:00Z")
    made = make(tmp_path, "BTC/USDT", PairSource(page_minutes=14_400), window)
    from_chunks = panel(tmp_path, "*", ["close", "trades"]).wide().to_pandas()
    combine(made)
    made.chunk_path(made.dataset.day("2024-03-05")).unlink()
    assert panel(tmp_path, "*", ["close", "trades"]).wide().to_pandas().equals(from_chunks)


@pytest.mark.slow
def test_blocks_of_days_join_without_a_seam(tmp_path):
    window = span("2023-12-20T00:00Z", "2024-04-05T00:00Z")
    make(tmp_path, "BTC/USDT", PairSource(page_minutes=14_400), window)
    stored = reference(tmp_path, "BTC/USDT")
    # Of all columns, two months are read at once.
    columns = [name for name in FIELDS if name != "open_time"]
    found = panel(tmp_path, "*", columns).wide().to_arrow()
    assert all(found[f"{name}_BTC/USDT"].to_pylist() == stored[name].tolist() for name in columns)
    assert panel(tmp_path, "*", columns).long().to_arrow()["trades"].to_pylist() == stored["trades"].tolist()
    columns = ["open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_base_volume", "minutes"]
    for interval, tz in (("1mo", "Europe/Zurich"), ("1w", "Europe/Zurich"), ("4h", "Europe/Zurich")):
        one = open_dataset("BTC/USDT", market="spot", root=tmp_path).resample(interval, tz).to_pandas()
        many = panel(tmp_path, "*", columns, interval=interval, tz=tz).wide().to_pandas()
        found = many.xs("BTC/USDT", axis=1, level="pair").astype({"minutes": "int64", "trades": "int64"})
        pd.testing.assert_frame_equal(found, one[columns], check_names=False, check_exact=True)


@pytest.mark.slow
def test_a_panel_is_right_while_chunks_are_replaced_beside_it(tmp_path):
    source = PairSource(now="2024-03-10T12:00Z")
    made = make(tmp_path, "BTC/USDT", source, span("2024-03-01T00:00Z", "2024-03-03T00:00Z"))
    make(tmp_path, "ETH/BTC", PairSource(factor=2), span("2024-03-01T00:00Z", "2024-03-11T00:00Z"))
    failed: list[BaseException] = []

    def write() -> None:
        try:
            list(backfill(made, source, span("2024-03-03T00:00Z", "2024-03-10T00:00Z")))
            for minute in range(30):
                source.now = f"2024-03-10T12:{minute:02d}Z"
                list(backfill(made, source, span("2024-03-10T00:00Z", "2024-03-11T00:00Z")))
            list(backfill(made, source, span("2024-02-22T00:00Z", "2024-03-11T00:00Z"), refetch=True))
        except BaseException as error:
            failed.append(error)

    writing = threading.Thread(target=write)
    writing.start()
    counted, late = [], False
    while not late:
        late = not writing.is_alive()
        frame = panel(tmp_path, "*", "close", "2024-02-20", "2024-03-11").wide().to_pandas()
        both = frame.dropna()
        # Twice the price is what makes the other pair.
        assert np.array_equal(both["BTC/USDT"] * 2, both["ETH/BTC"])
        counted.append(int(frame["BTC/USDT"].notna().sum()))
    writing.join()
    assert failed == []
    assert counted == sorted(counted)
    assert counted[-1] == len(minutes(span("2024-02-22T00:00Z", "2024-03-10T12:29Z")))


@pytest.mark.parametrize("noted", ["by the load of its last minutes", "by a later load"])
def test_a_pair_that_ended_with_a_day_is_delisted_after_it(tmp_path: Path, noted: str) -> None:
    root, week, last = tmp_path / "root", span("2024-04-01", "2024-04-08"), "2024-04-03T23:59Z"
    if noted == "by the load of its last minutes":
        make(root, "OLD/USDT", PairSource(last=last), week)
    else:
        made = make(root, "OLD/USDT", PairSource(), span("2024-04-01", "2024-04-04"))
        list(backfill(made, PairSource(last=last), week))
    mask = open_panel("OLD/USDT", market="spot", root=root, start=week.start_ms, end=week.end_ms).mask()
    assert runs_of(mask.to_pandas()["OLD/USDT"]) == [("delisted", "04-04T00:00", 4 * 1440)]
    report = export("OLD/USDT", format="parquet", output=tmp_path / "out", market="spot", root=root, interval="1w")
    [file] = report.files
    assert pq.read_table(file)["open_time"].to_pylist() == [week.start_ms]


def test_minutes_before_an_end_that_are_not_stored_are_only_not_loaded(tmp_path: Path) -> None:
    source = PairSource(last="2024-04-03T11:59Z")
    made = make(tmp_path, "OLD/USDT", source, span("2024-04-01", "2024-04-02"))
    mask = panel(tmp_path, "OLD/USDT", "close", "2024-04-01", "2024-04-05").mask().to_pandas()["OLD/USDT"]
    assert runs_of(mask) == [("not_loaded", "04-02T00:00", 36 * 60), ("delisted", "04-03T12:00", 36 * 60)]
    # It was traded after all, which a load beside others may have stored before it took the note back.
    made.note_ended(at("2024-04-01T12:00Z"))
    mask = panel(tmp_path, "OLD/USDT", "close", "2024-04-01", "2024-04-05").mask().to_pandas()["OLD/USDT"]
    assert runs_of(mask) == [("not_loaded", "04-02T00:00", 3 * 1440)]


@dataclass
class ReusedSource(FakeSource):
    """A source of two pairs with one symbol; `missing` is the time between them."""

    def life(self, *arguments: Any, **options: Any) -> Life:
        return replace(super().life(*arguments, **options), between=self.missing[0])


def test_between_two_pairs_of_one_symbol_nothing_was_listed(tmp_path: Path) -> None:
    root, weeks = tmp_path / "root", span("2024-03-25", "2024-04-08")
    between = span("2024-03-28T09:00Z", "2024-04-02T05:07Z")
    make(root, "LIT/USDT", ReusedSource(missing=[between]), weeks)
    assert open_dataset("LIT/USDT", market="spot", root=root).dataset.reused == between
    mask = open_panel("LIT/USDT", market="spot", root=root, start=weeks.start_ms, end=weeks.end_ms).mask()
    reasons = mask.to_pandas()["LIT/USDT"].dropna()
    assert list(reasons) == ["not_listed"] * len(minutes(between))
    report = export("LIT/USDT", format="parquet", output=tmp_path / "out", market="spot", root=root, interval="1w")
    [file] = report.files
    assert pq.read_table(file)["open_time"].to_pylist() == [weeks.start_ms, weeks.start_ms + 7 * 1440 * MINUTE_MS]
