"""What every source of klines can do.

Belongs here: the protocol that use cases are written against, and the values it passes. Does not belong here: any
particular source.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from market_data_pipeline.core.klines.coverage import Span


@dataclass(frozen=True, slots=True)
class Page:
    """The klines that the exchange has of the minutes of `span`, sorted; minutes it left out are gaps.

    `sources` are those that the klines came from, `rest`, `archive`, or both. `error` is set, and `klines` empty, where
    the exchange kept answering something that is not klines of these minutes.
    """

    span: Span
    klines: pa.Table
    sources: frozenset[str]
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """What asking again about a gap brought: klines, or what each witness says about minutes that have none.

    `proven` is True if the witnesses agree that the minutes never had klines.
    """

    klines: pa.Table
    sources: frozenset[str] = frozenset()
    evidence: tuple[str, ...] = ()
    proven: bool = False


@dataclass(frozen=True, slots=True)
class Life:
    """When the exchange has klines of a pair: from the first one, to the last one if the pair was delisted (ms UTC)."""

    first_open_ms: int
    last_open_ms: int | None


@dataclass(frozen=True, slots=True)
class Usage:
    """Request weight: used by all processes in the running minute, the most per minute, and spent by this source."""

    used: int
    limit: int
    spent: int


class PageSource(Protocol):
    """Klines of one pair on one market, page by page. Times are ms UTC."""

    def pages(self, spans: Iterable[Span]) -> Iterator[Page]:
        """The klines of the spans (sorted, disjoint), page by page in order, several requests in flight.

        Only closed klines. The spans are loaded lazily, a bounded number of pages ahead of the reader.

        Raises:
            SourceUnavailable: no answer to be had.
        """

    def ask_again(self, gap: Span) -> Again:
        """Ask again for exactly these minutes, which a page of this source left out.

        Raises:
            BadAnswer: what came back is not klines of these minutes.
            SourceUnavailable: no answer to be had.
        """


class KlineSource(PageSource, Protocol):
    """All that can be asked of the exchange about one pair. All minutes are those of the exchange's clock."""

    @property
    def remarks(self) -> list[str]:
        """What a person should know about where the klines come from, one line each."""

    def now_ms(self) -> int:
        """The exchange's clock."""

    def life(self, *, anew: bool = False) -> Life:
        """When the exchange has klines of the pair; asked once, or `anew`.

        Raises:
            PairNotListed: the market never listed the pair.
            SourceUnavailable: no answer to be had.
        """

    def newest(self, span: Span, *, paid: bool = False) -> pa.Table:
        """The closed klines of some minutes, at most 480, by one request in this thread: soonest, and no more.

        `paid` if its weight was taken out of the budget before.

        Raises:
            BadAnswer, SourceUnavailable: see `ask_again`.
        """

    def ask_ahead(self, spans: Iterable[Span]) -> None:
        """Ask now for the first pages of the spans, a bounded number, and keep them for `pages`; return at once."""

    def usage(self) -> Usage:
        """What the source has cost so far."""

    def close(self) -> None:
        """Stop waiting requests and free connections."""
