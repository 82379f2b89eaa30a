"""Faults of single values: the exchange's clock in `time`, and what `exchangeInfo` says of pairs.

Belongs here: wrong types, impossible values, missing keys. Does not belong here: klines (`rows`), JSON as such
(`documents`).
"""

import json
from collections.abc import Callable
from typing import Any, TypeAlias

Change: TypeAlias = Callable[[Any], Any]
Pair: TypeAlias = dict[str, Any]


def _clock(change: Callable[[int], Any]) -> Change:
    return lambda document: {**document, "serverTime": change(document["serverTime"])}


def _always(value: Any) -> Change:
    return _clock(lambda _: value)


def _symbols(change: Callable[[list[Pair]], Any]) -> Change:
    return lambda document: {**document, "symbols": change(document["symbols"])}


def _each(**fields: Any) -> Change:
    """Each pair with these fields."""
    return _symbols(lambda pairs: [{**pair, **fields} for pair in pairs])


def _without(name: str) -> Change:
    return _symbols(lambda pairs: [{key: value for key, value in pair.items() if key != name} for pair in pairs])


TIMES: dict[str, tuple[str, Change]] = {
    "time_text": ("serverTime is a text", _clock(str)),
    "time_float": ("serverTime is no whole number", _clock(lambda ms: ms + 0.5)),
    "time_null": ("serverTime is null", _always(None)),
    "time_bool": ("serverTime is true", _always(True)),
    "time_list": ("serverTime is a list", _clock(lambda ms: [ms])),
    "time_object": ("serverTime is an object", _clock(lambda ms: {"ms": ms})),
    "time_zero": ("serverTime is 0", _always(0)),
    "time_negative": ("serverTime is below zero", _clock(lambda ms: -ms)),
    "time_seconds": ("serverTime is in seconds", _clock(lambda ms: ms // 1000)),
    "time_microseconds": ("serverTime is in microseconds", _clock(lambda ms: ms * 1000)),
    "time_9999": ("serverTime is in the year 9999", _always(253_402_300_799_000)),
    "time_2_63": ("serverTime is 2^63", _always(2**63)),
    "time_2_64": ("serverTime is 2^64", _always(2**64)),
    "time_digits": ("serverTime has 4,000 digits", _always(10**4000)),
    "time_infinite": ("serverTime is infinite", _always(float("inf"))),
    "time_missing": ("serverTime is missing", lambda _: {}),
    "time_renamed": ("serverTime has another name", lambda document: {"servertime": document["serverTime"]}),
}
LISTINGS: dict[str, tuple[str, Change]] = {
    "info_symbols_null": ("symbols is null", _symbols(lambda _: None)),
    "info_symbols_missing": ("symbols is missing", lambda _: {"timezone": "UTC"}),
    "info_symbols_object": ("symbols is an object", _symbols(lambda pairs: {pair["symbol"]: pair for pair in pairs})),
    "info_symbols_text": ("symbols is a text", _symbols(str)),
    "info_symbols_nested": ("symbols is a list of lists", _symbols(lambda pairs: [pairs])),
    "info_entry_null": ("a pair is null", _symbols(lambda pairs: [None, *pairs])),
    "info_entry_number": ("a pair is a number", _symbols(lambda pairs: [17, *pairs])),
    "info_entry_empty": ("a pair has no keys", _symbols(lambda pairs: [{}, *pairs])),
    "info_symbol_missing": ("the pairs have no symbol", _without("symbol")),
    "info_symbol_number": ("the symbol of the pairs is a number", _each(symbol=17)),
    "info_symbol_null": ("the symbol of the pairs is null", _each(symbol=None)),
    "info_status_missing": ("the pairs have no status", _without("status")),
    "info_status_null": ("the status of the pairs is null", _each(status=None)),
    "info_status_number": ("the status of the pairs is a number", _each(status=1)),
    "info_status_list": ("the status of the pairs is a list", _each(status=["TRADING"])),
    "info_status_long": ("the status of the pairs has 10 kB", _each(status="B" * 10_000)),
    "info_delivery_text": ("deliveryDate is a text", _each(deliveryDate="1714640400000")),
    "info_delivery_float": ("deliveryDate is no whole number", _each(deliveryDate=1714640400000.5)),
    "info_delivery_negative": ("deliveryDate is below zero", _each(deliveryDate=-1)),
    "info_delivery_huge": ("deliveryDate is 2^70", _each(deliveryDate=2**70)),
    "info_delivery_bool": ("deliveryDate is true", _each(deliveryDate=True)),
    "info_base_null": ("baseAsset is null", _each(baseAsset=None)),
    "info_base_number": ("baseAsset is a number", _each(baseAsset=17)),
    "info_base_other": ("base and quote do not make the symbol", _each(baseAsset="UP", quoteAsset="DOWN")),
    "info_quote_list": ("quoteAsset is a list", _each(quoteAsset=["USDT"])),
    "info_twice": ("each pair is there twice", _symbols(lambda pairs: [*pairs, *pairs])),
    "info_many": ("a hundred thousand pairs", _symbols(lambda pairs: [*pairs, *_invented(100_000)])),
}
"""By name: what a client gets, and the change of the document. `time` has the first ones, `exchangeInfo` the others."""


def _invented(count: int) -> list[Pair]:
    return [{"symbol": f"X{number}USDT", "status": "TRADING"} for number in range(count)]


def spoil_values(body: bytes, change: Change) -> bytes:
    """Return the body of a document with the change made."""
    return json.dumps(change(json.loads(body)), separators=(",", ":")).encode()
