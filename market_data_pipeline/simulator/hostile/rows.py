"""Faults of klines: values of wrong types in one row, and rows that were not asked for.

Belongs here: what a page says. Does not belong here: JSON as such (`documents`), mistakes that an exchange makes by
itself (`page_faults`).
"""

import json
from collections.abc import Callable
from typing import Any, TypeAlias

from market_data_pipeline.simulator.data.clock import DAY_MS, MINUTE_MS

Row: TypeAlias = list[Any]
RowChange: TypeAlias = Callable[[Row], Any]
PageChange: TypeAlias = Callable[[list[Row], int], Any]

_OPEN_TIME, _CLOSE, _VOLUME, _CLOSE_TIME, _TRADES = 0, 4, 5, 6, 8
_9999_MS = 253_402_300_740_000


def _value(at: int, value: Any) -> RowChange:
    return lambda row: [*row[:at], value, *row[at + 1 :]]


def _as(at: int, change: Callable[[Any], Any]) -> RowChange:
    return lambda row: [*row[:at], change(row[at]), *row[at + 1 :]]


def _moved(by_ms: int) -> RowChange:
    """The row with other times."""
    return lambda row: _value(_CLOSE_TIME, row[_CLOSE_TIME] + by_ms)(_value(_OPEN_TIME, row[_OPEN_TIME] + by_ms)(row))


_FULL_WIDTH = str.maketrans("0123456789", "０１２３４５６７８９")
ROWS: dict[str, tuple[str, RowChange]] = {
    "row_price_hex": ("a price of `0x10`", _value(_CLOSE, "0x10")),
    "row_price_nan": ("a price of `nan`", _value(_CLOSE, "nan")),
    "row_price_infinite": ("a price of `inf`", _value(_CLOSE, "inf")),
    "row_price_overflow": ("a price of `1e400`", _value(_CLOSE, "1e400")),
    "row_price_empty": ("a price that is an empty text", _value(_CLOSE, "")),
    "row_price_space": ("a price with a space before it", _as(_CLOSE, lambda price: f" {price}")),
    "row_price_plus": ("a price with a plus", _as(_CLOSE, lambda price: f"+{price}")),
    "row_price_comma": ("a price with a comma", _as(_CLOSE, lambda price: price.replace(".", ","))),
    "row_price_underscore": ("a price with an underscore", _as(_CLOSE, lambda price: f"{price[0]}_{price[1:]}")),
    "row_price_full_width": (
        "a price in digits of full width",
        _as(_CLOSE, lambda price: price.translate(_FULL_WIDTH)),
    ),
    "row_price_dots": ("a price with two points", _as(_CLOSE, lambda price: f"{price}.0")),
    "row_price_minus": ("a price of `-`", _value(_CLOSE, "-")),
    "row_price_nul": ("a price with a NUL", _as(_CLOSE, lambda price: f"{price}\x00")),
    "row_price_line": ("a price with the end of a line", _as(_CLOSE, lambda price: f"{price}\n")),
    "row_price_quote": ("a price with a comma and quotes", _as(_CLOSE, lambda price: f'{price}","1')),
    "row_price_long": ("a price of 20,000 digits", _value(_CLOSE, "1" * 20_000)),
    "row_price_number": ("a price that is a number, not a text", _as(_CLOSE, float)),
    "row_price_null": ("a price of null", _value(_CLOSE, None)),
    "row_price_bool": ("a price of true", _value(_CLOSE, True)),
    "row_price_list": ("a price that is a list", _as(_CLOSE, lambda price: [price])),
    "row_price_object": ("a price that is an object", _as(_CLOSE, lambda price: {"price": price})),
    "row_price_zero": ("a price of 0", _value(_CLOSE, "0.00000000")),
    "row_price_negative": ("a price below zero", _as(_CLOSE, lambda price: f"-{price}")),
    "row_volume_hex": ("a volume of `0x1p4`", _value(_VOLUME, "0x1p4")),
    "row_volume_null": ("a volume of null", _value(_VOLUME, None)),
    "row_trades_text": ("trades of `12`, a text", _value(_TRADES, "12")),
    "row_trades_float": ("trades of 12.0", _value(_TRADES, 12.0)),
    "row_trades_part": ("trades of 12.5", _value(_TRADES, 12.5)),
    "row_trades_bool": ("trades of true", _value(_TRADES, True)),
    "row_trades_null": ("trades of null", _value(_TRADES, None)),
    "row_trades_2_64": ("trades of 2^64", _value(_TRADES, 2**64)),
    "row_trades_digits": ("trades of 4,000 digits", _value(_TRADES, 10**4000)),
    "row_time_text": ("an open time that is a text", _as(_OPEN_TIME, str)),
    "row_time_float": ("an open time that is no integer", _as(_OPEN_TIME, float)),
    "row_time_null": ("an open time of null", _value(_OPEN_TIME, None)),
    "row_time_zero": ("an open time of 0", _value(_OPEN_TIME, 0)),
    "row_time_negative": ("an open time below zero", _as(_OPEN_TIME, lambda ms: -ms)),
    "row_time_seconds": ("an open time in seconds", _as(_OPEN_TIME, lambda ms: ms // 1000)),
    "row_time_microseconds": ("an open time in microseconds", _as(_OPEN_TIME, lambda ms: ms * 1000)),
    "row_time_9999": ("an open time in the year 9999", _value(_OPEN_TIME, _9999_MS)),
    "row_time_2_63": ("an open time of 2^63", _value(_OPEN_TIME, 2**63)),
    "row_time_2_64": ("an open time of 2^64", _value(_OPEN_TIME, 2**64)),
    "row_close_time_text": ("a close time that is a text", _as(_CLOSE_TIME, str)),
    "row_close_time_float": ("a close time that is no integer", _as(_CLOSE_TIME, lambda ms: ms + 0.5)),
    "row_close_time_2_64": ("a close time of 2^64", _value(_CLOSE_TIME, 2**64)),
    "row_11_columns": ("a row of eleven columns", lambda row: row[:-1]),
    "row_13_columns": ("a row of thirteen columns", lambda row: [*row, "0"]),
    "row_no_columns": ("a row without columns", lambda _: []),
    "row_million_columns": ("a row of 30,000 columns", lambda row: row + ["0"] * 30_000),
    "row_null": ("a row that is null", lambda _: None),
    "row_text": ("a row that is a text", lambda row: ",".join(map(str, row))),
    "row_object": ("a row that is an object", lambda row: dict(enumerate(row))),
    "row_nested": ("a row inside a list", lambda row: [row]),
    "row_other_day": ("a row of the day before", _moved(-DAY_MS)),
    "row_future": ("a row of the year 2090", _moved(24_000 * DAY_MS)),
}
"""By name: what a client gets, and the change of the middle row of a page."""


def _future(rows: list[Row], now_ms: int) -> list[Row]:
    ahead_ms = now_ms // MINUTE_MS * MINUTE_MS + MINUTE_MS - rows[-1][_OPEN_TIME]
    return [*rows, *(_moved(ahead_ms + minute * MINUTE_MS)(rows[-1]) for minute in range(3))]


def _beyond(rows: list[Row], _: int) -> list[Row]:
    longer_ms = rows[-1][_OPEN_TIME] - rows[0][_OPEN_TIME] + MINUTE_MS
    return [*rows, *(_moved(longer_ms)(row) for row in rows)]


def _of_all(change: RowChange) -> PageChange:
    return lambda rows, _: [change(row) for row in rows]


PAGES: dict[str, tuple[str, PageChange]] = {
    "rows_of_other_day": ("the rows of another day", _of_all(_moved(-DAY_MS))),
    "rows_a_minute_late": ("each row one minute late", _of_all(_moved(MINUTE_MS))),
    "rows_reversed": ("the newest row first", lambda rows, _: rows[::-1]),
    "rows_doubled": ("each row twice", lambda rows, _: [row for row in rows for _ in range(2)]),
    "rows_same": ("the first row in place of each", lambda rows, _: [rows[0]] * len(rows)),
    "rows_future": ("three rows more, which are still to come", _future),
    "rows_beyond": ("twice as many rows as were asked for", _beyond),
    "rows_hundredfold": ("a hundred times as many rows", lambda rows, _: rows * 100),
    "rows_as_texts": ("rows of texts", _of_all(lambda row: [str(value) for value in row])),
    "rows_as_numbers": ("rows of numbers", _of_all(lambda row: [float(value) for value in row])),
    "rows_as_objects": ("rows that are objects", _of_all(lambda row: {"openTime": row[0], "close": row[4]})),
    "rows_nested": ("the list of rows inside a list", lambda rows, _: [rows]),
    "rows_in_columns": (
        "columns in place of rows",
        lambda rows, _: [list(column) for column in zip(*rows, strict=True)],
    ),
    "rows_hex": ("prices of `0x10` in every row", _of_all(_value(_CLOSE, "0x10"))),
    "rows_in_microseconds": (
        "open times in microseconds in every row",
        _of_all(_as(_OPEN_TIME, lambda ms: ms * 1000)),
    ),
    "rows_11_columns": ("rows of eleven columns", _of_all(lambda row: row[:-1])),
    "rows_13_columns": ("rows of thirteen columns", _of_all(lambda row: [*row, "0"])),
}
"""By name: what a client gets, and the change of all rows of a page, at an instant of the exchange's clock."""


def spoil_row(body: bytes, change: RowChange) -> bytes:
    """Return the body of a page with the change made to its middle row."""
    rows = json.loads(body)
    if rows:
        middle = (len(rows) - 1) // 2
        rows[middle] = change(rows[middle])
    return _as_json(rows)


def spoil_rows(body: bytes, change: PageChange, now_ms: int) -> bytes:
    """Return the body of a page with the change made to its rows."""
    rows = json.loads(body)
    return _as_json(change(rows, now_ms) if rows else rows)


def _as_json(rows: Any) -> bytes:
    return json.dumps(rows, separators=(",", ":"), ensure_ascii=False).encode()
