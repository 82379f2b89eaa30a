"""Stored klines for research: `open_dataset(...)`, then pandas, polars, DuckDB or Arrow, as they are or resampled.

Belongs here: what a user calls, and what windows, columns and zones mean. Does not belong here: files (`stored`),
bins (`resampling`), frames (`formats`), loading or mending klines (`market-data backfill`, `verify`).
Nothing is ever written and no lock is taken, so any number may read while klines are being loaded. See docs/reader.md.
"""

import operator
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, SupportsIndex

import pyarrow as pa

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.coverage import Absence, Span
from market_data_pipeline.core.klines.dataset import Dataset, parse_market, parse_pair
from market_data_pipeline.core.klines.days import Zone, iso, parse_instant, parse_zone
from market_data_pipeline.core.klines.table import FIELDS
from market_data_pipeline.core.store.layout import MANIFEST_FILE
from market_data_pipeline.core.store.manifest_file import ManifestFile
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.reader import formats
from market_data_pipeline.reader.resampling import RESAMPLED_FIELDS, Interval, fields_for, parse_interval, resample
from market_data_pipeline.reader.stored import StoredDataset

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import polars as pl

_YEAR_10000_MS = 253_402_300_800_000

Instant = str | date | datetime | SupportsIndex | None
"""A date (local midnight), an ISO time or a `datetime` with a zone, ms UTC, or None: all there is.

A text without offset is local time; naive `datetime` objects are refused.
"""


def open_dataset(
    pair: str | None = None, *, market: str | None = None, root: str | Path | None = None
) -> "DatasetKlines":
    """The stored klines of a pair on a market; whatever is not given is taken from the settings.

    Args:
        pair: `BTC/USDT`.
        market: `spot` or `futures`.
        root: the data root.

    Raises:
        UsageError: there is no such dataset.
        StoreError: its `dataset.json` is damaged.
    """
    if pair is None or market is None or root is None:
        from market_data_pipeline import settings  # its import takes as long as all others together

        known = settings.load()
        pair, market, root = pair or known.symbol, market or known.market_type, root or known.root
    store, on, name = Store(Path(root).expanduser().absolute()), parse_market(market), parse_pair(pair)
    dataset = store.find(on, name)
    if dataset is None:
        raise UsageError(
            f"there is no {on} {name} under {store.root}; market-data status lists what there is, "
            f"market-data --market {on} --pair {name} backfill loads it"
        )
    folder = store.folder(on, name)
    files = StoredDataset(folder, dataset, ManifestFile(folder / MANIFEST_FILE))
    return DatasetKlines(files, zone=dataset.zone, shown_in=parse_zone("UTC"))


@dataclass(frozen=True, slots=True, repr=False)
class Klines(ABC):
    """Klines that can be had in four formats; each call reads what is stored by then.

    `zone` is the zone that dates and times without offset are meant in, `shown_in` that of frames unless `tz` is given.
    Every window is half-open. All methods raise UsageError for a window, a column or a zone that cannot be, StoreError
    for a chunk that is missing or damaged.
    """

    _files: StoredDataset
    zone: Zone
    shown_in: Zone

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._files.dataset.name}, days of {self.zone.name}>"

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The names of all columns."""

    @abstractmethod
    def _read(self, window: Span, columns: list[str]) -> pa.Table: ...

    def to_arrow(self, start: Instant = None, end: Instant = None, columns: Sequence[str] | None = None) -> pa.Table:
        """The klines that open from `start` to before `end`, as stored: times are int64 ms UTC.

        Args:
            start: None for the first day that is stored or was asked for.
            end: None for the end of the last one.
            columns: the only ones that are read; None for all.
        """
        return self._read(self._window(start, end), self._chosen(columns))

    def to_pandas(
        self,
        start: Instant = None,
        end: Instant = None,
        columns: Sequence[str] | None = None,
        tz: str | None = None,
    ) -> "pd.DataFrame":
        """As `to_arrow`, with `open_time` as a DatetimeIndex; times are shown in `tz`."""
        names = ["open_time", *(name for name in self._chosen(columns) if name != "open_time")]
        return formats.to_pandas(self.to_arrow(start, end, names), self._shown_in(tz))

    def to_polars(
        self,
        start: Instant = None,
        end: Instant = None,
        columns: Sequence[str] | None = None,
        tz: str | None = None,
    ) -> "pl.DataFrame":
        """As `to_arrow`, with times as Datetime in `tz`. Needs polars, and an IANA zone."""
        return formats.to_polars(self.to_arrow(start, end, columns), self._shown_in(tz))

    def to_duckdb(
        self,
        start: Instant = None,
        end: Instant = None,
        columns: Sequence[str] | None = None,
        connection: "duckdb.DuckDBPyConnection | None" = None,
    ) -> "duckdb.DuckDBPyRelation":
        """As `to_arrow`, as a relation on the connection, or on DuckDB's default one. Needs duckdb."""
        return formats.to_duckdb(self.to_arrow(start, end, columns), connection)

    def _shown_in(self, tz: str | None) -> Zone:
        return self.shown_in if tz is None else parse_zone(tz)

    def _chosen(self, columns: Sequence[str] | None) -> list[str]:
        chosen = self.columns if columns is None else [columns] if isinstance(columns, str) else columns
        for name in chosen:
            if name not in self.columns:
                raise UsageError(f"no such column: {name!r}; there are {', '.join(self.columns)}")
        return list(dict.fromkeys(chosen))

    def _window(self, start: Instant, end: Instant) -> Span:
        start_ms, end_ms = self._instant(start), self._instant(end)
        if start_ms is None or end_ms is None:
            extent = self._files.extent()
            if start_ms is None:
                start_ms = extent.start_ms if end_ms is None else min(extent.start_ms, end_ms)
            if end_ms is None:
                end_ms = max(extent.end_ms, start_ms)
        if end_ms < start_ms:
            raise UsageError(f"the end {iso(end_ms)} is before the start {iso(start_ms)}; give a later end")
        return Span(start_ms, end_ms)

    def _instant(self, given: Instant) -> int | None:
        if given is None:
            return None
        if isinstance(given, str):
            return parse_instant(given, self.zone)
        if isinstance(given, datetime) and given.tzinfo is None:
            raise UsageError(f"{given!r} has no zone; give it one, or write it as a text, which is local time")
        if isinstance(given, date):
            return parse_instant(given.isoformat(), self.zone)
        if isinstance(given, SupportsIndex) and 0 <= (instant_ms := operator.index(given)) < _YEAR_10000_MS:
            return instant_ms
        raise UsageError(f"not an instant: {given!r}; give a text, a date, a datetime with a zone, or ms UTC")


@dataclass(frozen=True, slots=True, repr=False)
class DatasetKlines(Klines):
    """The 1-minute klines of one dataset, with the twelve fields of the exchange."""

    @property
    def dataset(self) -> Dataset:
        """Market, pair, zone and start, as they were when it was opened."""
        return self._files.dataset

    @property
    def columns(self) -> tuple[str, ...]:
        """The twelve fields."""
        return FIELDS

    def days(self) -> list[str]:
        """The local days that have a chunk, as `YYYY-MM-DD`, in order."""
        return self._files.days()

    def absences(self, start: Instant = None, end: Instant = None) -> list[Absence]:
        """Every minute of the window without a kline, as spans with a kind, in order; with the klines, the window."""
        return self._files.absences(self._window(start, end))

    def resample(self, interval: str, tz: str | None = None) -> "ResampledKlines":
        """Longer klines, made when they are read.

        Args:
            interval: minutes or hours that divide a day (`5m`, `1h`, `4h`), `1d`, `1w` (from Monday) or `1mo`.
            tz: whose wall clock counts, None for that of the dataset. Dates of windows are meant in it too.

        Raises:
            UsageError: no such interval or zone.
        """
        zone = self.zone if tz is None else parse_zone(tz)
        return ResampledKlines(self._files, zone=zone, shown_in=zone, interval=parse_interval(interval))

    def _read(self, window: Span, columns: list[str]) -> pa.Table:
        return self._files.klines(window, columns)


@dataclass(frozen=True, slots=True, repr=False)
class ResampledKlines(Klines):
    """Klines of a longer interval: open first, high most, low least, close last, volumes and trades summed.

    `open_time` is where the bin begins and `close_time` the end of its last kline. `minutes` is how many klines it has,
    `expected_minutes` how many it has room for. A bin without klines is left out; a bin that the window cuts has the
    klines within the window.
    """

    interval: Interval

    @property
    def columns(self) -> tuple[str, ...]:
        """The fields but `ignore`, `minutes` and `expected_minutes`."""
        return RESAMPLED_FIELDS

    def _read(self, window: Span, columns: list[str]) -> pa.Table:
        klines = self._files.klines(window, fields_for(columns))
        return resample(klines, self.interval, self.zone).select(columns)
