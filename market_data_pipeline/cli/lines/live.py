"""The events of live mode.

Belongs here: `following`, `minute`, `trouble`. Does not belong here: loads before the first minute (`loads`), the
result (`app.market.as_json`).
"""

from collections.abc import Sequence

from market_data_pipeline.cli.lines.writing import Lines
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import iso
from market_data_pipeline.core.live.dataset import Update
from market_data_pipeline.core.live.market import LiveMarket


class LiveLines(Lines):
    """The events of live mode: `following`, a `minute` for each market, `trouble`. A `Watcher` of `app.live`."""

    def __init__(self, datasets: Sequence[Dataset], warnings: Sequence[str]) -> None:
        """Tell which datasets are followed."""
        super().__init__()
        self._updates: dict[str, list[Update]] = {}
        self.tell("following", datasets=[dataset.name for dataset in datasets], warnings=list(warnings))

    def on_update(self, market: LiveMarket, edge_ms: int, update: Update) -> None:
        """Note what was stored of a dataset for the minute that ended at `edge_ms`; one thread for each market."""
        self._updates.setdefault(market.market.value, []).append(update)

    def on_minute(self, market: LiveMarket, edge_ms: int) -> None:
        """Tell of the minute that ended at `edge_ms`."""
        updates, usage = self._updates.pop(market.market.value, []), market.usage()
        self.tell(
            "minute",
            market=market.market.value,
            minute=iso(edge_ms),
            datasets=len(updates),
            klines=sum(update.added for update in updates),
            revised=sum(update.revised for update in updates),
            late=sum(update.is_late for update in updates),
            behind=sum(update.is_behind for update in updates),
            failed={update.name: update.error for update in updates if update.error},
            clock_offset_ms=market.clock_offset_ms,
            weight_used=usage.used,
            weight_limit=usage.limit,
        )

    def on_trouble(self, trouble: str) -> None:
        """Tell of a problem."""
        self.tell("trouble", error=trouble)
