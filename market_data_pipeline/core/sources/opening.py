"""Which source a name means.

Belongs here: the names users may give, and the addresses. Does not belong here: how a source works.
"""

from pathlib import Path

from market_data_pipeline.core.dataset import Market
from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.sources.base import KlineSource

SOURCES = ("auto", "rest", "archive")
# Serves spot's market data where the exchange's own address answers 451; there is none for futures.
# https://developers.binance.com/docs/binance-spot-api-docs/faqs/market_data_only
PUBLIC_SPOT_ADDRESS = "https://data-api.binance.vision"


def open_source(
    name: str, market: Market, pair: str, *, root: Path, base_url: str | None = None, extra_sleep_s: float = 0
) -> KlineSource:
    """The source called `name` for a pair. Nothing is sent yet.

    Raises:
        UsageError: no such source.
    """
    from market_data_pipeline.core.sources.archive import Archive
    from market_data_pipeline.core.sources.exchange import ExchangeSource
    from market_data_pipeline.core.sources.rest import RestSource
    from market_data_pipeline.core.sources.rest_client import RestClient

    if name not in SOURCES:
        raise UsageError(f"no such source: {name!r}; give {', '.join(SOURCES[:-1])} or {SOURCES[-1]}")
    public_url = PUBLIC_SPOT_ADDRESS if market is Market.SPOT and base_url is None else None
    client = RestClient(market, root=root, base_url=base_url, public_url=public_url, extra_sleep_s=extra_sleep_s)
    token = pair.replace("/", "")
    reference = None
    if market is Market.SPOT:
        other = "ETH/USDT" if pair == "BTC/USDT" else "BTC/USDT"
        reference = other, RestSource(client, other.replace("/", ""))
    return ExchangeSource(name, RestSource(client, token), Archive(market, token, base_url=base_url), reference)
