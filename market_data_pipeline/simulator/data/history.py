"""The klines of all pairs, as pages and as archive files.

Belongs here: where a UTC day comes from, which rows a page has at an instant, what an archive file contains.
Does not belong here: parameters and errors of HTTP requests (`queries`, `exchange`).
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from market_data_pipeline.simulator.data.archive import ArchiveName, ArchiveTree, checksum_line, zip_bytes
from market_data_pipeline.simulator.data.cache import ByteCache
from market_data_pipeline.simulator.data.clock import DAY_MS, MINUTE_MS
from market_data_pipeline.simulator.data.pairs import Market, Pair, split_symbol, table_pairs
from market_data_pipeline.simulator.data.prices import synthetic_day
from market_data_pipeline.simulator.data.rows import RowText, csv_from_rows, render, rows_from_csv, unfinished

_DAYS_BYTES = 150_000_000
_ZIPS_BYTES = 32_000_000


@dataclass(frozen=True, slots=True)
class Page:
    """The JSON body of a klines response, and its number of rows."""

    body: bytes
    rows: int


class History:
    """Klines from a folder with files of the real archive, where it has the UTC day, else synthetic klines."""

    def __init__(self, archive_dir: Path | None) -> None:
        """List the files of the folder. Their contents are read when they are needed."""
        self._tree = ArchiveTree(archive_dir)
        self._days = ByteCache[RowText](_DAYS_BYTES, lambda day: day.nbytes)
        self._zips = ByteCache[bytes](_ZIPS_BYTES, len)
        self.pairs = {(pair.market, pair.symbol): self._extended(pair) for pair in table_pairs()}
        for market, symbol in self._tree.symbols():
            if (market, symbol) not in self.pairs:
                self.pairs[market, symbol] = self._archived_pair(market, symbol)

    def page(self, pair: Pair, start_ms: int | None, end_ms: int | None, limit: int, now_ms: int) -> Page:
        """Return up to `limit` klines that open from `start_ms` to `end_ms`, both included, and not after `now_ms`.

        With a start these are the first klines of the range, without one the last.
        """
        newest = now_ms if pair.end_ms is None or pair.market == "futures" else min(now_ms, pair.end_ms - 1)
        last = newest if end_ms is None else min(end_ms, newest)
        first = max(pair.first_open_ms, start_ms or 0)
        step = 1 if start_ms is not None else -1
        days = range(first // DAY_MS, last // DAY_MS + 1)[::step]

        slices: list[bytes] = []
        rows = 0
        for number in days:
            day = self.day(pair, number)
            low = int(np.searchsorted(day.opens_ms, first))
            high = max(low, int(np.searchsorted(day.opens_ms, last, side="right")))
            low, high = (low, min(high, low + limit - rows)) if step > 0 else (max(low, high - limit + rows), high)
            slices.append(day.text[day.offsets[low] : day.offsets[high]])
            rows += high - low
            if rows == limit:
                break
        return Page(_body(slices[::step], pair, now_ms), rows)

    def day(self, pair: Pair, number: int) -> RowText:
        """Return the final klines of the UTC day that is `number` days after the epoch."""
        return self._days.get((pair.market, pair.symbol, number), lambda: self._new_day(pair, number))

    def archive_file(self, name: ArchiveName) -> bytes | None:
        """Return the content of an archive file; None if the archive does not have it."""
        stored = self._tree.stored(name)
        if stored is not None:
            return stored
        packed = self._zips.get(name.zip.path, lambda: self._packed(name.zip))
        if not packed:
            return None
        return checksum_line(name, packed) if name.is_checksum else packed

    def _new_day(self, pair: Pair, number: int) -> RowText:
        lines = self._tree.lines(pair.market, pair.symbol, number)
        return render(pair, synthetic_day(pair, number)) if lines is None else rows_from_csv(lines)

    def _packed(self, name: ArchiveName) -> bytes:
        stored = self._tree.stored(name)
        if stored is not None:
            return stored
        pair = self.pairs.get((name.market, name.symbol))
        rows = b"" if pair is None else b"".join(self.day(pair, number).text for number in name.days)
        return zip_bytes(name, csv_from_rows(rows, microseconds=name.microseconds)) if rows else b""

    def _extended(self, pair: Pair) -> Pair:
        days = self._tree.days(pair.market, pair.symbol)
        if not days:
            return pair
        end_ms = None if pair.end_ms is None else max(pair.end_ms, (days[-1] + 1) * DAY_MS)
        return replace(pair, first_open_ms=min(pair.first_open_ms, days[0] * DAY_MS), end_ms=end_ms)

    def _archived_pair(self, market: Market, symbol: str) -> Pair:
        """Return a pair that is not in the table but has files, described by its first kline."""
        day = self._tree.days(market, symbol)[0]
        lines = self._tree.lines(market, symbol, day) or [b"0,1.0,1.0,1.0,1.0,1,0,1,1,1,1,0"]
        fields = lines[0].decode().split(",")
        tick = _smallest(fields[1], 8 if market == "spot" else None)
        step = _smallest(fields[5], 8 - len(tick.partition(".")[2]) if market == "spot" else None)
        base, quote = split_symbol(symbol)
        turnover = max(1e-6, float(fields[7]))
        return Pair(market, base, quote, tick, step, day * DAY_MS, None, float(fields[4]), turnover, 0)


def _smallest(number: str, most_decimals: int | None) -> str:
    """Return the unit of the last decimal of a number. On spot trailing zeros do not count, as all have 8 decimals."""
    decimals = len((number if most_decimals is None else number.rstrip("0")).partition(".")[2])
    decimals = decimals if most_decimals is None else min(decimals, max(0, most_decimals))
    return "1" if decimals == 0 else "0." + "0" * (decimals - 1) + "1"


def _body(slices: list[bytes], pair: Pair, now_ms: int) -> bytes:
    rows = b"".join(slices)
    last = rows.rfind(b"[")
    if last >= 0 and now_ms < int(rows[last + 1 : rows.index(b",", last)]) + MINUTE_MS:
        rows = rows[:last] + unfinished(rows[last:], pair, now_ms)
    return b"[" + rows[:-1] + b"]"
