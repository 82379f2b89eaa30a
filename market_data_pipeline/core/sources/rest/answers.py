"""Answers of the exchange other than klines, as typed values.

Belongs here: the JSON documents and headers that are read, and which values make sense. Does not belong here: klines
(`rest.klines`), what is done about an error (`rest.faults`).

msgspec reads a document into its type at once: a wrong type ends the reading, and what is not asked for is skipped and
takes no memory.
"""

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Annotated, TypeVar

import msgspec

from market_data_pipeline.core.text import one_line

# Outside these years, a time is not the exchange's, which opened in 2017.
_EARLIEST_MS, _LATEST_MS = 1_483_228_800_000, 4_102_444_800_000
_MOST_ERROR_BYTES = 4096
_MOST_TEXT = 200
# The exchange refuses an address for three days at most.
_LONGEST_WAIT_S = 4 * 86_400
_LONGEST_HEADER = 60
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_WEIGHT = re.compile(r"[0-9]{1,9}")
_UNTIL_MS = re.compile(r"until ([0-9]{13})(?![0-9])")

T = TypeVar("T")
L = TypeVar("L", bound="Listing")


class Listing(msgspec.Struct, frozen=True):
    """A pair in `exchangeInfo`: its status, its assets, and when its contract is delivered.

    That is in ms UTC, and far in the future if never. `base` and `quote` are empty for a pair that is not listed.
    """

    symbol: str
    status: str
    delivery_ms: int | None = msgspec.field(default=None, name="deliveryDate")
    base: str = msgspec.field(default="", name="baseAsset")
    quote: str = msgspec.field(default="", name="quoteAsset")

    @property
    def is_trading(self) -> bool:
        """True if the exchange calls the pair traded. Its other statuses are those of a pause as well as of an end."""
        return self.status == "TRADING"

    @property
    def is_pending(self) -> bool:
        """True if the pair is announced and was never traded."""
        return self.status.startswith("PENDING") or self.status == "PRE_TRADING"

    def delivered_ms(self, now_ms: int) -> int | None:
        """The minute of a contract's settlement (ms UTC) if that is past, which proves an end; None if it is not."""
        if self.delivery_ms is None or not 0 < self.delivery_ms <= now_ms:
            return None
        return self.delivery_ms // 60_000 * 60_000


class MarketListing(Listing, frozen=True):
    """The same with what the exchange says of a contract: its kind, and when it was listed (ms UTC)."""

    contract: str = msgspec.field(default="", name="contractType")
    began_ms: int | None = msgspec.field(default=None, name="onboardDate")


class ExchangeError(msgspec.Struct, frozen=True):
    """An error of the exchange: https://developers.binance.com/docs/binance-spot-api-docs/errors."""

    code: int
    msg: str = ""

    @property
    def text(self) -> str:
        """The exchange's own words, in one line."""
        return one_line(self.msg, _MOST_TEXT)


class _Clock(msgspec.Struct):
    serverTime: Annotated[int, msgspec.Meta(ge=_EARLIEST_MS, le=_LATEST_MS)]  # noqa: N815


class _ExchangeInfo(msgspec.Struct):
    symbols: list[msgspec.Raw]


class _Named(msgspec.Struct):
    symbol: str


_CLOCK = msgspec.json.Decoder(_Clock)
_EXCHANGE_INFO = msgspec.json.Decoder(_ExchangeInfo)
_NAMED = msgspec.json.Decoder(_Named)
_LISTING = msgspec.json.Decoder(Listing)
_MARKET_LISTING = msgspec.json.Decoder(MarketListing)
_OPEN_TIMES = msgspec.json.Decoder(list[list[msgspec.Raw]])
_OPEN_TIME = msgspec.json.Decoder(int)
_ERROR = msgspec.json.Decoder(ExchangeError)


def is_plausible_ms(time_ms: int) -> bool:
    """Whether the exchange can have had this time, ms UTC."""
    return _EARLIEST_MS <= time_ms <= _LATEST_MS


def server_time_ms(body: bytes) -> int:
    """The exchange's clock in the answer of `time`, ms UTC.

    Raises:
        ValueError: it is not there, not a whole number, or not in this century.
    """
    return _decode(_CLOCK, body).serverTime


def listing(body: bytes, token: str) -> Listing | None:
    """The pair's listing in the answer of `exchangeInfo`; None if the pair is not listed.

    Raises:
        ValueError: the answer is not a list of pairs, or its entry of this pair, or every entry, is none.
    """
    found, odd = _listings(_LISTING, body)
    of_pair = next((listing for listing in found if listing.symbol == token), None)
    if of_pair is None and (token in odd or (odd and not found)):
        raise ValueError(f"a list of pairs in which that of {token} cannot be read")
    return of_pair


def listings(body: bytes) -> tuple[list[Listing], list[str]]:
    """All listings in the answer of `exchangeInfo`, and the symbols of entries that are none, empty for no symbol.

    Raises:
        ValueError: the answer is not a list of pairs, or every entry is none.
    """
    found, odd = _listings(_LISTING, body)
    if odd and not found:
        raise ValueError("a list of pairs of which none can be read")
    return found, odd


def market_listings(body: bytes) -> tuple[list[MarketListing], list[str]]:
    """All listings in the answer of `exchangeInfo`, and the symbols of entries that are none, empty for no symbol.

    Raises:
        ValueError: the answer is not a list of pairs.
    """
    return _listings(_MARKET_LISTING, body)


def _listings(decoder: "msgspec.json.Decoder[L]", body: bytes) -> tuple[list[L], list[str]]:
    """The entries, and the symbols of those that cannot be read: one odd entry hides no other."""
    listings, odd = list[L](), list[str]()
    for entry in map(bytes, _decode(_EXCHANGE_INFO, body).symbols):
        try:
            listings.append(_decode(decoder, entry))
        except ValueError:
            odd.append(_symbol_of(entry))
    return listings, odd


def _symbol_of(entry: bytes) -> str:
    try:
        return _decode(_NAMED, entry).symbol
    except ValueError:
        return ""


def only_open_time_ms(body: bytes) -> int | None:
    """The open time of the one kline in an answer of `klines`, ms UTC; None if there is none.

    Raises:
        ValueError: the answer is not one kline of the exchange.
    """
    rows = _decode(_OPEN_TIMES, body)
    if not rows:
        return None
    if len(rows) > 1 or not rows[0]:
        raise ValueError(f"{len(rows)} klines, though 1 was requested")
    time_ms = _decode(_OPEN_TIME, bytes(rows[0][0]))
    if not is_plausible_ms(time_ms):
        raise ValueError("a kline of a time at which there was no exchange")
    return time_ms


def exchange_error(body: bytes) -> ExchangeError | None:
    """The error that a body states; None for one that states none, such as a page of a firewall."""
    if len(body) > _MOST_ERROR_BYTES or not body.lstrip().startswith(b"{"):
        return None
    try:
        return _decode(_ERROR, body)
    except ValueError:
        return None


def used_weight(headers: Mapping[str, str], most: int) -> int | None:
    """The weight that the exchange counts for this address in the running minute; None without a count up to `most`."""
    text = headers.get("X-MBX-USED-WEIGHT-1M", "")
    return int(text) if _WEIGHT.fullmatch(text) and int(text) <= most else None


def announced_wait_s(headers: Mapping[str, str], text: str, now_s: float) -> float | None:
    """How long the exchange says to send nothing, by `Retry-After` or by `until <ms>` in the text of its error.

    Args:
        headers: those of the answer. `Retry-After` has seconds or a date.
        text: that of the exchange's error.
        now_s: the exchange's clock as far as known, used where the answer has no `Date`.

    Returns:
        The longer one in seconds, None if neither makes sense.
    """
    now_s = _date_s(headers.get("Date", "")) or now_s
    after, waits_s = headers.get("Retry-After", "").strip(), []
    if _SECONDS.fullmatch(after):
        waits_s.append(float(after))
    elif at_s := _date_s(after):
        waits_s.append(max(at_s - now_s, 0))
    if until := _UNTIL_MS.search(text):
        waits_s.append(max(int(until[1]) / 1000 - now_s, 0))
    return max((wait_s for wait_s in waits_s if wait_s <= _LONGEST_WAIT_S), default=None)


def _date_s(text: str) -> float | None:
    """An HTTP date in seconds since 1970, None if it is none."""
    if not 0 < len(text) < _LONGEST_HEADER:
        return None
    try:
        at = parsedate_to_datetime(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _decode(decoder: "msgspec.json.Decoder[T]", body: bytes) -> T:
    try:
        return decoder.decode(body)
    except RecursionError:
        raise ValueError("a document nested too deeply") from None
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from None
