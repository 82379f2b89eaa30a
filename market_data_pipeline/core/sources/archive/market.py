"""Which pairs of a market the archive has files of, and in which months: the listing of its bucket.

Belongs here: folders, months and days of names. Does not belong here: the pages (`bucket`), what files tell of a pair
(`core.catalog`).

A pair of some years has thousands of files. So the bucket is asked for the years and the months in their names, and for
names of days only where a life begins or ends.
"""

import re
from collections.abc import Sequence
from datetime import date

from market_data_pipeline.core.catalog.ports import PairFiles
from market_data_pipeline.core.errors import SourceUnavailable
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import FIRST_DAY, LAST_DAY
from market_data_pipeline.core.klines.pair import is_symbol
from market_data_pipeline.core.sources.archive.bucket import Bucket
from market_data_pipeline.core.sources.archive.files import FOLDERS
from market_data_pipeline.core.sources.archive.listing import day_of_key
from market_data_pipeline.core.sources.planning.traffic import Traffic
from market_data_pipeline.core.text import unread_text

_TRIES = 3
# Years that a dataset can have.
_YEARS = "(19[7-9][0-9]|2[01][0-9]{2})"
_YEAR, _MONTH = re.compile(rf".*-1m-{_YEARS}-"), re.compile(rf".*-1m-{_YEARS}-(0[1-9]|1[0-2])-")


class ArchiveMarket:
    """See `core.catalog.ports.Archive`."""

    def __init__(self, market: Market, *, base_url: str | None = None, connections: int) -> None:
        """Send no request yet.

        Args:
            market: the market.
            base_url: replaces the listing's own address.
            connections: how many connections are kept open.
        """
        self._folder = f"data/{FOLDERS[market]}/daily/klines/"
        self._bucket = Bucket(base_url=base_url, connections=connections, tries=_TRIES)
        self.warnings: list[str] = []
        """See `Archive.warnings`."""

    def symbols(self) -> Sequence[str]:
        """See `Archive.symbols`."""
        names = {folder.removeprefix(self._folder).rstrip("/") for folder in self._names(self._folder, "/")[0]}
        symbols = sorted(name for name in names if is_symbol(name))
        if odd := sorted(names.difference(symbols)):
            if not symbols:
                raise SourceUnavailable(f"the archive cannot be listed: no folder is of a pair, such as {odd[0]!r:.60}")
            self.warnings = [f"the archive has folders whose names no pair can have: {unread_text(odd)}"]
        return symbols

    def files(self, symbol: str) -> PairFiles:
        """See `Archive.files`."""
        stem = self._stem(symbol)
        folders, keys = self._names(stem, "-")
        days = _days(keys)
        months = {day.replace(day=1) for day in days}
        for year in sorted({match[1] for folder in folders if (match := _YEAR.fullmatch(folder))}):
            inner, keys = self._names(f"{stem}{year}-", "-")
            months |= {_month(match[1], match[2]) for folder in inner if (match := _MONTH.fullmatch(folder))}
            more = _days(keys)
            days += more
            months |= {day.replace(day=1) for day in more}
        return _Files(self, stem, sorted(months), days)

    def has_later(self, symbol: str, day: date) -> bool:
        """See `Archive.has_later`."""
        stem = self._stem(symbol)
        page = self._bucket.page(stem, delimiter="", marker=f"{stem}{day}.zip.CHECKSUM", most=2)
        return any(found > day for found in _days(page.keys))

    def days(self, stem: str, month: date) -> list[date]:
        """Return the days of a month that have a file; `stem` is what all names of the pair begin with."""
        return _days(self._names(f"{stem}{month:%Y-%m}-", "")[1])

    @property
    def traffic(self) -> Traffic:
        """What was answered so far."""
        return self._bucket.traffic

    def close(self) -> None:
        """End all waiting, and close the connections."""
        self._bucket.close()

    def _stem(self, symbol: str) -> str:
        return f"{self._folder}{symbol}/1m/{symbol}-1m-"

    def _names(self, prefix: str, delimiter: str) -> tuple[list[str], list[str]]:
        """All folders and all files under a prefix. A server that knows no delimiters sends files alone."""
        folders, keys = list[str](), list[str]()
        for page in self._bucket.pages(prefix, delimiter=delimiter):
            folders += page.folders
            keys += page.keys
        return folders, keys


class _Files:
    """See `core.catalog.ports.PairFiles`. Days of a server that sent them unasked are not requested again."""

    def __init__(self, market: ArchiveMarket, stem: str, months: Sequence[date], days: Sequence[date]) -> None:
        self.months = months
        self._market, self._stem = market, stem
        self._days = dict[date, list[date]]()
        for day in days:
            self._days.setdefault(day.replace(day=1), []).append(day)

    def days(self, month: date) -> Sequence[date]:
        if month not in self._days:
            self._days[month] = self._market.days(self._stem, month)
        return self._days[month]


def _days(keys: Sequence[str]) -> list[date]:
    """The days of zips, without those that no dataset can have."""
    days = {day for key in keys if (day := day_of_key(key))}
    return sorted(day for day in days if FIRST_DAY <= day <= LAST_DAY)


def _month(year: str, month: str) -> date:
    return date(int(year), int(month), 1)
