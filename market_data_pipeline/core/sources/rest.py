"""Klines from the exchange's REST API, through ccxt's raw methods.

Belongs here: what to ask, what it weighs, how pages follow each other. Does not belong here: one request and its
retries (`rest_client`), the shared budget (`governor`), days and absences (`backfill`).

Page sizes are those with the most rows per weight (facts measured 2026-11; docs/benchmarks.md): spot 1000 rows for
weight 2, futures 499 rows for weight 2, where 500 would weigh 5.
https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/Kline-Candlestick-Data
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from market_data_pipeline.core.coverage import Span
from market_data_pipeline.core.dataset import Market
from market_data_pipeline.core.days import MINUTE_MS
from market_data_pipeline.core.errors import SourceError, SourceUnavailable
from market_data_pipeline.core.klines import EMPTY, from_rows, from_text, open_times
from market_data_pipeline.core.sources.base import Life, Page, Usage
from market_data_pipeline.core.sources.rest_client import IN_FLIGHT, RestClient, WrongAnswer

_AHEAD = 2 * IN_FLIGHT
# What 16 connections bring while Dagster starts; 24 MB at most.
_FAR_AHEAD = 16 * IN_FLIGHT
_PAGE_ROWS = {Market.SPOT: 1000, Market.FUTURES: 499}
# A pair whose newest kline is this old does not trade now; its status tells whether it ever will again.
_SILENT_MS = 10 * MINUTE_MS


def klines_weight(market: Market, limit: int) -> int:
    """What one klines request with this limit costs."""
    if market is Market.SPOT:
        return 2
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10


class RestSource:
    """Klines of one pair from the REST API."""

    name = "rest"

    def __init__(
        self, market: Market, token: str, *, root: Path, base_url: str | None = None, extra_sleep_s: float = 0
    ) -> None:
        """Nothing is sent before the first method is called.

        `root` is the data root, where the weight budget lies; `base_url` replaces the exchange's own address.
        """
        self._market = market
        self._token = token
        self.client = RestClient(market, root=root, base_url=base_url, extra_sleep_s=extra_sleep_s)
        self._pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix=f"rest-{token}")
        self._life: Life | None = None
        self._asked_ahead: dict[Span, Future[Page]] = {}

    def now_ms(self) -> int:
        """The exchange's clock, set by one request and carried on by this machine's."""
        return self.client.now_ms()

    def life(self) -> Life:
        """First kline and, for a pair that is no longer traded, last kline: two light requests, once.

        The first kline is asked for rather than the listing date, which the exchange does not give (spot) or gives
        wrongly (futures, binance/binance-public-data#427).
        """
        if self._life is None:
            self._life = self._ask_life()
        return self._life

    def _ask_life(self) -> Life:
        now_ms = self.now_ms()
        # Both at once: a load waits for them before it can plan anything.
        newest = self._pool.submit(self._rows, limit=1, closed=False)
        first = self._rows(limit=1, startTime=0)
        if first.num_rows == 0:
            return Life(now_ms, None)
        newest_ms = int(open_times(newest.result() or first)[-1])
        delisted = now_ms - newest_ms > _SILENT_MS and self.client.status(self._token) != "TRADING"
        return Life(int(open_times(first)[0]), newest_ms if delisted else None)

    def ask_ahead(self, spans: Iterable[Span]) -> None:
        """See `KlineSource.ask_ahead`."""
        self.client.governor.open()
        for span in islice(self._page_spans(spans), _FAR_AHEAD):
            self._asked_ahead[span] = self._pool.submit(self._page, span)

    def pages(self, spans: Iterable[Span]) -> Iterator[Page]:
        """See `KlineSource.pages`."""
        self.client.governor.open()
        waiting = self._page_spans(spans)
        flying: deque[Future[Page]] = deque()
        try:
            # A reader that came late keeps the pages it found waiting as its lead, or the connections would idle.
            flying.extend(self._asked(span) for span in islice(waiting, max(_AHEAD, len(self._asked_ahead))))
            while flying:
                page = flying.popleft().result()
                flying.extend(self._asked(span) for span in islice(waiting, 1))
                yield page
        finally:
            for future in flying:
                future.cancel()

    def _page_spans(self, spans: Iterable[Span]) -> Iterator[Span]:
        size_ms = _PAGE_ROWS[self._market] * MINUTE_MS
        for span in spans:
            for start_ms in range(span.start_ms, span.end_ms, size_ms):
                yield Span(start_ms, min(start_ms + size_ms, span.end_ms))

    def _asked(self, span: Span) -> "Future[Page]":
        return self._asked_ahead.pop(span, None) or self._pool.submit(self._page, span)

    def usage(self) -> Usage:
        """See `KlineSource.usage`."""
        governor = self.client.governor
        return Usage(governor.used(), governor.limit, governor.spent)

    def close(self) -> None:
        """Stop what waits for the budget or for a retry, then the threads."""
        self.client.stop()
        self._pool.shutdown(cancel_futures=True)

    def _page(self, span: Span) -> Page:
        try:
            klines = self._rows(
                limit=span.minutes, startTime=span.start_ms, endTime=span.end_ms - MINUTE_MS, within=span
            )
        except SourceUnavailable:
            raise
        except SourceError as error:
            return Page(span, EMPTY, str(error))
        return Page(span, klines)

    def _rows(self, *, limit: int, within: Span | None = None, closed: bool = True, **params: int) -> pa.Table:
        """Klines of one request; with `within`, refused unless each lies there, on the grid, after the one before."""

        def read(answer: Any) -> pa.Table:
            if not isinstance(answer, list | str):
                raise WrongAnswer(f"not a list of klines but {str(answer)[:80]!r}")
            try:
                klines = from_text(answer) if isinstance(answer, str) else from_rows(answer)
            except (ValueError, TypeError, OverflowError) as error:
                raise WrongAnswer(f"rows that are not klines ({str(error)[:80]})") from error
            if closed and klines.num_rows and int(klines.column("close_time")[-1].as_py()) >= self.now_ms():
                klines = klines.slice(0, klines.num_rows - 1)
            if within is not None:
                _refuse_misplaced(open_times(klines), within)
            return klines

        weight = klines_weight(self._market, limit)
        request = {"symbol": self._token, "interval": "1m", "limit": limit, **params}
        return self.client.get("klines", request, weight, read)


def _refuse_misplaced(times: "np.ndarray[Any, np.dtype[np.int64]]", within: Span) -> None:
    if not len(times):
        return
    if times[0] < within.start_ms or times[-1] >= within.end_ms:
        raise WrongAnswer("klines outside the asked minutes")
    if (np.diff(times) <= 0).any():
        raise WrongAnswer("klines out of order or doubled")
    if (times % MINUTE_MS).any():
        raise WrongAnswer("klines off the minute grid")
