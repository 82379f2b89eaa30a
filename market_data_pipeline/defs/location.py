"""All definitions of the code location: an asset set for every dataset of the store, and for the default one.

Belongs here: which definitions there are for which dataset. Does not belong here: the definitions themselves (`assets`,
`checks`, `sensors`, `schedules`, `jobs`), which setting does what (`settings`, `instance.composition`).
"""

from collections.abc import Sequence
from contextlib import suppress

import dagster as dg

from market_data_pipeline.core.errors import StoreError, UsageError
from market_data_pipeline.core.klines.dataset import Dataset, Market, default_start, parse_market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.klines.pair import pair_by_rule, parse_pair
from market_data_pipeline.core.store.layout import DATASET_FILE, owner_of
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.storage.protocol import StorePath
from market_data_pipeline.defs.alerts.sensor import alert_sensor
from market_data_pipeline.defs.assets import assets_of
from market_data_pipeline.defs.bulk import load_job
from market_data_pipeline.defs.checks import checks_of, damage_check_of
from market_data_pipeline.defs.jobs import repair_job
from market_data_pipeline.defs.markets.combining import combine_job
from market_data_pipeline.defs.markets.pairs import market_definitions
from market_data_pipeline.defs.markets.sources import sources_of
from market_data_pipeline.defs.partitions import refusal_of
from market_data_pipeline.defs.proof.job import proof_job
from market_data_pipeline.defs.resources import Tools
from market_data_pipeline.defs.schedules import nightly_proof
from market_data_pipeline.defs.sensors import live_sensor_of
from market_data_pipeline.defs.upkeep.followed import followed_sensor
from market_data_pipeline.defs.upkeep.pruning import daily_prune, prune_job
from market_data_pipeline.defs.upkeep.report import report_job
from market_data_pipeline.settings import Settings

_JOBS = (repair_job, load_job, combine_job, report_job)


def default_dataset(settings: Settings) -> Dataset | None:
    """The dataset that the settings name, with the start that a pair gets which has klines since 2020 or earlier.

    None if SYMBOL is a symbol of which only the exchange can tell base and quote: its dataset has to be loaded first.
    """
    market, zone = parse_market(settings.market_type), parse_zone(settings.align_tz)
    named = parse_pair(settings.symbol, has_contracts=market.has_contracts)
    with suppress(UsageError):
        return Dataset(market, pair_by_rule(named), zone, default_start(zone))
    return None


def datasets_of(store: Store, settings: Settings) -> list[Dataset]:
    """Every dataset of the store that can be read, and the default one if it is not among them."""
    stored = [dataset for path in store.dataset_files() if (dataset := _read_undamaged(store, path))]
    default = default_dataset(settings)
    is_stored = default and any((one.market, one.token) == (default.market, default.token) for one in stored)
    return stored if default is None or is_stored else [default, *stored]


def _read_undamaged(store: Store, path: StorePath) -> Dataset | None:
    """The dataset of a `dataset.json`, None if the file is damaged: `location_of` then gives it a check that fails."""
    try:
        return store.read(path)
    except StoreError:
        return None


def definitions_of(datasets: list[Dataset], tools: Tools, *, requesting: bool = False) -> dg.Definitions:
    """The assets of these datasets and their checks.

    Args:
        datasets: the datasets.
        tools: the core objects that the definitions use.
        requesting: also the checks that send requests; without it, only those that read the store.
    """
    return dg.Definitions(
        assets=[asset for dataset in datasets for asset in assets_of(dataset, tools)],
        asset_checks=[checks_of(dataset, tools, requesting=requesting) for dataset in datasets],
        executor=dg.in_process_executor,
    )


def definitions_beside(
    datasets: list[Dataset],
    damaged: Sequence[StorePath],
    tools: Tools,
    *,
    sources_of_market: Market | None,
    live_sensor: tuple[Market, str] | None,
) -> dg.Definitions:
    """Definitions of datasets that can be merged with those of others.

    They name no resource, no executor, no job and no schedule.

    Args:
        datasets: the datasets.
        damaged: the `dataset.json` of those that cannot be read.
        tools: the core objects that the definitions use.
        sources_of_market: the market whose REST API and archive are defined, too.
        live_sensor: the market and the name of the sensor that keeps the datasets current, None for no sensor.
    """
    usable, checks = _usable(datasets, damaged, tools.store)
    sources = sources_of(sources_of_market, tools) if sources_of_market else []
    return dg.Definitions(
        assets=[*sources, *(asset for dataset in usable for asset in assets_of(dataset, tools))],
        asset_checks=[*(checks_of(dataset, tools, requesting=True) for dataset in usable), *checks],
        sensors=[live_sensor_of(live_sensor[0], usable, tools, named=live_sensor[1])] if live_sensor else [],
    )


def _usable(
    datasets: list[Dataset], damaged: Sequence[StorePath], store: Store
) -> tuple[list[Dataset], list[dg.AssetChecksDefinition]]:
    """The datasets that Dagster can have, and for each other one, and each damaged file, a check that fails."""
    refusals = {dataset: refusal_of(dataset) for dataset in datasets}
    problems = {store.folder(one.market, one.pair) / DATASET_FILE: why for one, why in refusals.items() if why}
    problems |= dict.fromkeys(damaged, "")
    checks = [damage_check_of(store, path, problem) for path, problem in problems.items()]
    return [dataset for dataset, why in refusals.items() if not why], checks


def jobs_of(tools: Tools) -> dg.Definitions:
    """The jobs that are not about assets, with `tools` as their resource."""
    return dg.Definitions(jobs=[*_JOBS], resources={"tools": tools})


def location_of(datasets: list[Dataset], tools: Tools) -> dg.Definitions:
    """What Dagster loads: `definitions_of`, catalogs, jobs, schedules, sensors, and the checks that send requests.

    A dataset that cannot be read, or that Dagster refuses, has a check that fails in place of them, and harms no other.
    Runs that the command line starts load `definitions_of` alone, so they evaluate no check that sends a request.
    """
    store = tools.store
    files = store.dataset_files()
    damaged = [path for path in files if _read_undamaged(store, path) is None]
    usable, checks = _usable(datasets, damaged, store)
    sensors = [
        live_sensor_of(market, [dataset for dataset in usable if dataset.market is market], tools) for market in Market
    ]
    sensors.append(followed_sensor(usable, tools))
    if tools.alert_url:
        stored = {owner_of(path) for path in files}
        unstored = [dataset for dataset in usable if (dataset.market.exchange_id, dataset.token) not in stored]
        unsure = {owner_of(path)[0] for path in damaged} if files else {market.exchange_id for market in Market}
        sensors.append(alert_sensor(tools.alert_url, unstored=unstored, unsure=unsure))
    others = dg.Definitions(
        asset_checks=checks,
        jobs=[*_JOBS, proof_job, prune_job],
        schedules=[nightly_proof, daily_prune],
        sensors=sensors,
        resources={"tools": tools},
    )
    return dg.Definitions.merge(definitions_of(usable, tools, requesting=True), market_definitions(tools), others)
