"""All definitions of the code location: an asset set for every dataset of the store, and for the default one.

Belongs here: which definitions there are for which dataset. Does not belong here: the definitions themselves (`assets`,
`checks`, `sensors`, `schedules`, `jobs`), which setting does what (`settings`, `instance.composition`).
"""

from pathlib import Path

import dagster as dg

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.dataset import Dataset, Market, default_start, parse_market, parse_pair
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.store.dataset_file import read_dataset
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.defs.assets import assets_of
from market_data_pipeline.defs.checks import checks_of, cross_check_of, damage_check_of, freshness_check_of
from market_data_pipeline.defs.jobs import repair_job
from market_data_pipeline.defs.resources import Tools
from market_data_pipeline.defs.schedules import nightly_proof
from market_data_pipeline.defs.sensors import live_sensor_of
from market_data_pipeline.settings import Settings


def default_dataset(settings: Settings) -> Dataset:
    """The dataset that the settings name, with the start that a pair gets which has klines since 2020 or earlier."""
    zone = parse_zone(settings.align_tz)
    return Dataset(parse_market(settings.market_type), parse_pair(settings.symbol), zone, default_start(zone))


def datasets_of(store: Store, settings: Settings) -> list[Dataset]:
    """Every dataset of the store that can be read, and the default one if it is not among them."""
    stored = {dataset.name: dataset for path in store.dataset_files() if (dataset := _read_undamaged(path))}
    default = default_dataset(settings)
    return list({default.name: default, **stored}.values())


def _read_undamaged(path: Path) -> Dataset | None:
    """The dataset of a `dataset.json`, None if the file is damaged: `location_of` then gives it a check that fails."""
    try:
        return read_dataset(path)
    except StoreError:
        return None


def definitions_of(datasets: list[Dataset], tools: Tools) -> dg.Definitions:
    """The assets of these datasets and the checks that read only the store, with `tools` as their resource."""
    return dg.Definitions(
        assets=[asset for dataset in datasets for asset in assets_of(dataset)],
        asset_checks=[checks_of(dataset) for dataset in datasets],
        resources={"tools": tools},
        executor=dg.in_process_executor,
    )


def jobs_of(tools: Tools) -> dg.Definitions:
    """The jobs that are not about assets, with `tools` as their resource."""
    return dg.Definitions(jobs=[repair_job], resources={"tools": tools})


def location_of(datasets: list[Dataset], tools: Tools) -> dg.Definitions:
    """What Dagster loads: `definitions_of`, the repair job, schedules, sensors, and the checks that send requests.

    Runs that the command line starts load `definitions_of` alone, so they evaluate no check that sends a request.
    """
    checks = [cross_check_of(dataset) for dataset in datasets]
    checks += [damage_check_of(path) for path in tools.store.dataset_files() if _read_undamaged(path) is None]
    checks += [freshness_check_of(dataset) for dataset in datasets]
    sensors = [
        live_sensor_of(market, [dataset for dataset in datasets if dataset.market is market], tools)
        for market in Market
    ]
    others = dg.Definitions(asset_checks=checks, jobs=[repair_job], schedules=[nightly_proof], sensors=sensors)
    return dg.Definitions.merge(definitions_of(datasets, tools), others)
