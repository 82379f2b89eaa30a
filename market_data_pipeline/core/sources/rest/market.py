"""All pairs that the REST API lists, and the first and the newest kline of one.

Belongs here: the requests for them, and their weights. Does not belong here: what they tell of a pair
(`core.catalog`), klines as such (`rest.klines`).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime

from market_data_pipeline.core.catalog.ports import Listed
from market_data_pipeline.core.errors import PairNotListed, PairNotServed
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import day_of, parse_zone
from market_data_pipeline.core.klines.pair import is_symbol, pair_of
from market_data_pipeline.core.sources.planning.traffic import Traffic
from market_data_pipeline.core.sources.rest import answers
from market_data_pipeline.core.sources.rest.answers import MarketListing
from market_data_pipeline.core.sources.rest.client import RestClient
from market_data_pipeline.core.sources.rest.klines import klines_weight
from market_data_pipeline.core.text import unread_text

# All of spot have 17 to 20 MB, with the permissions that are not asked for here; futures have 2 MB.
_MOST_BYTES = 1 << 26
_WEIGHT = {Market.SPOT: 20, Market.FUTURES: 1}
_LEAN = {Market.SPOT: {"showPermissionSets": "false"}, Market.FUTURES: {}}
_MOST_KLINE_BYTES = 4096
_MOST_CHARACTERS = 50
_UTC = parse_zone("UTC")


class RestMarket:
    """See `core.catalog.ports.Exchange`."""

    def __init__(self, client: RestClient) -> None:
        """Send no request yet."""
        self._client = client
        self._odd = ""

    @property
    def warnings(self) -> Sequence[str]:
        """See `Exchange.warnings`."""
        return [*self._client.warnings, *filter(None, [self._odd])]

    def now_ms(self) -> int:
        """See `Exchange.now_ms`."""
        return self._client.now_ms()

    def listed(self) -> Mapping[str, Listed | None]:
        """See `Exchange.listed`. One request."""
        market = self._client.market
        usable, odd = self._client.get(
            "exchangeInfo", dict(_LEAN[market]), _WEIGHT[market], _usable, most_bytes=_MOST_BYTES
        )
        if odd:
            names = unread_text([symbol or "one without a symbol" for symbol in odd])
            self._odd = f"{self._client.address} lists pairs in a form that cannot be read: {names}"
        now_ms = self._client.now_ms()
        unread: dict[str, Listed | None] = {symbol: None for symbol in odd if is_symbol(symbol)}
        return unread | {listing.symbol: _listed(listing, now_ms) for listing in usable}

    def first_day(self, symbol: str, since: date | None = None) -> date | None:
        """See `Exchange.first_day`."""
        return self._day_of_kline(symbol, startTime=0 if since is None else day_of(_UTC, since).start_ms)

    def last_day(self, symbol: str) -> date | None:
        """See `Exchange.last_day`."""
        return self._day_of_kline(symbol)

    @property
    def traffic(self) -> Traffic:
        """What was answered so far."""
        return self._client.traffic()

    @property
    def spent(self) -> int:
        """The request weight that was spent so far."""
        return self._client.governor.spent

    def close(self) -> None:
        """End all waiting, and close the connections."""
        self._client.stop()

    def _day_of_kline(self, symbol: str, **params: int) -> date | None:
        request = {"symbol": symbol, "interval": "1m", "limit": 1, **params}
        weight = klines_weight(self._client.market, 1)
        try:
            time_ms = self._client.get(
                "klines", request, weight, answers.only_open_time_ms, most_bytes=_MOST_KLINE_BYTES
            )
        except (PairNotListed, PairNotServed):
            return None
        return None if time_ms is None else _utc_day(time_ms)


def _usable(body: bytes) -> tuple[list[MarketListing], list[str]]:
    """The pairs that an answer lists, and the symbols of entries that cannot be used.

    Raises:
        ValueError: the answer is not a list of pairs, or no entry can be used.
    """
    found, odd = answers.market_listings(body)
    usable = [listing for listing in found if _is_usable(listing)]
    odd += [listing.symbol for listing in found if not _is_usable(listing)]
    if odd and not usable:
        raise ValueError("a list of pairs of which none can be read")
    return usable, odd


def _is_usable(listing: MarketListing) -> bool:
    assets = (listing.base, listing.quote)
    return is_symbol(listing.symbol) and all(len(asset) <= _MOST_CHARACTERS and asset.isprintable() for asset in assets)


def _listed(listing: MarketListing, now_ms: int) -> Listed:
    pair = pair_of(listing.symbol, listing.base, listing.quote)
    began_ms = listing.began_ms
    return Listed(
        pair=pair or listing.symbol,
        base=listing.base,
        quote=listing.quote,
        contract=listing.contract,
        is_trading=listing.is_trading,
        began=_utc_day(began_ms) if began_ms is not None and answers.is_plausible_ms(began_ms) else None,
        delivered_ms=None if listing.is_trading else listing.delivered_ms(now_ms),
    )


def _utc_day(time_ms: int) -> date:
    return datetime.fromtimestamp(time_ms / 1000, UTC).date()
