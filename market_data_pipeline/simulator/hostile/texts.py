"""Faults of the text of an archive file: headers, line ends, quotes, other numbers of columns, other units, other rows.

Belongs here: the CSV inside a zip whose checksum is right. Does not belong here: the zip (`zips`), mistakes that an
archive makes by itself (`file_faults`).
"""

from collections.abc import Callable
from typing import TypeAlias

from market_data_pipeline.simulator.data.clock import DAY_MS, MINUTE_MS

Change: TypeAlias = Callable[[bytes], bytes]
"""Changes the rows of a file, one a line, without its header."""
Fields: TypeAlias = list[bytes]

_OPEN_TIME, _CLOSE, _CLOSE_TIME, _TRADES = 0, 4, 6, 8
_HEADER = (
    b"open_time,open,high,low,close,volume,close_time,"
    b"quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n"
)
_LONG = 10_000_000


def _lines(change: Callable[[list[bytes]], list[bytes]]) -> Change:
    return lambda text: b"".join(change(text.splitlines(keepends=True)))


def _middle(change: Callable[[bytes], bytes]) -> Change:
    """The middle line changed."""

    def changed(lines: list[bytes]) -> list[bytes]:
        middle = len(lines) // 2
        return [*lines[:middle], change(lines[middle]), *lines[middle + 1 :]]

    return _lines(changed)


def _each(change: Callable[[Fields], Fields]) -> Change:
    """The fields of each line changed."""
    return _lines(lambda lines: [b",".join(change(line.rstrip().split(b","))) + b"\n" for line in lines])


def _one(at: int, value: bytes) -> Change:
    """One field of the middle line replaced."""

    def changed(line: bytes) -> bytes:
        fields = line.rstrip().split(b",")
        return b",".join([*fields[:at], value, *fields[at + 1 :]]) + b"\n"

    return _middle(changed)


def _times(change: Callable[[int], int]) -> Change:
    def changed(fields: Fields) -> Fields:
        for at in (_OPEN_TIME, _CLOSE_TIME):
            fields[at] = b"%d" % change(int(fields[at]))
        return fields

    return _each(changed)


def _mixed_units(text: bytes) -> bytes:
    lines = text.splitlines(keepends=True)
    half = len(lines) // 2
    return b"".join(lines[:half]) + _times(lambda time: time * 1000)(b"".join(lines[half:]))


TEXTS: dict[str, tuple[str, Change]] = {
    "csv_empty": ("nothing", lambda _: b""),
    "csv_header_only": ("a header and no rows", lambda _: _HEADER),
    "csv_header": ("a header", lambda text: _HEADER + text),
    "csv_header_twice": ("two headers", lambda text: _HEADER * 2 + text),
    "csv_header_middle": ("a header among the rows", _middle(lambda line: _HEADER + line)),
    "csv_header_last": ("a header after the rows", lambda text: text + _HEADER),
    "csv_header_digit": ("a header that begins with a digit", lambda text: b"1st,open,high\n" + text),
    "csv_header_long": ("a header of 10 MB", lambda text: b"h" * _LONG + b"\n" + text),
    "csv_comment": ("a comment before the rows", lambda text: b"# klines\n" + text),
    "csv_nul": ("a NUL among the rows", _middle(lambda line: b"\x00" + line)),
    "csv_nuls": ("zeros after the rows", lambda text: text + bytes(4096)),
    "csv_crlf": ("lines that end as on Windows", lambda text: text.replace(b"\n", b"\r\n")),
    "csv_cr": ("lines that end as on old Macs", lambda text: text.replace(b"\n", b"\r")),
    "csv_cr_inside": ("a carriage return among the rows", _middle(lambda line: b"\r" + line)),
    "csv_quotes": ("values in quotes", _each(lambda fields: [b'"%s"' % field for field in fields])),
    "csv_quote": ("a quote that does not end", _middle(lambda line: b'"' + line)),
    "csv_bom": ("a byte order mark before the rows", lambda text: b"\xef\xbb\xbf" + text),
    "csv_utf16": ("the rows in UTF-16", lambda text: text.decode().encode("utf-16")),
    "csv_not_utf8": ("bytes that are no UTF-8", _one(_CLOSE, b"\xff\xfe")),
    "csv_full_width": ("digits of full width", _one(_CLOSE, "１２.５".encode())),
    "csv_semicolons": ("semicolons in place of commas", lambda text: text.replace(b",", b";")),
    "csv_tabs": ("tabs in place of commas", lambda text: text.replace(b",", b"\t")),
    "csv_spaces": ("spaces after the commas", lambda text: text.replace(b",", b", ")),
    "csv_decimal_commas": ("commas in place of points", lambda text: text.replace(b".", b",")),
    "csv_blank_line": ("a blank line among the rows", _middle(lambda line: b"\n" + line)),
    "csv_blank_lines": ("a thousand blank lines after the rows", lambda text: text + b"\n" * 1000),
    "csv_no_last_end": ("no end of the last line", lambda text: text[:-1]),
    "csv_cut": ("a last line that ends in the middle", lambda text: text[:-40]),
    "csv_11_columns": ("rows of eleven columns", _each(lambda fields: fields[:-1])),
    "csv_13_columns": ("rows of thirteen columns", _each(lambda fields: [*fields, b"0"])),
    "csv_row_11_columns": ("a row of eleven columns", _middle(lambda line: line[: line.rindex(b",")] + b"\n")),
    "csv_row_13_columns": ("a row of thirteen columns", _middle(lambda line: line[:-1] + b",0\n")),
    "csv_two_in_a_line": ("two rows in one line", _middle(lambda line: line[:-1] + b",")),
    "csv_seconds": ("times in seconds", _times(lambda time: time // (10**6 if time > 10**14 else 1000))),
    "csv_other_unit": (
        "microseconds for milliseconds or the other way",
        _times(lambda time: time // 1000 if time > 10**14 else time * 1000),
    ),
    "csv_nanoseconds": ("times in nanoseconds", _times(lambda time: time * (1000 if time > 10**14 else 10**6))),
    "csv_mixed_units": ("half of the times a thousand times larger", _mixed_units),
    "csv_iso_times": ("open times as text", _each(lambda fields: [b"2024-05-02T00:00:00Z", *fields[1:]])),
    "csv_float_times": ("times with a point", _each(lambda fields: [fields[0] + b".0", *fields[1:]])),
    "csv_exponent_times": ("times with an exponent", _each(lambda fields: [b"%.12e" % int(fields[0]), *fields[1:]])),
    "csv_time_negative": ("an open time below zero", _one(_OPEN_TIME, b"-1714608000000")),
    "csv_time_2_63": ("an open time of 2^63", _one(_OPEN_TIME, b"9223372036854775808")),
    "csv_time_digits": ("an open time of 5,000 digits", _one(_OPEN_TIME, b"1" * 5000)),
    "csv_time_hex": ("an open time in hexadecimal", _one(_OPEN_TIME, b"0x18F3A4C5E00")),
    "csv_price_hex": ("a price of `0x10`", _one(_CLOSE, b"0x10")),
    "csv_price_nan": ("a price of `NaN`", _one(_CLOSE, b"NaN")),
    "csv_price_infinite": ("a price of `Infinity`", _one(_CLOSE, b"Infinity")),
    "csv_price_overflow": ("a price of 1e999", _one(_CLOSE, b"1e999")),
    "csv_price_empty": ("an empty price", _one(_CLOSE, b"")),
    "csv_price_null": ("a price of `NULL`", _one(_CLOSE, b"NULL")),
    "csv_price_negative": ("a price below zero", _one(_CLOSE, b"-1.5")),
    "csv_price_zero": ("a price of 0", _one(_CLOSE, b"0.0")),
    "csv_price_long": ("a price of 10 MB", _one(_CLOSE, b"1" * _LONG)),
    "csv_price_formula": ("a price that is a formula", _one(_CLOSE, b"=1+1")),
    "csv_trades_float": ("trades of 12.0", _one(_TRADES, b"12.0")),
    "csv_trades_bool": ("trades of `true`", _one(_TRADES, b"true")),
    "csv_trades_2_64": ("trades of 2^64", _one(_TRADES, b"18446744073709551616")),
    "csv_line_long": ("a line of 10 MB", _middle(lambda line: line[:-1] + b",0" * (_LONG // 2) + b"\n")),
    "csv_rows_60_days": ("the rows sixty times", lambda text: text * 60),
    "csv_rows_million": ("a million short rows", lambda text: text + b"1,2\n" * 1_000_000),
    "csv_reversed": ("the newest row first", _lines(lambda lines: lines[::-1])),
    "csv_doubled": ("each row twice", _lines(lambda lines: [line for line in lines for _ in range(2)])),
    "csv_other_day": (
        "the rows of the day before",
        _times(lambda time: time - DAY_MS * (1000 if time > 10**14 else 1)),
    ),
    "csv_next_minute": (
        "each row one minute late",
        _times(lambda time: time + MINUTE_MS * (1000 if time > 10**14 else 1)),
    ),
    "csv_future": (
        "the rows of the year 2090",
        _times(lambda time: time + 24_000 * DAY_MS * (1000 if time > 10**14 else 1)),
    ),
    "csv_json": ("the rows as JSON", lambda text: b"[[" + text.strip().replace(b"\n", b"],[") + b"]]"),
}
"""By name: what a client gets, and the change of the rows."""
