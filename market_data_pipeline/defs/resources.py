"""What assets work with, made from the settings.

Belongs here: wiring. Does not belong here: logic of any kind.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from market_data_pipeline.core.backfill import DayResult
from market_data_pipeline.core.resolve import OpenSource
from market_data_pipeline.core.sources.opening import open_source
from market_data_pipeline.core.store import Store
from market_data_pipeline.settings import Settings


@dataclass(frozen=True)
class Tools:
    """The data root, how to open a pair's source, whom to tell of each finished day, and where the log goes."""

    store: Store
    open_source: OpenSource
    on_day: Callable[[DayResult], None]
    build_combined: bool
    logs: Path


def tools_of(settings: Settings) -> Tools:
    """The tools that the settings describe. Nothing is opened yet."""
    source = partial(
        open_source,
        settings.market_data_source,
        root=settings.root,
        base_url=settings.market_data_exchange_url,
        extra_sleep_s=settings.extra_sleep_sec,
    )
    return Tools(
        store=Store(settings.root, manifest_interval_s=settings.manifest_write_interval_sec),
        open_source=source,
        on_day=_tell_nobody,
        build_combined=settings.build_combined_on_backfill,
        logs=settings.logs,
    )


def _tell_nobody(result: DayResult) -> None:
    """The UI reads the day's events instead."""
