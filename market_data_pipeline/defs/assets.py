"""The assets of a dataset: `klines_1m` (one partition per local day), `manifest`, `combined`.

Belongs here: unpack the context, call one use case, report numbers. Does not belong here: anything a use case decides.
https://docs.dagster.io/guides/build/assets/defining-assets
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import dagster as dg
from pydantic import Field

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.coverage import Span, intersect
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.loading.load_days import load_days
from market_data_pipeline.core.loading.plan import Load, plan_load
from market_data_pipeline.core.loading.resolve import Resolved, dataset_of
from market_data_pipeline.core.store.combined import combine, select
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.status import status_of
from market_data_pipeline.defs.metadata import column_schema, combined_metadata, manifest_metadata
from market_data_pipeline.defs.partitions import partitions_of, span_of
from market_data_pipeline.defs.recorder import DayRecorder
from market_data_pipeline.defs.resources import Tools
from market_data_pipeline.instance.logs import log_to
from market_data_pipeline.instance.names import COMBINED, KLINES, MANIFEST, asset_path
from market_data_pipeline.instance.storage import ALREADY_RECORDED


class KlinesConfig(dg.Config):
    """How the days of a run are loaded."""

    refetch: bool = Field(default=False, description="ask the exchange also for klines that are stored")
    chunk_size: int | None = Field(default=None, ge=1, description="rows per Parquet row group; the whole day if unset")
    source: str | None = Field(default=None, description="auto, rest or archive; MARKET_DATA_SOURCE if unset")
    start_ms: int | None = Field(default=None, description="load no minute before this instant, ms UTC")
    end_ms: int | None = Field(default=None, description="load no minute from this instant on, ms UTC")


class CombinedConfig(dg.Config):
    """Which klines the combined file holds."""

    tz: str | None = Field(default=None, description="cut to whole days of this zone, which the file name then has")
    from_index: int | None = Field(default=None, description="first chunk by index; the first of all if unset")
    to_index: int | None = Field(default=None, description="last chunk by index; the last of all if unset")
    rebuild: bool = Field(default=False, description="write it even if nothing changed")


def asset_key(dataset: Dataset, name: str) -> dg.AssetKey:
    """`[exchange_id, PAIR_TOKEN, name]`."""
    return dg.AssetKey(asset_path(dataset, name))


def group_of(dataset: Dataset) -> str:
    """The name of the dataset's group in the asset graph."""
    return f"{dataset.market}_{dataset.token}"


def assets_of(dataset: Dataset) -> list[dg.AssetsDefinition]:
    """The three assets of one dataset."""
    group = group_of(dataset)
    facts = {"market": dataset.market.value, "pair": dataset.pair, "zone": dataset.zone.name}

    @dg.asset(
        key=asset_key(dataset, KLINES),
        partitions_def=partitions_of(dataset),
        backfill_policy=dg.BackfillPolicy.single_run(),
        metadata={**facts, "dagster/column_schema": column_schema()},
        description=f"1-minute klines of {dataset.name}: one zstd Parquet chunk per day in {dataset.zone.name}.",
        group_name=group,
        kinds={"binance", "parquet"},
    )
    def klines_1m(
        context: dg.AssetExecutionContext, config: KlinesConfig, tools: dg.ResourceParam[Tools]
    ) -> dg.MaterializeResult:
        log_to(tools.logs)
        with (
            _load(dataset, sorted(context.partition_keys), config, tools) as load,
            DayRecorder(context, context.asset_key, load.store) as recorder,
        ):
            for result in load_days(load, row_group_rows=config.chunk_size):
                recorder.note(result)
                tools.caller.on_day(result)
        if tools.build_combined and not _is_selected(context, asset_key(dataset, COMBINED)):
            log_combined(context, load.store)
        recorder.raise_if_failed()
        return dg.MaterializeResult(metadata={**ALREADY_RECORDED})

    @dg.asset(
        key=asset_key(dataset, MANIFEST),
        deps=[klines_1m],
        metadata=facts,
        description="manifest.json: for each chunk its rows, absences with their reasons, bytes and sha256.",
        group_name=group,
        kinds={"binance", "json"},
    )
    def manifest(tools: dg.ResourceParam[Tools]) -> dg.MaterializeResult:
        store = tools.files(dataset)
        store.flush()
        return dg.MaterializeResult(metadata=manifest_metadata(status_of(store)))

    @dg.asset(
        key=asset_key(dataset, COMBINED),
        deps=[manifest],
        metadata={**facts, "dagster/column_schema": column_schema()},
        description="One Parquet file of all chunks in order; written only if a chunk changed.",
        group_name=group,
        kinds={"binance", "parquet"},
    )
    def combined(config: CombinedConfig, tools: dg.ResourceParam[Tools]) -> dg.MaterializeResult:
        store = tools.files(dataset)
        zone = parse_zone(config.tz) if config.tz else None
        selection = select(store, zone=zone, from_index=config.from_index, to_index=config.to_index)
        return dg.MaterializeResult(metadata=combined_metadata(combine(store, selection, rebuild=config.rebuild)))

    return [klines_1m, manifest, combined]


@contextmanager
def _load(dataset: Dataset, days: list[str], config: KlinesConfig, tools: Tools) -> Iterator[Load]:
    """The load of the run's days: the part of the caller's that is about them, or one that is planned now."""
    if tools.caller.load:
        yield tools.caller.load.between(days[0], days[-1])
        return
    window = _cut(span_of(dataset, days), config)
    tools.store.require_writable()
    with closing(tools.opener(config.source)(dataset.market, dataset.pair)) as source:
        resolved = Resolved(dataset.market, dataset.pair, source)
        store = dataset_of(tools.store, resolved, zone=dataset.zone, window=window)
        yield plan_load(store, source, window, refetch=config.refetch)


def _is_selected(context: dg.AssetExecutionContext, key: dg.AssetKey) -> bool:
    selection = context.run.asset_selection
    return selection is None or key in selection


def log_combined(context: dg.OpExecutionContext | dg.AssetExecutionContext, store: DatasetStore) -> None:
    """Build the combined file (BUILD_COMBINED_ON_BACKFILL) in a run whose assets do not include it, and record it."""
    if store.entries:
        metadata = combined_metadata(combine(store, select(store)))
        context.log_event(dg.AssetMaterialization(asset_key(store.dataset, COMBINED), metadata=metadata))


def _cut(days: Span, config: KlinesConfig) -> Span:
    """The minutes of the run's days that the config leaves."""
    start_ms = days.start_ms if config.start_ms is None else config.start_ms
    end_ms = days.end_ms if config.end_ms is None else config.end_ms
    cut = intersect([days], [Span(start_ms, end_ms)])
    if not cut:
        raise UsageError("start_ms and end_ms of the run config leave no minute of the run's days")
    return cut[0]
