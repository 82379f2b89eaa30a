"""The interface of a source of klines.

Belongs here: the protocol that use cases are written against, and the values it passes. Does not belong here: any
particular source.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.flaws import BadRow, Flaw


@dataclass(frozen=True, slots=True)
class Page:
    """The closed klines of the minutes of `span`, sorted. Minutes without a kline are gaps.

    `sources` has the source of the klines: `rest`, `archive`, or both. `error` is set, and `klines` is empty, where
    each response of the exchange was something other than klines of these minutes. `checked` is True where the klines
    are clean (`klines.checks.is_clean`), so that the rules need not be applied a second time. `flaws` are those of the
    klines, with the sources that have them; `bad_rows` are what the sources have of minutes without a kline.
    """

    span: Span
    klines: pa.Table
    sources: frozenset[str]
    error: str | None = None
    checked: bool = False
    flaws: tuple[Flaw, ...] = ()
    bad_rows: tuple[BadRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Recheck:
    """The result of requesting a gap a second time: its klines, or the evidence that there are none.

    Attributes:
        klines: the klines of the gap, empty if there still are none.
        sources: where the klines came from.
        evidence: without klines, one line for each witness: what REST, the archive and another pair have of the gap.
        proven: True if the evidence is enough to call the gap an outage.
        flaws: those of the klines, with the sources that have them.
        bad_rows: the rows of the gap that cannot be stored. Where there are any, nothing is said of its other minutes.
    """

    klines: pa.Table
    sources: frozenset[str] = frozenset()
    evidence: tuple[str, ...] = ()
    proven: bool = False
    flaws: tuple[Flaw, ...] = ()
    bad_rows: tuple[BadRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Life:
    """When the exchange has klines of a pair: the first open time, and the last if the pair was delisted (ms UTC)."""

    first_open_ms: int
    last_open_ms: int | None


@dataclass(frozen=True, slots=True)
class Usage:
    """Request weight: used by all processes in the running minute, allowed per minute, and spent by this source.

    `closed_s` is for how many seconds more the exchange refuses all requests from this address, 0 if it does not.
    """

    used: int
    limit: int
    spent: int
    closed_s: float = 0


class PageSource(Protocol):
    """Klines of one pair on one market, page by page. Times are ms UTC."""

    def pages(self, spans: Iterable[Span]) -> Iterator[Page]:
        """Yield the klines of the spans (sorted, disjoint) page by page, in order. Only closed klines.

        Several requests are in flight at once, for a bounded number of pages ahead of the reader.

        Raises:
            SourceUnavailable: there is no response after all retries.
        """

    def recheck(self, gap: Span) -> Recheck:
        """Request exactly these minutes again, which a page of this source left out.

        Raises:
            BadAnswer: the response has something other than klines of these minutes.
            SourceUnavailable: there is no response after all retries.
        """


class KlineSource(PageSource, Protocol):
    """All requests to the exchange about one pair. Minutes and `now_ms` are those of the exchange's clock."""

    @property
    def warnings(self) -> list[str]:
        """What a user should know about where the klines come from, one line each."""

    def now_ms(self) -> int:
        """Return the exchange's clock, ms UTC."""

    def life(self, *, refresh: bool = False) -> Life:
        """Return when the exchange has klines of the pair. Requested once and kept; `refresh` requests it again.

        Raises:
            PairNotListed: the market never listed the pair.
            SourceUnavailable: there is no response after all retries.
        """

    def listed_pair(self) -> str | None:
        """Return the pair with base and quote as the exchange lists them, `BTC/USDT`; None if it does not say."""

    def newest(self, span: Span, *, paid: bool = False) -> pa.Table:
        """Return the closed klines of at most 480 minutes, by one request in the calling thread.

        Set `paid` if the weight of the request was taken from the budget before.

        Raises:
            BadAnswer, SourceUnavailable: see `recheck`.
        """

    def prefetch(self, spans: Iterable[Span]) -> None:
        """Start requests for the first pages of the spans, a bounded number, and return at once. `pages` uses them."""

    def usage(self) -> Usage:
        """Return the request weight used so far."""

    def close(self) -> None:
        """End all waiting and close the connections."""
