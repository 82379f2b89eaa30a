"""The twelve fields of a kline, and tables of them.

Belongs here: field names and types, columns of a table, cutting, joining and comparing tables. Does not belong here:
parsing what the exchange sends (`parsing`), whether the values are good (`checks`), files (`store.chunks`).
A table of klines is a `pyarrow.Table` with `SCHEMA`, sorted by `open_time`.
Fields: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#klinecandlestick-data
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from market_data_pipeline.core.klines.coverage import Span

INTEGER_FIELDS = ("open_time", "close_time", "trades")
FIELDS = (
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "trades",
    "taker_base_volume",
    "taker_quote_volume",
    "ignore",
)
SCHEMA = pa.schema(
    [pa.field(name, pa.int64() if name in INTEGER_FIELDS else pa.float64(), nullable=False) for name in FIELDS]
)

EMPTY = pa.Table.from_batches([], SCHEMA)
"""No klines."""


def column(klines: pa.Table, name: str) -> npt.NDArray[Any]:
    """One column of int64 or float64 as a numpy array, without a copy where the table has one chunk of memory."""
    chunks = klines.column(name)
    whole = chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()
    # Not `to_numpy`, whose first call imports pandas.
    return np.from_dlpack(whole)


def open_times(klines: pa.Table) -> npt.NDArray[np.int64]:
    """The open times, ms UTC."""
    return column(klines, "open_time")


Bits = npt.NDArray[np.int64]
"""Klines as a matrix (n, 12) of the bits of their values, in the order of `FIELDS`."""


def bits_of(klines: pa.Table) -> Bits:
    """The bits of the klines: they are equal where the klines are, and so compared at once."""
    return np.stack([column(klines, name).view(np.int64) for name in FIELDS], axis=1)


def of_bits(rows: Bits) -> pa.Table:
    """The klines with these bits."""
    columns = [pa.py_buffer(np.ascontiguousarray(rows[:, place])) for place in range(len(FIELDS))]
    arrays = [
        pa.Array.from_buffers(field.type, len(rows), [None, values])
        for field, values in zip(SCHEMA, columns, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def cut(klines: pa.Table, span: Span) -> pa.Table:
    """The klines that open within the span; a view, nothing is copied."""
    times = open_times(klines)
    if len(times) and span.start_ms <= times[0] and times[-1] < span.end_ms:
        return klines
    low, high = np.searchsorted(times, [span.start_ms, span.end_ms])
    return klines.slice(low, high - low)


Columns = list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]


def common_minutes(one: pa.Table, other: pa.Table) -> tuple[npt.NDArray[np.int64], Columns, npt.NDArray[np.bool_]]:
    """The minutes that both tables have, the values of both by field, and which values differ in any bit.

    Returns:
        Open times (n), a pair of arrays (n) for each of `FIELDS`, and a matrix (n, 12) that is True where they differ.
    """
    times, in_one, in_other = np.intersect1d(
        open_times(one), open_times(other), assume_unique=True, return_indices=True
    )
    pairs = [(column(one, name)[in_one], column(other, name)[in_other]) for name in FIELDS]
    return times, pairs, np.stack([left.view(np.int64) != right.view(np.int64) for left, right in pairs], axis=1)


def join(older: pa.Table, newer: pa.Table) -> pa.Table:
    """The klines of both tables by time; where both have a minute, that of `newer` is taken."""
    if older.num_rows == 0 or newer.num_rows == 0:
        return newer if older.num_rows == 0 else older
    both = pa.concat_tables([older, newer]).combine_chunks()
    times = open_times(both)
    if times[older.num_rows - 1] < times[older.num_rows]:
        return both
    order = np.argsort(times, kind="stable")
    last_of_minute = np.append(np.diff(times[order]) != 0, True)
    return both.take(pa.array(order[last_of_minute]))
