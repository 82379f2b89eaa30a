"""Each rule finds the smallest case that breaks it and lets the nearest one pass; what is as usual passes unnamed."""

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data_pipeline.core.klines.anomalies import Anomaly, anomalies
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.klines.findings import Severity
from market_data_pipeline.core.klines.parsing import from_json, from_rows
from market_data_pipeline.core.klines.table import EMPTY, SCHEMA
from market_data_pipeline.simulator.data.archive import ArchiveTree
from market_data_pipeline.simulator.data.history import History
from market_data_pipeline.simulator.data.lives import UsualLives
from market_data_pipeline.simulator.data.pairs import Pair
from market_data_pipeline_tests.core.fakes import at, span

START = "2024-03-05T04:00Z"
HISTORY = History(UsualLives(None))


def usual(minutes: int = 200) -> dict[str, np.ndarray]:
    """The columns of klines of a liquid pair with nothing odd about them; prices of about 100, a tick of 0.1."""
    times = at(START) + np.arange(minutes) * MINUTE_MS
    path = 100 + np.abs(np.arange(minutes + 1) % 20 - 10) / 10
    volume = 10.0 + np.arange(minutes) % 3
    opened, closed = path[:-1] + 0.1 * (np.arange(minutes) % 2), path[1:]
    return {
        "open_time": times,
        "open": opened,
        "high": np.maximum(opened, closed) + 0.1,
        "low": np.minimum(opened, closed) - 0.1,
        "close": closed,
        "volume": volume,
        "close_time": times + MINUTE_MS - 1,
        "quote_volume": volume * (opened + closed) / 2,
        "trades": np.full(minutes, 100),
        "taker_base_volume": volume / 2,
        "taker_quote_volume": volume * opened / 2,
        "ignore": np.zeros(minutes),
    }


def found(columns: dict[str, np.ndarray], market: Market = Market.SPOT, *, without: slice = slice(0)) -> list[Anomaly]:
    """The anomalies of the columns, or of what they leave when the rows `without` are absent."""
    left = {name: np.delete(column, without) for name, column in columns.items()}
    return list(anomalies(pa.Table.from_pydict(left, schema=SCHEMA), market))


def silence(columns: dict[str, np.ndarray], rows: slice) -> None:
    """Take the trades out of the rows: they are flat at the close before."""
    price = columns["close"][rows.start - 1]
    for name in ("open", "high", "low", "close"):
        columns[name][rows] = price
    for name in ("volume", "quote_volume", "trades", "taker_base_volume", "taker_quote_volume"):
        columns[name][rows] = 0


def rescale(columns: dict[str, np.ndarray], rows: slice, factor: float) -> None:
    """Multiply the prices of the rows."""
    for name in ("open", "high", "low", "close", "quote_volume", "taker_quote_volume"):
        columns[name][rows] *= factor


@pytest.mark.parametrize("minutes", [1, 2, 200])
def test_usual_klines_pass(minutes: int) -> None:
    assert found(usual(minutes)) == []


def test_no_klines_pass() -> None:
    assert list(anomalies(EMPTY, Market.SPOT)) == []


def test_klines_that_never_had_a_trade_pass() -> None:
    columns = usual()
    silence(columns, slice(1, 200))
    assert found(columns, without=slice(0, 1)) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0])
def test_what_is_no_price_is_left_to_the_checks(value: float) -> None:
    """Numpy's warnings are errors here."""
    columns = usual()
    for name in ("open", "high", "low", "close"):
        columns[name][50:52] = value
    columns["volume"][60] = 0 * value
    found(columns)


# --- quote_volume_off


def test_a_quote_volume_outside_what_the_prices_allow_is_named() -> None:
    columns = usual()
    columns["quote_volume"][20:22] = [0, 2_000]
    [anomaly] = found(columns)
    assert anomaly == Anomaly(
        "quote_volume_off",
        Severity.WARNING,
        span("2024-03-05T04:20Z", "2024-03-05T04:22Z"),
        "2 minutes from 2024-03-05T04:20Z: "
        "quote_volume is not between low and high times volume: first 0, not 1209.6 to 1213.2",
    )


@pytest.mark.parametrize(("edge", "outward"), [("low", -1), ("high", 1)])
def test_a_quote_volume_may_be_off_by_rounding_and_no_more(edge: str, outward: int) -> None:
    columns = usual()
    limit = columns[edge][20] * columns["volume"][20]
    columns["quote_volume"][20] = limit * (1 + outward * 0.9e-6)
    assert found(columns) == []
    columns["quote_volume"][20] = limit * (1 + outward * 1.2e-6)
    assert [anomaly.rule for anomaly in found(columns)] == ["quote_volume_off"]


def test_each_trade_of_the_cheapest_coin_may_lose_the_eighth_decimal() -> None:
    columns = usual()
    rescale(columns, slice(0, 200), 1e-10)
    limit = columns["low"][20] * columns["volume"][20]
    columns["quote_volume"][20] = limit - 100e-8
    assert found(columns) == []
    columns["trades"][20] = 90
    assert [anomaly.rule for anomaly in found(columns)] == ["quote_volume_off"]


def test_the_exchanges_own_mistake_is_found() -> None:
    """BTCUSDT at 2020-03-16 04:14, as binance-exchange/binance-java-api#258 has it."""
    prices = ["5255.08", "5259.97", "5252.48", "5256.95"], ["5258.03", "5259.99", "5254.06", "5259.83"]
    volumes, quotes = ("1.6077472255150798", "2621.165075311129"), ("294550.13270768", "229979.19014003")
    times = at("2020-03-16T04:14Z"), at("2020-03-16T04:15Z")
    rows = [
        [time, *price, volume, time + MINUTE_MS - 1, quote, 700, "1", "5255", "0"]
        for time, price, volume, quote in zip(times, prices, volumes, quotes, strict=True)
    ]
    [anomaly] = anomalies(from_rows(rows).klines, Market.SPOT)
    assert (anomaly.rule, anomaly.span.minutes) == ("quote_volume_off", 2)


# --- frozen


def repeat(columns: dict[str, np.ndarray], rows: slice) -> None:
    """Put the first of the rows in place of the others."""
    for name in columns.keys() - {"open_time", "close_time"}:
        columns[name][rows] = columns[name][rows.start]


def test_five_equal_klines_are_frozen_and_four_are_not() -> None:
    columns = usual()
    repeat(columns, slice(20, 24))
    assert found(columns) == []
    columns = usual()
    repeat(columns, slice(20, 25))
    [anomaly] = found(columns)
    assert (anomaly.rule, anomaly.severity) == ("frozen", Severity.WARNING)
    assert anomaly.span == span("2024-03-05T04:20Z", "2024-03-05T04:25Z")
    assert anomaly.problem == (
        "5 minutes from 2024-03-05T04:20Z: prices, volume and trades repeat: close 100.9, volume 12, 100 trades in each"
    )


@pytest.mark.parametrize("name", ["open", "high", "low", "close", "volume", "trades"])
def test_klines_of_which_one_value_changes_are_not_frozen(name: str) -> None:
    columns = usual()
    repeat(columns, slice(20, 25))
    # So little that the quote volume stays possible.
    columns[name] = columns[name].astype(float)
    columns[name][22] *= 1 + 1e-7
    columns["trades"] = np.ceil(columns["trades"]).astype(np.int64)
    assert found(columns) == []


def test_equal_klines_with_a_minute_absent_between_them_are_not_frozen() -> None:
    columns = usual()
    repeat(columns, slice(20, 29))
    assert len(found(columns)) == 1
    assert found(columns, without=slice(24, 25)) == []


# --- no_trades


@pytest.mark.parametrize(
    ("market", "severity", "meaning"),
    [
        (Market.FUTURES, Severity.NOTICE, "a halt of futures looks like this"),
        (Market.SPOT, Severity.WARNING, "a halt of spot would have no klines at all"),
    ],
)
def test_ten_minutes_without_trades_are_named_by_what_they_mean(
    market: Market, severity: Severity, meaning: str
) -> None:
    columns = usual()
    silence(columns, slice(20, 30))
    [anomaly] = found(columns, market)
    assert (anomaly.rule, anomaly.severity) == ("no_trades", severity)
    assert anomaly.span == span("2024-03-05T04:20Z", "2024-03-05T04:30Z")
    assert anomaly.problem == (
        f"10 minutes from 2024-03-05T04:20Z: no trades on a pair that usually has 100 a minute; {meaning}"
    )


def test_nine_minutes_without_trades_pass_even_on_both_sides_of_an_absent_one() -> None:
    columns = usual()
    silence(columns, slice(20, 29))
    assert found(columns) == []
    silence(columns, slice(20, 39))
    assert found(columns, without=slice(29, 30)) == []


def test_ten_minutes_without_trades_pass_if_the_price_moves_within_them() -> None:
    columns = usual()
    silence(columns, slice(20, 30))
    columns["high"][25] += 0.1
    assert found(columns) == []


@pytest.mark.parametrize(("trades", "expected"), [(20, ["no_trades"]), (19, [])])
def test_silence_is_odd_only_where_trades_are_many(trades: int, expected: list[str]) -> None:
    columns = usual()
    columns["trades"][:] = trades
    silence(columns, slice(20, 30))
    assert [anomaly.rule for anomaly in found(columns)] == expected


@pytest.mark.parametrize(("silent", "expected"), [(20, ["no_trades"]), (21, [])])
def test_silence_is_odd_only_where_it_is_rare(silent: int, expected: list[str]) -> None:
    columns = usual()
    silence(columns, slice(20, 20 + silent))
    assert [anomaly.rule for anomaly in found(columns)] == expected


# --- price_jump


@pytest.mark.parametrize("factor", [1.08, 0.92])
def test_an_open_far_from_the_close_before_is_named(factor: float) -> None:
    columns = usual()
    rescale(columns, slice(20, 200), factor)
    [anomaly] = found(columns)
    assert (anomaly.rule, anomaly.severity) == ("price_jump", Severity.WARNING)
    assert anomaly.span == span("2024-03-05T04:20Z", "2024-03-05T04:21Z")
    assert anomaly.problem == (
        "1 minute from 2024-03-05T04:20Z: "
        f"open is not near the close before: first 101 to {101 * factor:.10g}, {factor - 1:+.1%}"
    )


def test_both_ways_of_a_spike_are_one_anomaly() -> None:
    columns = usual()
    rescale(columns, slice(20, 21), 2)
    [anomaly] = found(columns)
    assert anomaly.span == span("2024-03-05T04:20Z", "2024-03-05T04:22Z")


@pytest.mark.parametrize(("factor", "expected"), [(1.021, ["price_jump"]), (1.019, [])])
def test_a_move_of_two_percent_is_needed_even_where_the_price_never_moves(factor: float, expected: list[str]) -> None:
    columns = usual()
    for name in ("open", "high", "low", "close"):
        columns[name][:] = 100.0
    columns["quote_volume"] = columns["volume"] * 100
    rescale(columns, slice(20, 200), factor)
    assert [anomaly.rule for anomaly in found(columns)] == expected


def test_a_move_across_an_absent_minute_or_one_without_trades_passes() -> None:
    columns = usual()
    rescale(columns, slice(20, 200), 1.5)
    assert found(columns, without=slice(20, 21)) == []
    before, after = columns["close"][19], columns["open"][21]
    silence(columns, slice(20, 21))
    for price in (before, after):
        for name in ("open", "high", "low", "close"):
            columns[name][20] = price
        assert found(columns) == []


@pytest.mark.parametrize("gapless", [False, True], ids=["usual spread", "usually none"])
def test_a_move_that_is_only_some_fifty_ticks_passes(gapless: bool) -> None:
    """Of a coin whose tick is a tenth of a percent: the usual move, or else the tick, is what counts."""
    columns = usual()
    columns["open"] = columns["close"] if gapless else columns["close"] + 0.1
    columns["open"] = np.concatenate((columns["close"][:1], columns["open"][:-1]))
    columns["low"] = np.minimum(columns["open"], columns["close"])
    columns["high"] = np.maximum(columns["open"], columns["close"])
    columns["quote_volume"] = columns["volume"] * columns["open"]
    rescale(columns, slice(20, 200), 1.045)
    assert found(columns) == []
    rescale(columns, slice(20, 200), 1.055 / 1.045)
    assert [anomaly.rule for anomaly in found(columns)] == ["price_jump"]


# --- close_time_cut


def test_a_kline_that_ends_early_is_named() -> None:
    columns = usual()
    columns["close_time"][20] -= 38_499
    [anomaly] = found(columns)
    assert anomaly == Anomaly(
        "close_time_cut",
        Severity.NOTICE,
        span("2024-03-05T04:20Z", "2024-03-05T04:21Z"),
        "1 minute from 2024-03-05T04:20Z: the kline ends early, after 21.501 s: a halt cut it",
    )


# --- klines as they come


def day_of(history: History, pair: Pair, number: int) -> pa.Table:
    """The klines of a pair on a UTC day, counted from the epoch."""
    return from_json(b"[" + history.day(pair, number).text.rstrip(b",") + b"]").klines


def number_of(day: str) -> int:
    return (date.fromisoformat(day) - date(1970, 1, 1)).days


def test_the_halt_of_futures_is_named_and_the_one_of_spot_has_no_klines() -> None:
    futures, spot = HISTORY.pairs["futures", "BTCUSDT"], HISTORY.pairs["spot", "BTCUSDT"]
    [anomaly] = anomalies(day_of(HISTORY, futures, number_of("2025-08-29")), Market.FUTURES)
    assert (anomaly.rule, anomaly.severity) == ("no_trades", Severity.NOTICE)
    assert anomaly.span == span("2025-08-29T06:17Z", "2025-08-29T07:00Z")
    assert list(anomalies(day_of(HISTORY, spot, number_of("2023-03-24")), Market.SPOT)) == []


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(HISTORY.pairs)), st.integers(number_of("2018-01-01"), number_of("2026-06-30")))
def test_untouched_klines_of_any_pair_and_day_give_no_warning(key: tuple[str, str], number: int) -> None:
    klines = day_of(HISTORY, HISTORY.pairs[key], number)
    assert [anomaly for anomaly in anomalies(klines, Market(key[0])) if anomaly.severity is not Severity.NOTICE] == []


@pytest.mark.real
def test_real_klines_give_no_anomaly(real_archive: Path) -> None:
    """Whole histories at a time: months, with days between them that are absent, and an outage of hours."""
    tree, history = ArchiveTree(real_archive), History(UsualLives(real_archive))
    for market, symbol in tree.symbols():
        days = [day_of(history, history.pairs[market, symbol], number) for number in tree.days(market, symbol)]
        assert list(anomalies(pa.concat_tables(days), Market(market))) == []
