"""The listings of single pairs in the exchange's list of pairs.

Belongs here: their requests, and how long the list of futures is kept. Does not belong here: what a listing says
(`rest.answers`), the whole market (`rest.market`).

Futures have no list of one pair: the answer has all contracts and 2 MB. So one answer is kept for all pairs that are
looked up soon after. Live mode looks up each contract without trades, which in a halt are all of the market.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from market_data_pipeline.core.errors import PairNotListed, SourceError, SourceUnavailable
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.sources.rest import answers
from market_data_pipeline.core.sources.rest.answers import Listing

# Less than the time between two ticks of live mode.
KEPT_S = 50
_WEIGHTS = {Market.SPOT: 20, Market.FUTURES: 1}
# One pair of spot has about 10 kB; all contracts of futures have 2 MB.
_MOST_BYTES = {Market.SPOT: 1 << 18, Market.FUTURES: 1 << 23}
_GONE = Listing("", "GONE")

T = TypeVar("T")


class Requests(Protocol):
    """What sends the requests: `rest.client.RestClient`."""

    market: Market

    def get(
        self, endpoint: str, params: dict[str, str], weight: int, read: Callable[[bytes], T], *, most_bytes: int
    ) -> T:
        """See `RestClient.get`."""

    def now_ms(self) -> int:
        """See `RestClient.now_ms`."""

    def pay(self, weight: int) -> None:
        """See `RestClient.pay`."""


@dataclass(frozen=True, slots=True)
class _Contracts:
    """All contracts by symbol, the symbols of entries that cannot be read, and when the list was read (ms UTC)."""

    by_symbol: dict[str, Listing]
    odd: frozenset[str]
    read_ms: int


class Listings:
    """Listings of one market. Threads may share it: of futures one thread requests the list, and the others wait."""

    def __init__(self, requests: Requests) -> None:
        """Send no request yet."""
        self._requests = requests
        self._lock = threading.Lock()
        self._contracts: _Contracts | None = None
        self._fault: SourceError | None = None
        self._fault_s = 0.0

    def of(self, token: str, *, paid: bool, kept_s: float) -> Listing:
        """Return the listing of a pair.

        Args:
            token: the pair's symbol.
            paid: False pays the request later, once the exchange's minute is known.
            kept_s: how old the list of futures may be, in seconds.

        Raises:
            BadAnswer, SourceUnavailable, SourceError: see `RestClient.get`.
        """
        if self._requests.market is Market.SPOT:
            return self._of_one(token, {"symbol": token}, paid=paid)
        contracts = self._of_all(paid=paid, kept_s=kept_s)
        if token in contracts.odd:
            return self._of_one(token, {}, paid=paid)
        return contracts.by_symbol.get(token, _GONE)

    def _of_one(self, token: str, params: dict[str, str], *, paid: bool) -> Listing:
        try:
            return self._request(params, lambda body: answers.listing(body, token), paid=paid) or _GONE
        except PairNotListed:
            return _GONE

    def _of_all(self, *, paid: bool, kept_s: float) -> _Contracts:
        with self._lock:
            if self._contracts and 0 <= self._requests.now_ms() - self._contracts.read_ms < kept_s * 1000:
                return self._contracts
            if self._fault and time.monotonic() - self._fault_s < KEPT_S:
                raise type(self._fault)(str(self._fault))
            try:
                found, odd = self._request({}, answers.listings, paid=paid)
            except SourceError as error:
                self._fault, self._fault_s = error, time.monotonic()
                raise
            by_symbol = {listing.symbol: listing for listing in found}
            self._contracts = _Contracts(by_symbol, frozenset(odd), self._requests.now_ms())
            self._fault = None
            return self._contracts

    def _request(self, params: dict[str, str], read: Callable[[bytes], T], *, paid: bool) -> T:
        market = self._requests.market
        weight, most_bytes = _WEIGHTS[market], _MOST_BYTES[market]
        try:
            return self._requests.get("exchangeInfo", params, weight if paid else 0, read, most_bytes=most_bytes)
        except SourceUnavailable:
            paid = True  # nobody counts it, and the clock of who is silent would be waited for as long again
            raise
        finally:
            if not paid:
                self._requests.now_ms()
                self._requests.pay(weight)
