"""Klines as text: the JSON rows of REST pages and the CSV lines of archive files.

Belongs here: columns to JSON rows, CSV lines to JSON rows and back, the row of an open kline, the changed rows of
faults.
Does not belong here: where klines come from (`prices`, `archive`), which of them a page has (`history`).
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal

import numpy as np
import numpy.typing as npt
import orjson

from market_data_pipeline.simulator.data.clock import MINUTE_MS
from market_data_pipeline.simulator.data.pairs import Pair
from market_data_pipeline.simulator.data.prices import DayColumns, Ints

_POWERS = np.array([10**exponent for exponent in range(19)], dtype=np.int64)
_GROUPS = np.frombuffer(b"".join(b"%04d" % number for number in range(10_000)), dtype=np.uint32)
_CSV_TIMES = re.compile(rb"^(\d{13}),((?:[^,]*,){5})(\d{13}),", re.MULTILINE)
_JSON_ROW = b'[%b,"%b","%b","%b","%b","%b",%b,"%b",%b,"%b","%b","%b"],'
_LAST_TRADES_MS = 6_000


@dataclass(frozen=True, slots=True)
class RowText:
    """The JSON rows of one day, each followed by a comma. Row i is text[offsets[i]:offsets[i + 1]].

    `literal` are the open times of rows that are served as they are, also while their minute is not over.
    """

    text: bytes
    offsets: npt.NDArray[np.int32]
    opens_ms: Ints
    literal: frozenset[int] = frozenset()

    @property
    def nbytes(self) -> int:
        """Return the approximate size in memory, bytes."""
        return len(self.text) + self.offsets.nbytes + self.opens_ms.nbytes


@dataclass(frozen=True, slots=True)
class _Number:
    """A column of non-negative integers that are written with `decimals` decimals, followed by `zeros` zeros."""

    values: Ints
    decimals: int = 0
    zeros: int = 0

    def lengths(self) -> Ints:
        """Return the number of digits of each value, including leading zeros of a fraction."""
        return np.maximum(np.searchsorted(_POWERS, self.values, side="right"), self.decimals + 1)

    def blank(self, lengths: Ints) -> bytes:
        """Return a text of zeros as wide as the widest value, with its decimal point."""
        width = int(lengths.max())
        point = b"." if self.decimals + self.zeros else b""
        return b"0" * (width - self.decimals) + point + b"0" * (self.decimals + self.zeros)

    def write(self, block: npt.NDArray[np.uint8], width: int) -> None:
        """Write the digits of every row into its block."""
        digits = _digits(self.values, width)
        whole = width - self.decimals
        block[:, :whole] = digits[:, :whole]
        block[:, whole + 1 : width + 1] = digits[:, whole:]


def render(pair: Pair, day: DayColumns) -> RowText:
    """Write the columns of a day as JSON rows."""
    opens_ms = day.minutes * MINUTE_MS
    if not len(opens_ms):
        return RowText(b"", np.zeros(1, dtype=np.int32), opens_ms)

    def price(values: Ints) -> _Number:
        return _Number(values, pair.tick_decimals, pair.price_decimals - pair.tick_decimals)

    def quantity(values: Ints) -> _Number:
        return _Number(values, pair.step_decimals, pair.quantity_decimals - pair.step_decimals)

    def quote(values: Ints) -> _Number:
        decimals = pair.tick_decimals + pair.step_decimals
        return _Number(values, decimals, pair.quote_decimals - decimals)

    prices = [part for values in (day.open, day.high, day.low, day.close) for part in (price(values), b'","')]
    parts = [
        b"[",
        _Number(opens_ms),
        b',"',
        *prices,
        quantity(day.volume),
        b'",',
        _Number(opens_ms + MINUTE_MS - 1),
        b',"',
    ]
    parts += [quote(day.quote_volume), b'",', _Number(day.trades), b',"', quantity(day.taker_base), b'","']
    parts += [quote(day.taker_quote), b'","0"],']
    text, offsets = _join(parts, len(opens_ms))
    return RowText(text, offsets, opens_ms)


def _join(parts: list[bytes | _Number], count: int) -> tuple[bytes, npt.NDArray[np.int32]]:
    """Write all rows into one padded matrix of bytes, then remove the leading zeros."""
    lengths = [np.zeros(0, dtype=np.int64) if isinstance(part, bytes) else part.lengths() for part in parts]
    pieces = [part if isinstance(part, bytes) else part.blank(size) for part, size in zip(parts, lengths, strict=True)]
    matrix = np.empty((count, sum(map(len, pieces))), dtype=np.uint8)
    matrix[:] = np.frombuffer(b"".join(pieces), dtype=np.uint8)
    keep = np.ones(matrix.shape, dtype=np.bool_)
    row_bytes = np.full(count, matrix.shape[1])
    at = 0
    for part, size, piece in zip(parts, lengths, pieces, strict=True):
        if not isinstance(part, bytes):
            width = int(size.max())
            part.write(matrix[:, at : at + len(piece)], width)
            if int(size.min()) < width:
                keep[:, at : at + width] = np.arange(width) >= (width - size)[:, None]
                row_bytes -= width - size
        at += len(piece)
    offsets = np.zeros(count + 1, dtype=np.int32)
    np.cumsum(row_bytes, out=offsets[1:])
    return matrix[keep].tobytes(), offsets


def _digits(values: Ints, width: int) -> npt.NDArray[np.uint8]:
    groups = -(-width // 4)
    out = np.empty((len(values), groups), dtype=np.uint32)
    rest = values
    for group in range(groups - 1, -1, -1):
        above = rest // 10_000
        out[:, group] = _GROUPS[rest - above * 10_000]
        rest = above
    return out.view(np.uint8)[:, groups * 4 - width :]


def rows_from_csv(lines: list[bytes]) -> RowText:
    """Turn archive lines (without header, times in ms or µs) into JSON rows, with unchanged values."""
    rows: list[bytes] = []
    opens: list[int] = []
    for line in lines:
        fields = line.split(b",")
        fields[0], fields[6] = _milliseconds(fields[0]), _milliseconds(fields[6])
        rows.append(_JSON_ROW % tuple(fields[:12]))
        opens.append(int(fields[0]))
    offsets = np.zeros(len(rows) + 1, dtype=np.int32)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    return RowText(b"".join(rows), offsets, np.array(opens, dtype=np.int64))


def with_literal_rows(day: RowText, rows: Mapping[int, Sequence[object]]) -> RowText:
    """Return a day with rows added, given by open time as JSON has them; one with the same open time is replaced."""
    texts = {
        int(opened): day.text[start:stop]
        for opened, start, stop in zip(day.opens_ms, day.offsets, day.offsets[1:], strict=False)
    }
    for opened, row in rows.items():
        texts[opened] = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b","
    opens = sorted(texts)
    offsets = np.zeros(len(opens) + 1, dtype=np.int32)
    np.cumsum([len(texts[opened]) for opened in opens], out=offsets[1:])
    text = b"".join(texts[opened] for opened in opens)
    return RowText(text, offsets, np.array(opens, dtype=np.int64), frozenset(rows))


def _milliseconds(text: bytes) -> bytes:
    return text[:-3] if len(text) == 16 else text


def csv_from_rows(rows: bytes, *, microseconds: bool) -> bytes:
    """Turn JSON rows back into archive lines."""
    lines = rows.translate(None, b'["').replace(b"],", b"\n")
    return in_microseconds(lines) if microseconds else lines


def in_microseconds(lines: bytes) -> bytes:
    """Return archive lines with their times in microseconds; lines that have them already are unchanged."""
    return _CSV_TIMES.sub(rb"\g<1>000,\g<2>\g<3>999,", lines)


def other_values(line: bytes) -> bytes:
    """Return an archive line with another volume, and another close if prices differ; it still obeys all rules."""
    fields = line.split(b",")
    _, _, high, low, close, *_ = fields
    fields[4] = low if close == high else high
    # One unit more, bought at the close, which is between low and high. This is valid for a row without trades too.
    for at, more in ((5, b"1"), (7, close), (8, b"1")):
        fields[at] = f"{Decimal(fields[at].decode()) + Decimal(more.decode()):f}".encode()
    return b",".join(fields)


def provisional(line: bytes, pair: Pair) -> bytes:
    """Return an archive line without the trades of its last seconds; `other_values` of a line that has none."""
    opened_ms = int(line[: line.index(b",")])
    early = unfinished(rows_from_csv([line]).text, pair, opened_ms + MINUTE_MS - _LAST_TRADES_MS)
    changed = csv_from_rows(early, microseconds=False).rstrip(b"\n")
    return other_values(line) if changed == line else changed


def without_trades(line: bytes, price: bytes) -> bytes:
    """Return an archive line without trades: all prices are `price`, all amounts 0."""
    fields = line.split(b",")
    fields[1:5] = [price] * 4
    for at in (5, 7, 8, 9, 10):
        fields[at] = f"{Decimal(fields[at].decode()) * 0:f}".encode()
    return b",".join(fields)


def unfinished(row: bytes, pair: Pair, now_ms: int) -> bytes:
    """Return a row as it is while its minute is not over: part of the way from open to its final values."""
    opened, *texts, ignore = orjson.loads(row.removesuffix(b","))
    share = Decimal(max(0, now_ms - opened)) / MINUTE_MS
    open_, high, low, close, volume, quote, taker = (Decimal(texts[field]) for field in (0, 1, 2, 3, 4, 6, 8))
    trades = int(texts[7] * share)
    share = share if trades else Decimal(0)

    reached = open_ + _down((close - open_) * share, pair.tick_decimals)
    top = max(open_, reached, high if share > Decimal("0.3") else open_)
    bottom = min(open_, reached, low if share > Decimal("0.6") else open_)
    bought = _down(volume * share, pair.step_decimals)
    taken = min(bought, _down(taker * share, pair.step_decimals))
    average = min(top, max(bottom, quote / volume)) if volume else open_

    prices = [f"{value.quantize(open_):f}" for value in (open_, top, bottom, reached)]
    amounts = [f"{value.quantize(volume):f}" for value in (bought, taken)]
    quotes = [f"{(average * value).quantize(quote, ROUND_HALF_EVEN):f}" for value in (bought, taken)]
    return (
        orjson.dumps([opened, *prices, amounts[0], texts[5], quotes[0], trades, amounts[1], quotes[1], ignore]) + b","
    )


def _down(value: Decimal, decimals: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-decimals), ROUND_DOWN)
