"""From a request to a Dagster run, or to a dataset that is live.

Belongs here: which run a request is, and what is made ready before it. Does not belong here: HTTP (`routes`), how
Dagster is asked (`dagster_client`), what the request means (`loading`, `operations`).
"""

from collections.abc import Mapping
from typing import Any

from market_data_pipeline.api.context import Context
from market_data_pipeline.api.dagster_client import Dagster
from market_data_pipeline.api.models import Backfill, DatasetName, Live, Started, Verify
from market_data_pipeline.app.backfill import BackfillRequest, run_window
from market_data_pipeline.app.live import made, mark
from market_data_pipeline.app.targets import chosen, target_of
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.store.combined import select
from market_data_pipeline.instance.names import (
    CHECKS,
    COMBINED,
    DATASET_TAG,
    KLINES,
    MANIFEST,
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

_CHECKS_OF = {
    asset: [name for name, (of, _) in CHECKS.items() if of == asset] for asset in (KLINES, MANIFEST, COMBINED)
}


def backfill(context: Context, asked: Backfill) -> Started:
    """Make the dataset exist and start a run over the days of the window.

    Raises:
        UsageError, StoreError, SourceError: see `app.backfill.run_window`; no run was started.
        DagsterUnavailable: it could not be started.
    """
    settings, dagster = context.settings, context.dagster
    request = BackfillRequest(
        target_of(settings, asked.market, asked.pair, asked.tz),
        start=asked.start,
        end=asked.end,
        align_window=asked.align_window,
        chunk_size=asked.chunk_size,
        refetch=asked.refetch,
        strict_pair=asked.strict_pair,
    )
    dagster.require()
    chosen_source = settings.model_copy(update={"market_data_source": asked.source}) if asked.source else settings
    load = run_window(chosen_source, request)
    days, dataset = load.days, load.dataset
    config = request.run_config(load.window) | {"source": asked.source}
    _make_known(dagster, dataset)
    return _started(
        context,
        "backfill",
        dataset,
        [KLINES, MANIFEST, *([COMBINED] if settings.build_combined_on_backfill else [])],
        config={op_name(dataset, KLINES): {"config": config}},
        tags=range_tags(days[0].key, days[-1].key),
    ).model_copy(
        update={"days": len(days), "first_day": days[0].key, "last_day": days[-1].key, "warnings": list(load.warnings)}
    )


def verify(context: Context, asked: Verify) -> Started:
    """Start a run of the checks of one dataset or of all, or one that repairs.

    Raises:
        UsageError, StoreError: there is no such dataset, or it cannot be read.
        DagsterUnavailable: the run could not be started.
    """
    target = target_of(context.settings, asked.market, asked.pair)
    found = [files.dataset for files in chosen(context.settings, target)]
    dataset = found[0] if target.named else None
    if asked.repair:
        named = {"market": dataset.market.value, "pair": dataset.pair} if dataset else {}
        config = {"ops": {REPAIR_OP: {"config": named}}}
        run_id = context.dagster.launch(job=REPAIR_JOB, config=config, tags=_tags("repair", dataset))
        return _told(context, run_id, dataset)
    if dataset is None:
        return _told(context, context.dagster.launch(job=PROOF_JOB, tags=_tags("verify", None)), None)
    _make_known(context.dagster, dataset)
    checks = [(asset_path(dataset, asset), name) for asset, names in _CHECKS_OF.items() for name in names]
    return _told(context, context.dagster.launch(checks=checks, tags=_tags("verify", dataset)), dataset)


def combine(
    context: Context,
    market: str | None,
    pair: str | None,
    *,
    tz: str | None,
    from_index: int | None,
    to_index: int | None,
) -> Started:
    """Start a run that brings a combined file up to date.

    Raises:
        UsageError, StoreError: there is no such dataset, or nothing to combine.
        DagsterUnavailable: the run could not be started.
    """
    target = target_of(context.settings, market or context.settings.market_type, pair)
    files = next(chosen(context.settings, target))
    zone = parse_zone(tz) if tz else None
    select(files, zone=zone, from_index=from_index, to_index=to_index)  # an empty selection is said before any run
    _make_known(context.dagster, files.dataset)
    config = {"tz": zone.name if zone else None, "from_index": from_index, "to_index": to_index}
    return _started(
        context, "combine", files.dataset, [COMBINED], config={op_name(files.dataset, COMBINED): {"config": config}}
    )


def go_live(context: Context, market: str | None, pair: str | None, tz: str | None) -> Live:
    """Make the dataset exist if need be, let live mode keep it current, and turn the sensor on.

    Raises:
        UsageError, StoreError, SourceError, DagsterUnavailable: what could not be done; it may be asked for again.
    """
    settings, dagster = context.settings, context.dagster
    target = target_of(settings, market, pair, tz)
    dagster.require()
    dataset, warnings = made(settings, target)
    mark(settings, target_of(settings, dataset.market.value, dataset.pair), live=True)
    _make_known(dagster, dataset)
    dagster.start_sensor(dataset.market)
    return _live(dataset, live=True, warnings=warnings)


def stop_live(context: Context, market: str | None, pair: str | None) -> Live:
    """Let live mode leave the dataset as it is; the sensor goes on for others.

    Raises:
        UsageError, StoreError: there is no such dataset, or it cannot be read.
    """
    return _live(mark(context.settings, target_of(context.settings, market, pair), live=False), live=False)


def _make_known(dagster: Dagster, dataset: Dataset) -> None:
    """A new dataset, or one whose first day moved, is unknown to the code location until it looks again."""
    if not dagster.knows(asset_path(dataset, KLINES), since=dataset.start.isoformat()):
        dagster.reload()


def _tags(what: str, dataset: Dataset | None) -> dict[str, str]:
    return {WHAT_TAG: what} | ({DATASET_TAG: dataset_tag(dataset)} if dataset else {})


def _started(
    context: Context,
    what: str,
    dataset: Dataset,
    assets: list[str],
    *,
    config: Mapping[str, Any],
    tags: Mapping[str, str] | None = None,
) -> Started:
    run_id = context.dagster.launch(
        assets=[asset_path(dataset, asset) for asset in assets],
        checks=[(asset_path(dataset, asset), name) for asset in assets for name in _CHECKS_OF[asset]],
        config={"ops": dict(config)},
        tags=_tags(what, dataset) | dict(tags or {}),
    )
    return _told(context, run_id, dataset)


def _told(context: Context, run_id: str, dataset: Dataset | None) -> Started:
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
