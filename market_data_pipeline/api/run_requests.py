"""The Dagster run that a request starts, and the requests that turn live mode on or off for a dataset.

Belongs here: which run belongs to a request, and what has to exist before the run can start. Does not belong here: HTTP
(`routes`), GraphQL (`dagster_client`), the meaning of fields that all faces share (`app`).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from market_data_pipeline.api.context import Context
from market_data_pipeline.api.models import Backfill, DatasetName, Live, Started, Verify
from market_data_pipeline.app.backfill import BackfillRequest, run_window
from market_data_pipeline.app.live import find_or_create_dataset, mark
from market_data_pipeline.app.market.bulk import run_config
from market_data_pipeline.app.market.universe import traded_pairs
from market_data_pipeline.app.targets import open_datasets, target_of, targets_of
from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.store.combined import select
from market_data_pipeline.core.store.universes import find_universe
from market_data_pipeline.instance.names import (
    CHECKS,
    COMBINED,
    DATASET_TAG,
    KLINES,
    LOAD_JOB,
    LOAD_OP,
    MANIFEST,
    PAIRS_TAG,
    PROOF_JOB,
    REPAIR_JOB,
    REPAIR_OP,
    WHAT_TAG,
    asset_path,
    dataset_tag,
    op_name,
    range_tags,
    sensor_name,
)

_CHECK_NAMES = {
    asset: [name for name, (of, _) in CHECKS.items() if of == asset] for asset in (KLINES, MANIFEST, COMBINED)
}


def backfill(context: Context, request: Backfill) -> Started:
    """Create the dataset if it does not exist, and start a run over the days of the window; or a load of many pairs.

    Raises:
        UsageError, StoreError, SourceError: see `app.backfill.run_window`; no run was started.
        DagsterUnavailable: the run could not be started.
    """
    if request.pairs is not None or request.universe is not None:
        return _backfill_many(context, request)
    settings, dagster = context.settings, context.dagster
    backfill_request = BackfillRequest(
        target_of(settings, request.market, request.pair, request.tz),
        start=request.start,
        end=request.end,
        align_window=request.align_window,
        chunk_size=request.chunk_size,
        refetch=request.refetch,
        strict_pair=request.strict_pair,
    )
    dagster.require_reachable()
    with_source = settings.model_copy(update={"market_data_source": request.source}) if request.source else settings
    load = run_window(with_source, backfill_request)
    days, dataset = load.days, load.dataset
    config = backfill_request.run_config(load.window) | {"source": request.source}
    context.code_location.require(dataset)
    return _start(
        context,
        "backfill",
        dataset,
        [KLINES, MANIFEST, *([COMBINED] if settings.build_combined_on_backfill else [])],
        config={op_name(dataset, KLINES): {"config": config}},
        tags=range_tags(days[0].key, days[-1].key),
    ).model_copy(
        update={"days": len(days), "first_day": days[0].key, "last_day": days[-1].key, "warnings": list(load.warnings)}
    )


def _backfill_many(context: Context, request: Backfill) -> Started:
    """Start one run of the job `load`, which creates the datasets.

    Raises:
        UsageError: a word cannot be parsed, names a pair twice or matches nothing; there is no such universe.
        SourceUnavailable: globs need the catalog, which there is not, and nobody answers.
        DagsterUnavailable: the run could not be started.
    """
    if request.pair is not None:
        raise UsageError("pair names one pair, pairs and universe name many; give pair alone, or put it into pairs")
    settings = context.settings
    found = find_universe(settings.root, request.universe) if request.universe else None
    if found and request.market not in {None, found.market.value}:
        raise UsageError(f"the universe {found.name} is one of {found.market}; leave out market")
    market, zone = (found.market.value if found else request.market), request.tz or (found.zone if found else None)
    start, source = (
        request.start or (found.start if found else None),
        request.source or (found.source if found else None),
    )
    among = partial(traded_pairs, tz=zone, start=start, end=request.end)
    words = [*(found.pairs if found else ()), *(request.pairs or ())]
    options: dict[str, Any] = {"align_window": request.align_window, "refetch": request.refetch}
    # What needs no catalog is checked before it is read.
    BackfillRequest(target_of(settings, market, None, zone), start=start, end=request.end).instants()
    context.dagster.require_reachable()
    requests = [
        BackfillRequest(target, start=start, end=request.end, chunk_size=request.chunk_size, **options)
        for target in targets_of(settings, market, words, zone, among=among)
    ]
    with_source = settings.model_copy(update={"market_data_source": source}) if source else settings
    config = {"ops": {LOAD_OP: {"config": run_config(with_source, requests)}}}
    tags = _tags("backfill", None) | {PAIRS_TAG: str(len(requests))}
    run_id = context.dagster.launch(job=LOAD_JOB, config=config, tags=tags)
    return _response(context, run_id, None).model_copy(update={"pairs": len(requests)})


def verify(context: Context, request: Verify) -> Started:
    """Start a run that checks, or with `repair` repairs, the dataset that the request names, or all datasets.

    Raises:
        UsageError, StoreError: there is no such dataset, or it cannot be read.
        DagsterUnavailable: the run could not be started.
    """
    target = target_of(context.settings, request.market, request.pair)
    datasets = [files.dataset for files in open_datasets(context.settings, target)]
    dataset = datasets[0] if target.named else None
    if request.repair:
        op_config = {"market": dataset.market.value, "pair": dataset.pair} if dataset else {}
        config = {"ops": {REPAIR_OP: {"config": op_config}}}
        run_id = context.dagster.launch(job=REPAIR_JOB, config=config, tags=_tags("repair", dataset))
        return _response(context, run_id, dataset)
    if dataset is None:
        return _response(context, context.dagster.launch(job=PROOF_JOB, tags=_tags("verify", None)), None)
    context.code_location.require(dataset)
    checks = [(asset_path(dataset, asset), name) for asset, names in _CHECK_NAMES.items() for name in names]
    return _response(context, context.dagster.launch(checks=checks, tags=_tags("verify", dataset)), dataset)


def combine(
    context: Context,
    market: str | None,
    pair: str | None,
    *,
    tz: str | None,
    from_index: int | None,
    to_index: int | None,
) -> Started:
    """Start a run that writes a combined file, or leaves it as it is if it is up to date.

    Raises:
        UsageError, StoreError: there is no such dataset, or nothing to combine.
        DagsterUnavailable: the run could not be started.
    """
    target = target_of(context.settings, market or context.settings.market_type, pair)
    files = next(open_datasets(context.settings, target))
    zone = parse_zone(tz) if tz else None
    select(files, zone=zone, from_index=from_index, to_index=to_index)  # raises if it is empty, before a run is started
    context.code_location.require(files.dataset)
    config = {"tz": zone.name if zone else None, "from_index": from_index, "to_index": to_index}
    return _start(
        context, "combine", files.dataset, [COMBINED], config={op_name(files.dataset, COMBINED): {"config": config}}
    )


def go_live(context: Context, market: str | None, pair: str | None, tz: str | None) -> Live:
    """Create the dataset if it does not exist, mark it live, and turn on the market's sensor.

    Raises:
        UsageError, StoreError, SourceError, DagsterUnavailable: a step failed. The request may be sent again.
    """
    settings, dagster = context.settings, context.dagster
    target = target_of(settings, market, pair, tz)
    dagster.require_reachable()
    dataset, warnings = find_or_create_dataset(settings, target)
    mark(settings, target_of(settings, dataset.market.value, dataset.pair), live=True)
    context.code_location.require(dataset)
    dagster.start_sensor(dataset.market)
    return _live(dataset, live=True, warnings=warnings)


def stop_live(context: Context, market: str | None, pair: str | None) -> Live:
    """Mark the dataset as not live. The sensor stays on for the other datasets of the market.

    Raises:
        UsageError, StoreError: there is no such dataset, or it cannot be read.
    """
    return _live(mark(context.settings, target_of(context.settings, market, pair), live=False), live=False)


def _tags(what: str, dataset: Dataset | None) -> dict[str, str]:
    return {WHAT_TAG: what} | ({DATASET_TAG: dataset_tag(dataset)} if dataset else {})


def _start(
    context: Context,
    what: str,
    dataset: Dataset,
    assets: list[str],
    *,
    config: Mapping[str, Any],
    tags: Mapping[str, str] | None = None,
) -> Started:
    """Start a run that materializes assets of the dataset and evaluates their checks."""
    run_id = context.dagster.launch(
        assets=[asset_path(dataset, asset) for asset in assets],
        checks=[(asset_path(dataset, asset), name) for asset in assets for name in _CHECK_NAMES[asset]],
        config={"ops": dict(config)},
        tags=_tags(what, dataset) | dict(tags or {}),
    )
    return _response(context, run_id, dataset)


def _response(context: Context, run_id: str, dataset: Dataset | None) -> Started:
    return Started(
        run_id=run_id,
        url=f"{context.dagster.public_url}/runs/{run_id}",
        status_url=f"/runs/{run_id}",
        events_url=f"/runs/{run_id}/events",
        dataset=_name(dataset) if dataset else None,
    )


def _live(dataset: Dataset, *, live: bool, warnings: list[str] | None = None) -> Live:
    return Live(dataset=_name(dataset), live=live, sensor=sensor_name(dataset.market), warnings=warnings or [])


def _name(dataset: Dataset) -> DatasetName:
    return DatasetName(market=dataset.market.value, pair=dataset.pair, tz=dataset.zone.name)
