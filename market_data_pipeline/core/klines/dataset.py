"""What a dataset is: a market, a pair, the zone of its days, its first day, and the minutes that were requested.

Belongs here: values and their parsing. Does not belong here: spellings of pairs (`pair`), `dataset.json`
(`store.dataset_file`), paths (`store.layout`).
"""

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from enum import StrEnum

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.coverage import Span, merge
from market_data_pipeline.core.klines.days import Day, Zone, day_at, day_of
from market_data_pipeline.core.klines.pair import token_of

INTERVAL = "1m"
HISTORY_START_MS = int(datetime(2020, 1, 1, 1, tzinfo=UTC).timestamp()) * 1000
FALLBACK_PAIR = "BTC/USDT"


class Market(StrEnum):
    """The two markets, with the names that users type."""

    SPOT = "spot"
    FUTURES = "futures"

    @property
    def exchange_id(self) -> str:
        """Ccxt's name of the market's exchange class; also the market's folder in the store."""
        return {"spot": "binance", "futures": "binanceusdm"}[self.value]

    @property
    def opened_ms(self) -> int:
        """When the market had its first kline, ms UTC."""
        at = {"spot": datetime(2017, 8, 17, 4, tzinfo=UTC), "futures": datetime(2019, 9, 8, 17, 57, tzinfo=UTC)}
        return int(at[self.value].timestamp()) * 1000

    @property
    def has_contracts(self) -> bool:
        """Whether its pairs are contracts, which ccxt writes with what they settle in: `BTC/USDT:USDT`."""
        return self is Market.FUTURES


def parse_market(text: str) -> Market:
    """The market called `text`.

    Raises:
        UsageError: neither spot nor futures.
    """
    try:
        return Market(text.strip().lower())
    except ValueError:
        raise UsageError(f"no such market: {text!r}; give spot or futures") from None


@dataclass(frozen=True, slots=True)
class Dataset:
    """One pair on one market, with the days that its klines are stored in.

    `start` is the first day of the dataset: the pair's first day on the exchange or the day of 2020-01-01T01:00Z,
    whichever is later, or an earlier day if that was requested. `requested` are the minutes that any request was for,
    sorted and disjoint; a minute outside them is `not_requested`, never a failure. `live` is True while live mode keeps
    the dataset current. `reused` are the minutes between an earlier pair of the same symbol and the present one, None
    if there was none. `ended_ms` is since when the pair is proven to be traded no more, ms UTC; None without a
    proof, and once it was traded again.
    """

    market: Market
    pair: str
    zone: Zone
    start: date
    # Left out of what a notebook shows: they are many, and instants in ms.
    requested: tuple[Span, ...] = field(default=(), repr=False)
    live: bool = False
    reused: Span | None = field(default=None, repr=False)
    ended_ms: int | None = field(default=None, repr=False)

    @property
    def token(self) -> str:
        """The exchange's symbol of the pair, `BTCUSDT`."""
        return token_of(self.pair)

    @property
    def name(self) -> str:
        """How the dataset is called in messages: `spot BTC/USDT`."""
        return f"{self.market} {self.pair}"

    @property
    def repair_command(self) -> str:
        """What a person runs where a chunk is damaged or missing."""
        return f"market-data --market {self.market} --pair {self.pair} verify --repair"

    @property
    def first_day(self) -> Day:
        """The day with chunk index 1."""
        return day_of(self.zone, self.start)

    def day(self, key: str) -> Day:
        """The local day with the partition key `key`."""
        return day_of(self.zone, date.fromisoformat(key))

    def index_of(self, key: str) -> int:
        """The chunk index of the day with the partition key `key`: days since the start, from 1."""
        return (date.fromisoformat(key) - self.start).days + 1

    def with_requested(self, window: Span) -> "Dataset":
        """The dataset with `window` among its requested minutes."""
        return replace(self, requested=tuple(merge([*self.requested, window])))

    def starting_on(self, start: date) -> "Dataset":
        """The dataset with its start moved down to `start`, if that is earlier."""
        return replace(self, start=min(self.start, start))


def default_start(zone: Zone) -> date:
    """The start of a dataset whose pair is older than 2020-01-01T01:00Z."""
    return day_at(zone, HISTORY_START_MS).date
