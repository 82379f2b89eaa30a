"""What assets, checks, sensors and jobs work with.

Belongs here: the objects that definitions get as the resource `tools`. Does not belong here: how they are made of the
settings (`instance.composition`), logic.
https://docs.dagster.io/guides/build/external-resources
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.live.market import LiveMarket
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.plan import Load
from market_data_pipeline.core.loading.resolve import OpenSource
from market_data_pipeline.core.proof.prove import Proof
from market_data_pipeline.core.proof.repair import Repaired
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.instance.composition import live_market_of, opener_of, store_of
from market_data_pipeline.settings import Settings


def _ignore(*_: object) -> None:
    """Runs that the UI starts have no caller; the UI reads their events."""


@dataclass(frozen=True)
class Caller:
    """What a command that runs Dagster in its own process has at hand, and what it is called with meanwhile.

    Attributes:
        load: the planned load of `klines_1m`; None lets the asset plan its own.
        proofs: the proofs that `repair` starts from; None lets the job prove the datasets first.
        on_load: called with each load of a repair before its first day.
        on_day: called with each day's result.
        on_repaired: called with each bad day or file that was repaired.
    """

    load: Load | None = None
    proofs: Sequence[Proof] | None = None
    on_load: Callable[[Load], None] = _ignore
    on_day: Callable[[DayResult], None] = _ignore
    on_repaired: Callable[[Dataset, Repaired], None] = _ignore


@dataclass(frozen=True)
class Tools:
    """What definitions work with.

    Attributes:
        store: the data root.
        source: the source that the settings name: auto, rest or archive.
        opener: gives what opens sources with a name, or with the settings' where it is None.
        open_live: makes the live mode of a market; the text is the name of its owner, for others to read.
        build_combined: whether each backfill also builds the combined file.
        logs: the folder of `loader.log`.
        caller: the command that runs Dagster in this process, if one does.
    """

    store: Store
    source: str
    opener: Callable[[str | None], OpenSource]
    open_live: Callable[[Market, str], LiveMarket]
    build_combined: bool
    logs: Path
    caller: Caller = field(default_factory=Caller)

    def files(self, dataset: Dataset) -> DatasetStore:
        """The dataset's files.

        Raises:
            StoreError: `dataset.json` is damaged.
        """
        return self.store.open(self.store.find(dataset.market, dataset.pair) or dataset)


def tools_of(settings: Settings) -> Tools:
    """The tools that the settings describe. No file is opened, no request sent."""
    return Tools(
        store=store_of(settings),
        source=settings.market_data_source,
        opener=partial(opener_of, settings),
        open_live=partial(live_market_of, settings),
        build_combined=settings.build_combined_on_backfill,
        logs=settings.logs,
    )
