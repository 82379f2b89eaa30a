"""Files of data.binance.vision: the klines of one pair on one UTC day, proved by their checksum.

Belongs here: names, download and its retries, checksum, zip, header, ms or us. Does not belong here: which days are
wanted, and what is done where a file is missing or bad (`exchange`).

Only daily files: the monthly ones disagree with them and with REST (binance/binance-public-data#475). Spot files have
no header and, from 2025-01-01, times in microseconds (#386); futures files have a header since 2022 and milliseconds.
A zip is held in memory and never touches the disk. https://github.com/binance/binance-public-data
"""

import hashlib
import io
import logging
import threading
import time
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc
from tenacity import (
    RetryCallState,
    Retrying,
    before_sleep_log,
    retry_if_exception_type,
    sleep_using_event,
    wait_exponential_jitter,
)

from market_data_pipeline.core.errors import PairNotListed, SourceUnavailable
from market_data_pipeline.core.klines.checks import kline_problems
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.table import from_csv, open_times
from market_data_pipeline.core.sources.transport import Downloads

ADDRESS = "https://data.binance.vision"
DAY_MS = 86_400_000
CONNECTIONS = 48
# Futures files are there at about 08:40 UTC of the next day (binance/binance-public-data#440), spot's sooner.
PUBLISHED_AFTER_MS = 9 * 3_600_000
_FOLDERS = {Market.SPOT: "spot", Market.FUTURES: "futures/um"}
_TRIES = 4
# What was damaged on its way is whole the second time.
_TRIES_OF_BAD_FILE = 2
_LOOKED_AT = 5
# 2017-08-17, when the exchange opened, in days since the epoch.
_OLDEST_DAY = 17_395
_LONGEST_CSV_BYTES = 1 << 24
# Milliseconds reach this in the year 5138, microseconds passed it in 1973.
_LEAST_US = 10**14

T = TypeVar("T")

_log = logging.getLogger(__name__)


class NoFile(Exception):
    """The archive has no file of this day."""


class BadFile(Exception):
    """The file of this day cannot be used; says why."""


class _PassingFault(Exception):
    """A fault that may be gone in a moment."""


class Archive:
    """The daily files of one pair. Threads may share it."""

    def __init__(self, market: Market, token: str, *, base_url: str | None = None) -> None:
        """Nothing is sent yet; `base_url` replaces the archive's own address."""
        self.address = (base_url or ADDRESS).rstrip("/")
        self._folder = f"{urlsplit(self.address).path}/data/{_FOLDERS[market]}/daily/klines/{token}/1m/{token}-1m-"
        self._stopped = threading.Event()
        self._retrying = Retrying(
            retry=retry_if_exception_type((_PassingFault, BadFile)),
            wait=wait_exponential_jitter(multiplier=0.3, max=5, jitter=0.3),
            stop=self._is_enough,
            sleep=sleep_using_event(self._stopped),
            before_sleep=before_sleep_log(_log, logging.WARNING),
            reraise=True,
        )
        self._unreachable = ""
        self._downloads = Downloads(self.address)
        # Files come by many connections; were their threads to unpack them at once, they would mostly wait for each
        # other, and so would the reader.
        self._unpacking = threading.Lock()

    def day(self, start_ms: int) -> pa.Table:
        """The klines of the UTC day that starts at `start_ms`.

        Raises:
            NoFile: it is not published, or never will be.
            BadFile: its checksum, its format or its klines are wrong.
            SourceUnavailable: no answer to be had.
        """
        return self._asked(self._once, self._url(start_ms), Span(start_ms, start_ms + DAY_MS))

    def _url(self, start_ms: int) -> str:
        return f"{self._folder}{datetime.fromtimestamp(start_ms / 1000, UTC):%Y-%m-%d}.zip"

    def _asked(self, ask: Callable[..., T], *arguments: Any) -> T:
        try:
            return self._retrying(ask, *arguments)
        except _PassingFault as error:
            self._unreachable = f"no answer from {self.address}{self._downloads.way.remark}: {error}"
            raise SourceUnavailable(self._unreachable) from error

    def _is_enough(self, state: RetryCallState) -> bool:
        failed = state.outcome.exception() if state.outcome else None
        tries = _TRIES_OF_BAD_FILE if isinstance(failed, BadFile) else _TRIES
        return self._stopped.is_set() or state.attempt_number >= tries

    def first_open_ms(self) -> int:
        """The first kline of the first file.

        Found by bisection, as the archive cannot be listed from its own address. Single days may lack their file, so
        a day counts as there if one of the five from it on is.

        Raises:
            PairNotListed: there is no file of the last days.
            SourceUnavailable: no answer to be had.
        """
        newest = int(time.time() * 1000 - PUBLISHED_AFTER_MS) // DAY_MS - _LOOKED_AT
        first, found = _OLDEST_DAY, newest
        if not self._has_file(newest):
            raise PairNotListed(f"{self.address} has no files of the last days of this pair")
        while first < found:
            middle = (first + found) // 2
            first, found = (first, middle) if self._has_file(middle) else (middle + 1, found)
        for day in range(found, found + _LOOKED_AT):
            with suppress(NoFile, BadFile):
                return int(open_times(self.day(day * DAY_MS))[0])
        raise PairNotListed(f"{self.address} has no files of this pair that can be used")

    def _has_file(self, day: int) -> bool:
        return any(self._exists(day + further) for further in range(_LOOKED_AT))

    def _exists(self, day: int) -> bool:
        try:
            self._asked(self._get, f"{self._url(day * DAY_MS)}.CHECKSUM")
        except NoFile:
            return False
        return True

    def close(self) -> None:
        """End all waiting, and close the connections."""
        self._stopped.set()
        self._downloads.close()

    def _once(self, url: str, day: Span) -> pa.Table:
        packed = self._get(url)
        said = self._get(f"{url}.CHECKSUM").split()
        if not said or said[0].decode("latin-1") != hashlib.sha256(packed).hexdigest():
            raise BadFile("its checksum is wrong")
        with self._unpacking:
            return self._klines(packed, day)

    def _klines(self, packed: bytes, day: Span) -> pa.Table:
        try:
            klines = _unpacked(packed)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
            raise BadFile(f"it cannot be read ({' '.join(str(error).split())[:80]})") from error
        if problem := next(kline_problems(klines, day), None):
            raise BadFile(problem)
        return klines

    def _get(self, url: str) -> bytes:
        if self._unreachable or self._stopped.is_set():
            raise SourceUnavailable(self._unreachable or "the load was stopped")
        try:
            status, content = self._downloads.get(url)
        except (OSError, HTTPException) as error:
            said = " ".join(str(getattr(error, "strerror", None) or error).split())
            raise _PassingFault(said[:120] or type(error).__name__) from error
        if status == 404:
            raise NoFile
        if status != 200:
            raise _PassingFault(f"HTTP {status}")
        return content


def _unpacked(packed: bytes) -> pa.Table:
    with zipfile.ZipFile(io.BytesIO(packed)) as file:
        entries = file.infolist()
        if len(entries) != 1 or entries[0].file_size > _LONGEST_CSV_BYTES:
            raise ValueError("not one file of a day's size")
        lines = file.read(entries[0])
    if not lines[:1].isdigit():
        lines = lines[lines.find(b"\n") + 1 :]
    return _in_ms(from_csv(lines))


def _in_ms(klines: pa.Table) -> pa.Table:
    if not klines.num_rows or int(open_times(klines)[0]) < _LEAST_US:
        return klines
    for name in ("open_time", "close_time"):
        at = klines.schema.get_field_index(name)
        klines = klines.set_column(at, klines.schema.field(at), pc.divide(klines.column(name), 1000))
    return klines
