"""Klines from the exchange's REST API, through ccxt's raw methods.

Belongs here: which requests a span needs, their weights, checks of their responses. Does not belong here: one request
and its retries (`rest.client`), the shared budget (`sources.governor`), days and absences (`core.loading`).

Page sizes are those with the most rows per weight (facts measured 2026-11; docs/benchmarks.md): spot 1000 rows for
weight 2, futures 499 rows for weight 2, where 500 would weigh 5.
https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/Kline-Candlestick-Data
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa

from market_data_pipeline.core.errors import BadAnswer, SourceError, SourceUnavailable
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.klines.parsing import from_text
from market_data_pipeline.core.klines.table import EMPTY, column, open_times
from market_data_pipeline.core.sources.prefetch import PrefetchedPages, pieces
from market_data_pipeline.core.sources.protocol import Life, Page, Recheck, Usage
from market_data_pipeline.core.sources.rest.answers import is_plausible_ms
from market_data_pipeline.core.sources.rest.client import IN_FLIGHT, RestClient
from market_data_pipeline.core.sources.rest.faults import WrongAnswer

_PAGE_ROWS = {Market.SPOT: 1000, Market.FUTURES: 499}
# What 16 connections bring in the five seconds in which Dagster starts; 48 MB at most.
_MOST_PREFETCHED = 32 * IN_FLIGHT
# A pair whose newest kline is this old does not trade now; its status has whether it ever will again.
_SILENT_MS = 10 * MINUTE_MS
REST = frozenset({"rest"})
# A row has about 180 bytes.
_MOST_BYTES, _MOST_ROW_BYTES = 4096, 400


def klines_weight(market: Market, limit: int) -> int:
    """Return the weight of a klines request with this limit."""
    if market is Market.SPOT:
        return 2
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10


class RestSource:
    """Klines of one pair from the REST API."""

    def __init__(self, client: RestClient, token: str) -> None:
        """Send no request yet."""
        self.client = client
        self._market = client.market
        self._token = token
        self._prefetched = PrefetchedPages(
            f"rest-{token}", self._page, threads=IN_FLIGHT, most_prefetched=_MOST_PREFETCHED
        )
        self._life: Life | None = None

    @property
    def warnings(self) -> list[str]:
        """See `KlineSource.warnings`."""
        return self.client.warnings

    def now_ms(self) -> int:
        """Return the exchange's clock, ms UTC: set by one request, and carried on by this machine's clock."""
        return self.client.now_ms()

    def life(self, *, refresh: bool = False) -> Life:
        """See `KlineSource.life`. Two light requests, for the first kline and the newest ones.

        The first kline, not the listing date: the exchange has none (spot) or a wrong one (futures,
        binance/binance-public-data#427).
        """
        if self._life is None or refresh:
            self._life = self._request_life()
        return self._life

    def _request_life(self) -> Life:
        # All at once, because a load cannot be planned without them. They are paid afterwards, as the request for the
        # clock is: only then is the exchange's minute known.
        with ThreadPoolExecutor(2) as others:
            clock = others.submit(self.now_ms)
            newest_rows = others.submit(self._rows, limit=2, closed=False, paid=False)
            first = self._rows(limit=1, startTime=0, closed=False, paid=False)
        newest, now_ms = newest_rows.result(), clock.result()
        self.client.pay(klines_weight(self._market, 1) + klines_weight(self._market, 2))
        if first.num_rows == 0:
            return Life(now_ms, None)
        return Life(int(open_times(first)[0]), self._ended(newest or first, now_ms))

    def _ended(self, newest: pa.Table, now_ms: int) -> int | None:
        """Return the open time of the last kline of a pair that is no longer traded, None for one that is.

        After its end a spot pair has no klines, and a futures pair has flat ones at the last price, which are not data
        (binance/binance-public-data#201). So the listing is requested only for a pair without trades.
        """
        newest_ms = int(open_times(newest)[-1])
        flat = self._market is Market.FUTURES and not column(newest, "trades").any()
        if now_ms - newest_ms <= _SILENT_MS and not flat:
            return None
        listing = self.client.listing(self._token)
        if not listing.has_ended:
            return None
        delivered_ms = listing.delivery_ms // MINUTE_MS * MINUTE_MS - MINUTE_MS if listing.delivery_ms else newest_ms
        return min(newest_ms, delivered_ms)

    def prefetch(self, spans: Iterable[Span]) -> None:
        """See `KlineSource.prefetch`."""
        self.client.governor.open()
        self._prefetched.start(pieces(spans, self.page_ms))

    def pages(self, spans: Iterable[Span]) -> Iterator[Page]:
        """See `KlineSource.pages`."""
        self.client.governor.open()
        return self._prefetched.pages(pieces(spans, self.page_ms))

    @property
    def page_ms(self) -> int:
        """The longest span of a page, in ms."""
        return _PAGE_ROWS[self._market] * MINUTE_MS

    def recheck(self, gap: Span) -> Recheck:
        """See `KlineSource.recheck`. It proves nothing alone that REST left minutes out twice."""
        klines = self.klines(gap)
        if klines.num_rows:
            return Recheck(klines, REST)
        return Recheck(EMPTY, evidence=("rest: none, asked twice",))

    def klines(self, span: Span) -> pa.Table:
        """Return all klines of a span.

        Raises:
            BadAnswer, SourceUnavailable: see `KlineSource.recheck`.
        """
        pages = list(self.pages([span]))
        for page in pages:
            if page.error:
                raise BadAnswer(page.error)
        return pa.concat_tables([page.klines for page in pages]).combine_chunks()

    def newest(self, span: Span, *, paid: bool = False) -> pa.Table:
        """See `KlineSource.newest`."""
        start_ms, end_ms = span.start_ms, span.end_ms - MINUTE_MS
        return self._rows(limit=span.minutes, startTime=start_ms, endTime=end_ms, within=span, paid=not paid)

    def usage(self) -> Usage:
        """See `KlineSource.usage`."""
        governor = self.client.governor
        return Usage(governor.used(), governor.limit, governor.spent, governor.closed_s())

    def close(self) -> None:
        """End all waiting, for the budget, a retry or a response, then the threads."""
        self.client.stop()
        self._prefetched.close()

    def _page(self, span: Span) -> Page:
        try:
            klines = self._rows(
                limit=span.minutes, startTime=span.start_ms, endTime=span.end_ms - MINUTE_MS, within=span
            )
        except SourceUnavailable:
            raise
        except SourceError as error:
            return Page(span, EMPTY, REST, str(error))
        return Page(span, klines, REST)

    def _rows(
        self, *, limit: int, within: Span | None = None, closed: bool = True, paid: bool = True, **params: int
    ) -> pa.Table:
        """Request klines once. With `within`, refuse klines outside it, off the minute grid, or out of order."""

        def read(body: bytes) -> pa.Table:
            klines = _parsed(body, limit)
            # By its open time, because a kline that is still open may have a close time in the past.
            if closed and klines.num_rows and int(open_times(klines)[-1]) + MINUTE_MS > self.now_ms():
                klines = klines.slice(0, klines.num_rows - 1)
            if within is not None:
                _refuse_misplaced(open_times(klines), within)
            return klines

        weight = klines_weight(self._market, limit) if paid else 0
        request = {"symbol": self._token, "interval": "1m", "limit": limit, **params}
        return self.client.get("klines", request, weight, read, most_bytes=_MOST_BYTES + limit * _MOST_ROW_BYTES)


def _parsed(body: bytes, limit: int) -> pa.Table:
    """The klines of a body, at most `limit`."""
    text = body.decode("utf-8", "replace")
    if not text.lstrip().startswith("["):
        raise WrongAnswer(f"not a list of klines but {' '.join(text[:80].split())!r}")
    try:
        klines = from_text(text)
    except (ValueError, TypeError, OverflowError) as error:
        raise WrongAnswer(f"rows that are not klines ({str(error)[:80]})") from error
    if klines.num_rows > limit:
        raise WrongAnswer(f"{klines.num_rows} klines, though {limit} were requested")
    if klines.num_rows and not all(is_plausible_ms(int(time_ms)) for time_ms in open_times(klines)[[0, -1]]):
        raise WrongAnswer("klines of a time at which there was no exchange")
    return klines


def _refuse_misplaced(times: "np.ndarray[Any, np.dtype[np.int64]]", within: Span) -> None:
    if not len(times):
        return
    if times[0] < within.start_ms or times[-1] >= within.end_ms:
        raise WrongAnswer("klines outside the asked minutes")
    if (np.diff(times) <= 0).any():
        raise WrongAnswer("klines out of order or doubled")
    if (times % MINUTE_MS).any():
        raise WrongAnswer("klines off the minute grid")
