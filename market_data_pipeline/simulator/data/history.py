"""The klines of all pairs, as pages and as archive files.

Belongs here: which rows a page has at an instant, what an archive file contains.
Does not belong here: which klines a pair has (`lives`), parameters and errors of HTTP requests (`queries`, `exchange`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from market_data_pipeline.simulator.data.archive import ArchiveName, checksum_line, zip_bytes, zip_text
from market_data_pipeline.simulator.data.cache import ByteCache
from market_data_pipeline.simulator.data.clock import DAY_MS, MINUTE_MS
from market_data_pipeline.simulator.data.lives import Lives, PairKey
from market_data_pipeline.simulator.data.pairs import Pair
from market_data_pipeline.simulator.data.rows import RowText, csv_from_rows, unfinished

_DAYS_BYTES = 150_000_000
_ZIPS_BYTES = 32_000_000


@dataclass(frozen=True, slots=True)
class Page:
    """The JSON body of a klines response, and its number of rows."""

    body: bytes
    rows: int


class History:
    """Pages and archive files made of the days of lives. The days and zips used last are kept in memory."""

    def __init__(self, lives: Lives) -> None:
        """Make nothing yet."""
        self._lives = lives
        self._days = ByteCache[RowText](_DAYS_BYTES, lambda day: day.nbytes)
        self._zips = ByteCache[bytes](_ZIPS_BYTES, len)
        self._archived: dict[PairKey, tuple[int, Sequence[int]]] = {}

    @property
    def pairs(self) -> Mapping[PairKey, Pair]:
        """All pairs by market and symbol."""
        return self._lives.pairs

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
        unchanging = False
        for number in days:
            day = self.day(pair, number)
            low = int(np.searchsorted(day.opens_ms, first))
            high = max(low, int(np.searchsorted(day.opens_ms, last, side="right")))
            low, high = (low, min(high, low + limit - rows)) if step > 0 else (max(low, high - limit + rows), high)
            slices.append(day.text[day.offsets[low] : day.offsets[high]])
            if high > low and (step > 0 or not rows):
                unchanging = int(day.opens_ms[high - 1]) in day.literal
            rows += high - low
            if rows == limit:
                break
        return Page(_body(slices[::step], pair, None if unchanging else now_ms), rows)

    def day(self, pair: Pair, number: int) -> RowText:
        """Return the final klines of the UTC day that is `number` days after the epoch."""
        return self._days.get((pair.market, pair.symbol, number), lambda: self._lives.day(pair, number))

    def archive_file(self, name: ArchiveName) -> bytes | None:
        """Return the content of an archive file; None if the archive does not have it."""
        stored = self._lives.stored(name)
        if stored is not None:
            return stored.read_bytes()
        packed = self._zips.get(name.zip.path, lambda: self._packed(name.zip))
        if not packed:
            return None
        return checksum_line(name, packed) if name.is_checksum else packed

    def archived_days(self, pair: Pair, until: int) -> Sequence[int]:
        """Return the UTC days before `until` that the archive has files of, in order; found once for each `until`."""
        key = pair.market, pair.symbol
        kept = self._archived.get(key)
        if kept is None or kept[0] != until:
            days = self._lives.archived_days(pair, until)
            kept = self._archived[key] = until, days if isinstance(days, Sequence) else tuple(days)
        return kept[1]

    def stored(self, name: ArchiveName) -> Path | None:
        """Return the file that is served unchanged as this one of the archive, if there is one."""
        return self._lives.stored(name)

    def _packed(self, name: ArchiveName) -> bytes:
        stored = self._lives.stored(name)
        if stored is not None:
            return stored.read_bytes()
        text = self._lives.archived_text(name)
        if text is not None:
            return zip_text(name, text.encode()) if text else b""
        pair = self.pairs.get((name.market, name.symbol))
        rows = b"" if pair is None else b"".join(self._archived_day(pair, number).text for number in name.days)
        return zip_bytes(name, csv_from_rows(rows, microseconds=name.microseconds)) if rows else b""

    def _archived_day(self, pair: Pair, number: int) -> RowText:
        archived = self._lives.archived_day(pair, number)
        return self.day(pair, number) if archived is None else archived


def _body(slices: list[bytes], pair: Pair, now_ms: int | None) -> bytes:
    """Return the rows as JSON; the last one as it is at `now_ms`, or as it was written if that is None."""
    rows = b"".join(slices)
    last = rows.rfind(b"[")
    if now_ms is not None and last >= 0 and now_ms < int(rows[last + 1 : rows.index(b",", last)]) + MINUTE_MS:
        rows = rows[:last] + unfinished(rows[last:], pair, now_ms)
    return b"[" + rows[:-1] + b"]"
