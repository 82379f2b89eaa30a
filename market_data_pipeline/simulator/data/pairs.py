"""The pairs that the simulated exchange lists.

Belongs here: what is fixed about a pair (market, name, tick and step, first kline, end of trading, price level).
Does not belong here: klines (`prices`, `history`) and the exchangeInfo body (`exchange_info`).

First klines are close to those of the real exchange. FRESHUSDT is invented and listed in 2026. SIM01USDT to SIM100USDT
are invented too, on both markets, for tests that need many pairs. WAVESUSDT is delisted in 2024: on spot it has no
klines afterwards, on futures it has flat klines with volume 0 at the last price, without end.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal

Market = Literal["spot", "futures"]
MARKETS: tuple[Market, ...] = ("spot", "futures")
ALL_OCTAVES = 11
_NEVER_MS = 4_133_404_800_000
_QUOTES = ("USDT", "USDC", "FDUSD", "BUSD", "TUSD", "TRY", "EUR", "BTC", "ETH", "BNB")


@dataclass(frozen=True)
class Pair:
    """One pair on one market.

    `tick` and `step` are the smallest differences of prices and quantities, decimals as the exchange writes them.
    `first_open_ms` is the first kline, `end_ms` the end of trading or None. `price` is the level around which prices
    move, `turnover` that of a minute in the quote currency, `idle` the share of minutes without a trade. `ticker` is
    the symbol of a pair whose symbol is not base and quote in one word. With fewer `octaves` prices stay closer to
    their level.
    """

    market: Market
    base: str
    quote: str
    tick: str
    step: str
    first_open_ms: int
    end_ms: int | None
    price: float
    turnover: float
    idle: float
    ticker: str = ""
    octaves: int = ALL_OCTAVES

    @property
    def symbol(self) -> str:
        """Return the symbol, such as BTCUSDT."""
        return self.ticker or self.base + self.quote

    @cached_property
    def tick_decimals(self) -> int:
        """Return the decimals of the smallest price difference."""
        return _decimals(self.tick.rstrip("0"))

    @cached_property
    def step_decimals(self) -> int:
        """Return the decimals of the smallest quantity difference."""
        return _decimals(self.step.rstrip("0") if "." in self.step else self.step)

    @cached_property
    def price_decimals(self) -> int:
        """Return the decimals that a price is written with."""
        return 8 if self.market == "spot" else _decimals(self.tick)

    @cached_property
    def quantity_decimals(self) -> int:
        """Return the decimals that a base quantity is written with."""
        return 8 if self.market == "spot" else _decimals(self.step)

    @cached_property
    def quote_decimals(self) -> int:
        """Return the decimals that a quote quantity is written with."""
        return 8 if self.market == "spot" else self.price_decimals + self.quantity_decimals

    def known(self, now_ms: int) -> bool:
        """Return whether REST knows the symbol."""
        return self.first_open_ms <= now_ms

    def listed(self, now_ms: int) -> bool:
        """Return whether exchangeInfo names the pair without being asked for it."""
        return self.known(now_ms)

    def status(self, now_ms: int) -> str:
        """Return the status in exchangeInfo."""
        if self.end_ms is None or now_ms < self.end_ms:
            return "TRADING"
        return "BREAK" if self.market == "spot" else "SETTLING"

    @property
    def contract_type(self) -> str:
        """Return the kind of a futures contract."""
        return "PERPETUAL"

    @property
    def delivery_ms(self) -> int:
        """Return when a futures contract is settled; a date far away if that is not known."""
        return _NEVER_MS if self.end_ms is None else self.end_ms


def instant_ms(text: str) -> int:
    """Convert an ISO time without offset, in UTC, to ms since the epoch."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


def split_symbol(symbol: str) -> tuple[str, str]:
    """Split a symbol into base and quote, by the known quote currencies, without the `_240628` of a contract."""
    symbol = symbol.partition("_")[0]
    for quote in _QUOTES:
        if symbol.endswith(quote) and symbol != quote:
            return symbol.removesuffix(quote), quote
    return symbol, "USDT"


def _decimals(number: str) -> int:
    return len(number.partition(".")[2])


_Half = tuple[str, str, str] | None
_Row = tuple[str, str, float, float, float, _Half, _Half]

# base, quote, price level, turnover a minute in quote, share of minutes without a trade,
# then for spot and futures each: tick, step, first kline
_TABLE: tuple[_Row, ...] = (
    ("BTC", "USDT", 42_000, 1.5e6, 0, ("0.01", "0.00001", "2017-08-17T04:00"), ("0.10", "0.001", "2019-09-08T17:57")),
    ("ETH", "USDT", 2_200, 9e5, 0, ("0.01", "0.0001", "2017-08-17T04:00"), ("0.01", "0.001", "2019-11-27T07:45")),
    ("BNB", "USDT", 380, 1.5e5, 0, ("0.01", "0.001", "2017-11-06T03:54"), ("0.010", "0.01", "2020-02-10T08:00")),
    ("LTC", "USDT", 95, 8e4, 0, ("0.01", "0.001", "2017-12-13T03:32"), ("0.01", "0.001", "2020-01-09T08:34")),
    ("ADA", "USDT", 0.6, 7e4, 0, ("0.0001", "0.1", "2018-04-17T04:00"), ("0.00010", "1", "2020-01-31T08:00")),
    ("XRP", "USDT", 0.7, 2e5, 0, ("0.0001", "0.1", "2018-05-04T08:11"), ("0.0001", "0.1", "2020-01-06T08:20")),
    ("XLM", "USDT", 0.2, 2e4, 0, ("0.0001", "1", "2018-05-31T09:30"), ("0.00001", "1", "2020-01-20T08:00")),
    ("TRX", "USDT", 0.12, 6e4, 0, ("0.0001", "0.1", "2018-06-11T11:30"), ("0.00001", "1", "2020-01-15T08:00")),
    ("ETC", "USDT", 25, 2e4, 0, ("0.01", "0.01", "2018-06-12T04:00"), ("0.001", "0.01", "2020-01-16T08:00")),
    ("LINK", "USDT", 14, 5e4, 0, ("0.01", "0.01", "2019-01-16T10:00"), ("0.001", "0.01", "2020-01-17T08:00")),
    ("ATOM", "USDT", 9, 2e4, 0, ("0.001", "0.01", "2019-04-29T04:00"), ("0.001", "0.01", "2020-02-07T08:00")),
    ("DOGE", "USDT", 0.15, 2e5, 0, ("0.00001", "1", "2019-07-05T12:00"), ("0.000010", "1", "2020-07-10T09:00")),
    ("BCH", "USDT", 380, 3e4, 0, ("0.1", "0.001", "2019-11-28T10:00"), ("0.01", "0.001", "2019-12-19T08:00")),
    ("SOL", "USDT", 110, 4e5, 0, ("0.01", "0.001", "2020-08-11T06:00"), ("0.0100", "0.01", "2020-09-14T07:00")),
    ("DOT", "USDT", 6, 3e4, 0, ("0.001", "0.01", "2020-08-18T23:00"), ("0.001", "0.1", "2020-08-22T07:00")),
    ("UNI", "USDT", 8, 2e4, 0, ("0.001", "0.01", "2020-09-17T03:00"), ("0.0010", "1", "2020-09-18T07:00")),
    ("AVAX", "USDT", 30, 5e4, 0, ("0.01", "0.01", "2020-09-22T06:30"), ("0.0010", "1", "2020-09-23T07:00")),
    ("NEAR", "USDT", 4, 3e4, 0, ("0.001", "0.1", "2020-10-14T04:00"), ("0.0010", "1", "2020-10-15T07:00")),
    ("FIL", "USDT", 5, 2e4, 0, ("0.001", "0.01", "2020-10-15T11:00"), ("0.001", "0.1", "2020-10-16T07:00")),
    ("AAVE", "USDT", 150, 2e4, 0, ("0.01", "0.001", "2020-10-16T03:00"), ("0.010", "0.1", "2020-10-19T07:00")),
    ("SHIB", "USDT", 0.000018, 4e4, 0, ("0.00000001", "1", "2021-05-10T11:00"), None),
    ("1000SHIB", "USDT", 0.018, 5e4, 0, None, ("0.000001", "1", "2021-05-10T10:00")),
    ("APT", "USDT", 8, 3e4, 0, ("0.001", "0.01", "2022-10-19T01:00"), ("0.00100", "0.1", "2022-10-19T02:30")),
    ("ARB", "USDT", 0.9, 3e4, 0, ("0.0001", "0.1", "2023-03-23T17:00"), ("0.000100", "0.1", "2023-03-23T18:30")),
    ("SUI", "USDT", 1.6, 6e4, 0, ("0.0001", "0.1", "2023-05-03T12:00"), ("0.000100", "0.1", "2023-05-03T14:00")),
    ("ETH", "BTC", 0.052, 4, 0, ("0.00001", "0.001", "2017-07-14T04:00"), None),
    ("QTUM", "BTC", 0.0001, 0.003, 0.45, ("0.00000001", "1", "2017-08-15T12:00"), None),
    ("BTC", "USDC", 42_000, 2e5, 0, ("0.01", "0.00001", "2018-12-15T03:00"), ("0.1", "0.001", "2024-01-04T07:00")),
    ("WAVES", "USDT", 4, 900, 0.1, ("0.0001", "0.01", "2019-01-18T10:00"), ("0.0010", "0.1", "2020-08-05T07:00")),
    ("FRESH", "USDT", 1.2, 1_500, 0.1, ("0.0001", "0.1", "2026-03-02T12:00"), ("0.0001000", "1", "2026-03-02T12:30")),
)
_NUMBERED = 100
_ENDS: dict[tuple[Market, str], str] = {
    ("spot", "WAVESUSDT"): "2024-06-17T03:00",
    ("futures", "WAVESUSDT"): "2024-06-11T09:00",
}


def _numbered(market: Market, number: int) -> Pair:
    first_ms = instant_ms("2022-02-01T08:00") + number * 3_600_000
    price, turnover = 0.5 + number, 2e4 * (1 + number % 7)
    return Pair(market, f"SIM{number:02}", "USDT", "0.001", "0.1", first_ms, None, price, turnover, 0)


def table_pairs() -> list[Pair]:
    """Return the pairs of the built-in table, both markets."""
    pairs = [_numbered(market, number) for market in MARKETS for number in range(1, _NUMBERED + 1)]
    for base, quote, price, turnover, idle, *halves in _TABLE:
        for market, half in zip(MARKETS, halves, strict=True):
            if half is None:
                continue
            tick, step, first = half
            end = _ENDS.get((market, base + quote))
            end_ms = None if end is None else instant_ms(end)
            pairs.append(Pair(market, base, quote, tick, step, instant_ms(first), end_ms, price, turnover, idle))
    return pairs
