"""A pair as the catalog has it, and a snapshot of all pairs of a market.

Belongs here: the values, and what can be asked of them. Does not belong here: where they come from (`telling`,
`refresh`), their files (`store.catalog.snapshots`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.pair import token_of

_DELIVERY = re.compile(r"_\d{6}(?:_?SETTLED\d*)*$")


class PairKind(StrEnum):
    """What is traded: the asset itself, a contract without an end, or one that is delivered on a day."""

    SPOT = "spot"
    PERPETUAL = "perpetual"
    DELIVERY = "delivery"


class PairStatus(StrEnum):
    """Whether a pair is traded. `ENDED` needs a proof; a pair that is not traded and has none is `PAUSED`."""

    TRADING = "trading"
    PAUSED = "paused"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, order=True)
class TradedDays:
    """UTC days from the first to the last, both included; `last` is None while the pair is traded."""

    first: date
    last: date | None

    def has(self, day: date) -> bool:
        """True if the day is one of them."""
        return self.first <= day and (self.last is None or day <= self.last)


@dataclass(frozen=True, slots=True)
class ListedPair:
    """One pair of a market that has or had klines.

    Attributes:
        market: the market.
        pair: `BTC/USDT`, `BTC/USDT_240628`; the symbol where base and quote are not clear.
        base: the base asset, empty if it is not clear.
        quote: the quote asset, empty if it is not clear.
        kind: spot, perpetual or delivery.
        status: whether it is traded.
        lives: when it was traded, in order: several spans for a symbol that was used again, and for one that was not
            traded for a whole month.
        delivered_ms: the settlement of a contract that has ended, ms UTC; None if there was or is known none.
        files_until: the newest UTC day of which the archive had a file when it was last asked for all files of the
            pair; None if it had none, or was never asked: then the lives may lack all that REST does not tell.
    """

    market: Market
    pair: str
    base: str
    quote: str
    kind: PairKind
    status: PairStatus
    lives: tuple[TradedDays, ...]
    delivered_ms: int | None = None
    files_until: date | None = None

    @property
    def symbol(self) -> str:
        """The exchange's symbol, the token of the pair."""
        return token_of(self.pair)

    @property
    def first_day(self) -> date:
        """The first UTC day on which the symbol was traded."""
        return self.lives[0].first

    @property
    def last_day(self) -> date | None:
        """The last UTC day on which it was traded; None while it is traded."""
        return self.lives[-1].last

    @property
    def is_trading(self) -> bool:
        """True if it is traded now."""
        return self.status is PairStatus.TRADING

    def was_traded(self, day: date) -> bool:
        """True if it was traded on the UTC day."""
        return any(life.has(day) for life in self.lives)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All pairs of a market as they were known on a UTC day of the exchange's clock.

    Attributes:
        market: the market.
        day: the day.
        pairs: by symbol.
        gaps: what could not be had, in one line each.
        without_archive: True if the archive could not be listed.
    """

    market: Market
    day: date
    pairs: tuple[ListedPair, ...]
    gaps: tuple[str, ...] = ()
    without_archive: bool = False

    def by_symbol(self) -> Mapping[str, ListedPair]:
        """The pairs by their symbols."""
        return {pair.symbol: pair for pair in self.pairs}


def kind_of(market: Market, symbol: str, contract: str = "") -> PairKind:
    """The kind of a pair by its market, its symbol, and the exchange's word for its contract."""
    if market is Market.SPOT:
        return PairKind.SPOT
    is_delivered = _DELIVERY.search(symbol) or "QUARTER" in contract or "MONTH" in contract
    return PairKind.DELIVERY if is_delivered else PairKind.PERPETUAL
