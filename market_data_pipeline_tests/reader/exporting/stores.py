"""Stores with a few pairs to export. Does not belong here: any assertion."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.klines.table import FIELDS
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline_tests.core.fakes import FakeSource, span
from market_data_pipeline_tests.reader.test_panel import PairSource

# Three days of UTC; the clocks go forward in Zurich on the third one.
WINDOW = span("2024-03-29T00:00Z", "2024-04-01T00:00Z")
HALT = span("2024-03-30T04:00Z", "2024-03-30T05:30Z")
PRICES = ("open", "high", "low", "close")
PEERS_FIELDS = ("open_time", *PRICES, "volume")


@dataclass
class Scaled(PairSource):
    """A source whose prices and volumes are many times larger, or smaller, with as few decimals as an exchange has."""

    price: float = 1.0
    volume: float = 1.0
    decimals: int = 1

    def _of_pair(self, klines: pa.Table) -> pa.Table:
        columns: dict[str, Any] = {name: klines.column(name).to_numpy() for name in FIELDS}
        columns |= {name: np.round(columns[name] * self.price, self.decimals) for name in PRICES}
        columns["volume"] = np.round(columns["volume"] * self.volume, 2)
        columns |= {"taker_base_volume": columns["volume"] / 2}
        return pa.Table.from_pydict(columns, schema=klines.schema)


def make(
    root: Path,
    pair: str,
    source: FakeSource | None = None,
    market: Market = Market.SPOT,
    tz: str = "UTC",
    window: Span = WINDOW,
) -> DatasetStore:
    """A dataset with the days of the window."""
    zone = parse_zone(tz)
    start = datetime.fromtimestamp(window.start_ms / 1000, zone.tzinfo).date()
    made = Store(root, manifest_interval_s=1e9).create(market, pair, zone=zone, start=start)
    list(backfill(made, source or Scaled(missing=[HALT]), window))
    return made


def rows_of(klines: pa.Table, fields: Sequence[str] = PEERS_FIELDS) -> list[tuple[float, ...]]:
    """The klines as tuples of plain numbers."""
    return list(zip(*(klines.column(name).to_pylist() for name in fields), strict=True))
