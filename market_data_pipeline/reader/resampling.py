"""Longer klines from 1-minute klines: minutes, hours, days, weeks and months of a zone's wall clock.

Belongs here: which intervals there are, where their bins start, and how each field is aggregated. Does not belong here:
files (`stored`), formats (`formats`). Only days on which the clocks change are computed minute by minute.

A bin starts when the local clock shows a multiple of the interval, counted from midnight, and when the clock jumps past
such a multiple. So an hour that the clock shows twice is two bins, an hour that it skips is none, and a longer bin with
a clock change inside is longer or shorter by the change: `4h` from midnight then has 5 or 3 hours.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.days import MINUTE_MS, Day, Zone, days_between
from market_data_pipeline.core.klines.table import FIELDS, SCHEMA, column, open_times

RESAMPLED_FIELDS = (*(name for name in FIELDS if name != "ignore"), "minutes", "expected_minutes")
RESAMPLED_SCHEMA = pa.schema(
    [SCHEMA.field(name) if name in FIELDS else pa.field(name, pa.int64(), nullable=False) for name in RESAMPLED_FIELDS]
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_MINUTES = 1440
# No bin is longer than a month.
_LONGEST_BIN_MS = 32 * _DAY_MINUTES * MINUTE_MS
_CLOCK = re.compile(r"(\d{1,4})([mh])")
_OF_PANDAS = re.compile(r"(\d{0,4}) ?(min|t|h|d|w)(?:ute|our|ay|eek)?s?")
_CALENDAR: dict[str, Callable[[date], bool]] = {
    "1d": lambda on: True,
    "1w": lambda on: on.weekday() == 0,
    "1mo": lambda on: on.day == 1,
}

Ints = npt.NDArray[np.int64]
Values = npt.NDArray[Any]
# Takes the values of a field, and the index of the first and of the last row of each bin.
Aggregate = Callable[[Values, Ints, Ints], Values]


@dataclass(frozen=True, slots=True)
class Interval:
    """The length of resampled klines.

    `minutes` are those of the wall clock between two starts within a day. Bins start only on days for which `starts_on`
    is True: `1w` has 1440 minutes and starts on Mondays.
    """

    name: str
    minutes: int
    starts_on: Callable[[date], bool]


def parse_interval(text: str) -> Interval:
    """The interval called `text`: minutes or hours that divide a day (`5m`, `1h`, `4h`), `1d`, `1w` or `1mo`.

    Raises:
        UsageError: there is no such interval.
    """
    name = text.strip()
    if starts_on := _CALENDAR.get(name):
        return Interval(name, _DAY_MINUTES, starts_on)
    if minutes := _minutes_of(name):
        return Interval(name, minutes, _CALENDAR["1d"])
    others = f"no such interval: {text!r}; give minutes or hours that divide a day (5m, 4h), 1d, 1w or 1mo"
    raise UsageError(others + _meant(name))


def _minutes_of(name: str) -> int:
    """The minutes of an interval that divides a day; 0 for any other text."""
    match = _CLOCK.fullmatch(name)
    minutes = int(match[1]) * {"m": 1, "h": 60}[match[2]] if match else 0
    return minutes if minutes and not _DAY_MINUTES % minutes else 0


def _meant(name: str) -> str:
    """The interval that a spelling of pandas means, such as `5min` or `1D`, as a question; empty for any other text."""
    if not (match := _OF_PANDAS.fullmatch(name.lower())):
        return ""
    unit = {"t": "m", "min": "m"}.get(match[2], match[2])
    meant = f"{match[1] or 1}{unit}"
    return f"; did you mean {meant}?" if meant in _CALENDAR or _minutes_of(meant) else ""


def fields_for(names: Sequence[str]) -> list[str]:
    """The stored fields that are needed for these resampled fields."""
    return ["open_time", *(name for name in FIELDS if name in names and name != "open_time")]


def resample(klines: pa.Table, interval: Interval, zone: Zone) -> pa.Table:
    """Aggregate 1-minute klines into bins.

    Args:
        klines: `open_time` and any other fields, sorted by `open_time`.
        interval: the length of a bin.
        zone: the zone whose wall clock the bins follow.

    Returns:
        One row for each bin that has a kline, with the fields of the klines, `minutes` and `expected_minutes`.
    """
    names = [name for name in RESAMPLED_FIELDS if name in klines.column_names or name not in FIELDS]
    schema = pa.schema([RESAMPLED_SCHEMA.field(name) for name in names])
    times = open_times(klines)
    if not len(times):
        return schema.empty_table()
    edges = bin_edges(interval, zone, Span(int(times[0]), int(times[-1]) + MINUTE_MS))
    bounds = np.searchsorted(times, edges)
    rows = np.diff(bounds)
    filled = np.flatnonzero(rows)
    first = bounds[filled]
    last = first + rows[filled] - 1
    columns: dict[str, Values] = {
        name: _AGGREGATES[name](column(klines, name), first, last) for name in names if name in _AGGREGATES
    }
    columns["open_time"] = edges[filled]
    columns["minutes"] = rows[filled]
    columns["expected_minutes"] = np.diff(edges)[filled] // MINUTE_MS
    return pa.Table.from_arrays([pa.array(columns[name]) for name in names], schema=schema)


def bin_edges(interval: Interval, zone: Zone, span: Span) -> Ints:
    """The starts of all bins that the span overlaps, then the end of the last bin, ms UTC."""
    around = days_between(zone, span.start_ms - _LONGEST_BIN_MS, span.end_ms + _LONGEST_BIN_MS)
    starts = np.concatenate([_starts(interval, zone, day) for day in around if interval.starts_on(day.date)])
    first = int(np.searchsorted(starts, span.start_ms, side="right")) - 1
    edges: Ints = starts[first : np.searchsorted(starts, span.end_ms) + 1]
    return edges


def _starts(interval: Interval, zone: Zone, day: Day) -> Ints:
    if interval.minutes == _DAY_MINUTES:
        return np.array([day.start_ms], np.int64)
    if day.minutes == _DAY_MINUTES:
        return np.arange(day.start_ms, day.end_ms, interval.minutes * MINUTE_MS, dtype=np.int64)
    minutes = np.arange(day.start_ms, day.end_ms, MINUTE_MS, dtype=np.int64)
    shown = np.array([_minute_shown(zone, minute) for minute in minutes.tolist()], np.int64)
    jumps = np.diff(shown // interval.minutes, prepend=-1) != 0
    starts: Ints = minutes[(shown % interval.minutes == 0) | jumps]
    return starts


def _minute_shown(zone: Zone, instant_ms: int) -> int:
    # Windows has no `fromtimestamp` before 1970.
    clock = (_EPOCH + timedelta(milliseconds=instant_ms)).astimezone(zone.tzinfo)
    return clock.hour * 60 + clock.minute


def _first(values: Values, first: Ints, last: Ints) -> Values:
    return values[first]


def _last(values: Values, first: Ints, last: Ints) -> Values:
    return values[last]


def _reduced(function: np.ufunc) -> Aggregate:
    # `reduceat` aggregates from each first row up to the next first row. That is one bin, as each bin has a row.
    return lambda values, first, last: function.reduceat(values, first)


_AGGREGATES: dict[str, Aggregate] = {
    "open": _first,
    "high": _reduced(np.maximum),
    "low": _reduced(np.minimum),
    "close": _last,
    "volume": _reduced(np.add),
    "close_time": _last,
    "quote_volume": _reduced(np.add),
    "trades": _reduced(np.add),
    "taker_base_volume": _reduced(np.add),
    "taker_quote_volume": _reduced(np.add),
}
