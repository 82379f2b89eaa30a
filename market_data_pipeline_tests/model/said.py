"""An exchange in memory that knows what it said: of each minute, which value it gave last, and which it gave before.

Belongs here: one pair's klines, their revisions, pauses of trading, and what was delivered. Does not belong here:
commands, the store.

A kline is a function of its minute and of a version, a small number that a revision raises. So a stored kline tells
which version it has, and whether that was ever said.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from market_data_pipeline.core.errors import SourceUnavailable
from market_data_pipeline.core.klines.coverage import Kind, Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.klines.table import EMPTY, SCHEMA, open_times
from market_data_pipeline.core.sources.protocol import Life, Page, Recheck, Usage
from market_data_pipeline_tests.core.fakes import REST, FakePages

MOST_VERSIONS = 60
_PAGE_MINUTES = 1000
_VERSION_OF = 1000
Times = npt.NDArray[np.int64]


def klines(times: Times, versions: Times) -> pa.Table:
    """The klines that open at these times, each of its version."""
    mixed = (times // MINUTE_MS * 2_654_435_761 + versions * 40_503) % 100_003
    opened, closed = 20_000 + mixed / 10, 20_000 + (mixed * 7 % 100_003) / 10
    volume = 1 + (mixed % 997) / 100
    columns = {
        "open_time": times,
        "open": opened,
        "high": np.maximum(opened, closed) + 0.1,
        "low": np.minimum(opened, closed) - 0.1,
        "close": closed,
        "volume": volume,
        "close_time": times + MINUTE_MS - 1,
        "quote_volume": volume * opened,
        "trades": versions * _VERSION_OF + 1 + mixed % 53,
        "taker_base_volume": volume / 2,
        "taker_quote_volume": volume * opened / 2,
        "ignore": np.zeros(len(times)),
    }
    return pa.Table.from_pydict(columns, schema=SCHEMA)


def versions_of(table: pa.Table) -> Times:
    """The version of each kline; a kline that is none of a version is an error."""
    versions = table.column("trades").to_numpy() // _VERSION_OF
    assert table.select(SCHEMA.names).replace_schema_metadata(None) == klines(open_times(table), versions)
    return versions


@dataclass
class Said:
    """The exchange: `KlineSource` of one pair, and with `of` the sources of live mode.

    Attributes:
        within: the minutes that the model knows; the pair has klines from the first of them on.
        clock_ms: the exchange's clock, ms UTC.
        halted: minutes without trading.
        on_page: called before each page is delivered, such as to end the process there.
    """

    within: Span
    clock_ms: int
    halted: list[Span] = field(default_factory=list)
    on_page: Callable[[], None] | None = None
    is_down: bool = False
    market: Market = Market.SPOT

    def __post_init__(self) -> None:
        self.version = np.zeros(self.within.minutes, np.int64)
        self.delivered = np.full(self.within.minutes, -1, np.int64)
        """By minute, the version that was delivered since `forget`; -1 for none."""

    # --- what happens at the exchange

    def pause(self) -> None:
        """Trading stops with the running minute."""
        if self.paused_ms is None:
            self.halted.append(Span(self.closed_ms, self.within.end_ms))

    def go_on(self) -> None:
        """Trading goes on with the running minute."""
        if (since_ms := self.paused_ms) is not None:
            del self.halted[-1]
            if self.closed_ms > since_ms:
                self.halted.append(Span(since_ms, self.closed_ms))

    @property
    def paused_ms(self) -> int | None:
        """Since when trading is paused; None if it is not."""
        is_paused = self.halted and self.halted[-1].end_ms == self.within.end_ms
        return self.halted[-1].start_ms if is_paused else None

    def revise(self, span: Span) -> None:
        """The klines of these minutes get other values."""
        self.version[self.part(span)] += 1

    @property
    def closed_ms(self) -> int:
        """The end of the last minute that is over."""
        return self.clock_ms // MINUTE_MS * MINUTE_MS

    def times(self, span: Span) -> Times:
        """The open times of its klines in the span."""
        every = np.arange(max(span.start_ms, self.within.start_ms), min(span.end_ms, self.closed_ms), MINUTE_MS)
        for halt in self.halted:
            every = every[(every < halt.start_ms) | (every >= halt.end_ms)]
        return every

    def at(self, times: Times) -> Times:
        """Where these minutes are in `version` and `delivered`."""
        return (times - self.within.start_ms) // MINUTE_MS

    def forget(self) -> None:
        """Nothing counts as delivered."""
        self.delivered[:] = -1

    # --- what the product asks it

    @property
    def warnings(self) -> list[str]:
        return []

    def now_ms(self) -> int:
        return self.clock_ms

    def life(self, since_ms: int = 0, *, between: Span | None = None, refresh: bool = False) -> Life:
        self._require_up()
        last_ms = None if self.paused_ms is None else self.paused_ms - MINUTE_MS
        return Life(self.within.start_ms, last_ms)

    def listed_pair(self) -> str:
        return "BTC/USDT"

    def settled_ms(self) -> None:
        return None

    def newest(self, span: Span, *, paid: bool = False) -> Page:
        return self._page(span)

    def prefetch(self, spans: Iterable[Span]) -> None:
        pass

    def pages(self, spans: Iterable[Span]) -> FakePages:
        return FakePages(self._each_page(spans))

    def recheck(self, gap: Span) -> Recheck:
        page = self._page(gap)
        if page.klines.num_rows:
            return Recheck(page.klines, page.sources)
        return Recheck(EMPTY, evidence=("nobody traded",), kind=Kind.OUTAGE)

    def usage(self) -> Usage:
        return Usage(0, 1, 0)

    def expect(self, days: Any, absent: Any = ()) -> list[Any]:
        raise NotImplementedError

    def traffic(self) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        pass

    # --- what live mode asks besides

    def of(self, pair: str) -> "Said":
        return self

    def set_clock(self) -> int:
        return 0

    def way_ms(self) -> int:
        return 0

    def worth_asking_at_once(self) -> int:
        return 1

    def try_to_pay(self, spans: Iterable[Span]) -> bool:
        return True

    def open_budget(self) -> None:
        pass

    # --- inside

    def _each_page(self, spans: Iterable[Span]) -> Iterator[Page]:
        for one in spans:
            for start_ms in range(one.start_ms, one.end_ms, _PAGE_MINUTES * MINUTE_MS):
                yield self._page(Span(start_ms, min(start_ms + _PAGE_MINUTES * MINUTE_MS, one.end_ms)))

    def _page(self, span: Span) -> Page:
        if self.on_page:
            self.on_page()
        self._require_up()
        times = self.times(span)
        where = self.at(times)
        self.delivered[where] = self.version[where]
        return Page(span, klines(times, self.version[where]), REST)

    def _require_up(self) -> None:
        if self.is_down:
            raise SourceUnavailable("no answer from the exchange of the model; check the network")

    def part(self, span: Span) -> slice:
        """Where the minutes of the span are in `version` and `delivered`."""
        start, end = self.at(np.array([span.start_ms, span.end_ms]))
        return slice(int(start), int(end))
