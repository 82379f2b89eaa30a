"""Many pairs in one table: what `open_panel` returns.

Belongs here: the panel, its three views and their formats. Does not belong here: choosing pairs (`choosing`), reading
(`grid`), types of columns (`grid_formats`, `formats`), one pair (`klines`).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.coverage import Span, total_minutes
from market_data_pipeline.core.klines.days import Zone, day_at, parse_zone
from market_data_pipeline.core.store.storage.ahead import in_order
from market_data_pipeline.core.text import count_text
from market_data_pipeline.reader import formats, grid_formats
from market_data_pipeline.reader.grid import Axis, read_codes, read_each, read_grid, type_of
from market_data_pipeline.reader.klines import DatasetKlines, Klines
from market_data_pipeline.reader.resampling import Interval, parse_interval
from market_data_pipeline.reader.windows import Instant, instant_ms, window_of

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import polars as pl


@dataclass(frozen=True, slots=True, repr=False)
class Panel:
    """The klines of many pairs of a market over one window. Nothing is read before a `to_...` of a view is called.

    Each call reads the files anew. All of them raise StoreError for a chunk that is missing or damaged.
    """

    _pairs: tuple[DatasetKlines, ...]
    columns: tuple[str, ...]
    interval: Interval
    zone: Zone
    shown_in: Zone
    start: Instant
    end: Instant

    def __repr__(self) -> str:
        market, count = self._pairs[0].dataset.market, count_text(len(self._pairs), "pair")
        return f"<Panel of {', '.join(self.columns)}, {self.interval.name}: {count} of {market}>"

    @property
    def pairs(self) -> tuple[str, ...]:
        """The pairs, in the order of the columns of `wide`."""
        return tuple(klines.dataset.pair for klines in self._pairs)

    @property
    def window(self) -> Span:
        """The minutes of the panel, as they are now: without start or end, what is stored or was requested."""
        return window_of(self.start, self.end, self.zone, self._extent)

    def wide(self) -> "PanelView":
        """A row for each time of the window, and a column for each pair, or for each column and pair.

        A place where the pair has no kline has no value: NaN, NA or null. Nothing is filled in.
        """
        return _Wide(self)

    def wide_of(self, window: Span) -> pa.Table:
        """Like `wide().to_arrow()`, of these minutes in place of those of the panel."""
        grid = read_grid(self._klines(), self.columns, Axis.of(self.interval, self.zone, window))
        return grid_formats.wide_table(grid, self.pairs)

    def long(self) -> "PanelView":
        """A row for each kline: its time, its pair, and the columns; pair after pair."""
        return _Long(self)

    def mask(self) -> "PanelView":
        """A row for each time and a column for each pair: why there is no value, and null where there is one.

        A bin has a value if any of its minutes has a kline; else its reason is that of its first minute.
        """
        return _Mask(self)

    def traded_at(self, at: Instant) -> "Panel":
        """The panel of the pairs alone that had klines on the day, in the panel's zone, of this instant.

        Raises:
            UsageError: none had, or it is no instant.
        """
        given_ms = instant_ms(at, self.zone)
        if given_ms is None:
            return self
        day = day_at(self.zone, given_ms)
        has_klines = in_order(
            lambda klines: _has_klines(klines, Span(day.start_ms, day.end_ms)),
            self._pairs,
            threads=self._pairs[0].most_at_once,
        )
        traded = tuple(compress(self._pairs, has_klines))
        if not traded:
            raise UsageError(f"no pair of {len(self._pairs):,} has klines on {day.key}; give another day")
        return Panel(traded, self.columns, self.interval, self.zone, self.shown_in, self.start, self.end)

    def _axis(self) -> Axis:
        return Axis.of(self.interval, self.zone, self.window)

    def _klines(self) -> list[Klines]:
        return [_of_interval(klines, self.interval, self.zone) for klines in self._pairs]

    def _extent(self) -> Span:
        read = in_order(DatasetKlines.extent, self._pairs, threads=self._pairs[0].most_at_once)
        extents = [span for span in read if span.minutes]
        if not extents:
            return self._pairs[0].extent()
        return Span(min(span.start_ms for span in extents), max(span.end_ms for span in extents))


def panel_of(
    pairs: Sequence[DatasetKlines],
    columns: str | Sequence[str],
    start: Instant,
    end: Instant,
    interval: str,
    tz: str | None,
) -> Panel:
    """The panel of these pairs, of which there is at least one.

    Raises:
        UsageError: there is no such column, interval or zone, the window ends before it starts, or the pairs have days
            of different zones and `tz` is None.
    """
    length = parse_interval(interval)
    zone = parse_zone(tz) if tz is not None else _common_zone(pairs)
    # As for one pair: klines as stored are shown in UTC, longer ones in the zone of their bins.
    shown_in = parse_zone("UTC") if tz is None and length.minutes == 1 else zone
    named = tuple(dict.fromkeys([columns] if isinstance(columns, str) else columns))
    known = [name for name in _of_interval(pairs[0], length, zone).columns if name != "open_time"]
    for name in named:
        if name not in known:
            raise UsageError(f"no such column: {name!r}; there are {', '.join(known)}")
    if not named:
        raise UsageError(f"no column is named; there are {', '.join(known)}")
    window_of(start, end, zone, lambda: Span(0, 1 << 62))  # a wrong window is refused before anything is read
    return Panel(tuple(pairs), named, length, zone, shown_in, start, end)


@dataclass(frozen=True, slots=True)
class PanelView(ABC):
    """A panel as a table in four formats."""

    panel: Panel

    @abstractmethod
    def to_arrow(self) -> pa.Table:
        """A table with `open_time` as int64 ms UTC; absent values are null."""

    @abstractmethod
    def to_pandas(self) -> "pd.DataFrame":
        """A DataFrame with `open_time` as its DatetimeIndex, in the zone in which the panel shows times."""

    def to_polars(self) -> "pl.DataFrame":
        """Like `to_arrow`, as a DataFrame with times as Datetime in the zone of the panel. Needs polars."""
        return formats.to_polars(self.to_arrow(), self.panel.shown_in, self._times())

    def to_duckdb(self, connection: "duckdb.DuckDBPyConnection | None" = None) -> "duckdb.DuckDBPyRelation":
        """Like `to_arrow`, as a relation on the connection, or on DuckDB's default connection. Needs duckdb."""
        return formats.to_duckdb(self.to_arrow(), connection)

    def _times(self) -> Sequence[str]:
        return formats.TIMES


class _Wide(PanelView):
    def to_arrow(self) -> pa.Table:
        return self.panel.wide_of(self.panel.window)

    def to_pandas(self) -> "pd.DataFrame":
        panel = self.panel
        grid = read_grid(panel._klines(), panel.columns, panel._axis())
        return grid_formats.wide_frame(grid, panel.pairs, panel.shown_in)

    def _times(self) -> Sequence[str]:
        labels = grid_formats.column_names(self.panel.columns, self.panel.pairs)
        return ["open_time", *labels.get("close_time", [])]


class _Long(PanelView):
    def to_arrow(self) -> pa.Table:
        panel = self.panel
        names = pa.array(panel.pairs, pa.string())

        def with_pair(at: int, klines: pa.Table) -> pa.Table:
            codes = pa.array(np.full(klines.num_rows, at, np.int32))
            # In one piece, as the many pieces of chunks take a third more memory, and their readers more time.
            named = klines.combine_chunks().add_column(1, "pair", pa.DictionaryArray.from_arrays(codes, names))
            return named.cast(schema)

        kinds = [("pair", pa.dictionary(pa.int32(), pa.string())), *((name, type_of(name)) for name in panel.columns)]
        schema = pa.schema([("open_time", pa.int64()), *kinds])
        tables = read_each(panel._klines(), panel.columns, panel._axis(), with_pair)
        return pa.concat_tables([schema.empty_table(), *tables])

    def to_pandas(self) -> "pd.DataFrame":
        return formats.to_pandas(self.to_arrow(), self.panel.shown_in)


class _Mask(PanelView):
    def to_arrow(self) -> pa.Table:
        panel, axis = self.panel, self.panel._axis()
        return grid_formats.mask_table(read_codes(panel._pairs, axis), axis.open_times, panel.pairs)

    def to_pandas(self) -> "pd.DataFrame":
        panel, axis = self.panel, self.panel._axis()
        codes = read_codes(panel._pairs, axis)
        return grid_formats.mask_frame(codes, axis.open_times, panel.pairs, panel.shown_in)

    def _times(self) -> Sequence[str]:
        return ["open_time"]


def _of_interval(klines: DatasetKlines, interval: Interval, zone: Zone) -> Klines:
    return klines if interval.minutes == 1 else klines.resample(interval.name, zone.name)


def _common_zone(pairs: Sequence[DatasetKlines]) -> Zone:
    zones = {klines.zone.name: klines.zone for klines in pairs}
    if len(zones) > 1:
        raise UsageError(f"the pairs have days of different zones ({', '.join(sorted(zones))}); give tz (--align-tz)")
    return pairs[0].zone


def _has_klines(klines: DatasetKlines, day: Span) -> bool:
    absences = klines.absences_of(day)
    return total_minutes(absence.span for absence in absences) < day.minutes
