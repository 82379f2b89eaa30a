"""Which UTC days the archive has files of: a listing of its bucket, or a request for each day where there is none.

Belongs here: the listing's address, its pages, and what takes its place. Does not belong here: the files (`files`).

The bucket is listed at another address than the files are served from, a thousand names a page.
https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjects.html
"""

import logging
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from urllib.parse import quote, urlsplit

from market_data_pipeline.core.sources.transport import NoResponse, Transport

LISTING_ADDRESS = "https://s3-ap-northeast-1.amazonaws.com"
_BUCKET = "data.binance.vision"
# A thousand names have about 400 kB.
_MOST_PAGE_BYTES, _MOST_PAGES = 1 << 21, 100
_DEADLINE_S = 20
_AT_ONCE = 48
_NAMES = re.compile(rb"<Key>([^<]*-1m-(\d{4}-\d{2}-\d{2})\.zip)</Key>")
_TRUNCATED = re.compile(rb"<IsTruncated>\s*true\s*</IsTruncated>")

_log = logging.getLogger(__name__)


class ArchiveDays:
    """The days of one pair that have a file."""

    def __init__(self, folder: str, *, base_url: str | None, has_file: Callable[[date], bool]) -> None:
        """Send no request yet.

        Args:
            folder: the pair's folder with the beginning of a file's name, `data/spot/daily/klines/X/1m/X-1m-`.
            base_url: replaces the listing's own address.
            has_file: asks the archive whether it has the file of a day.
        """
        address = (base_url or LISTING_ADDRESS).rstrip("/")
        self._path = f"{urlsplit(address).path}/{_BUCKET}"
        self._folder, self._has_file = folder, has_file
        self._transport = Transport(address, connections=1, deadline_s=_DEADLINE_S)

    def between(self, first: date, last: date) -> list[date]:
        """Return the days from `first` to `last`, both included, that have a file, in order.

        Raises:
            SourceUnavailable: neither the listing nor the archive answers.
        """
        listed = self._listed(first, last)
        return self._asked(first, last) if listed is None else listed

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def _listed(self, first: date, last: date) -> list[date] | None:
        """The days by the listing; None if it cannot be had."""
        folder = self._folder.rpartition("/")[0] + "/"
        # Names are in the order of their bytes, so the marker is the name that would stand before the first day's.
        marker, days = f"{self._folder}{first - timedelta(1)}.zip.CHECKSUM", list[date]()
        for _ in range(_MOST_PAGES):
            query = f"?delimiter=/&prefix={quote(folder, safe='')}&marker={quote(marker, safe='')}"
            try:
                response = self._transport.request(self._path + query, most_bytes=_MOST_PAGE_BYTES)
            except NoResponse as error:
                _log.warning("the archive cannot be listed: %s", error)
                return None
            if response.status != 200 or b"<ListBucketResult" not in response.body[:1000]:
                _log.warning("the archive cannot be listed: HTTP %d", response.status)
                return None
            names = _NAMES.findall(response.body)
            days += [day for _, text in names if (day := _date(text)) and first <= day <= last]
            if not names or not _TRUNCATED.search(response.body) or (days and days[-1] >= last):
                return sorted(set(days))
            marker = f"{self._folder}{names[-1][1].decode()}.zip.CHECKSUM"
        _log.warning("the archive cannot be listed: more than %d pages", _MOST_PAGES)
        return None

    def _asked(self, first: date, last: date) -> list[date]:
        days = [first + timedelta(number) for number in range((last - first).days + 1)]
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="archive-days") as threads:
            found = threads.map(self._has_file, days)
            return [day for day, has in zip(days, found, strict=True) if has]


def utc_date(time_ms: int) -> date:
    """The UTC day of an instant, ms UTC."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).date()


def start_of(day: date) -> int:
    """The start of a UTC day, ms UTC."""
    return (day - date(1970, 1, 1)).days * 86_400_000


def _date(text: bytes) -> date | None:
    try:
        return date.fromisoformat(text.decode())
    except ValueError:
        return None
