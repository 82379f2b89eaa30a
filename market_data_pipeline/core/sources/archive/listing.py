"""Which UTC days the archive has files of: a listing of its bucket, or a request for each day where there is none.

Belongs here: the days of one pair, and what takes the listing's place. Does not belong here: the pages of a listing
(`bucket`), the files (`files`).
"""

import logging
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

from market_data_pipeline.core.errors import SourceUnavailable
from market_data_pipeline.core.sources.archive.bucket import Bucket
from market_data_pipeline.core.sources.planning.division import DAY_MS
from market_data_pipeline.core.sources.planning.traffic import Traffic

_EPOCH = date(1970, 1, 1)
_AT_ONCE = 48
_NAME = re.compile(r".*-1m-(\d{4}-\d{2}-\d{2})\.zip")

_log = logging.getLogger(__name__)


class ArchiveDays:
    """The days of one pair that have a file."""

    def __init__(self, folder: str, bucket: Bucket, *, has_file: Callable[[date], bool]) -> None:
        """Send no request yet.

        Args:
            folder: the pair's folder with the beginning of a file's name, `data/spot/daily/klines/X/1m/X-1m-`.
            bucket: the archive's listing.
            has_file: asks the archive whether it has the file of a day.
        """
        self._folder, self._bucket, self._has_file = folder, bucket, has_file
        self._years: dict[int, dict[date, int | None]] = {}

    def between(self, first: date, last: date) -> list[date]:
        """Return the days from `first` to `last`, both included, that have a file, in order.

        Raises:
            SourceUnavailable: neither the listing nor the archive answers.
        """
        listed = self._listed(first, last)
        return self._asked(first, last) if listed is None else sorted(listed)

    def sizes(self, first: date, last: date) -> dict[date, int | None]:
        """Return the bytes of the file of each of these days that has one, None where the listing does not say.

        Raises:
            SourceUnavailable: neither the listing nor the archive answers.
        """
        listed = self._listed(first, last)
        return dict.fromkeys(self._asked(first, last)) if listed is None else listed

    def is_listed(self, day: date) -> bool:
        """Return whether the listing has a file of the day; it is read once for a year. False if it cannot be had."""
        if day.year not in self._years:
            listed = self._listed(date(day.year, 1, 1), date(day.year, 12, 31))
            if listed is None:
                return False
            self._years[day.year] = listed
        return day in self._years[day.year]

    @property
    def traffic(self) -> Traffic:
        """What the listing has answered so far."""
        return self._bucket.traffic

    def _listed(self, first: date, last: date) -> dict[date, int | None] | None:
        """The days by the listing, with the sizes of their files; None if it cannot be had."""
        folder = self._folder.rpartition("/")[0] + "/"
        # Names are in the order of their bytes, so the marker is the name that would stand before the first day's.
        marker, days = f"{self._folder}{first - timedelta(1)}.zip.CHECKSUM", dict[date, int | None]()
        try:
            for page in self._bucket.pages(folder, delimiter="/", marker=marker):
                named = {day: key for key in page.keys if (day := day_of_key(key))}
                days |= {day: page.sizes.get(key) for day, key in named.items() if first <= day <= last}
                if not named or max(named) >= last:
                    break
        except SourceUnavailable as error:
            _log.warning("%s", error)
            return None
        return days

    def _asked(self, first: date, last: date) -> list[date]:
        days = [first + timedelta(number) for number in range((last - first).days + 1)]
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="archive-days") as threads:
            found = threads.map(self._has_file, days)
            return [day for day, has in zip(days, found, strict=True) if has]


def utc_date(time_ms: int) -> date:
    """The UTC day of an instant, ms UTC."""
    # Windows has no `fromtimestamp` before 1970.
    return _EPOCH + timedelta(time_ms // DAY_MS)


def start_of(day: date) -> int:
    """The start of a UTC day, ms UTC."""
    return (day - _EPOCH).days * DAY_MS


def day_of_key(key: str) -> date | None:
    """The UTC day of a zip's name; None for another name."""
    match = _NAME.fullmatch(key)
    try:
        return date.fromisoformat(match[1]) if match else None
    except ValueError:
        return None
