"""All definitions of the code location: an asset set for every dataset of the store, and for the default one.

Belongs here: putting the kinds together. Does not belong here: the kinds themselves, or settings' meaning.
"""

import dagster as dg

from market_data_pipeline.core.dataset import Dataset, default_start, parse_market, parse_pair
from market_data_pipeline.core.days import parse_zone
from market_data_pipeline.core.store import Store
from market_data_pipeline.defs.assets import assets_of
from market_data_pipeline.defs.checks import checks_of, cross_check_of
from market_data_pipeline.defs.resources import Tools
from market_data_pipeline.defs.schedules import nightly_proof
from market_data_pipeline.settings import Settings


def default_dataset(settings: Settings) -> Dataset:
    """The dataset that the settings name, as it would be created if the pair's history reached back far enough."""
    zone = parse_zone(settings.align_tz)
    return Dataset(parse_market(settings.market_type), parse_pair(settings.symbol), zone, default_start(zone))


def datasets_of(store: Store, settings: Settings) -> list[Dataset]:
    """Every dataset of the store, and the default one if it is not among them."""
    found = {(dataset.market, dataset.pair): dataset for dataset in store.datasets()}
    default = default_dataset(settings)
    return list({(default.market, default.pair): default, **found}.values())


def definitions_of(datasets: list[Dataset], tools: Tools) -> dg.Definitions:
    """The definitions of these datasets, working with these tools."""
    return dg.Definitions(
        assets=[asset for dataset in datasets for asset in assets_of(dataset)],
        asset_checks=[checks_of(dataset) for dataset in datasets],
        resources={"tools": tools},
        executor=dg.in_process_executor,
    )


def location_of(datasets: list[Dataset], tools: Tools) -> dg.Definitions:
    """What Dagster loads: these definitions, what happens by the clock, and the checks that ask the exchange.

    Runs of our own need neither: they prove the store that they wrote.
    """
    around = dg.Definitions(asset_checks=[cross_check_of(dataset) for dataset in datasets], schedules=[nightly_proof])
    return dg.Definitions.merge(definitions_of(datasets, tools), around)
