"""Files of data.binance.vision: the klines of one pair on one UTC day, with their checksum.

Belongs here: names of files, downloads and their retries, checksums. Does not belong here: the inside of a file
(`archive.unpack`), which days are loaded, and what replaces a missing or bad file (`sources.union`).

Only daily files: the monthly ones disagree with them and with REST (binance/binance-public-data#475).
https://github.com/binance/binance-public-data
"""

import hashlib
import logging
import re
import threading
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    wait_exponential_jitter,
)

from market_data_pipeline.core.errors import SourceUnavailable
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.sifting import Sifted, sift
from market_data_pipeline.core.sources.archive.bucket import Bucket
from market_data_pipeline.core.sources.archive.listing import ArchiveDays, start_of, utc_date
from market_data_pipeline.core.sources.archive.unpack import BadZip, unpack
from market_data_pipeline.core.sources.breaker import Breaker
from market_data_pipeline.core.sources.planning.division import DAY_MS
from market_data_pipeline.core.sources.planning.traffic import Traffic
from market_data_pipeline.core.sources.retries import noted
from market_data_pipeline.core.sources.transport import NoResponse, ResponseTooLarge, Transport
from market_data_pipeline.core.text import one_line

ADDRESS = "https://data.binance.vision"
CONNECTIONS = 48
# Futures files are published at about 08:40 UTC of the next day (binance/binance-public-data#440), spot files sooner.
PUBLISHED_AFTER_MS = 9 * 3_600_000
FOLDERS = {Market.SPOT: "spot", Market.FUTURES: "futures/um"}
# A zip has about 70 kB, and 48 of them share the line: in this time all come over a line of half a megabit.
_DEADLINE_S = 60
_MOST_ZIP_BYTES, _MOST_CHECKSUM_BYTES = 512_000, 4096
_TRIES = 4
# A file that was damaged on its way is whole the second time.
_TRIES_OF_BAD_FILE = 2
# One file that fails says little of the archive, and three in a row a lot; later the archive may be back.
_FILES_THAT_FAIL, _PAUSE_S = 3, 30
# A day near the newest is asked for first: a pair that is traded now has its file.
_NEAR = timedelta(5)
# When the exchange opened.
_OPENED = date(2017, 8, 17)
_NAME = re.compile(r".+-1m-[0-9]{4}-[0-9]{2}-[0-9]{2}\.zip")

T = TypeVar("T")

_log = logging.getLogger(__name__)


class NoFile(Exception):
    """The archive has no file of this day."""


class BadFile(Exception):
    """The file of this day cannot be used; the text has the reason."""

    kind = "bad_file"


class UnansweredFile(BadFile):
    """There is no answer about the file of this day after all retries, which says little of the other files."""


class _PassingFault(Exception):
    """A fault that a retry may not meet."""


class ArchiveConnections:
    """Connections to the archive's files and to its listing, which stay open. Pairs and threads may share them."""

    def __init__(self, *, base_url: str | None = None, deadline_s: float | None = None) -> None:
        """Connect to nothing yet.

        Args:
            base_url: replaces the addresses of the archive and of its listing.
            deadline_s: how long one request may take, None for as long as usual.
        """
        self.address = (base_url or ADDRESS).rstrip("/")
        self.files = Transport(self.address, connections=CONNECTIONS, deadline_s=deadline_s or _DEADLINE_S)
        self.listing = Bucket(base_url=base_url, connections=1, deadline_s=deadline_s)

    def close(self) -> None:
        """End all waiting, and close the connections."""
        self.files.close()
        self.listing.close()


class Archive:
    """The daily files of one pair. Threads may share it."""

    def __init__(self, market: Market, token: str, connections: ArchiveConnections) -> None:
        """Send no request yet.

        Args:
            market: the market.
            token: the pair's symbol.
            connections: those that requests are sent over; `close` closes them.
        """
        self._connections, self.address = connections, connections.address
        name = quote(token)
        self._folder = f"{urlsplit(self.address).path}/data/{FOLDERS[market]}/daily/klines/{name}/1m/{name}-1m-"
        self._stopped = threading.Event()
        self._retrying = Retrying(
            retry=retry_if_exception_type((_PassingFault, BadFile)),
            wait=wait_exponential_jitter(multiplier=0.3, max=5, jitter=0.3),
            stop=self._is_last_try,
            sleep=sleep_using_event(self._stopped),
            before_sleep=noted(_log, "archive"),
            reraise=True,
        )
        self._breaker = Breaker(failures=_FILES_THAT_FAIL, pause_s=_PAUSE_S)
        self._fault = ""
        self._newest_ms = 0
        folder = self._folder.removeprefix(urlsplit(self.address).path + "/")
        self._days = ArchiveDays(unquote(folder), connections.listing, has_file=self._has_file)
        self._transport = connections.files

    def packed(self, start_ms: int) -> bytes:
        """Return the zip of the UTC day that starts at `start_ms`, which its checksum is right for.

        Raises:
            NoFile: the archive has no file of the day, or not yet.
            BadFile: the checksum is missing, wrong, or that of another file.
            UnansweredFile: there is no response after all retries.
            SourceUnavailable: that is so for several files in a row.
        """
        return self._of_file(self._download, self._path(start_ms))

    def rows(self, packed: bytes, start_ms: int) -> Sifted:
        """Return the rows of a zip of the UTC day that starts at `start_ms`. No request is sent.

        Raises:
            BadFile: the format is wrong, or rows are of other days, out of order or doubled.
        """
        try:
            return sift(unpack(packed), Span(start_ms, start_ms + DAY_MS), "archive")
        except BadZip as error:
            raise BadFile(f"it cannot be read ({error})") from error
        except ValueError as error:
            raise BadFile(str(error)) from error

    def day(self, start_ms: int) -> Sifted:
        """Return the rows of the UTC day that starts at `start_ms`.

        Raises:
            NoFile: the archive has no file of the day, or not yet.
            BadFile: the checksum is missing or wrong, or the format, or rows are of other days, disordered or doubled.
            UnansweredFile: there is no response after all retries.
            SourceUnavailable: that is so for several files in a row.
        """
        return self._of_file(lambda: self.rows(self._download(self._path(start_ms)), start_ms))

    def days(self, first: date, last: date) -> list[date]:
        """Return the UTC days from `first` to `last`, both included, that have a file, in order.

        Raises:
            SourceUnavailable: there is no response after all retries.
        """
        return self._days.between(max(first, _OPENED), last) if first <= last else []

    def sizes(self, first: date, last: date) -> dict[date, int | None]:
        """Return the bytes of the file of each of these days that has one, None where they are not known.

        Raises:
            SourceUnavailable: there is no response after all retries.
        """
        return self._days.sizes(max(first, _OPENED), last) if first <= last else {}

    @property
    def traffic(self) -> Traffic:
        """What the archive and its listing have answered so far."""
        return self._transport.traffic + self._days.traffic

    def is_listed(self, start_ms: int) -> bool:
        """Return whether the listing has a file of the UTC day that starts at `start_ms`, which may not be there."""
        return self._days.is_listed(utc_date(start_ms))

    def has_later_file(self, start_ms: int, now_ms: int) -> bool:
        """Return whether a UTC day after the one that starts at `start_ms` has a file; asked once, where it has.

        Raises:
            SourceUnavailable: there is no response after all retries.
        """
        if start_ms >= self._newest_ms:
            later, newest = utc_date(start_ms) + timedelta(1), utc_date(now_ms - PUBLISHED_AFTER_MS) - timedelta(1)
            found = self.days(max(later, newest - _NEAR), newest) or self.days(later, newest)
            # The listing may be ahead of the files.
            if found and self._has_file(found[-1]):
                self._newest_ms = start_of(found[-1])
        return start_ms < self._newest_ms

    def close(self) -> None:
        """End all waiting, and close the connections."""
        self._stopped.set()
        self._connections.close()

    def _path(self, start_ms: int) -> str:
        return f"{self._folder}{utc_date(start_ms)}.zip"

    def _has_file(self, day: date) -> bool:
        path = self._path(start_of(day))
        # A zip without a checksum is a file, too, and one of which only the checksum can be had now.
        return self._is_there(path) or self._is_there(f"{path}.CHECKSUM")

    def _is_there(self, path: str) -> bool:
        try:
            self._retried(self._get, path, 0, "HEAD")
        except NoFile:
            return False
        return True

    def _of_file(self, call: Callable[..., T], *arguments: Any) -> T:
        """As `_retried`, where the fault is that of one file as long as others are answered."""
        try:
            return self._retried(call, *arguments)
        except SourceUnavailable as error:
            if self._breaker.is_open or self._stopped.is_set():
                raise
            raise UnansweredFile(str(error)) from error

    def _retried(self, call: Callable[..., T], *arguments: Any) -> T:
        if not self._breaker.may_try():
            raise SourceUnavailable(self._fault)
        try:
            return self._retrying(call, *arguments)
        except _PassingFault as error:
            self._fault = f"no answer from {self.address}{self._transport.proxy_hint}: {error}"
            self._breaker.note_failure()
            raise SourceUnavailable(self._fault) from error

    def _is_last_try(self, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        tries = _TRIES_OF_BAD_FILE if isinstance(error, BadFile) else _TRIES
        return self._stopped.is_set() or self._breaker.is_open or state.attempt_number >= tries

    def _download(self, path: str) -> bytes:
        packed = self._get(path, _MOST_ZIP_BYTES)
        try:
            checksum, *named = self._get(f"{path}.CHECKSUM", _MOST_CHECKSUM_BYTES).split() or [b""]
        except NoFile:  # the day has a file, so this is no proof that the pair was not traded
            raise BadFile("it has no checksum") from None
        if checksum.decode("latin-1") != hashlib.sha256(packed).hexdigest():
            raise BadFile("its checksum is wrong")
        _refuse_other_file(unquote(path.rpartition("/")[2]), named)
        return packed

    def _get(self, path: str, most_bytes: int, method: str = "GET") -> bytes:
        if self._stopped.is_set():
            raise SourceUnavailable("the load was stopped")
        try:
            response = self._transport.request(path, most_bytes=most_bytes, method=method)
        except ResponseTooLarge as error:
            raise BadFile(str(error)) from error
        except NoResponse as error:
            raise _PassingFault(str(error)) from error
        if response.status not in {200, 404}:
            raise _PassingFault(f"HTTP {response.status}")
        self._breaker.note_answer()
        if response.status == 404:
            raise NoFile
        return response.body


def _refuse_other_file(asked: str, named: list[bytes]) -> None:
    """Refuse a zip whose checksum names another file of the archive: its rows look right, and are another pair's.

    Raises:
        BadFile: it does.
    """
    name = named[0].decode("utf-8", "replace").removeprefix("*") if named else asked
    if name != asked and _NAME.fullmatch(name):
        raise BadFile(f"its checksum is that of {one_line(name, 80)}")
