"""The interface of a source of klines.

Belongs here: the protocol that use cases are written against, and the values it passes. Does not belong here: any
particular source.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from market_data_pipeline.core.klines.coverage import Kind, Span
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.klines.flaws import BadRow, Flaw
from market_data_pipeline.core.sources.planning.forecast import Expected
from market_data_pipeline.core.sources.planning.traffic import Traffic


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
        kind: what the evidence proves of a gap without klines: `outage` or `suspended`. Without a proof it is `open`
            where the exchange may only be late, else `unexplained`.
        flaws: those of the klines, with the sources that have them.
        bad_rows: the rows of the gap that cannot be stored. Where there are any, nothing is said of its other minutes.
        refuted: the kinds against which speaks what a witness has of the gap. An earlier proof of another kind holds
            where a witness only gave no answer.
    """

    klines: pa.Table
    sources: frozenset[str] = frozenset()
    evidence: tuple[str, ...] = ()
    kind: Kind = Kind.UNEXPLAINED
    flaws: tuple[Flaw, ...] = ()
    bad_rows: tuple[BadRow, ...] = ()
    refuted: frozenset[Kind] = frozenset()


@dataclass(frozen=True, slots=True)
class Life:
    """When the exchange has klines of a pair.

    Attributes:
        first_open_ms: the first open time, ms UTC.
        last_open_ms: the last open time of a pair that is not traded now, ms UTC; None for one that is.
        ended: True if it is proven that the pair is not traded any more. Until then it is paused: the exchange has the
            same status for a pause and for an end.
        between: the minutes between the last kline of an earlier pair of the same symbol and the first of the present
            one; None if the symbol had one pair.
        by_files: True if only the archive told this, whose files are a day behind: there may be later klines.
    """

    first_open_ms: int
    last_open_ms: int | None
    ended: bool = False
    between: Span | None = None
    by_files: bool = False

    @property
    def ended_ms(self) -> int | None:
        """Since when the pair is proven to be traded no more, ms UTC; None without a proof."""
        return self.last_open_ms + MINUTE_MS if self.ended and self.last_open_ms is not None else None

    @property
    def paused_ms(self) -> int | None:
        """Since when the pair is not traded though its end is not proven, ms UTC; None if it is traded or has ended."""
        return None if self.last_open_ms is None or self.ended else self.last_open_ms + MINUTE_MS


@dataclass(frozen=True, slots=True)
class Usage:
    """Request weight: used by all processes in the running minute, allowed per minute, and spent by this source.

    `closed_s` is for how many seconds more the exchange refuses all requests from this address, 0 if it does not.
    """

    used: int
    limit: int
    spent: int
    closed_s: float = 0


class Pages(Protocol):
    """Pages in order, and whether the next one is there. Nothing follows an error."""

    def __iter__(self) -> Iterator[Page]:
        """The pages that are left."""

    def __next__(self) -> Page:
        """Return the next page.

        Raises:
            SourceUnavailable: there is no response after all retries.
        """

    def wait(self, timeout_s: float) -> bool:
        """Wait at most so many seconds; True if `next` then has a page, an error or the end without further waiting."""

    def close(self) -> None:
        """Cancel the requests for pages that were not read."""


class PageSource(Protocol):
    """Klines of one pair on one market, page by page. Times are ms UTC."""

    def pages(self, spans: Iterable[Span]) -> Pages:
        """The klines of the spans (sorted, disjoint) page by page, in order. Only closed klines.

        No request is sent before the first page is asked for. Then several are in flight at once, for a bounded number
        of pages ahead of the reader.
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

    def life(self, since_ms: int = 1 << 62, *, between: Span | None = None, refresh: bool = False) -> Life:
        """Return when the exchange has klines of the pair. Requested once and kept; `refresh` requests it again.

        Args:
            since_ms: how far back to look (ms UTC) for klines that only the archive has.
            between: what is known of `Life.between`, so that the archive is not asked about these minutes.
            refresh: request it again.

        Raises:
            PairNotListed: neither REST nor the archive knows the pair.
            PairNotServed: REST has no klines of the pair in its present status, and the archive has no file of it.
            NotTradedYet: the market lists the pair, and there is no kline yet.
            SourceUnavailable: there is no response after all retries.
        """

    def listed_pair(self) -> str | None:
        """Return the pair with base and quote as the exchange lists them, `BTC/USDT`; None if it does not say."""

    def newest(self, span: Span, *, paid: bool = False) -> Page:
        """Return the closed klines of at most 480 minutes, by one request in the calling thread.

        Set `paid` if the weight of the request was taken from the budget before.

        Raises:
            BadAnswer, SourceUnavailable: see `recheck`.
        """

    def settled_ms(self) -> int | None:
        """Return the minute of a contract's settlement (ms UTC) if that is past; None if it is not, or never will be.

        By a list of all contracts that may be ten minutes old: it has a settlement before that comes.

        Raises:
            SourceError: there is no list.
        """

    def prefetch(self, spans: Iterable[Span]) -> None:
        """Start requests for the first pages of the spans, a bounded number, and return at once. `pages` uses them."""

    def usage(self) -> Usage:
        """Return the request weight used so far."""

    def expect(self, days: Iterable[Sequence[Span]], absent: Sequence[Span] = ()) -> list[Expected]:
        """Return what `pages` will send for the spans of these days, and `recheck` for minutes without klines.

        Listings are requested for it, and one kline for a hole in them. `absent` are minutes of which it is known that
        they have no klines.

        Raises:
            SourceUnavailable: there is no response after all retries.
        """

    def traffic(self) -> Traffic:
        """Return what was answered so far."""

    def close(self) -> None:
        """End all waiting and close the connections."""
