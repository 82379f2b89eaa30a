"""Which datasets a request is about.

Belongs here: parsing the market, pair and zone of a request, with the settings as defaults, and opening the datasets.
Does not belong here: the use cases (the other modules of `app`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.dataset import Market, parse_market
from market_data_pipeline.core.klines.days import Zone, parse_zone
from market_data_pipeline.core.klines.pair import parse_pair
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.instance.composition import store_of
from market_data_pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Target:
    """The market, pair and zone of a request. `named` is False if the user gave neither market nor pair.

    `pair` is as `parse_pair` returns it: the symbol if the user gave that. The dataset has base and quote.
    """

    market: Market
    pair: str
    zone: Zone
    named: bool


def target_of(settings: Settings, market: str | None = None, pair: str | None = None, tz: str | None = None) -> Target:
    """The target of a request. Parts that are None come from the settings.

    Args:
        settings: the defaults.
        market: `spot` or `futures`.
        pair: in any spelling that `parse_pair` reads.
        tz: an IANA time zone, or an offset such as `+05:30`.

    Raises:
        UsageError: a part cannot be parsed.
    """
    of_market = parse_market(market or settings.market_type)
    return Target(
        market=of_market,
        pair=parse_pair(pair or settings.symbol, has_contracts=of_market.has_contracts),
        zone=parse_zone(tz or settings.align_tz),
        named=market is not None or pair is not None,
    )


def open_datasets(settings: Settings, target: Target) -> Iterator[DatasetStore]:
    """Open the files of the target's dataset, or of every dataset of the store if the user named none.

    Raises:
        UsageError: there is none.
        StoreError: a `dataset.json` is damaged.
    """
    store = store_of(settings)
    if target.named:
        datasets = [dataset] if (dataset := store.find(target.market, target.pair)) else []
    else:
        datasets = list(store.datasets())
    if not datasets:
        absence = f"{target.market} {target.pair} is not" if target.named else "there is nothing"
        raise UsageError(f"{absence} in {store.root}; run market-data backfill first")
    for dataset in datasets:
        yield store.open(dataset)
