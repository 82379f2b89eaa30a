"""An exchange from memory that answers at once: prerecorded klines, whose values may change.

Belongs here: the sources of one pair and of a market. Does not belong here: when what is asked (`scenarios`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.klines.table import SCHEMA, cut, open_times
from market_data_pipeline.core.sources.protocol import Page, Usage
from market_data_pipeline_tests.core.fakes import REST, FakeSource, changed, klines_of


@dataclass
class Exchange(FakeSource):
    """`KlineSource` of one pair. Its klines are in `versions`, of which `version` is the one that it gives now."""

    versions: list[pa.Table] = field(default_factory=list)
    version: int = 0

    @classmethod
    def of(cls, within: Span, *, without: Iterable[Span] = (), shift: int = 0) -> "Exchange":
        """An exchange with a kline for each minute of a span that is not left out; other values for each shift."""
        klines = klines_of(within, without=without)
        place, trades = SCHEMA.get_field_index("trades"), pc.add(klines.column("trades"), shift)
        klines = klines.set_column(place, SCHEMA.field(place), trades)
        return cls(first=datetime.fromtimestamp(within.start_ms / 1000, UTC).isoformat(), versions=[klines])

    def revise(self, *open_times_ms: int) -> None:
        """Give other values to these minutes in a further version, which is not the present one yet."""
        klines = self.versions[-1]
        for row in np.flatnonzero(np.isin(open_times(klines), open_times_ms)).tolist():
            klines = changed(klines, "trades", row, klines.column("trades")[row].as_py() + 7)
        self.versions.append(klines.combine_chunks())

    def at(self, now_ms: int, version: int = 0) -> None:
        """Let its clock and its values be these."""
        self.now = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat()
        self.version = version

    def told(self, window: Span) -> pa.Table:
        """What it has of the window now."""
        closed_ms = self.now_ms() // MINUTE_MS * MINUTE_MS
        return cut(
            self.versions[self.version], Span(window.start_ms, max(window.start_ms, min(window.end_ms, closed_ms)))
        )

    def _page(self, within: Span) -> Page:
        return Page(within, self.told(within), REST)


class Sources:
    """`LiveSources` of a market with these exchanges."""

    market = Market.SPOT

    def __init__(self, exchanges: dict[str, Exchange]) -> None:
        self._exchanges = exchanges

    def of(self, pair: str) -> Exchange:
        return self._exchanges[pair]

    def now_ms(self) -> int:
        return next(iter(self._exchanges.values())).now_ms()

    def set_clock(self) -> int:
        return 0

    def way_ms(self) -> int:
        return 0

    def worth_asking_at_once(self) -> int:
        return 4

    def usage(self) -> Usage:
        return Usage(0, 1, 0)

    def try_to_pay(self, spans: Iterable[Span]) -> bool:
        return True

    def open_budget(self) -> None:
        pass

    def close(self) -> None:
        pass
