"""The assets of a dataset: `klines_1m` (one partition per local day), `manifest`, `combined`.

Belongs here: reading the context, calling one use case, returning its numbers. Does not belong here: the decisions of a
use case (`core`), what the metadata of an asset contains (`metadata`).
https://docs.dagster.io/guides/build/assets/defining-assets
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache, partial

import dagster as dg
from pydantic import Field

from market_data_pipeline.core.errors import StoreUnavailable, UsageError
from market_data_pipeline.core.klines.coverage import Span, intersect
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.klines.pair import quote_of
from market_data_pipeline.core.loading.day import MOST_ROW_GROUP_ROWS
from market_data_pipeline.core.loading.load_days import load_days
from market_data_pipeline.core.loading.plan import Load, plan_load
from market_data_pipeline.core.loading.resolve import dataset_of, resolve
from market_data_pipeline.core.loading.summary import Summary
from market_data_pipeline.core.store.combined import combine
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.records import FORMAT
from market_data_pipeline.core.store.status import status_of
from market_data_pipeline.core.text import refusal_of_disk
from market_data_pipeline.defs.metadata import column_schema, combined_event, combined_metadata, manifest_metadata
from market_data_pipeline.defs.partitions import partitions_of, span_of
from market_data_pipeline.defs.recorder import DayRecorder
from market_data_pipeline.defs.resources import Tools
from market_data_pipeline.instance.events.batches import ALREADY_RECORDED
from market_data_pipeline.instance.logs import log_to
from market_data_pipeline.instance.names import (
    COMBINED,
    KLINES,
    MANIFEST,
    SOURCES,
    asset_path,
    dagster_name,
    op_name,
    source_path,
)

_LONGEST_TAG = 63


class KlinesConfig(dg.Config):
    """How the days of a run are loaded."""

    refetch: bool = Field(default=False, description="request stored klines from the source again")
    chunk_size: int | None = Field(
        default=None, ge=1, le=MOST_ROW_GROUP_ROWS, description="rows per Parquet row group; a whole day if unset"
    )
    source: str | None = Field(default=None, description="auto, rest or archive; MARKET_DATA_SOURCE if unset")
    start_ms: int | None = Field(default=None, description="first minute to load, ms UTC; that of the days if unset")
    end_ms: int | None = Field(
        default=None, description="end of the minutes to load, ms UTC; that of the days if unset"
    )


class CombinedConfig(dg.Config):
    """Which klines the combined file holds."""

    tz: str | None = Field(
        default=None, description="keep only whole days of this time zone, and put the zone into the file name"
    )
    from_index: int | None = Field(default=None, description="index of the first chunk; the dataset's first if unset")
    to_index: int | None = Field(
        default=None, description="index of the last chunk, included; the dataset's last if unset"
    )
    rebuild: bool = Field(default=False, description="write the file even if no chunk changed")


_KLINES_CONFIG = KlinesConfig.to_config_schema().as_field()
_COMBINED_CONFIG = CombinedConfig.to_config_schema().as_field()
_COLUMNS = column_schema()
# What was made in another format is shown as out of date.
_CODE_VERSION = str(FORMAT)

AFTER = dg.In(dg.Nothing)
"""An op's input that passes nothing: the op runs after the asset of that input."""


def asset_key(dataset: Dataset, name: str) -> dg.AssetKey:
    """`[exchange_id, PAIR_TOKEN, name]`."""
    return dg.AssetKey(asset_path(dataset, name))


def inputs_of(*keys: dg.AssetKey) -> dict[str, dg.AssetKey]:
    """The inputs of an op that runs after these assets, by the names that Dagster's decorators give them."""
    return {"_".join(key.path): key for key in keys}


def group_of(dataset: Dataset) -> str:
    """The dataset's group in the asset graph, that of its market and quote: `futures_USDT`."""
    return f"{dataset.market}_{dagster_name(quote_of(dataset.pair))}"


def tags_of(dataset: Dataset) -> dict[str, str]:
    """Tags of the dataset's assets, to select assets by: `tag:quote=USDT`."""
    return {"market": dataset.market.value, "quote": dagster_name(quote_of(dataset.pair))[:_LONGEST_TAG]}


@cache
def _sources(market: Market) -> tuple[dg.AssetDep, ...]:
    return tuple(dg.AssetDep(source_path(market, source)) for source in SOURCES)


def assets_of(dataset: Dataset, tools: Tools) -> list[dg.AssetsDefinition]:
    """The three assets of one dataset."""
    return [
        _asset(
            dataset,
            KLINES,
            _load,
            tools,
            description=f"1-minute klines of {dataset.name}: one zstd Parquet chunk per day in {dataset.zone.name}.",
            parquet=True,
            config=_KLINES_CONFIG,
            partitions=partitions_of(dataset),
            sources=_sources(dataset.market),
        ),
        _asset(
            dataset,
            MANIFEST,
            _flush,
            tools,
            description="manifest.json: the rows, absent minutes with their reasons, bytes and sha256 of each chunk.",
            after=KLINES,
        ),
        _asset(
            dataset,
            COMBINED,
            _combine,
            tools,
            description="One Parquet file of all chunks in order; written only if a chunk changed.",
            parquet=True,
            after=MANIFEST,
            config=_COMBINED_CONFIG,
        ),
    ]


def _asset(
    dataset: Dataset,
    name: str,
    materialize: Callable[..., Iterator[dg.MaterializeResult]],
    tools: Tools,
    *,
    description: str,
    parquet: bool = False,
    after: str | None = None,
    config: dg.Field | None = None,
    partitions: dg.DailyPartitionsDefinition | None = None,
    sources: Sequence[dg.AssetDep] = (),
) -> dg.AssetsDefinition:
    """The same as `@dg.asset` makes, in less time.

    The decorator reads the signature of its function many times and converts the config class, for each dataset anew.
    What no run makes (`sources`) is no input of the op: Dagster would have nothing to wait for.
    """
    key = asset_key(dataset, name)
    before = inputs_of(asset_key(dataset, after)) if after else {}
    facts = {"market": dataset.market.value, "pair": dataset.pair, "zone": dataset.zone.name}
    return dg.AssetsDefinition(
        keys_by_input_name=before,
        keys_by_output_name={"result": key},
        node_def=dg.OpDefinition(
            partial(_told, materialize, dataset, tools),
            op_name(dataset, name),
            ins=dict.fromkeys(before, AFTER),
            outs={"result": dg.Out()},
            description=description,
            config_schema=config,
        ),
        specs=[
            dg.AssetSpec(
                key,
                deps=[*before.values(), *sources],
                description=description,
                metadata=facts | ({"dagster/column_schema": _COLUMNS} if parquet else {}),
                group_name=group_of(dataset),
                tags=tags_of(dataset),
                kinds={"binance", "parquet" if parquet else "json"},
                owners=tools.owners,
                code_version=_CODE_VERSION,
                partitions_def=partitions,
            )
        ],
        backfill_policy=dg.BackfillPolicy.single_run() if partitions else None,
    )


def _told(
    materialize: Callable[..., Iterator[dg.MaterializeResult]],
    dataset: Dataset,
    tools: Tools,
    context: dg.AssetExecutionContext,
    before: object,
) -> Iterator[dg.MaterializeResult]:
    """Materialize; an error of the disk is told as commands tell it. Python doubles each backslash of a path."""
    try:
        yield from materialize(dataset, tools, context, before)
    except OSError as error:
        raise StoreUnavailable(refusal_of_disk(error)) from error


def _load(
    dataset: Dataset, tools: Tools, context: dg.AssetExecutionContext, _: object
) -> Iterator[dg.MaterializeResult]:
    config = KlinesConfig(**context.op_execution_context.op_config)
    log_to(tools.logs)
    done = Summary()
    again = tools.caller.load is None or config.refetch
    with (
        _planned(dataset, sorted(context.partition_keys), config, tools) as load,
        DayRecorder(context, context.asset_key, load.store.chunk_path, again=again) as recorder,
    ):
        for result in load_days(load, row_group_rows=config.chunk_size):
            if result.entry and result.klines is not None:
                tools.written.add(result.entry.sha256)
            recorder.note(result)
            tools.caller.on_day(result)
            done.note(result)
    # One event a run: days are stored in batches, which Dagster's log of the run does not show.
    context.log.info(f"{dataset.name}, {done.text(load.life)}")
    if tools.build_combined and not _is_selected(context, asset_key(dataset, COMBINED)):
        record_combined(context, load.store)
    recorder.raise_if_failed()
    yield dg.MaterializeResult(metadata={**ALREADY_RECORDED})


def _flush(
    dataset: Dataset, tools: Tools, context: dg.AssetExecutionContext, _: object
) -> Iterator[dg.MaterializeResult]:
    store = tools.open_dataset(dataset)
    store.flush()
    # Otherwise Dagster would take two manifests of one format for the same, and never say that `combined` is older.
    version = dg.DataVersion(store.fingerprint())
    yield dg.MaterializeResult(metadata=manifest_metadata(status_of(store)), data_version=version)


def _combine(
    dataset: Dataset, tools: Tools, context: dg.AssetExecutionContext, _: object
) -> Iterator[dg.MaterializeResult]:
    config = CombinedConfig(**context.op_execution_context.op_config)
    store = tools.open_dataset(dataset)
    zone = parse_zone(config.tz) if config.tz else None
    choice = {"from_index": config.from_index, "to_index": config.to_index}
    combined = combine(store, zone=zone, **choice, rebuild=config.rebuild)
    tools.caller.on_combined(dataset, combined, "", True)
    yield dg.MaterializeResult(metadata=combined_metadata(combined), data_version=dg.DataVersion(combined.fingerprint))


@contextmanager
def _planned(dataset: Dataset, days: list[str], config: KlinesConfig, tools: Tools) -> Iterator[Load]:
    """The load of the run's days: these days of the caller's load if there is one, else a load that is planned here.

    Raises:
        UsageError, StoreError, SourceError: nothing was loaded.
    """
    if tools.caller.load:
        yield tools.caller.load.between(days[0], days[-1])
        return
    window = _window(span_of(dataset, days), config)
    tools.store.require_writable()
    known = tools.store.find(dataset.market, dataset.pair)
    resolved = resolve(tools.opener(config.source), dataset.market, dataset.pair, strict=True, known=known)
    with closing(resolved.source) as source:
        store = dataset_of(tools.store, resolved, zone=dataset.zone, window=window)
        with store.loading(window):
            yield plan_load(store, source, window, refetch=config.refetch)


def _is_selected(context: dg.AssetExecutionContext, key: dg.AssetKey) -> bool:
    selection = context.run.asset_selection
    return selection is None or key in selection


def record_combined(context: dg.OpExecutionContext | dg.AssetExecutionContext, store: DatasetStore) -> None:
    """Build the combined file in a run that does not materialize it, and record its materialization."""
    if store.entries:
        context.log_event(combined_event(store.dataset, combine(store)))


def _window(days: Span, config: KlinesConfig) -> Span:
    """The minutes of the run's days between the config's `start_ms` and `end_ms`.

    Raises:
        UsageError: there are none.
    """
    start_ms = days.start_ms if config.start_ms is None else config.start_ms
    end_ms = days.end_ms if config.end_ms is None else config.end_ms
    windows = intersect([days], [Span(start_ms, end_ms)])
    if not windows:
        raise UsageError("start_ms and end_ms of the run config leave no minute of the run's days")
    return windows[0]
