"""The rules that klines can break without being provably wrong: worth a person's look, never a reason to refuse them.

Belongs here: the vectorised rules on values and their thresholds, each with the reason for it. Does not belong here:
what cannot be true (`checks`), absent minutes (`coverage`), what becomes of an anomaly (nothing is ever removed).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from market_data_pipeline.core.klines.coverage import Span, span_text
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.klines.findings import Severity
from market_data_pipeline.core.klines.table import column
from market_data_pipeline.core.text import count_text

_Values: TypeAlias = dict[str, npt.NDArray[Any]]
_READ = ("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades")

QUOTE_LOST_PER_TRADE = 1e-8
"""The exchange writes eight decimals at most, so each trade may lose up to one unit of the eighth."""

QUOTE_RELATIVE_TOLERANCE = 1e-6
"""Floats need 1e-15; a value that is wrong rather than rounded is off by far more than a millionth."""

FROZEN_MINUTES = 5
"""Thin pairs repeat a minute now and then, with one smallest trade at one price; hardly ever five times."""

SILENT_MINUTES = 10
"""A pair that trades almost every minute now and then has a few without trades; ten in a row are no chance."""

LIQUID_TRADES = 20
"""Trades in the median minute that has any. A pair with so many does not stop trading by itself."""

LIQUID_SHARE = 0.9
"""Of the minutes that have a trade. Below it silence is usual; or the pair is delisted, which on futures is silence."""

JUMP_SHARE = 0.02
"""Seconds at most lie between a close and the next open; the price hardly moves 2 % there even on stormy days."""

JUMP_TIMES_USUAL = 50
"""Excludes pairs whose tick, or spread, is itself a percent or more of the price."""


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A run of minutes that breaks a rule: which rule, how much that matters, and one line on what is odd."""

    rule: str
    severity: Severity
    span: Span
    problem: str


# Numpy must not warn of values that are no numbers: `checks` has a rule for them.
@np.errstate(all="ignore")
def anomalies(klines: pa.Table, market: Market) -> Iterator[Anomaly]:
    """The anomalies of the klines, rule by rule and by time; minutes and days may be absent between klines."""
    values = {name: column(klines, name) for name in _READ}
    # A list, since a generator would carry numpy's settings out to its reader.
    found = [
        *_quote_volume_off(values),
        *_frozen(values),
        *_no_trades(values, market),
        *_price_jump(values),
        *_close_time_cut(values),
    ]
    return iter(found)


def _quote_volume_off(values: _Values) -> Iterator[Anomaly]:
    quote, volume = values["quote_volume"], values["volume"]
    least, most = values["low"] * volume, values["high"] * volume
    tolerance = QUOTE_RELATIVE_TOLERANCE * most + QUOTE_LOST_PER_TRADE * (values["trades"] + 1)
    for run in _runs(values, (quote < least - tolerance) | (quote > most + tolerance)):
        at = run.start
        yield _anomaly(
            values,
            run,
            "quote_volume_off",
            Severity.WARNING,
            "quote_volume is not between low and high times volume: "
            f"first {quote[at]:.10g}, not {least[at]:.10g} to {most[at]:.10g}",
        )


def _frozen(values: _Values) -> Iterator[Anomaly]:
    repeats = _follows(values) & (values["volume"][1:] > 0)
    for name in ("open", "high", "low", "close", "volume", "trades"):
        repeats &= values[name][1:] == values[name][:-1]
    for repeated in _runs(values, _of_later(repeats), FROZEN_MINUTES - 1):
        run = slice(repeated.start - 1, repeated.stop)
        price, volume, trades = (values[name][run.start] for name in ("close", "volume", "trades"))
        yield _anomaly(
            values,
            run,
            "frozen",
            Severity.WARNING,
            f"prices, volume and trades repeat: close {price:.10g}, volume {volume:.10g}, "
            f"{count_text(int(trades), 'trade')} in each",
        )


def _no_trades(values: _Values, market: Market) -> Iterator[Anomaly]:
    silent = (values["volume"] == 0) & (values["high"] == values["low"])
    runs = _runs(values, silent, SILENT_MINUTES)
    if not runs:
        return
    trades = values["trades"][values["trades"] > 0]
    if len(trades) < LIQUID_SHARE * len(silent) or (usual := np.median(trades)) < LIQUID_TRADES:
        return
    # Futures 2025-08-29 06:17 to 06:59. Binance of spot: "when trading is suspended, the kline will not be generated"
    # (binance/binance-public-data#169).
    severity, meaning = {
        Market.FUTURES: (Severity.NOTICE, "a halt of futures looks like this"),
        Market.SPOT: (Severity.WARNING, "a halt of spot would have no klines at all"),
    }[market]
    for run in runs:
        yield _anomaly(
            values,
            run,
            "no_trades",
            severity,
            f"no trades on a pair that usually has {usual:.0f} a minute; {meaning}",
        )


def _price_jump(values: _Values) -> Iterator[Anomaly]:
    opened, closed, traded = values["open"][1:], values["close"][:-1], values["volume"] > 0
    comparable = _follows(values) & traded[1:] & traded[:-1]
    moved = np.abs(opened - closed)
    jumps = comparable & (moved > JUMP_SHARE * closed)
    if not jumps.any():
        return
    usual = float(np.median(moved[comparable])) or _tick(values)
    for run in _runs(values, _of_later(jumps & (moved > JUMP_TIMES_USUAL * usual))):
        before, after = values["close"][run.start - 1], values["open"][run.start]
        yield _anomaly(
            values,
            run,
            "price_jump",
            Severity.WARNING,
            f"open is not near the close before: first {before:.10g} to {after:.10g}, {after / before - 1:+.1%}",
        )


def _tick(values: _Values) -> float:
    """The least that the price is seen to move within a minute; 0 if it never does."""
    ranges = values["high"] - values["low"]
    moving = ranges[ranges > 0]
    return float(moving.min()) if len(moving) else 0.0


def _close_time_cut(values: _Values) -> Iterator[Anomaly]:
    lasted = values["close_time"] - values["open_time"] + 1
    for run in _runs(values, lasted < MINUTE_MS):
        # binance/binance-public-data#77
        yield _anomaly(
            values,
            run,
            "close_time_cut",
            Severity.NOTICE,
            f"the kline ends early, after {lasted[run.start] / 1000:.3f} s: a halt cut it",
        )


def _follows(values: _Values) -> npt.NDArray[np.bool_]:
    """Of each kline but the first: whether the one before it is of the minute right before."""
    minute_later: npt.NDArray[np.bool_] = np.diff(values["open_time"]) == MINUTE_MS
    return minute_later


def _of_later(pairs: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """From a truth of each pair of neighbours to one of each kline: that of the pair it ends; False for the first."""
    return np.concatenate(([False], pairs))


def _runs(values: _Values, odd: npt.NDArray[np.bool_], at_least: int = 1) -> list[slice]:
    """The rows of each run of odd klines in consecutive minutes that has at least `at_least` of them."""
    rows = np.flatnonzero(odd)
    if not len(rows):
        return []
    ends = np.flatnonzero(np.append(np.diff(values["open_time"][rows]) != MINUTE_MS, True))
    lengths = np.diff(ends, prepend=-1)
    enough = lengths >= at_least
    stops = rows[ends[enough]] + 1
    starts = stops - lengths[enough]
    return [slice(start, stop) for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]


def _anomaly(values: _Values, run: slice, rule: str, severity: Severity, what: str) -> Anomaly:
    times = values["open_time"]
    span = Span(int(times[run.start]), int(times[run.stop - 1]) + MINUTE_MS)
    return Anomaly(rule, severity, span, f"{span_text(span)}: {what}")
