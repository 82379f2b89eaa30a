"""From what the exchange sends to a table of klines: JSON rows of REST, CSV lines of the archive.

Belongs here: parsing, with floats bit-equal to Python's `float()` of the exchange's text, and which texts are numbers.
Does not belong here: whether the values are good (`checks`), HTTP and ZIP (`sources`).

A number is a plain decimal, as the exchange writes them: a text in JSON but for times and trades, which are integers.
Nothing else is read as one, neither `0x10`, `nan` or ` 1`, nor a text where an integer belongs. Arrow, which does the
work, accepts some of these, so it only gets rows that have no other characters than those of plain decimals.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from pyarrow import csv

from market_data_pipeline.core.klines.flaws import BadRow
from market_data_pipeline.core.klines.table import EMPTY, FIELDS, INTEGER_FIELDS, SCHEMA

# Making a CSV reader takes 0.7 ms, so that a few rows are parsed faster as JSON.
_FEW_ROWS_BYTES = 2000
_AS_CSV = {
    "read_options": csv.ReadOptions(column_names=FIELDS, use_threads=False, block_size=1 << 24),
    "parse_options": csv.ParseOptions(quote_char=False, ignore_empty_lines=False),
    "convert_options": csv.ConvertOptions(
        column_types=SCHEMA, null_values=[], strings_can_be_null=False, check_utf8=False
    ),
}
_OF_NUMBERS = b"0123456789.-"
# What is left of a row without the characters of numbers: where it has quotes, and that it has twelve fields.
_ROW_OF_JSON = b'[,"","","","","",,"",,"","",""],'
_FLOAT = re.compile(r"-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"-?\d+", re.ASCII)
_LARGEST_INTEGER = 2**63 - 1
# A few odd rows are the exchange's own mistakes. Where they are most of an answer, it is another format.
_MOST_UNREADABLE, _LARGEST_SHARE = 10, 0.5
# Ten times the rows of a page or a day; reading them one by one takes 0.1 s.
_MOST_ROWS = 15_000


@dataclass(frozen=True, slots=True)
class Parsed:
    """The rows whose twelve values are numbers, in the order they came, and the others."""

    klines: pa.Table
    unreadable: tuple[BadRow, ...] = ()


def from_json(body: bytes) -> Parsed:
    """The rows of the body of a REST response, JSON `[[...],[...]]`.

    A long, compact body is turned into CSV with two replacements and parsed by Arrow. That takes a third of the time
    of JSON, holds Python's lock for little of it, and gives the same bits. Other bodies are parsed as JSON.

    Raises:
        ValueError: not rows of twelve fields with an open time, or few of them are klines.
    """
    if len(body) >= _FEW_ROWS_BYTES:
        skeleton = body.translate(None, _OF_NUMBERS)
        rows = (len(skeleton) - 1) // len(_ROW_OF_JSON)
        if skeleton == b"[" + (_ROW_OF_JSON * rows)[:-1] + b"]" and _has_all_within_quotes(body):
            lines = body[2:-2].replace(b"],[", b"\n").replace(b'"', b"")
            if (klines := _by_arrow(lines)) is not None:
                return Parsed(klines)
    return from_rows(orjson.loads(body))


def from_csv(lines: bytes) -> Parsed:
    """The rows of CSV lines of the twelve fields, without a header.

    Raises:
        ValueError: not rows of twelve fields with an open time, or few of them are klines.
    """
    if _is_plain(lines) and (klines := _by_arrow(lines)) is not None:
        return Parsed(klines)
    texts = lines.decode("ascii", errors="backslashreplace").replace("\r\n", "\n").removesuffix("\n").split("\n")
    _refuse_too_many(texts)
    return _one_by_one((_typed(text.split(",")) for text in texts), lambda row: ",".join(map(str, row)))


def from_rows(rows: Any) -> Parsed:
    """Rows of REST as JSON has them: 12 fields each, prices and volumes as texts.

    Raises:
        ValueError: not rows of twelve fields with an open time, or few of them are klines.
    """
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == len(FIELDS) for row in rows):
        raise ValueError(f"not a list of rows of {len(FIELDS)} fields")
    if not rows:
        return Parsed(EMPTY)
    if (klines := _together(rows)) is not None:
        return Parsed(klines)
    _refuse_too_many(rows)
    return _one_by_one(rows, _text_of_json)


def _by_arrow(lines: bytes) -> pa.Table | None:
    """The lines as a table; None if Arrow finds a value that is no number, or another number of fields."""
    try:
        # Arrow's own pool would keep some MB for each thread of a source until the process ends.
        table = csv.read_csv(pa.BufferReader(lines), memory_pool=pa.system_memory_pool(), **_AS_CSV)
    except pa.ArrowInvalid:
        return None
    return pa.Table.from_arrays(table.columns, schema=SCHEMA)


def _has_all_within_quotes(body: bytes) -> bool:
    """True if each quote begins after a comma or ends before a comma or bracket.

    Of a body with the quotes of rows: in others, `"1.0"7` would be read as 1.07 without its quotes.
    """
    codes = np.frombuffer(body, np.uint8)
    quotes, commas = codes == ord('"'), codes == ord(",")
    begin = np.count_nonzero(quotes[1:] & commas[:-1])
    end = np.count_nonzero(quotes[:-1] & (commas | (codes == ord("]")))[1:])
    return bool(begin == end == np.count_nonzero(quotes) // 2)


def _is_plain(lines: bytes) -> bool:
    """True if there is nothing but digits, signs, points, commas and line ends, or a slash, which Arrow refuses.

    Numpy's extrema take a tenth of the time of `bytes.translate`.
    """
    codes = np.frombuffer(lines, np.uint8)
    if not codes.size or codes.max() > ord("9") or codes.min() < ord("\n"):
        return False
    # Of one byte, ten less eleven is 255: no line end is left below the comma.
    return bool((codes - np.uint8(ord("\n") + 1)).min() >= ord(",") - ord("\n") - 1)


def _together(rows: Sequence[Sequence[Any]]) -> pa.Table | None:
    """The rows as a table; None if any value is no number."""
    columns = dict(zip(FIELDS, zip(*rows, strict=True), strict=True))
    whole = list(chain.from_iterable(columns.pop(name) for name in INTEGER_FIELDS))
    texts = list(chain.from_iterable(columns.values()))
    if not all(type(value) is int and abs(value) <= _LARGEST_INTEGER for value in whole):
        return None
    if not all(type(value) is str for value in texts) or "".join(texts).encode().translate(None, _OF_NUMBERS):
        return None
    try:
        floats = _floats(texts)
    except pa.ArrowInvalid:
        return None
    return _table(np.array(whole, np.int64), floats)


def _one_by_one(rows: Iterable[Sequence[Any]], text_of: Callable[[Sequence[Any]], str]) -> Parsed:
    """The rows, told apart by whether all of their values are numbers; `text_of` gives a row as the exchange has it."""
    good, unreadable = list[Sequence[Any]](), list[BadRow]()
    for row in rows:
        if problem := _problem(row):
            unreadable.append(BadRow(row[0], problem, text_of(row)))
        else:
            good.append(row)
    if len(unreadable) > max(_MOST_UNREADABLE, _LARGEST_SHARE * (len(good) + len(unreadable))):
        raise ValueError(f"{len(unreadable)} rows are not klines, the first because {unreadable[0].rule}")
    if not good:
        return Parsed(EMPTY, tuple(unreadable))
    columns = dict(zip(FIELDS, zip(*good, strict=True), strict=True))
    whole = np.array([columns.pop(name) for name in INTEGER_FIELDS], np.int64).ravel()
    floats = np.array([[float(text) for text in texts] for texts in columns.values()]).ravel()
    array = pa.Array.from_buffers(pa.float64(), len(floats), [None, pa.py_buffer(floats)])
    return Parsed(_table(whole, array), tuple(unreadable))


def _problem(row: Sequence[Any]) -> str:
    """The first of the row's values that is no number of its type; empty if all are."""
    if len(row) != len(FIELDS):
        raise ValueError(f"a row does not have {len(FIELDS)} fields")
    for name, value in zip(FIELDS, row, strict=True):
        if name in INTEGER_FIELDS:
            if type(value) is not int or abs(value) > _LARGEST_INTEGER:
                if name == "open_time":
                    raise ValueError("an open_time is not a whole number")
                return f"{name} is not a whole number"
        elif not isinstance(value, str) or not _FLOAT.fullmatch(value) or not math.isfinite(float(value)):
            return f"{name} is not a number"
    return ""


def _typed(fields: list[str]) -> list[Any]:
    """The fields of a CSV line, times and trades as integers where they are."""
    names = zip(FIELDS, fields, strict=False)
    whole = {at for at, (name, text) in enumerate(names) if name in INTEGER_FIELDS and _INTEGER.fullmatch(text)}
    # Longer ones are no ms or trades, and Python refuses to read the longest.
    return [int(text) if at in whole and len(text) < 30 else text for at, text in enumerate(fields)]


def _text_of_json(row: Sequence[Any]) -> str:
    try:
        return json.dumps(row, separators=(",", ":"))
    except RecursionError:
        return f"[{row[0]}, and a value nested too deeply to show]"


def _refuse_too_many(rows: Sequence[Any]) -> None:
    if len(rows) > _MOST_ROWS:
        raise ValueError(f"{len(rows)} rows, some of which are not klines")


# Arrays are made of buffers: `pa.array` imports pandas at its first call, which takes 0.2 s.
def _table(whole: "np.ndarray[Any, np.dtype[np.int64]]", floats: pa.Array) -> pa.Table:
    """A table of the integer fields, one after the other, and the other fields."""
    rows = len(whole) // len(INTEGER_FIELDS)
    integers = pa.Array.from_buffers(pa.int64(), len(whole), [None, pa.py_buffer(whole)])
    arrays = {name: integers.slice(place * rows, rows) for place, name in enumerate(INTEGER_FIELDS)}
    others = [name for name in FIELDS if name not in INTEGER_FIELDS]
    arrays |= {name: floats.slice(place * rows, rows) for place, name in enumerate(others)}
    return pa.Table.from_arrays([arrays[name] for name in FIELDS], schema=SCHEMA)


def _floats(values: list[str]) -> pa.Array:
    """The numbers that the texts spell; Arrow reads them three times as fast as numpy or Python, to the same bit."""
    characters = "".join(values).encode()
    ends = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(value) for value in values], out=ends[1:])
    texts = pa.StringArray.from_buffers(len(values), pa.py_buffer(ends), pa.py_buffer(characters))
    return texts.cast(pa.float64())
