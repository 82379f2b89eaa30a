"""Sources by their name: `auto`, `rest` and `archive`, and the sources of live mode.

Belongs here: what each name stands for, and the addresses. Does not belong here: how a source works.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.pair import token_of
from market_data_pipeline.core.source_names import SOURCE_NAMES, SOURCE_NAMES_TEXT
from market_data_pipeline.core.sources.budgets.budget import BudgetOf
from market_data_pipeline.core.sources.protocol import KlineSource, Usage

if TYPE_CHECKING:
    from market_data_pipeline.core.sources.archive.files import ArchiveConnections
    from market_data_pipeline.core.sources.archive.market import ArchiveMarket
    from market_data_pipeline.core.sources.rest.client import RestClient
    from market_data_pipeline.core.sources.rest.market import RestMarket

# Serves spot's market data where the exchange's own address answers 451; there is none for futures.
# https://developers.binance.com/docs/binance-spot-api-docs/faqs/market_data_only
PUBLIC_SPOT_ADDRESS = "https://data-api.binance.vision"
# Live mode requests each minute again in the next one, so it does not wait longer than this for a response.
_LIVE_PATIENCE_S, _LIVE_DEADLINE_S = 7, 4
LIVE_CONNECTIONS = 256
# To the other side of the earth. More is measured when the time includes opening the connection.
_MOST_LATENCY_MS = 150
# CPU time of one request, about.
_REQUEST_CPU_S = 0.0006

EndOf = Callable[[Market, str], date | None]
"""Gives the last UTC day of a symbol whose end was proven before, None if none was."""


def open_source(
    name: str,
    market: Market,
    pair: str,
    *,
    budget_of: BudgetOf,
    base_url: str | None = None,
    extra_sleep_s: float = 0,
    patience_s: float | None = None,
    deadline_s: float | None = None,
    end_of: EndOf = lambda market, symbol: None,
) -> KlineSource:
    """Return the source called `name` for a pair. It has sent no request yet.

    Args:
        name: auto, rest or archive.
        market: the market.
        pair: the pair.
        budget_of: gives the place of the request-weight budget.
        base_url: replaces the addresses of the exchange and of its archive.
        extra_sleep_s: an additional wait before each request.
        patience_s: how long faults of REST are retried, None for as long as usual.
        deadline_s: how long one request may take, None for as long as usual.
        end_of: asked about the pair where REST cannot be.

    Raises:
        UsageError: there is no source of this name.
    """
    if name not in SOURCE_NAMES:
        raise UsageError(f"no such source: {name!r}; give {SOURCE_NAMES_TEXT}")
    given = {"patience_s": patience_s, "deadline_s": deadline_s}
    limits = {limit: seconds for limit, seconds in given.items() if seconds is not None}
    client = _client(market, budget_of=budget_of, base_url=base_url, extra_sleep_s=extra_sleep_s, **limits)
    return _source(name, pair, client, _archive(base_url, deadline_s), end_of)


class LiveSources:
    """The sources of many pairs of one market, which share connections, the clock, and short deadlines."""

    def __init__(
        self, market: Market, *, budget_of: BudgetOf, base_url: str | None = None, extra_sleep_s: float = 0
    ) -> None:
        """Send no request yet. The arguments are those of `open_source`."""
        self.market = market
        self._client = _client(
            market,
            budget_of=budget_of,
            base_url=base_url,
            extra_sleep_s=extra_sleep_s,
            patience_s=_LIVE_PATIENCE_S,
            deadline_s=_LIVE_DEADLINE_S,
            waits_for_weight=False,
            connections=LIVE_CONNECTIONS,
        )
        self._archive = _archive(base_url, _LIVE_DEADLINE_S)
        self._sources: dict[str, KlineSource] = {}

    @property
    def address(self) -> str:
        """The address that requests are sent to."""
        return self._client.address

    def of(self, pair: str) -> KlineSource:
        """Return the pair's source. It stays open until `close`."""
        if pair not in self._sources:
            self._sources[pair] = _source("auto", pair, self._client, self._archive)
        return self._sources[pair]

    def now_ms(self) -> int:
        """Return the exchange's clock, ms UTC.

        Raises:
            SourceUnavailable: the exchange never sent its clock.
        """
        return self._client.now_ms()

    def set_clock(self) -> int:
        """Request the exchange's clock again; return how far this machine's is behind, ms.

        Raises:
            SourceUnavailable: there is no response. The clock stays as it was.
        """
        return self._client.set_clock()

    def way_ms(self) -> int:
        """Return how long a request takes to reach the exchange, in ms; 0 while it is unknown."""
        return min(round(self._client.round_trip_s * 500), _MOST_LATENCY_MS)

    def worth_asking_at_once(self) -> int:
        """Return how many requests to send at once. With more, the threads would only wait for Python's lock."""
        return min(4 + round(self._client.round_trip_s / _REQUEST_CPU_S), LIVE_CONNECTIONS)

    def usage(self) -> Usage:
        """Return the request weight used so far."""
        governor = self._client.governor
        return Usage(governor.used(), governor.limit, governor.spent, governor.closed_s())

    def try_to_pay(self, spans: Iterable[Span]) -> bool:
        """Pay for `newest` of all these spans at once, if the budget has room now; return whether it had.

        Raises:
            Banned: see `Governor.pay`.
        """
        from market_data_pipeline.core.sources.rest.klines import klines_weight

        return self._client.governor.try_to_pay(sum(klines_weight(self.market, span.minutes) for span in spans))

    def open_budget(self) -> None:
        """Share the budget from now on, if it was not before."""
        self._client.governor.open()

    def close(self) -> None:
        """End all waiting, then the threads."""
        self._client.stop()
        for source in self._sources.values():
            source.close()


@contextmanager
def open_market(
    market: Market, *, budget_of: BudgetOf, base_url: str | None = None, extra_sleep_s: float = 0
) -> "Iterator[tuple[RestMarket, ArchiveMarket]]":
    """The whole market by REST and by the archive's listing, until the end of the block.

    The arguments are those of `open_source`. No request is sent yet.
    """
    from market_data_pipeline.core.catalog.refresh import AT_ONCE
    from market_data_pipeline.core.sources.archive.market import ArchiveMarket
    from market_data_pipeline.core.sources.rest.market import RestMarket

    exchange = RestMarket(_client(market, budget_of=budget_of, base_url=base_url, extra_sleep_s=extra_sleep_s))
    archive = ArchiveMarket(market, base_url=base_url, connections=AT_ONCE)
    with closing(exchange), closing(archive):
        yield exchange, archive


def _client(market: Market, *, base_url: str | None, **options: Any) -> "RestClient":
    from market_data_pipeline.core.sources.rest.client import RestClient

    public_url = PUBLIC_SPOT_ADDRESS if market is Market.SPOT and base_url is None else None
    return RestClient(market, base_url=base_url, public_url=public_url, **options)


def _archive(base_url: str | None, deadline_s: float | None) -> "ArchiveConnections":
    from market_data_pipeline.core.sources.archive.files import ArchiveConnections

    return ArchiveConnections(base_url=base_url, deadline_s=deadline_s)


def _source(
    name: str,
    pair: str,
    client: "RestClient",
    connections: "ArchiveConnections",
    end_of: EndOf = lambda market, symbol: None,
) -> KlineSource:
    from market_data_pipeline.core.sources.archive.files import Archive
    from market_data_pipeline.core.sources.rest.klines import RestSource
    from market_data_pipeline.core.sources.union.source import ExchangeSource

    token = token_of(pair)
    other = "ETH/USDT" if token == "BTCUSDT" else "BTC/USDT"
    reference = other, RestSource(client, token_of(other))
    archive = Archive(client.market, token, connections)
    return ExchangeSource(name, RestSource(client, token), archive, reference, partial(end_of, client.market, token))
