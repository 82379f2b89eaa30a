"""The bodies of exchangeInfo responses.

Belongs here: the fields of a pair at an instant, its symbol filters, the rate limits.
Does not belong here: the table of pairs (`data.pairs`).
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import orjson

from market_data_pipeline.simulator.data.pairs import Market, Pair, instant_ms
from market_data_pipeline.simulator.queries import ApiError
from market_data_pipeline.simulator.weights import LIMITS

Json = dict[str, Any]

# The exchange has the same onboardDate for all of its oldest futures, later than their first klines.
_OLDEST_ONBOARD_MS = instant_ms("2019-09-25T08:00")
_OLDEST_UNTIL_MS = instant_ms("2020-03-01T00:00")
_ORDER_LIMITS: dict[Market, tuple[tuple[str, str, int, int], ...]] = {
    "spot": (("ORDERS", "SECOND", 10, 100), ("ORDERS", "DAY", 1, 200_000), ("RAW_REQUESTS", "MINUTE", 5, 61_000)),
    "futures": (("ORDERS", "MINUTE", 1, 1_200), ("ORDERS", "SECOND", 10, 300)),
}


def exchange_info(market: Market, pairs: Iterable[Pair], params: dict[str, str], now_ms: int) -> Json:
    """Return the exchangeInfo body of a market. Spot takes the parameters symbol, symbols and symbolStatus."""
    known = {pair.symbol: pair for pair in pairs if pair.market == market and pair.known(now_ms)}
    listed = [pair for pair in known.values() if pair.listed(now_ms)]
    rules = (("REQUEST_WEIGHT", "MINUTE", 1, LIMITS[market]), *_ORDER_LIMITS[market])
    fields = ("rateLimitType", "interval", "intervalNum", "limit")
    info: Json = {
        "timezone": "UTC",
        "serverTime": now_ms,
        "rateLimits": [dict(zip(fields, rule, strict=True)) for rule in rules],
        "exchangeFilters": [],
    }
    if market == "futures":
        info |= {"futuresType": "U_MARGINED", "assets": _assets(listed)}
        info["symbols"] = [_futures_symbol(pair, now_ms) for pair in listed]
        return info
    described = [_spot_symbol(pair, now_ms) for pair in _requested(known, listed, params)]
    status = params.get("symbolStatus")
    info["symbols"] = [symbol for symbol in described if status in (None, symbol["status"])]
    return info


def _requested(known: dict[str, Pair], listed: list[Pair], params: dict[str, str]) -> list[Pair]:
    if "symbol" in params:
        symbols = [params["symbol"]]
    elif "symbols" in params:
        try:
            symbols = [str(symbol) for symbol in orjson.loads(params["symbols"])]
        except (orjson.JSONDecodeError, TypeError):
            raise ApiError(-1100, "Illegal characters found in parameter 'symbols'.") from None
    else:
        return listed
    if any(symbol not in known for symbol in symbols):
        raise ApiError(-1121, "Invalid symbol.")
    return [known[symbol] for symbol in symbols]


def _padded(number: str) -> str:
    return f"{Decimal(number):.8f}"


def _spot_symbol(pair: Pair, now_ms: int) -> Json:
    tick, step = _padded(pair.tick), _padded(pair.step)
    filters: list[Json] = [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "9000000.00000000", "stepSize": step},
        {"filterType": "ICEBERG_PARTS", "limit": 10},
        {
            "filterType": "MARKET_LOT_SIZE",
            "minQty": "0.00000000",
            "maxQty": "100000.00000000",
            "stepSize": "0.00000000",
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": "5.00000000",
            "applyMinToMarket": True,
            "maxNotional": "9000000.00000000",
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
    ]
    precisions = ("baseAssetPrecision", "quotePrecision", "quoteAssetPrecision")
    commissions = ("baseCommissionPrecision", "quoteCommissionPrecision")
    allowed = ("icebergAllowed", "ocoAllowed", "otoAllowed", "quoteOrderQtyMarketAllowed", "allowTrailingStop")
    return {
        "symbol": pair.symbol,
        "status": pair.status(now_ms),
        "baseAsset": pair.base,
        "quoteAsset": pair.quote,
        **dict.fromkeys(precisions + commissions, 8),
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"],
        **dict.fromkeys(allowed, True),
        "cancelReplaceAllowed": True,
        "amendAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": True,
        "filters": filters,
        "permissions": [],
        "permissionSets": [["SPOT", "MARGIN"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT"],
    }


def _futures_symbol(pair: Pair, now_ms: int) -> Json:
    onboard_ms = _OLDEST_ONBOARD_MS if pair.first_open_ms < _OLDEST_UNTIL_MS else pair.first_open_ms
    lots: Json = {"minQty": pair.step, "maxQty": "10000000", "stepSize": pair.step}
    filters: list[Json] = [
        {"filterType": "PRICE_FILTER", "minPrice": pair.tick, "maxPrice": "4529764", "tickSize": pair.tick},
        {"filterType": "LOT_SIZE", **lots},
        {"filterType": "MARKET_LOT_SIZE", **lots},
        {"filterType": "MAX_NUM_ORDERS", "limit": 200},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 10},
        {"filterType": "MIN_NOTIONAL", "notional": "5"},
        {"filterType": "PERCENT_PRICE", "multiplierUp": "1.0500", "multiplierDown": "0.9500", "multiplierDecimal": "4"},
    ]
    return {
        "symbol": pair.symbol,
        "pair": pair.base + pair.quote,
        "contractType": pair.contract_type,
        "deliveryDate": pair.delivery_ms,
        "onboardDate": onboard_ms,
        "status": pair.status(now_ms),
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": pair.base,
        "quoteAsset": pair.quote,
        "marginAsset": pair.quote,
        "pricePrecision": pair.price_decimals,
        "quantityPrecision": pair.quantity_decimals,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "settlePlan": 0,
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": "0.05",
        "maxMoveOrderLimit": 10_000,
        "filters": filters,
        "orderTypes": [
            "LIMIT",
            "MARKET",
            "STOP",
            "STOP_MARKET",
            "TAKE_PROFIT",
            "TAKE_PROFIT_MARKET",
            "TRAILING_STOP_MARKET",
        ],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
    }


def _assets(pairs: Iterable[Pair]) -> list[Json]:
    quotes = sorted({pair.quote for pair in pairs})
    return [{"asset": quote, "marginAvailable": True, "autoAssetExchange": "-10000"} for quote in quotes]
