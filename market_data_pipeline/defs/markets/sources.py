"""What the klines of a market are loaded from, as assets of others: the exchange's REST API and its archive of files.

Belongs here: how Dagster shows them. Does not belong here: requests (`core.sources`), the assets of datasets.
One of each for a market, whatever the number of its datasets, so that the graph shows where klines come from.
"""

import dagster as dg

from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.sources.archive.files import ADDRESS, FOLDERS
from market_data_pipeline.defs.resources import Tools
from market_data_pipeline.instance.names import ARCHIVE, REST, source_path

_API = {Market.SPOT: "https://api.binance.com", Market.FUTURES: "https://fapi.binance.com"}
_ROUTES = {Market.SPOT: "/api/v3/klines", Market.FUTURES: "/fapi/v1/klines"}
_DOCS = "https://developers.binance.com/docs"
_API_DOCS = {
    Market.SPOT: f"{_DOCS}/binance-spot-api-docs/rest-api/market-data-endpoints#klinecandlestick-data",
    Market.FUTURES: f"{_DOCS}/derivatives/usds-margined-futures/market-data/rest-api/Kline-Candlestick-Data",
}
_ARCHIVE_DOCS = "https://github.com/binance/binance-public-data"


def sources_of(market: Market, tools: Tools) -> list[dg.AssetSpec]:
    """The REST API and the archive of a market."""
    folder = f"data/{FOLDERS[market]}/daily/klines/"
    listing = f"{tools.base_url}/{folder}" if tools.base_url else f"{ADDRESS}/?prefix={folder}"
    return [
        _spec(
            REST,
            market,
            tools,
            description=f"The REST API of {market.exchange_id}: any minute of any {market} pair that is listed, up to "
            "the newest closed kline. Requests are paid from the weight of the IP address.",
            kind="rest",
            url=(tools.base_url or _API[market]) + _ROUTES[market],
            documentation=_API_DOCS[market],
        ),
        _spec(
            ARCHIVE,
            market,
            tools,
            description=f"The archive of {market.exchange_id}: a zip of CSV and its sha256 for each pair and UTC day, "
            "published the day after. Requests cost no weight.",
            kind="csv",
            url=listing,
            documentation=_ARCHIVE_DOCS,
        ),
    ]


def _spec(
    source: str, market: Market, tools: Tools, *, description: str, kind: str, url: str, documentation: str
) -> dg.AssetSpec:
    return dg.AssetSpec(
        source_path(market, source),
        description=description,
        metadata={
            "market": market.value,
            "url": dg.MetadataValue.url(url),
            "documentation": dg.MetadataValue.url(documentation),
        },
        group_name=f"{market}_sources",
        tags={"market": market.value},
        kinds={"binance", kind},
        owners=tools.owners,
    )
