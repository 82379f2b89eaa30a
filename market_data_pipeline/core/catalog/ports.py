"""What the catalog asks of the exchange, of its archive, and of the files of its snapshots.

Belongs here: the protocols that a refresh is written against, and the values they pass. Does not belong here: requests
(`sources.rest.market`, `sources.archive.market`), files (`store.catalog.snapshots`).
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from market_data_pipeline.core.catalog.pairs import ListedPair, Snapshot


@dataclass(frozen=True, slots=True)
class Listed:
    """A pair as the exchange lists it now.

    Attributes:
        pair: `BTC/USDT`, or the symbol if it is not made of base and quote.
        base: the base asset.
        quote: the quote asset.
        contract: the exchange's word for the kind of a contract, empty on spot.
        is_trading: True if it is traded. Another status is that of a pause as well as of an end.
        began: the day on which a contract was listed, which is wrong for many; None on spot.
        delivered_ms: the settlement if that is past, ms UTC, which proves an end.
    """

    pair: str
    base: str
    quote: str
    contract: str
    is_trading: bool
    began: date | None
    delivered_ms: int | None


class Exchange(Protocol):
    """REST of one market. Threads may share it."""

    def now_ms(self) -> int:
        """Return the exchange's clock, ms UTC.

        Raises:
            SourceUnavailable: there is no response after all retries.
        """

    def listed(self) -> Mapping[str, Listed | None]:
        """Return all pairs that the exchange lists, by symbol; None for one whose entry cannot be read.

        `warnings` names these, and what has no symbol.

        Raises:
            SourceError: there is no response after all retries, or none that can be read.
        """

    @property
    def warnings(self) -> Sequence[str]:
        """What a user should know of the answers, one line each."""

    def first_day(self, symbol: str, since: date | None = None) -> date | None:
        """Return the UTC day of the first kline that REST has of a pair, on `since` or later; None if it has none.

        Raises:
            SourceUnavailable: there is no response after all retries.
        """

    def last_day(self, symbol: str) -> date | None:
        """Return the UTC day of the newest kline; raises as `first_day`."""

    def close(self) -> None:
        """End all waiting: requests in flight fail, and so do later ones."""


class PairFiles(Protocol):
    """The archive's daily files of one pair."""

    @property
    def months(self) -> Sequence[date]:
        """The first days of the UTC months that have a file, in order."""

    def days(self, month: date) -> Sequence[date]:
        """Return the UTC days of a month that have a file, in order.

        Raises:
            SourceUnavailable: the archive cannot be listed.
        """


class Archive(Protocol):
    """The archive's listing of one market. Threads may share it. All methods raise SourceUnavailable."""

    @property
    def warnings(self) -> Sequence[str]:
        """What a user should know of the answers, one line each."""

    def symbols(self) -> Sequence[str]:
        """Return the symbols that have a folder; folders that can be of no pair are in `warnings`."""

    def files(self, symbol: str) -> PairFiles:
        """Return the files of a pair, whose months are known by then."""

    def has_later(self, symbol: str, day: date) -> bool:
        """Return whether the pair has a file of a later day, by one request."""

    def close(self) -> None:
        """See `Exchange.close`."""


class Snapshots(Protocol):
    """The snapshots of one market, and what a refresh that was interrupted has learned."""

    def lock(self) -> AbstractContextManager[None]:
        """Let no other process refresh the catalog meanwhile; wait for one that does."""

    def newest(self) -> Snapshot | None:
        """Return the newest snapshot that is not damaged; None if there is none."""

    def learned(self, day: date) -> Mapping[str, ListedPair]:
        """Return what an interrupted refresh of the day has learned, by symbol."""

    def keep_learned(self, day: date, pairs: Iterable[ListedPair]) -> None:
        """Keep what a refresh of the day has learned so far."""

    def write(self, snapshot: Snapshot) -> object:
        """Keep a snapshot, and forget what was learned for it."""
