"""The lives of pairs: which pairs there are, and which klines REST and the archive have of each UTC day.

Belongs here: what a supplier of pairs and days offers, and the usual one: the built-in table, and a folder with files
of the real archive.
Does not belong here: lives that a scenario tells (`simulator.scenario`), pages and zips (`history`).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from market_data_pipeline.simulator.data.archive import ArchiveName, ArchiveTree
from market_data_pipeline.simulator.data.clock import DAY_MS, MINUTE_MS
from market_data_pipeline.simulator.data.halts import Stretch, halts_between
from market_data_pipeline.simulator.data.pairs import Market, Pair, split_symbol, table_pairs
from market_data_pipeline.simulator.data.prices import DAY_MINUTES, synthetic_day
from market_data_pipeline.simulator.data.rows import RowText, render, rows_from_csv

PairKey = tuple[Market, str]
NO_ROWS = RowText(b"", np.zeros(1, dtype=np.int32), np.zeros(0, dtype=np.int64))
_LAST_MINUTE = 1 << 40


class Lives(ABC):
    """A supplier of pairs and of their days. A day is a number of days after the epoch."""

    pairs: Mapping[PairKey, Pair]

    @abstractmethod
    def day(self, pair: Pair, number: int) -> RowText:
        """Return the final klines that REST has of a UTC day."""

    def archived_day(self, pair: Pair, number: int) -> RowText | None:
        """Return the klines that the archive has of a UTC day; None if they are those of REST."""
        del pair, number
        return None

    def archived_text(self, name: ArchiveName) -> str | None:
        """Return the whole text of the file in a zip; None if it is made of the klines of its days."""
        del name
        return None

    @abstractmethod
    def archived_days(self, pair: Pair, until: int) -> Iterable[int]:
        """Return the UTC days before `until` of which the archive has klines, in order."""

    def stored(self, name: ArchiveName) -> Path | None:
        """Return the file that is served unchanged as this one of the archive, if there is one."""
        del name
        return None


class UsualLives(Lives):
    """The pairs of the built-in table and of a folder: klines of the folder where it has the day, else synthetic."""

    def __init__(self, archive_dir: Path | None) -> None:
        """List the files of the folder. Their contents are read when they are needed."""
        self._tree = ArchiveTree(archive_dir)
        self.pairs = {(pair.market, pair.symbol): self._extended(pair) for pair in table_pairs()}
        for market, symbol in self._tree.symbols():
            if (market, symbol) not in self.pairs:
                self.pairs[market, symbol] = self._archived_pair(market, symbol)

    def day(self, pair: Pair, number: int) -> RowText:
        """Return the klines of the folder if it has the day, else synthetic ones."""
        lines = self._tree.lines(pair.market, pair.symbol, number)
        if lines is not None:
            return rows_from_csv(lines)
        start = number * DAY_MINUTES
        halts = halts_between(pair.market, start, start + DAY_MINUTES)
        unlisted = Stretch(0, pair.first_open_ms // MINUTE_MS)
        ended = [] if pair.end_ms is None else [Stretch(pair.end_ms // MINUTE_MS, _LAST_MINUTE)]
        if pair.market == "spot":
            return render(pair, synthetic_day(pair, number, absent_in=[unlisted, *ended, *halts]))
        flat_in = [*halts, *(stretch for stretch in ended if stretch.start < start + DAY_MINUTES)]
        return render(pair, synthetic_day(pair, number, flat_in=flat_in, absent_in=[unlisted]))

    def archived_days(self, pair: Pair, until: int) -> Iterable[int]:
        """Return all days from the first to the last; no known halt lasted a whole day."""
        if pair.market == "spot" and pair.end_ms is not None:
            until = min(until, (pair.end_ms - 1) // DAY_MS + 1)
        return range(pair.first_open_ms // DAY_MS, until)

    def stored(self, name: ArchiveName) -> Path | None:
        """Return the file of the folder."""
        return self._tree.stored(name)

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
        return Pair(market, base, quote, tick, step, day * DAY_MS, None, float(fields[4]), turnover, 0, ticker=symbol)


def _smallest(number: str, most_decimals: int | None) -> str:
    """Return the unit of the last decimal of a number. On spot trailing zeros do not count, as all have 8 decimals."""
    decimals = len((number if most_decimals is None else number.rstrip("0")).partition(".")[2])
    decimals = decimals if most_decimals is None else min(decimals, max(0, most_decimals))
    return "1" if decimals == 0 else "0." + "0" * (decimals - 1) + "1"
