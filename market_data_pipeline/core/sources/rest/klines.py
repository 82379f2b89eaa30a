"""Klines from the exchange's REST API, through ccxt's raw methods.

Belongs here: which requests a span needs, their weights, the life of a pair. Does not belong here: one request and its
retries (`rest.client`), the rows of an answer (`rest.rows`), the shared budget (`sources.governor`), days and absences
(`core.loading`).

Page sizes are those with the most rows per weight (facts measured 2026-11; docs/benchmarks.md): spot 1000 rows for
weight 2, futures 499 rows for weight 2, where 500 would weigh 5.
https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/Kline-Candlestick-Data
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import pyarrow as pa

from market_data_pipeline.core.errors import BadAnswer, NotTradedYet, SourceError, SourceUnavailable
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.klines.pair import pair_of
from market_data_pipeline.core.klines.parsing import Parsed
from market_data_pipeline.core.klines.sifting import Sifted, sift
from market_data_pipeline.core.klines.table import EMPTY, column, open_times
from market_data_pipeline.core.sources.interrupts import ended_if_interrupted, result_of
from market_data_pipeline.core.sources.prefetch import PrefetchedPages, ReadAhead, pieces
from market_data_pipeline.core.sources.protocol import Life, Page, Recheck, Usage
from market_data_pipeline.core.sources.rest.client import IN_FLIGHT, RestClient
from market_data_pipeline.core.sources.rest.rows import OddRows, rows_of
from market_data_pipeline.core.sources.rest.silence import Silence

_PAGE_ROWS = {Market.SPOT: 1000, Market.FUTURES: 499}
# What 16 connections bring in the five seconds in which Dagster starts; 48 MB at most.
_MOST_PREFETCHED = 32 * IN_FLIGHT
# The minutes that a tick of live mode requests, and those around them.
_MOST_PAGES_HERE = 2
# A pair whose newest kline is this old does not trade now; its status has whether it ever will again.
_SILENT_MS = 10 * MINUTE_MS
REST = frozenset({"rest"})
# The minute of a settlement may have trades (binance/binance-public-data#497); what follows is flat.
_SETTLEMENT_ROWS = 60
# A row has about 180 bytes.
_MOST_BYTES, _MOST_ROW_BYTES = 4096, 400
# The date of a settlement is in the list days before (freqtrade/freqtrade#12259).
_SETTLEMENTS_KEPT_S = 600

T = TypeVar("T")


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
        self.token = token
        self._prefetched = PrefetchedPages(
            f"rest-{token}", self._page, threads=IN_FLIGHT, most_prefetched=_MOST_PREFETCHED
        )
        self._life: Life | None = None
        self._silence = Silence()
        self._odd_rows = OddRows()

    @property
    def warnings(self) -> list[str]:
        """See `KlineSource.warnings`."""
        return self.client.warnings

    def now_ms(self) -> int:
        """Return the exchange's clock, ms UTC: set by one request, and carried on by this machine's clock."""
        return self.client.now_ms()

    def life(self, since_ms: int = 0, *, between: Span | None = None, refresh: bool = False) -> Life:
        """See `KlineSource.life`. Two light requests, for the first kline and the newest ones.

        The first kline, not the listing date: the exchange has none (spot) or a wrong one (futures,
        binance/binance-public-data#427).
        """
        del since_ms, between  # REST tells its first kline whenever that was
        if self._life is None or refresh:
            self._life = self._request_life()
        return self._life

    def _request_life(self) -> Life:
        # All at once, because a load cannot be planned without them. They are paid afterwards, as the request for the
        # clock is: only then is the exchange's minute known. The answer that there is no such pair weighs the same.
        try:
            with ThreadPoolExecutor(3) as threads, ended_if_interrupted(self.client.stop):
                clock = threads.submit(self.now_ms)
                newest_rows = threads.submit(self._rows_at_an_end, limit=2)
                first_row = threads.submit(self._rows_at_an_end, limit=1, startTime=0)
                first, newest, now_ms = result_of(first_row), result_of(newest_rows), result_of(clock)
        finally:
            if not clock.exception():
                self.client.pay(klines_weight(self._market, 1) + klines_weight(self._market, 2))
        if first.num_rows == 0:
            raise NotTradedYet(
                f"{self.client.address} lists this {self._market} pair, which has no kline yet: it is not traded yet; "
                "try again when it is"
            )
        return Life(int(open_times(first)[0]), *self._end(newest or first, now_ms))

    def _end(self, newest: pa.Table, now_ms: int) -> tuple[int | None, bool]:
        """Return the open time of the last kline of a pair that is not traded now, and whether that is proven its end.

        After its end a spot pair has no klines, and a futures pair has flat ones at the last price, which are not data
        (binance/binance-public-data#201). So the listing is requested only for a pair without trades. A settlement
        that is past proves the end; a status proves nothing.
        """
        times = open_times(newest)
        newest_ms, closed = int(times[-1]), int(np.searchsorted(times, now_ms - MINUTE_MS, side="right"))
        # Since the newest minute that is over: the row of the running one may not be there yet.
        flat = self._market is Market.FUTURES and not column(newest, "trades")[max(closed - 1, 0) :].any()
        is_silent = now_ms - newest_ms > _SILENT_MS
        if not is_silent and not flat:
            return None, False
        listing = self.client.listing(self.token)
        if (delivered_ms := listing.delivered_ms(now_ms)) is not None:
            if newest_ms < delivered_ms:
                return newest_ms, True
            after = self._request(
                lambda body: rows_of(body, _SETTLEMENT_ROWS).klines,
                paid=True,
                limit=_SETTLEMENT_ROWS,
                startTime=delivered_ms,
            )
            return last_traded_ms(after, delivered_ms), True
        return (newest_ms, False) if is_silent and not listing.is_trading else (None, False)

    def listed_pair(self) -> str | None:
        """See `KlineSource.listed_pair`. One request, beside those of `life`."""
        listing = self.client.listing(self.token, paid=False)
        return pair_of(self.token, listing.base, listing.quote)

    def settled_ms(self) -> int | None:
        """See `KlineSource.settled_ms`."""
        return self.client.listing(self.token, kept_s=_SETTLEMENTS_KEPT_S).delivered_ms(self.now_ms())

    def prefetch(self, spans: Iterable[Span]) -> None:
        """See `KlineSource.prefetch`."""
        self.client.governor.open()
        self._prefetched.start(pieces(spans, self.page_ms))

    def pages(self, spans: Iterable[Span]) -> ReadAhead[Page]:
        """See `KlineSource.pages`."""
        self.client.governor.open()
        return self._prefetched.pages(pieces(spans, self.page_ms))

    @property
    def page_ms(self) -> int:
        """The longest span of a page, in ms."""
        return _PAGE_ROWS[self._market] * MINUTE_MS

    def recheck(self, gap: Span) -> Recheck:
        """See `KlineSource.recheck`. It proves nothing alone that REST left minutes out twice."""
        found = self._sifted_here(gap)
        evidence = () if found.klines.num_rows or found.bad_rows else ("rest: none, asked twice",)
        sources = REST if found.klines.num_rows else frozenset()
        return Recheck(found.klines, sources, evidence, flaws=found.flaws, bad_rows=found.bad_rows)

    def weight_of(self, minutes: int) -> int:
        """Return the weight of a request for so many minutes."""
        return klines_weight(self._market, minutes)

    def first_in(self, span: Span) -> int | None:
        """Return the open time of the first kline of a span, by one request; None if there is none.

        Raises:
            SourceError: there is no response after all retries, or it is something else.
        """
        bounds = {"startTime": span.start_ms, "endTime": span.end_ms - 1}
        found = self._request(lambda body: rows_of(body, 1).klines, paid=True, limit=1, **bounds)
        return int(open_times(found)[0]) if found.num_rows else None

    def klines(self, span: Span) -> pa.Table:
        """Return all klines of a span that can be stored; raises as `sifted`."""
        return self._sifted_here(span).klines

    def sifted(self, span: Span) -> Sifted:
        """Return all rows of a span.

        Raises:
            BadAnswer, SourceUnavailable: see `KlineSource.recheck`.
        """
        return _sifted(self.pages([span]))

    def newest(self, span: Span, *, paid: bool = False) -> Page:
        """See `KlineSource.newest`."""
        found = self._rows(span, paid=not paid)
        return Page(span, found.klines, REST, checked=found.clean, flaws=found.flaws, bad_rows=found.bad_rows)

    def usage(self) -> Usage:
        """See `KlineSource.usage`."""
        governor = self.client.governor
        return Usage(governor.used(), governor.limit, governor.spent, governor.closed_s())

    def close(self) -> None:
        """End all waiting, for the budget, a retry or a response, then the threads."""
        self.client.stop()
        self._prefetched.close()

    def _sifted_here(self, span: Span) -> Sifted:
        """As `sifted`, where a few pages have the span by requests of this thread.

        Threads of the source stay until its end, and live mode has a source for each pair.
        """
        if span.end_ms - span.start_ms > _MOST_PAGES_HERE * self.page_ms:
            return self.sifted(span)
        self.client.governor.open()
        return _sifted(map(self._page, pieces([span], self.page_ms)))

    def _page(self, span: Span) -> Page:
        try:
            return self._silence.broken_by(lambda: self.newest(span))
        except SourceUnavailable:
            raise
        except SourceError as error:
            return Page(span, EMPTY, REST, str(error))

    def _rows(self, span: Span, *, paid: bool = True) -> Sifted:
        """Request the closed klines of a span.

        A row that breaks a rule is taken for the exchange's own only when it comes a second time; so the request is
        repeated for it. An answer with rows of other minutes, out of order or doubled is refused.
        """

        def read(body: bytes) -> Sifted:
            found = sift(self._closed(rows_of(body, span.minutes)), span, "rest")
            self._odd_rows.refuse_what_comes_once(found)
            return found

        # Up to the last ms, as a row may be off the minute grid.
        bounds = {"startTime": span.start_ms, "endTime": span.end_ms - 1}
        return self._request(read, paid=paid, limit=span.minutes, **bounds)

    def _rows_at_an_end(self, *, limit: int, **params: int) -> pa.Table:
        """Request the first or the newest klines, closed or not; not paid."""
        return self._request(lambda body: rows_of(body, limit).klines, paid=False, limit=limit, **params)

    def _request(self, read: Callable[[bytes], T], *, paid: bool, limit: int, **params: int) -> T:
        weight = klines_weight(self._market, limit) if paid else 0
        request = {"symbol": self.token, "interval": "1m", "limit": limit, **params}
        return self.client.get("klines", request, weight, read, most_bytes=_MOST_BYTES + limit * _MOST_ROW_BYTES)

    def _closed(self, rows: Parsed) -> Parsed:
        """The rows without that of a minute that is not over.

        By its open time, because a kline that is still open may have a close time in the past.
        """
        if not rows.klines.num_rows and not rows.unreadable:
            return rows
        times, now_ms = open_times(rows.klines), self.now_ms()
        is_open = len(times) > 0 and int(times[-1]) + MINUTE_MS > now_ms
        klines = rows.klines.slice(0, len(times) - 1) if is_open else rows.klines
        unreadable = tuple(row for row in rows.unreadable if row.open_time + MINUTE_MS <= now_ms)
        return Parsed(klines, unreadable)


def _sifted(found: Iterable[Page]) -> Sifted:
    pages = []
    for page in found:
        if page.error:
            raise BadAnswer(page.error)
        pages.append(page)
    return Sifted(
        pa.concat_tables([page.klines for page in pages]).combine_chunks(),
        tuple(flaw for page in pages for flaw in page.flaws),
        tuple(row for page in pages for row in page.bad_rows),
        clean=all(page.checked for page in pages),
    )


def last_traded_ms(klines: pa.Table, delivered_ms: int) -> int:
    """Return the open time of the last kline with trades from a settlement on; the minute before it if none has any."""
    times, trades = open_times(klines), column(klines, "trades")
    traded = times[(trades > 0) & (times >= delivered_ms)]
    before = times[times < delivered_ms]
    if len(traded):
        return int(traded[-1])
    return int(before[-1]) if len(before) else delivered_ms - MINUTE_MS
