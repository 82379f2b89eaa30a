"""What assets work with, made from the settings.

Belongs here: wiring. Does not belong here: logic of any kind.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.live.market import LiveMarket
from market_data_pipeline.core.loading.load_days import DayResult
from market_data_pipeline.core.loading.resolve import OpenSource
from market_data_pipeline.core.sources.opening import SOURCES
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.instance.composition import live_market_of, opener_of, store_of
from market_data_pipeline.settings import Settings


@dataclass(frozen=True)
class Tools:
    """The data root, how to open a pair's source, whom to tell of each finished day, and where the log goes.

    `open_named` opens the source with a name: auto, rest or archive. `open_live` makes the live mode of a market, given
    the name that others see.
    """

    store: Store
    open_source: OpenSource
    open_named: Mapping[str, OpenSource]
    on_day: Callable[[DayResult], None]
    build_combined: bool
    logs: Path
    open_live: Callable[[Market, str], LiveMarket]


def tools_of(settings: Settings) -> Tools:
    """The tools that the settings describe. Nothing is opened yet."""
    return Tools(
        store=store_of(settings),
        open_source=opener_of(settings),
        open_named={name: opener_of(settings, name) for name in SOURCES},
        on_day=_tell_nobody,
        build_combined=settings.build_combined_on_backfill,
        logs=settings.logs,
        open_live=partial(live_market_of, settings),
    )


def _tell_nobody(result: DayResult) -> None:
    """The UI reads the day's events instead."""
