"""The klines in a file of the archive.

Belongs here: zip, the header line, milliseconds or microseconds. Does not belong here: names, downloads and checksums
(`archive.files`).

Spot files have no header and, from 2025-01-01, times in microseconds (binance/binance-public-data#386). Futures files
have a header since 2022, and milliseconds.
"""

import io
import struct
import zipfile
from dataclasses import replace
from typing import cast

import pyarrow.compute as pc
from zlib_ng import zlib_ng

from market_data_pipeline.core.klines.parsing import Parsed, from_csv
from market_data_pipeline.core.klines.table import open_times

# The largest day of BTC/USDT that was seen has 220 kB, and three more digits in both times add 9 kB.
MOST_CSV_BYTES = 1_000_000
# What `zipfile` raises for a file that is none: of all numbers in it, any can be wrong.
_NO_ZIP: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    cast("type[Exception]", zlib_ng.error),
    struct.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
)
# Milliseconds reach this value in the year 5138, microseconds passed it in 1973.
_LEAST_US = 10**14
_ENCRYPTED = 0x1
# The header of the file in the zip, from its signature to the lengths of the name and of what follows the name.
_HEADER = struct.Struct("<4s22xHH")
_SIGNATURE = b"PK\x03\x04"
_WITHOUT_WRAPPER = -15


class BadZip(Exception):
    """The zip does not have the klines of a day; the text has the reason."""


def unpack(packed: bytes) -> Parsed:
    """Return the rows of a zip with one CSV file, times in ms. It is unpacked in memory, never on the disk.

    Raises:
        BadZip: it is no such zip, its file is too large, or its rows are not klines.
    """
    try:
        lines = _csv(packed)
        if not lines[:1].isdigit():
            lines = lines[lines.find(b"\n") + 1 :]
        return _in_ms(from_csv(lines))
    except _NO_ZIP as error:
        raise BadZip(" ".join(str(error).split())[:80]) from error


def _csv(packed: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(packed)) as file:
        entries = file.infolist()
        if len(entries) != 1 or entries[0].file_size > MOST_CSV_BYTES:
            raise ValueError("not one file of a day's size")
        [entry] = entries
        if entry.flag_bits & _ENCRYPTED:
            raise ValueError("encrypted")
        # The other methods of zip cannot be unpacked piece by piece.
        if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise ValueError(f"compressed by method {entry.compress_type}")
    lines = _inflated(packed, entry)
    if len(lines) != entry.file_size:
        raise ValueError(f"{len(lines)} bytes, though {entry.file_size} are declared")
    if zlib_ng.crc32(lines) != entry.CRC:
        raise ValueError("wrong CRC")
    return lines


def _inflated(packed: bytes, entry: zipfile.ZipInfo) -> bytes:
    """The content of the file in a zip, or one byte more than it declares.

    Not read by `zipfile`, which uses zlib: zlib-ng takes less than half of the time.
    """
    signature, *lengths = _HEADER.unpack_from(packed, entry.header_offset)
    if signature != _SIGNATURE:
        raise ValueError("no file where one is declared")
    begin = entry.header_offset + _HEADER.size + sum(lengths)
    content = packed[begin : begin + entry.compress_size]
    if entry.compress_type == zipfile.ZIP_STORED:
        return content
    return zlib_ng.decompressobj(_WITHOUT_WRAPPER).decompress(content, entry.file_size + 1)


def _in_ms(rows: Parsed) -> Parsed:
    klines, opened = rows.klines, [row.open_time for row in rows.unreadable]
    if klines.num_rows:
        opened.append(int(open_times(klines)[0]))
    if min(opened, default=0) < _LEAST_US:
        return rows
    for name in ("open_time", "close_time"):
        at = klines.schema.get_field_index(name)
        klines = klines.set_column(at, klines.schema.field(at), pc.divide(klines.column(name), 1000))
    return Parsed(klines, tuple(replace(row, open_time=row.open_time // 1000) for row in rows.unreadable))
