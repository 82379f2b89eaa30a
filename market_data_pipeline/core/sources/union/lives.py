"""When the exchange has klines of a pair: what REST and the archive know of it, put together.

Belongs here: the first and the last kline of a pair, the proof of an end, an earlier pair of the same symbol. Does not
belong here: requests to either source (`sources.rest`, `sources.archive`), klines of a load (`union`).

REST may not know a pair any more, or know only the present pair of a symbol, while the archive has all files. The
status of a pair proves no end: the exchange has the same one for a pause.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date, timedelta
from itertools import islice

import pyarrow as pa

from market_data_pipeline.core.errors import (
    REFUSED,
    MarketDataError,
    NotTradedYet,
    PairNotListed,
    PairNotServed,
    RegionBlocked,
    ShutOut,
    SourceError,
    SourceUnavailable,
)
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import HISTORY_START_MS
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.klines.table import open_times
from market_data_pipeline.core.sources.archive.files import PUBLISHED_AFTER_MS, Archive, BadFile, NoFile, UnansweredFile
from market_data_pipeline.core.sources.archive.listing import start_of, utc_date
from market_data_pipeline.core.sources.planning.division import DAY_MS
from market_data_pipeline.core.sources.protocol import Life
from market_data_pipeline.core.sources.rest.klines import RestSource, last_traded_ms

# Where so many files in a row cannot be used, the next ones are not looked at: an archive may have thousands.
_MOST_FILES = 5

_log = logging.getLogger(__name__)


class Lives:
    """The life of one pair, from REST, from the archive, or from both."""

    def __init__(
        self, name: str, rest: RestSource, archive: Archive, end_of: Callable[[], date | None] = lambda: None
    ) -> None:
        """Send no request yet.

        Args:
            name: that of the source: rest, archive or auto.
            rest: the REST API.
            archive: the archive's files.
            end_of: gives the last UTC day of a pair whose end was proven before; asked where REST cannot be.
        """
        self._name, self._rest, self._archive, self._end_of = name, rest, archive, end_of
        self._refusal = ""
        self._unreachable_s, self._unreachable = 0.0, SourceUnavailable("REST was not asked yet")
        self._lock = threading.Lock()
        self._life: Life | None = None
        self._since_ms = 1 << 62

    def life(self, since_ms: int = 1 << 62, *, between: Span | None = None, refresh: bool = False) -> Life:
        """Return when there are klines of the pair, as far back as `since_ms` (ms UTC) needs it; kept.

        `between` is what is known of `Life.between` from an earlier load.

        Raises:
            PairNotListed: neither source knows the pair.
            PairNotServed: REST does not serve the pair, and the archive has no file of it.
            NotTradedYet: the market lists the pair, and there is no kline yet.
            SourceUnavailable: there is no response after all retries.
            SourceError: the archive lists files of the pair and has no klines in them.
        """
        if self._life is None or refresh or since_ms < self._since_ms:
            since_ms = min(since_ms, self._since_ms)
            self._life = self._of_both(since_ms, between, refresh=refresh)
            # The files of a pair that REST does not have are looked for in the whole history.
            self._since_ms = min(since_ms, HISTORY_START_MS) if self.refusal else since_ms
        return self._life

    @property
    def refusal(self) -> str:
        """Why REST has no klines of the pair, as a line of evidence; empty if it has."""
        return "rest: not to be asked" if self.is_unreachable else self._refusal

    @property
    def is_unreachable(self) -> bool:
        """True if REST cannot be asked at all, not even for its clock, and has not answered since."""
        return self._unreachable_s > self._rest.client.answered_s

    def require_reachable(self) -> None:
        """Raise why REST cannot be asked; nothing if it can."""
        if self.is_unreachable:
            raise self._unreachable

    def note_unreachable(self, error: SourceUnavailable) -> SourceUnavailable:
        """Note that REST cannot be asked any more, with one warning, until it answers a request that is under way.

        Returns the error that was noted first: how long a ban lasts differs from request to request.
        """
        with self._lock:
            if self.is_unreachable:
                return self._unreachable
            self._unreachable_s, self._unreachable = time.monotonic(), error
            warning = f"{error}. Loaded from {self._archive.address} alone, which is a day behind"
            if warning not in self._rest.warnings:
                self._rest.warnings.append(warning)
            return error

    def now_ms(self) -> int:
        """Return the exchange's clock, or this machine's where REST never told it and cannot be reached (ms UTC)."""
        if not self.is_unreachable or self._rest.client.answered_s:
            try:
                return self._rest.now_ms()
            except REFUSED:
                self.life()  # raises unless the archive has the pair
            except SourceUnavailable:
                if self._name != "archive":
                    raise
                self.life()
        return round(time.time() * 1000)

    def _of_both(self, since_ms: int, between: Span | None, *, refresh: bool) -> Life:
        if self._name == "rest":
            return self._rest.life(refresh=refresh)
        if self.is_unreachable and not refresh:
            return self._of_archive_alone(since_ms)
        try:
            life = self._rest.life(refresh=refresh)
        except PairNotListed as error:
            return self._refused(since_ms, error, "rest: does not list the pair")
        except PairNotServed as error:
            return self._refused(since_ms, error, "rest: serves no klines of the pair in its present status")
        except NotTradedYet as error:  # the symbol may have been that of an earlier pair
            return self._refused(since_ms, error, "")  # of each absent minute it is asked all the same
        except SourceUnavailable as error:
            if self._name != "archive" and not isinstance(error, RegionBlocked | ShutOut):  # a ban is waited for
                raise
            return self._without_rest(since_ms, error)
        self._refusal, self._unreachable_s = "", 0.0
        return self._with_earlier(life, since_ms, between)

    def _without_rest(self, since_ms: int, error: SourceUnavailable) -> Life:
        try:
            life = self._of_archive_alone(since_ms)
        except SourceError:
            raise error from None
        self.note_unreachable(error)
        return life

    def _of_archive_alone(self, since_ms: int) -> Life:
        """The life without REST. Files prove no end; one that was proven before counts while there is no later file.

        Raises:
            PairNotListed: there is no file.
        """
        life = self._of_archive(since_ms, None, proves_end=False)
        if life.last_open_ms is None:
            return life
        return replace(life, ended=utc_date(life.last_open_ms) == self._end_of())

    def _refused(self, since_ms: int, error: SourceError, refusal: str) -> Life:
        """The life of a pair that REST has no klines of."""
        listing = None if isinstance(error, PairNotListed) else self._rest.client.listing(self._rest.token)
        if listing and listing.is_trading and isinstance(error, NotTradedYet):
            raise error  # of a pair that is traded, an answer without klines says nothing
        try:
            delivered_ms = listing.delivered_ms(self._rest.now_ms()) if listing else None
            # A pair that was never traded has no files: those that there are have been another pair's.
            is_gone = listing is None or listing.is_pending or delivered_ms is not None
            life = self._of_archive(since_ms, delivered_ms, proves_end=is_gone)
        except PairNotListed:
            if listing and listing.is_pending and not isinstance(error, NotTradedYet):
                raise NotTradedYet(f"the pair is listed ({listing.status}) and not traded yet") from None
            raise error from None
        self._refusal = refusal
        return life

    def _of_archive(self, since_ms: int, delivered_ms: int | None, *, proves_end: bool) -> Life:
        """The life by the archive's files alone.

        Where REST has no klines of the pair (`proves_end`), its end is that of the files if later ones could be there.

        Raises:
            PairNotListed: there is no file.
            SourceError: the files that were looked at have no klines.
        """
        published, since = self._published(), utc_date(min(since_ms, HISTORY_START_MS))
        # A pair that ended before the usual history has files, too.
        days = self._archive.days(since, published) or self._archive.days(date.min, since - timedelta(1))
        if not days:
            raise PairNotListed(f"{self._archive.address} has no files of this pair")
        # Flat klines may follow a settlement for weeks.
        ends = [day for day in days if delivered_ms is None or start_of(day) <= delivered_ms]
        first_ms, last_ms = self._edge_ms(days, 0, None), self._edge_ms(reversed(ends), -1, delivered_ms)
        if first_ms is None or last_ms is None:
            # Of this pair alone, so that a load of many goes on with the others.
            raise SourceError(
                f"{self._archive.address} lists files of this pair and has no klines in them; try again later"
            )
        if not proves_end and days[-1] >= published:
            return Life(first_ms, None)
        ended = proves_end and (delivered_ms is not None or days[-1] < published)
        return Life(first_ms, last_ms, ended, by_files=True)

    def _with_earlier(self, life: Life, since_ms: int, known: Span | None) -> Life:
        """The life with days that only the archive has: those of an earlier pair of the symbol, or REST lost them."""
        first_day = utc_date(life.first_open_ms)
        if since_ms >= start_of(first_day):
            return life
        is_known = known is not None and known.end_ms == life.first_open_ms
        last_day = utc_date(known.start_ms - 1) if known and is_known else first_day - timedelta(1)
        try:
            if days := self._archive.days(utc_date(since_ms), last_day):
                # The earlier pair began where its files begin, which may be long before these minutes.
                days = [*self._archive.days(date.min, days[0] - timedelta(1)), *days]
            first_ms, last_ms = self._edge_ms(days, 0, None), self._edge_ms(reversed(days), -1, None)
        except SourceUnavailable as error:
            self._rest.warnings.append(f"whether there are klines before {first_day} is not known: {error}")
            return life
        if first_ms is None or last_ms is None:
            return life
        is_reused = first_day - utc_date(last_ms) > timedelta(1)
        between = Span(last_ms + MINUTE_MS, life.first_open_ms) if is_reused else None
        return Life(first_ms, life.last_open_ms, life.ended, between)

    def _edge_ms(self, days: Iterable[date], at: int, delivered_ms: int | None) -> int | None:
        """The first (`at` 0) or last (-1) open time of the first of these days whose file has klines.

        The first or last minute of the day where its file cannot be read, or is not there. None where the first files
        have no klines.

        Raises:
            SourceUnavailable: the archive gives no answer about this file and the next ones.
        """
        looked_at = list(islice(days, _MOST_FILES))
        for number, day in enumerate(looked_at, 1):
            try:
                klines = self._of_file(day, looked_at[number:])
            except (NoFile, BadFile) as error:
                # The day is in the life, so that a load asks for it, and says why it lacks it.
                _log.warning("the archive's file of %s is not used: %s", day, str(error) or "it is not there")
                last_ms = start_of(day) + DAY_MS - MINUTE_MS
                return start_of(day) if at == 0 else min(last_ms, delivered_ms or last_ms)
            if klines.num_rows:
                return int(open_times(klines)[at]) if delivered_ms is None else last_traded_ms(klines, delivered_ms)
        return None

    def _of_file(self, day: date, others: Iterable[date]) -> pa.Table:
        """The klines of a day's file. It is asked for again if the archive answers about one of the others meanwhile.

        Raises:
            NoFile, BadFile: it cannot be read, or gets no answer as the only one.
            SourceUnavailable: the archive gives no answer about the others either.
        """
        try:
            return self._archive.day(start_of(day)).klines
        except UnansweredFile as error:
            if not any(map(self._is_answered, others)):
                raise SourceUnavailable(str(error)) from error
        return self._archive.day(start_of(day)).klines

    def _is_answered(self, day: date) -> bool:
        try:
            self._archive.packed(start_of(day))
        except UnansweredFile:
            return False
        except (NoFile, BadFile):
            pass
        return True

    def _published(self) -> date:
        """The newest UTC day of which the archive should have a file."""
        try:
            now_ms = round(time.time() * 1000) if self.is_unreachable else self._rest.now_ms()
        except MarketDataError:
            now_ms = round(time.time() * 1000)
        return utc_date(now_ms - PUBLISHED_AFTER_MS) - timedelta(1)
