"""What assets, checks, sensors and jobs work with; for jobs and schedules it is the resource `tools`.

Belongs here: the core objects that definitions use. Does not belong here: how they are made from the settings
(`instance.composition`), logic of any kind.
https://docs.dagster.io/guides/build/external-resources
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pydantic import SecretStr

from market_data_pipeline.core.bulk.load import Message
from market_data_pipeline.core.catalog.ports import Archive, Exchange
from market_data_pipeline.core.klines.dataset import Dataset, Market, parse_market
from market_data_pipeline.core.klines.days import Zone, parse_zone
from market_data_pipeline.core.live.market import LiveMarket
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.plan import Load
from market_data_pipeline.core.loading.request import WindowRequest
from market_data_pipeline.core.loading.resolve import OpenSource
from market_data_pipeline.core.proof.prove import Proof
from market_data_pipeline.core.proof.repair import Repaired
from market_data_pipeline.core.proof.rolling import Turns
from market_data_pipeline.core.sources.opening import LiveSources
from market_data_pipeline.core.store.catalog.snapshots import CatalogStore
from market_data_pipeline.core.store.combined import Combined
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.defs.upkeep.comparing import Compared
from market_data_pipeline.instance.composition import (
    live_market_of,
    live_sources_of,
    market_opener_of,
    opener_of,
    store_of,
)
from market_data_pipeline.settings import Settings


def _ignore(*_: object) -> None:
    """The default of the callbacks: runs that the UI starts have no caller, and the UI reads their events instead."""


@dataclass(frozen=True)
class Caller:
    """What a command that runs Dagster in its own process passes to the run: results it has already, and callbacks.

    Attributes:
        load: the planned load of `klines_1m`; if None, the asset plans one.
        messages: of a load of many datasets that has begun, which the job `load` records; if None, it begins one.
        datasets: those that the job `combine` combines; if None, its config names them.
        compared: what the job `report` records; if None, it compares the datasets that its config names.
        proofs: the proofs that the job `repair` starts from; if None, the job proves the datasets first.
        on_load: called with each load of a repair, before its first day.
        on_day: called with each day's result.
        on_combined: called with each dataset, its file, and what is wrong, which may pass or not; by the asset
            `combined` as soon as the file is there, before its check.
        on_compared: called with what Dagster lacked of each dataset, after that was recorded.
        on_repaired: called with each bad day or file after its repair.
    """

    load: Load | None = None
    messages: Generator[tuple[WindowRequest, Message]] | None = None
    datasets: Sequence[Dataset] | None = None
    compared: Generator[Compared] | None = None
    proofs: Sequence[Proof] | None = None
    on_load: Callable[[Load], None] = _ignore
    on_day: Callable[[DayResult], None] = _ignore
    on_combined: Callable[[Dataset, Combined | None, str, bool], None] = _ignore
    on_compared: Callable[[Compared], None] = _ignore
    on_repaired: Callable[[Dataset, Repaired], None] = _ignore


@dataclass(frozen=True)
class Tools:
    """The core objects that definitions use.

    Attributes:
        store: the data root.
        market: that of run configs that name none (MARKET_TYPE).
        zone: that of datasets that a run creates whose config names none (ALIGN_TZ).
        source: the source that the settings name: auto, rest or archive.
        opener: returns the function that opens sources of a name; None means the name that the settings give.
        open_live: makes the live market; the text names this process to others that follow the same datasets.
        live_sources: opens the sources of many pairs of a market, with short deadlines.
        open_market: opens a whole market by REST and by the archive's listing.
        build_combined: whether each run of `klines_1m` also builds the combined file (BUILD_COMBINED_ON_BACKFILL).
        logs: the folder of `loader.log`.
        turns: how often the nightly proof reads a chunk, and how long it may take.
        alert_url: the webhook for alerts, None for none.
        owners: of the assets, as Dagster shows them.
        base_url: replaces the addresses of the exchange and of its archive.
        runs_kept_days: how many days a run is kept in Dagster after its end, 0 for all (MARKET_DATA_RUNS_KEPT_DAYS).
        caller: the command that runs Dagster in this process, if one does.
        written: the sha256 of each chunk that runs of this process have written.
    """

    store: Store
    market: Market
    zone: Zone
    source: str
    opener: Callable[[str | None], OpenSource]
    open_live: Callable[[Market, str], LiveMarket]
    live_sources: Callable[[Market], LiveSources]
    open_market: Callable[[Market], AbstractContextManager[tuple[Exchange, Archive]]]
    build_combined: bool
    logs: Path
    turns: Turns = field(default_factory=Turns)
    alert_url: SecretStr | None = None
    owners: Sequence[str] = ()
    base_url: str | None = None
    runs_kept_days: int = 0
    caller: Caller = field(default_factory=Caller)
    written: set[str] = field(default_factory=set, compare=False)

    def catalog(self, market: Market) -> CatalogStore:
        """The snapshots of a market's catalog."""
        return CatalogStore(self.store.root, market)

    def open_dataset(self, dataset: Dataset) -> DatasetStore:
        """Open the dataset's files, with the zone and start that `dataset.json` has if it exists.

        Raises:
            StoreError: `dataset.json` is damaged.
        """
        return self.store.open(self.store.find(dataset.market, dataset.pair) or dataset)


def tools_of(settings: Settings) -> Tools:
    """The tools that the settings describe. Opens no file and sends no request."""
    return Tools(
        store=store_of(settings),
        market=parse_market(settings.market_type),
        zone=parse_zone(settings.align_tz),
        source=settings.market_data_source,
        opener=partial(opener_of, settings),
        open_live=partial(live_market_of, settings),
        live_sources=partial(live_sources_of, settings),
        open_market=market_opener_of(settings),
        build_combined=settings.build_combined_on_backfill,
        logs=settings.logs,
        turns=Turns(settings.market_data_proof_days, settings.market_data_proof_hours * 3600),
        alert_url=settings.market_data_alert_url,
        owners=settings.owners,
        base_url=settings.market_data_exchange_url,
        runs_kept_days=settings.market_data_runs_kept_days,
    )
