"""The objects that the reader returns: the klines of a dataset, as stored or resampled.

Belongs here: their methods, and the meaning of columns and zones. Does not belong here: finding a dataset (`reader`),
windows (`windows`), files (`stored`), bins (`resampling`), frames (`formats`), many pairs (`panel`).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.coverage import Absence, Span
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import Zone, parse_zone
from market_data_pipeline.core.klines.flaws import Flaw
from market_data_pipeline.core.klines.table import FIELDS
from market_data_pipeline.reader import formats
from market_data_pipeline.reader.resampling import RESAMPLED_FIELDS, Interval, fields_for, parse_interval, resample
from market_data_pipeline.reader.stored import StoredDataset
from market_data_pipeline.reader.windows import Instant, window_of

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import polars as pl


@dataclass(frozen=True, slots=True, repr=False)
class Klines(ABC):
    """Klines in four formats. Each call reads the files anew.

    Dates and times without offset are local times of `zone`. Frames show times in `shown_in`, unless `tz` is given.
    Every window is half-open. All methods raise UsageError for a window that ends before it starts and for a column or
    zone that does not exist, and StoreError for a chunk that is missing or damaged.
    """

    _files: StoredDataset
    zone: Zone
    shown_in: Zone

    @property
    def most_at_once(self) -> int:
        """How many files are worth reading at once, if decoding them took no time."""
        return self._files.most_at_once

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._files.dataset.name}, days of {self.zone.name}>"

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The names of all columns."""

    @abstractmethod
    def _read(self, window: Span, columns: list[str]) -> pa.Table: ...

    def to_arrow(self, start: Instant = None, end: Instant = None, columns: Sequence[str] | None = None) -> pa.Table:
        """The klines that open at or after `start` and before `end`. Times are int64 ms UTC, as stored.

        Args:
            start: None for the start of the first day that is stored or was requested.
            end: None for the end of the last day that is stored or was requested.
            columns: the columns to read and return; None for all.
        """
        return self.of_span(self._window(start, end), columns)

    def of_span(self, span: Span, columns: Sequence[str] | None = None) -> pa.Table:
        """Like `to_arrow`, of the minutes from `span.start_ms` to `span.end_ms`, whole minutes in ms UTC.

        Callers compute a span, so that none of its numbers is refused as seconds, as a user's is.
        """
        return self._read(span, self._checked(columns))

    def to_pandas(
        self,
        start: Instant = None,
        end: Instant = None,
        columns: Sequence[str] | None = None,
        tz: str | None = None,
    ) -> "pd.DataFrame":
        """Like `to_arrow`, as a DataFrame with `open_time` as its DatetimeIndex; times are in the zone `tz`."""
        names = ["open_time", *(name for name in self._checked(columns) if name != "open_time")]
        return formats.to_pandas(self.to_arrow(start, end, names), self._display_zone(tz))

    def to_polars(
        self,
        start: Instant = None,
        end: Instant = None,
        columns: Sequence[str] | None = None,
        tz: str | None = None,
    ) -> "pl.DataFrame":
        """Like `to_arrow`, as a DataFrame with times as Datetime in the zone `tz`, an IANA name. Needs polars."""
        return formats.to_polars(self.to_arrow(start, end, columns), self._display_zone(tz))

    def to_duckdb(
        self,
        start: Instant = None,
        end: Instant = None,
        columns: Sequence[str] | None = None,
        connection: "duckdb.DuckDBPyConnection | None" = None,
    ) -> "duckdb.DuckDBPyRelation":
        """Like `to_arrow`, as a relation on the connection, or on DuckDB's default connection. Needs duckdb."""
        return formats.to_duckdb(self.to_arrow(start, end, columns), connection)

    def _display_zone(self, tz: str | None) -> Zone:
        return self.shown_in if tz is None else parse_zone(tz)

    def _checked(self, columns: Sequence[str] | None) -> list[str]:
        names = self.columns if columns is None else [columns] if isinstance(columns, str) else columns
        for name in names:
            if name not in self.columns:
                raise UsageError(f"no such column: {name!r}; there are {', '.join(self.columns)}")
        return list(dict.fromkeys(names))

    def _window(self, start: Instant, end: Instant) -> Span:
        return window_of(start, end, self.zone, self._files.extent)


@dataclass(frozen=True, slots=True, repr=False)
class DatasetKlines(Klines):
    """The 1-minute klines of one dataset, with the twelve fields of the exchange."""

    @property
    def dataset(self) -> Dataset:
        """Market, pair, zone and start of the dataset, as they were when this object was made."""
        return self._files.dataset

    def unread(self) -> "DatasetKlines":
        """The same klines, with nothing in memory of what was read of them; for who keeps those of many pairs."""
        return replace(self, _files=self._files.unread())

    @property
    def columns(self) -> tuple[str, ...]:
        """The twelve fields."""
        return FIELDS

    def days(self) -> list[str]:
        """The local days that have a chunk, as `YYYY-MM-DD`, in order."""
        return self._files.days()

    def extent(self) -> Span:
        """From the first to the last day that is stored or was requested; an empty span if there is none."""
        return self._files.extent()

    def absences(self, start: Instant = None, end: Instant = None) -> list[Absence]:
        """The minutes of the window that have no kline, as spans with a kind, in order."""
        return self.absences_of(self._window(start, end))

    def absences_of(self, span: Span) -> list[Absence]:
        """Like `absences`, of a span as `of_span` takes it."""
        return self._files.absences(span)

    def flaws(self, start: Instant = None, end: Instant = None) -> list[Flaw]:
        """The values of the window's klines that break a rule and are stored as the exchange has them, in order."""
        return self._files.flaws(self._window(start, end))

    def resample(self, interval: str, tz: str | None = None) -> "ResampledKlines":
        """Klines of a longer interval, computed from 1-minute klines when they are read.

        Args:
            interval: minutes or hours that divide a day (`5m`, `1h`, `4h`), `1d`, `1w` (from Monday) or `1mo`.
            tz: the zone whose wall clock the bins follow, and in which dates of windows are read; None for the
                dataset's zone.

        Raises:
            UsageError: there is no such interval or zone.
        """
        zone = self.zone if tz is None else parse_zone(tz)
        return ResampledKlines(self._files, zone=zone, shown_in=zone, interval=parse_interval(interval))

    def _read(self, window: Span, columns: list[str]) -> pa.Table:
        return self._files.klines(window, columns)


@dataclass(frozen=True, slots=True, repr=False)
class ResampledKlines(Klines):
    """Klines of a longer interval: the first open, the highest high, the lowest low, the last close, sums of the rest.

    `open_time` is the start of the bin and `close_time` that of its last kline. `minutes` counts the klines of the bin,
    `expected_minutes` the minutes of the bin. A bin without klines is left out. A bin that the window cuts has the
    klines inside the window only.
    """

    interval: Interval

    @property
    def columns(self) -> tuple[str, ...]:
        """The eleven fields without `ignore`, then `minutes` and `expected_minutes`."""
        return RESAMPLED_FIELDS

    def _read(self, window: Span, columns: list[str]) -> pa.Table:
        klines = self._files.klines(window, fields_for(columns))
        return resample(klines, self.interval, self.zone).select(columns)
