"""The twelve fields of a kline, and tables of them.

Belongs here: field names and types, the step from the exchange's rows to an Arrow table, cutting and joining tables.
Does not belong here: whether the values are good (`checks`), how they are written (`store.chunks.encoding`).
A table of klines is a `pyarrow.Table` with `SCHEMA`, sorted by `open_time`.
Fields: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#klinecandlestick-data
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
from pyarrow import csv

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

# A reader of CSV costs 0.7 ms to make.
_FEW_ROWS_CHARACTERS = 2000
_AS_CSV = {
    "read_options": csv.ReadOptions(column_names=FIELDS, use_threads=False, block_size=1 << 24),
    "parse_options": csv.ParseOptions(quote_char=False, ignore_empty_lines=False),
    "convert_options": csv.ConvertOptions(
        column_types=SCHEMA, null_values=[], strings_can_be_null=False, check_utf8=False
    ),
}


def from_text(body: str) -> pa.Table:
    """The body of the exchange's answer, JSON `[[...],[...]]`, as a table.

    Read as the CSV that it nearly is: a third of the time of JSON, Python objects and back, most of it without holding
    Python's lock, and equal to the last bit. A few rows, and anything but compact ones, take the long way.

    Raises:
        ValueError, TypeError, OverflowError: not klines.
    """
    few = len(body) < _FEW_ROWS_CHARACTERS
    if few or not (body.startswith("[[") and body.endswith("]]")) or " " in body or "\n" in body:
        return from_rows(orjson.loads(body))
    return from_csv(body[2:-2].replace("],[", "\n").replace('"', "").encode())


def from_csv(lines: bytes) -> pa.Table:
    """CSV lines of the twelve fields, without a header, as a table; floats are bit-equal to Python's `float()`.

    Raises:
        ValueError: not klines.
    """
    # From Arrow's own pool each of a source's threads would keep some MB for ever.
    table = csv.read_csv(pa.BufferReader(lines), memory_pool=pa.system_memory_pool(), **_AS_CSV)
    return pa.Table.from_arrays(table.columns, schema=SCHEMA)


def from_rows(rows: Sequence[Sequence[Any]]) -> pa.Table:
    """The exchange's rows (12 fields each, prices and volumes as strings) as a table.

    Floats are bit-equal to Python's `float()` of the exchange's string.

    Raises:
        ValueError, TypeError, OverflowError: a row that is not a kline.
    """
    if not rows:
        return EMPTY
    if any(len(row) != len(FIELDS) for row in rows):
        raise ValueError(f"a row does not have {len(FIELDS)} fields")
    columns = dict(zip(FIELDS, zip(*rows, strict=True), strict=True))
    whole = pa.array(list(chain.from_iterable(columns.pop(name) for name in INTEGER_FIELDS)))
    if whole.type != pa.int64():
        raise ValueError("a time or a number of trades is no whole number")
    # Arrow reads strings three times as fast as numpy or Python, equal to the last bit; a call of it costs 25 us.
    floats = pa.array(chain.from_iterable(columns.values()), pa.string()).cast(pa.float64())
    if whole.null_count or floats.null_count:
        raise ValueError("a row lacks a value")
    arrays = {name: whole.slice(place * len(rows), len(rows)) for place, name in enumerate(INTEGER_FIELDS)}
    arrays |= {name: floats.slice(place * len(rows), len(rows)) for place, name in enumerate(columns)}
    return pa.Table.from_arrays([arrays[name] for name in FIELDS], schema=SCHEMA)


def column(klines: pa.Table, name: str) -> npt.NDArray[Any]:
    """One field as a numpy array."""
    chunks = klines.column(name)
    whole = chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()
    values = whole.buffers()[1]
    kind = np.int64 if name in INTEGER_FIELDS else np.float64
    # Not `to_numpy`, whose first call imports pandas.
    return np.empty(0, kind) if values is None else np.frombuffer(values, kind, len(whole), whole.offset * 8)


def open_times(klines: pa.Table) -> npt.NDArray[np.int64]:
    """The open times, ms UTC."""
    return column(klines, "open_time")


def cut(klines: pa.Table, span: Span) -> pa.Table:
    """The klines that open within the span; a view, nothing is copied."""
    low, high = np.searchsorted(open_times(klines), [span.start_ms, span.end_ms])
    return klines.slice(low, high - low)


Columns = list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]


def common_minutes(one: pa.Table, other: pa.Table) -> tuple[npt.NDArray[np.int64], Columns, npt.NDArray[np.bool_]]:
    """The minutes that both have, the values of both by field, and which values are not the same to the last bit.

    Returns:
        Open times (n), a pair of arrays (n) for each of `FIELDS`, and a matrix (n, 12) that is True where they differ.
    """
    times, in_one, in_other = np.intersect1d(
        open_times(one), open_times(other), assume_unique=True, return_indices=True
    )
    pairs = [(column(one, name)[in_one], column(other, name)[in_other]) for name in FIELDS]
    return times, pairs, np.stack([left.view(np.int64) != right.view(np.int64) for left, right in pairs], axis=1)


def join(older: pa.Table, newer: pa.Table) -> pa.Table:
    """The klines of both, sorted; where both have a minute, the newer one counts."""
    if older.num_rows == 0 or newer.num_rows == 0:
        return newer if older.num_rows == 0 else older
    both = pa.concat_tables([older, newer]).combine_chunks()
    times = open_times(both)
    if times[older.num_rows - 1] < times[older.num_rows]:
        return both
    order = np.argsort(times, kind="stable")
    last_of_minute = np.append(np.diff(times[order]) != 0, True)
    return both.take(pa.array(order[last_of_minute]))
