"""The Dagster run that a request starts.

Belongs here: which run belongs to a request, and what has to exist before the run can start. Does not belong here: HTTP
(`routes`), live mode (`live_requests`), GraphQL (`dagster_client`), the meaning of fields that all faces share (`app`).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from market_data_pipeline.api.context import Context
from market_data_pipeline.api.models import Backfill, Combine, DatasetName, ManyPairs, Report, Started, Verify
from market_data_pipeline.app.backfill import BackfillRequest, run_window
from market_data_pipeline.app.market.bulk import run_config
from market_data_pipeline.app.market.universe import traded_pairs
from market_data_pipeline.app.targets import dataset_files_of, datasets_of, open_datasets, target_of, targets_of
from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.dataset import Dataset, parse_market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.store.combined import require_order, select
from market_data_pipeline.core.store.universes import Universe, find_universe
from market_data_pipeline.instance.composition import store_of
from market_data_pipeline.instance.names import (
    CHECKS,
    COMBINE_JOB,
    COMBINE_OP,
    COMBINED,
    DATASET_TAG,
    KLINES,
    LOAD_JOB,
    LOAD_OP,
    MANIFEST,
    PAIRS_TAG,
    PROOF_JOB,
    PROOF_OP,
    REPAIR_JOB,
    REPAIR_OP,
    REPORT_JOB,
    REPORT_OP,
    WHAT_TAG,
    asset_path,
    dataset_tag,
    op_name,
    range_tags,
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
    if request.is_of_many:
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
    settings = context.settings
    found = _universe(context, request)
    market, zone = (found.market.value if found else request.market), request.tz or (found.zone if found else None)
    start = request.start or (found.start if found else None)
    source = request.source or (found.source if found else None)
    warnings: list[str] = []
    among = partial(traded_pairs, on_warnings=warnings.extend, tz=zone, start=start, end=request.end)
    words = _words(request, found)
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
    return _response(context, run_id, None, pairs=len(requests)).model_copy(update={"warnings": warnings})


def _universe(context: Context, request: ManyPairs) -> Universe | None:
    """The universe that a request about many pairs names, None if it names none.

    Raises:
        UsageError: there is no such universe, it is one of another market, or the request names a pair, too.
    """
    if request.pair is not None:
        raise UsageError("pair names one pair, pairs and universe name many; give pair alone, or put it into pairs")
    return universe_of(context, request.universe, request.market)


def universe_of(context: Context, name: str | None, market: str | None) -> Universe | None:
    """The universe of this name, None without a name.

    Raises:
        UsageError: there is no such universe, or it is one of another market than the request names.
    """
    found = find_universe(context.settings.root, name) if name else None
    if found and market is not None:
        found.refuse_other(parse_market(market))
    return found


def _words(request: ManyPairs, found: Universe | None) -> list[str]:
    return [*(found.pairs if found else ()), *(request.pairs or ())]


def _stored(context: Context, request: ManyPairs) -> list[Dataset]:
    """The datasets of a request about many pairs, of which globs choose among those that are stored.

    Raises:
        UsageError: as `_universe`; a glob has no dataset, a pair has none, or is named twice.
        StoreError: a `dataset.json` cannot be read.
    """
    found, store = _universe(context, request), store_of(context.settings)
    market, words = found.market.value if found else request.market, _words(request, found)
    targets = targets_of(context.settings, market, words)
    return [dataset for target in targets for dataset in datasets_of(store, target)]


def _start_of_all(context: Context, market: str | None, what: str, job: str, op: str, **options: Any) -> Started:
    """Start a run about all datasets of a market, or of the store. None is read before: the run tells which is damaged.

    Raises:
        UsageError: there is none.
        DagsterUnavailable: the run could not be started.
    """
    files = dataset_files_of(store_of(context.settings), [target_of(context.settings, market)])
    config = ({"market": market} if market else {}) | options
    tags = _tags(what, None) | ({PAIRS_TAG: str(len(files))} if market else {})
    run_id = context.dagster.launch(job=job, config={"ops": {op: {"config": config}}}, tags=tags)
    return _response(context, run_id, None, pairs=len(files) if market else None)


def verify(context: Context, request: Verify) -> Started:
    """Start a run that checks, or with `repair` repairs, the datasets that the request names, or all of them.

    Raises:
        UsageError, StoreError: there is no such dataset, or it cannot be read.
        DagsterUnavailable: the run could not be started.
    """
    if request.is_of_all and request.repair:
        return _start_of_all(context, request.market, "repair", REPAIR_JOB, REPAIR_OP)
    if request.is_of_all:
        return _start_of_all(context, request.market, "verify", PROOF_JOB, PROOF_OP, whole=True)
    if request.is_of_many:
        return _verify_many(context, request)
    target = target_of(context.settings, request.market, request.pair)
    [dataset] = datasets_of(store_of(context.settings), target)
    if request.repair:
        config = {"ops": {REPAIR_OP: {"config": {"market": dataset.market.value, "pair": dataset.pair}}}}
        run_id = context.dagster.launch(job=REPAIR_JOB, config=config, tags=_tags("repair", dataset))
        return _response(context, run_id, dataset)
    context.code_location.require(dataset)
    checks = [(asset_path(dataset, asset), name) for asset, names in _CHECK_NAMES.items() for name in names]
    return _response(context, context.dagster.launch(checks=checks, tags=_tags("verify", dataset)), dataset)


def _verify_many(context: Context, request: Verify) -> Started:
    """Start one run that evaluates the checks of many datasets, or repairs them."""
    datasets = _stored(context, request)
    tags = {PAIRS_TAG: str(len(datasets))}
    if request.repair:
        op_config = {"market": datasets[0].market.value, "pairs": [dataset.pair for dataset in datasets]}
        config = {"ops": {REPAIR_OP: {"config": op_config}}}
        run_id = context.dagster.launch(job=REPAIR_JOB, config=config, tags=_tags("repair", None) | tags)
    else:
        context.code_location.require(*datasets)
        checks = [
            (asset_path(dataset, asset), name)
            for dataset in datasets
            for asset, names in _CHECK_NAMES.items()
            for name in names
        ]
        run_id = context.dagster.launch(checks=checks, tags=_tags("verify", None) | tags)
    return _response(context, run_id, None, pairs=len(datasets))


def combine(context: Context, request: Combine) -> Started:
    """Start a run that writes a combined file, or leaves it as it is if it is up to date; or those of many datasets.

    Raises:
        UsageError, StoreError: there is no such dataset, nothing to combine, or the first index is behind the last.
        DagsterUnavailable: the run could not be started.
    """
    zone = parse_zone(request.tz) if request.tz else None
    require_order(request.from_index, request.to_index)
    selected = {"from_index": request.from_index, "to_index": request.to_index}
    config = {"tz": zone.name if zone else None, **selected}
    if request.is_of_many:
        datasets = _stored(context, request)
        op_config = {**config, "market": datasets[0].market.value, "pairs": [dataset.pair for dataset in datasets]}
        tags = _tags("combine", None) | {PAIRS_TAG: str(len(datasets))}
        run_id = context.dagster.launch(job=COMBINE_JOB, config={"ops": {COMBINE_OP: {"config": op_config}}}, tags=tags)
        return _response(context, run_id, None, pairs=len(datasets))
    target = target_of(context.settings, request.market, request.pair or context.settings.symbol)
    files = next(open_datasets(context.settings, target))
    select(files, zone=zone, **selected)  # raises if it is empty, before a run is started
    context.code_location.require(files.dataset)
    return _start(
        context, "combine", files.dataset, [COMBINED], config={op_name(files.dataset, COMBINED): {"config": config}}
    )


def report(context: Context, request: Report) -> Started:
    """Start a run that tells Dagster what it lacks of the datasets that the request names, or of all.

    Raises:
        UsageError, StoreError: there is no such dataset, or it cannot be read.
        DagsterUnavailable: the run could not be started.
    """
    if request.is_of_all:
        return _start_of_all(context, request.market, "report", REPORT_JOB, REPORT_OP)
    if request.is_of_many:
        datasets = _stored(context, request)
    else:
        datasets = datasets_of(store_of(context.settings), target_of(context.settings, request.market, request.pair))
    op_config = {"market": datasets[0].market.value, "pairs": [one.pair for one in datasets]}
    dataset = None if request.is_of_many else datasets[0]
    tags = _tags("report", dataset) | ({PAIRS_TAG: str(len(datasets))} if request.is_of_many else {})
    run_id = context.dagster.launch(job=REPORT_JOB, config={"ops": {REPORT_OP: {"config": op_config}}}, tags=tags)
    return _response(context, run_id, dataset, pairs=len(datasets) if request.is_of_many else None)


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


def _response(context: Context, run_id: str, dataset: Dataset | None, pairs: int | None = None) -> Started:
    return Started(
        run_id=run_id,
        url=f"{context.dagster.public_url}/runs/{run_id}",
        status_url=f"/runs/{run_id}",
        events_url=f"/runs/{run_id}/events",
        dataset=name_of(dataset) if dataset else None,
        pairs=pairs,
    )


def name_of(dataset: Dataset) -> DatasetName:
    """The dataset as responses name it."""
    return DatasetName(market=dataset.market.value, pair=dataset.pair, tz=dataset.zone.name)
