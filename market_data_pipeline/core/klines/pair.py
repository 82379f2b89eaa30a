"""How a pair is written: every spelling that a person may give, and the one that is used inside.

Belongs here: parsing a spelling, the exchange's symbol of a pair, and where the slash belongs. Does not belong here:
asking the exchange for base and quote (`loading.resolve`), folders and files (`store.layout`).

Inside, a pair is the exchange's symbol with a slash between base and quote: `BTC/USDT`, `BTC/USDT_240628`. Without the
slash it is the symbol again, the token of the pair, which names its folder, its files and its requests.
"""

import re

from market_data_pipeline.core.errors import UsageError

_SPELLINGS = re.compile(
    r"(?:(?P<base>[^/:_-]+)/)?(?P<quote>[^/:_-]+)(?::(?P<settle>[^/:_-]+))?(?P<contract>(?:[_-][^/:_-]+)*)"
)
_DELIVERY_OF_CCXT = re.compile(r"-\d{6}")
# The exchange's own limit for a symbol.
_MOST_CHARACTERS = 50
# On Windows no folder can have these names, so no store that may be copied there has one.
_RESERVED = frozenset({"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in "0123456789¹²³")})
_ASCII_UPPER = {lower: lower - 32 for lower in range(ord("a"), ord("z") + 1)}

QUOTES = (
    "USDT", "USDC", "BTC", "BUSD", "FDUSD", "TUSD", "BNB", "ETH", "TRY", "EUR", "BRL", "JPY", "AEUR", "ARS", "AUD",
    "BIDR", "BKRW", "BVND", "COP", "CZK", "DAI", "DOGE", "DOT", "EURI", "GBP", "IDR", "IDRT", "MXN", "NGN", "PAX",
    "PLN", "RLUSD", "RON", "RUB", "SOL", "TRX", "UAH", "USD1", "USDE", "USDP", "USDS", "USDSB", "UST", "VAI", "XRP",
    "XUSD", "ZAR",
)  # fmt: skip
"""The assets that the exchange is known to quote prices in, or to have quoted them in."""
# A delivery contract ends with its day; the archive marks the files of a contract whose symbol was used again.
_QUOTED = re.compile(rf"(?:{'|'.join(QUOTES)})(?:_\d{{6}})?(?:_?SETTLED\d*)*")


def parse_pair(text: str, *, has_contracts: bool = True) -> str:
    """The pair that `text` names: `BTC/USDT` or `BTC/USDT_240628`, or the symbol where `text` has no slash.

    Read are `BASE/QUOTE`, the exchange's symbol, and ccxt's `BTC/USDT:USDT` and `BTC/USDT:USDT-240628`. Small letters
    of ASCII become capital ones, as in every symbol; no other letter is changed.

    Args:
        text: what a person wrote.
        has_contracts: False for a market without contracts, spot.

    Raises:
        UsageError: none of these, or a contract where the market has none.
    """
    _require_one(text)
    match = _SPELLINGS.fullmatch(_composed(text.strip()).translate(_ASCII_UPPER))
    if match is None:
        raise _no_pair(text)
    base, quote, settle, contract = match.group("base", "quote", "settle", "contract")
    parts = [base, quote, settle, *re.split("[_-]", contract)]
    of_ccxt = settle or "-" in contract
    if not all(map(_is_name, filter(None, parts))) or (of_ccxt and not base):
        raise _no_pair(text)
    if "-" in contract and not _DELIVERY_OF_CCXT.fullmatch(contract):
        raise _no_pair(text)
    named = (f"{base}/" if base else "") + quote + contract.replace("-", "_")
    if settle and not has_contracts:
        raise UsageError(f"{text!r} is a futures contract; write {named}, or choose the market futures")
    if settle and settle != quote:
        raise UsageError(f"{text!r} settles in {settle}; only contracts that settle in their quote asset can be loaded")
    _require_token(token_of(named), text)
    return named


def token_of(pair: str) -> str:
    """The exchange's symbol of a pair, `BTCUSDT`."""
    return pair.replace("/", "")


def quote_of(pair: str) -> str:
    """The asset that the pair's prices are in, `USDT`, of a contract, too."""
    return pair.partition("/")[2].partition("_")[0]


def has_slash(pair: str) -> bool:
    """True if base and quote are told apart; False for a symbol."""
    return "/" in pair


def is_token(text: str) -> bool:
    """True if `text` can be the symbol of a pair."""
    return all(map(_is_name, text.split("_")))


def is_symbol(text: str) -> bool:
    """True if the exchange can have a pair with this symbol, and a store a folder for it."""
    return len(text) <= _MOST_CHARACTERS and text not in _RESERVED and is_token(text)


def pair_of(token: str, base: str, quote: str) -> str | None:
    """The pair of a symbol whose base and quote the exchange gives; None if the symbol is not made of them."""
    rest = token[len(base) :]
    return f"{base}/{rest}" if base and quote and token.startswith(base) and rest.startswith(quote) else None


def pair_by_rule(named: str) -> str:
    """The pair of a spelling where the exchange does not give base and quote: what follows the slash is a known quote.

    A slash stays where it is, too, if the symbol ends with no known quote.

    Raises:
        UsageError: the slash is in another place, or it is not clear where it belongs.
    """
    token = token_of(named)
    pairs = [f"{token[:at]}/{token[at:]}" for at in range(1, len(token)) if _QUOTED.fullmatch(token, at)]
    if has_slash(named):
        if pairs and named not in pairs:
            require_same(named, pairs[0])
        return named
    if len(pairs) != 1:
        reason = f"may be {' or '.join(pairs)}" if pairs else "ends with no known quote asset"
        raise UsageError(f"the exchange does not list {token}, which {reason}; write BASE/QUOTE")
    return pairs[0]


def require_same(named: str, pair: str) -> None:
    """Refuse a spelling that has the symbol of the pair, and its slash in another place.

    Raises:
        UsageError: what the pair is called, and how to write it.
    """
    if has_slash(named) and named != pair:
        token = token_of(pair)
        raise UsageError(f"there is no {named}: {token} is {pair}; write {pair} or {token}")


def _require_one(pair: object) -> None:
    """Refuse a list of pairs: callers without type hints give one where a single pair is read."""
    if not isinstance(pair, str):
        several = "backfill_many, combine_many and open_panel take several"
        raise UsageError(f"not one pair: {str(pair)[:60]}; name one, such as 'BTC/USDT'; {several}")


def _require_token(token: str, text: str) -> None:
    if len(token) > _MOST_CHARACTERS:
        raise UsageError(f"not a pair: {text[:60]!r} has more than {_MOST_CHARACTERS} characters")
    if token in _RESERVED:
        raise UsageError(f"not a pair: {text!r}; on Windows no folder can be called {token}")


def _is_name(text: str) -> bool:
    """True for letters, the marks on them, and digits, of any script."""
    if text.isalnum():
        return True
    if not text or text.isascii():
        return False
    import unicodedata  # only such names need it

    return all(unicodedata.category(character)[0] in "LMN" for character in text)


def _composed(text: str) -> str:
    """The text with each letter in one piece (NFC), as the exchange writes it and every file system can keep it."""
    if text.isascii():
        return text
    import unicodedata

    return unicodedata.normalize("NFC", text)


def _no_pair(text: str) -> UsageError:
    return UsageError(f"not a pair: {text[:60]!r}; write BASE/QUOTE, for example BTC/USDT, or the exchange's symbol")
