"""Which datasets a request is about.

Belongs here: from a user's words and the settings to a market, a pair and a zone, and to the files of stored datasets.
Does not belong here: what is done with them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.dataset import Market, parse_market, parse_pair
from market_data_pipeline.core.klines.days import Zone, parse_zone
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.instance.composition import store_of
from market_data_pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Target:
    """The dataset that a request is about; `named` is False if the user left it to the settings."""

    market: Market
    pair: str
    zone: Zone
    named: bool


def target_of(settings: Settings, market: str | None = None, pair: str | None = None, tz: str | None = None) -> Target:
    """The target that the named parts and, for the rest, the settings mean.

    Raises:
        UsageError: no such market, pair or zone.
    """
    return Target(
        market=parse_market(market or settings.market_type),
        pair=parse_pair(pair or settings.symbol),
        zone=parse_zone(tz or settings.align_tz),
        named=market is not None or pair is not None,
    )


def chosen(settings: Settings, target: Target) -> Iterator[DatasetStore]:
    """The files of the target's dataset, or of every dataset of the store if the user named none.

    Raises:
        UsageError: there is none.
        StoreError: a `dataset.json` is damaged.
    """
    store = store_of(settings)
    if target.named:
        found = [dataset] if (dataset := store.find(target.market, target.pair)) else []
    else:
        found = list(store.datasets())
    if not found:
        what = f"{target.market} {target.pair} is not" if target.named else "there is nothing"
        raise UsageError(f"{what} in {store.root}; run market-data backfill first")
    for dataset in found:
        yield store.open(dataset)
