"""Core objects made from the settings. These functions open no file and send no request.

Belongs here: which setting becomes which parameter. Does not belong here: logic of any kind, what a setting means
(`settings`).
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.live.market import LiveMarket
from market_data_pipeline.core.loading.resolve import OpenSource
from market_data_pipeline.core.sources.budgets.budget import BudgetOf
from market_data_pipeline.core.sources.opening import LiveSources, open_market, open_source
from market_data_pipeline.core.store.catalog.snapshots import CatalogStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.storage.protocol import StorePath
from market_data_pipeline.instance.budgets import open_budget
from market_data_pipeline.settings import Settings

if TYPE_CHECKING:
    from market_data_pipeline.core.sources.archive.market import ArchiveMarket
    from market_data_pipeline.core.sources.rest.market import RestMarket


def store_of(settings: Settings) -> Store:
    """The store in the data root of the settings."""
    return Store(settings.root, manifest_interval_s=settings.manifest_write_interval_sec)


def opener_of(settings: Settings, source: str | None = None, *, budgets: Sequence[Path] | None = None) -> OpenSource:
    """The function that opens a pair's source: `source` (auto, rest or archive), or the one of the settings if None.

    `budgets` are the folders for the file of the weight budget, None for those of the settings.
    """
    return partial(
        open_source,
        source or settings.market_data_source,
        budget_of=_budget_of(settings, budgets),
        base_url=settings.market_data_exchange_url,
        extra_sleep_s=settings.extra_sleep_sec,
        end_of=partial(_end_of, settings.root),
    )


def _budget_of(settings: Settings, folders: Sequence[Path] | None = None) -> BudgetOf:
    return partial(
        open_budget,
        home=settings.home,
        folders=settings.budgets if folders is None else folders,
        egress=settings.market_data_egress,
    )


def _end_of(root: StorePath, market: Market, symbol: str) -> date | None:
    return CatalogStore(root, market).end_of(symbol)


def catalog_store_of(settings: Settings, market: Market) -> CatalogStore:
    """The snapshots of a market's catalog in the data root of the settings."""
    return CatalogStore(settings.root, market)


def market_opener_of(
    settings: Settings,
) -> "Callable[[Market], AbstractContextManager[tuple[RestMarket, ArchiveMarket]]]":
    """The function that opens a whole market, by REST and by the archive's listing."""
    return partial(
        open_market,
        budget_of=_budget_of(settings),
        base_url=settings.market_data_exchange_url,
        extra_sleep_s=settings.extra_sleep_sec,
    )


def live_sources_of(settings: Settings, market: Market) -> LiveSources:
    """The sources of many pairs of a market, with short deadlines."""
    return LiveSources(
        market,
        budget_of=_budget_of(settings),
        base_url=settings.market_data_exchange_url,
        extra_sleep_s=settings.extra_sleep_sec,
    )


def live_market_of(settings: Settings, market: Market, who: str) -> LiveMarket:
    """The live market; `who` names this process to others that try to follow the same datasets."""
    store = Store(settings.root, manifest_interval_s=math.inf)
    return LiveMarket(
        store,
        live_sources_of(settings, market),
        who=who,
        manifest_interval_s=settings.manifest_write_interval_sec,
        archived=settings.market_data_source != "rest",
    )
