"""A part of a load that one run does: the days of one dataset in one year.

Belongs here: the value, the tags of its run, how days of two parts relate. Does not belong here: anything that imports
Dagster, which takes seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from market_data_pipeline.instance.names import (
    DATASET_TAG,
    DAYS_TAG,
    MARKET_TAG,
    PAIRS_TAG,
    UNIVERSE_TAG,
    WHAT_TAG,
    YEAR_TAG,
)

# So often a run is started anew whose worker died. A run that failed by itself would fail again.
_MOST_RETRIES = 3


class State(StrEnum):
    """What has become of a part."""

    QUEUED = "queued"
    """Its run waits in the queue, or will be started anew because its worker died."""
    STARTING = "starting"
    """Its run was handed over, and has not begun."""
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_over(self) -> bool:
        """True if nothing more comes."""
        return self not in {State.QUEUED, State.STARTING, State.RUNNING}


@dataclass(frozen=True, slots=True)
class Part:
    """The days of one dataset in one year.

    Attributes:
        name: the dataset in messages, `spot BTC/USDT`.
        dataset: the value of its tag, `binance/BTCUSDT`.
        market: `spot` or `futures`.
        first, last: its first and last day in the dataset's zone, both included, `YYYY-MM-DD`.
        config: of the job `load`.
        universe: the named choice that it is loaded for, None for none.
    """

    name: str
    dataset: str
    market: str
    first: str
    last: str
    config: Mapping[str, Any]
    universe: str | None = None

    @property
    def year(self) -> int:
        """The year of its last day."""
        return int(self.last[:4])

    @property
    def days(self) -> str:
        """The value of the tag of days."""
        return f"{self.first}..{self.last}"

    def tags(self, this_year: int) -> dict[str, str]:
        """The tags of its run. The newest year comes first, and every other run of the queue before that."""
        return {
            WHAT_TAG: "backfill",
            PAIRS_TAG: "1",
            MARKET_TAG: self.market,
            DATASET_TAG: self.dataset,
            YEAR_TAG: str(self.year),
            DAYS_TAG: self.days,
            **({UNIVERSE_TAG: self.universe} if self.universe else {}),
            "dagster/priority": str(min(self.year - this_year, 0) - 1),
            "dagster/max_retries": str(_MOST_RETRIES),
            "dagster/retry_strategy": "ALL_STEPS",
            "dagster/retry_on_asset_or_op_failure": "false",
        }

    def overlaps(self, days: str) -> bool:
        """True if a run with this tag of days loads one of these days."""
        return have_common(self.days, days)

    def is_within(self, days: str) -> bool:
        """True if a run with this tag of days loads all of these days."""
        first, _, last = days.partition("..")
        return first <= self.first and self.last <= last


def have_common(days: str, others: str) -> bool:
    """True if two values of the tag of days have a day in common."""
    (first, _, last), (first_of_others, _, last_of_others) = days.partition(".."), others.partition("..")
    return first <= last_of_others and first_of_others <= last
