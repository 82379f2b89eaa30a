"""The asset `pairs` of each market: the catalog of all pairs that ever were, refreshed every day.

Belongs here: the definitions, and their metadata. Does not belong here: how a pair is learned (`core.catalog`), the
files (`core.store.catalog`).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import dagster as dg

from market_data_pipeline.core.catalog.catalog import Changes, changes_between
from market_data_pipeline.core.catalog.pairs import ListedPair, PairStatus, Snapshot
from market_data_pipeline.core.catalog.refresh import refresh
from market_data_pipeline.core.errors import SourceError
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.store.catalog.snapshots import CatalogStore
from market_data_pipeline.core.text import count_text
from market_data_pipeline.defs.markets.sources import sources_of
from market_data_pipeline.defs.resources import Tools
from market_data_pipeline.instance.logs import log_to
from market_data_pipeline.instance.names import NO_PAIR_IS_LOST, PAIRS_JOB, SOURCES, pairs_path, source_path

_MOST_NAMES = 50


def catalog_of(tools: Tools, market: Market, *, on_warning: Callable[[str], object]) -> Snapshot:
    """The catalog of a market, of today; the newest that there is where neither the exchange nor its archive answers.

    What it lacks is told, one line each: pairs may be missing among those that a glob chooses.

    Raises:
        SourceUnavailable: there is none.
    """
    snapshots = tools.catalog(market)
    with tools.open_market(market) as (exchange, archive):
        try:
            catalog = refresh(market, exchange, archive, snapshots)
        except SourceError as error:
            if (newest := snapshots.newest()) is None:
                raise
            catalog = newest
            on_warning(f"the catalog of {market} is of {newest.day}: {error}")
    for warning in (*snapshots.warnings, *catalog.gaps):
        on_warning(warning)
    return catalog


def pairs_key(market: Market) -> dg.AssetKey:
    """`[exchange_id, "pairs"]`."""
    return dg.AssetKey(pairs_path(market))


def pairs_of(market: Market, owners: Sequence[str]) -> dg.AssetsDefinition:
    """The catalog of a market."""

    @dg.asset(
        key=pairs_key(market),
        deps=[source_path(market, source) for source in SOURCES],
        owners=owners,
        tags={"market": market.value},
        kinds={"binance", "parquet"},
        group_name=f"{market}_market",
        metadata={"market": market.value},
        description=f"Every pair of {market} that ever had klines, with the days on which it was traded: one Parquet "
        "file a day, from the exchange's list and its archive's.",
    )
    def pairs(tools: dg.ResourceParam[Tools]) -> dg.MaterializeResult[None]:
        log_to(tools.logs)
        snapshots = tools.catalog(market)
        before = snapshots.newest()
        with tools.open_market(market) as (exchange, archive):
            snapshot = refresh(market, exchange, archive, snapshots, again=True)
        changes = changes_between(before, snapshot) if before else Changes()
        return dg.MaterializeResult(metadata=_metadata(snapshot, changes))

    return pairs


def lost_pairs_check_of(market: Market) -> dg.AssetChecksDefinition:
    """The check that a snapshot has every pair of the one before: a pair ends, and does not vanish."""

    @dg.asset_check(
        name=NO_PAIR_IS_LOST,
        asset=pairs_key(market),
        description="The newest catalog has every pair of the one before: one that is gone has an end, or is paused.",
    )
    def kept(tools: dg.ResourceParam[Tools]) -> dg.AssetCheckResult:
        return _kept(tools.catalog(market))

    return kept


def _kept(snapshots: CatalogStore) -> dg.AssetCheckResult:
    newest, before = (*islice(snapshots.backwards(), 2), None, None)[:2]
    if snapshots.warnings:
        return dg.AssetCheckResult(passed=False, description=snapshots.warnings[0])
    if newest is None or before is None:
        return dg.AssetCheckResult(passed=True, description="there are no catalogs of two days yet")
    lost = changes_between(before, newest).lost
    since = f"between {before.day} and {newest.day}"
    if not lost:
        return dg.AssetCheckResult(passed=True, description=f"{since}: none")
    return dg.AssetCheckResult(
        passed=False,
        description=f"{since}: {count_text(len(lost), 'pair')} of {len(before.pairs):,}, {_names(lost)}; run "
        "market-data pairs --refresh",
    )


REFRESH = dg.define_asset_job(
    PAIRS_JOB,
    selection=dg.AssetSelection.assets(*map(pairs_key, Market)),
    description="Learns which pairs the markets have, and keeps the catalog of each day.",
)


# The archive has the files of a day by then. One run for all markets that have a catalog: who uses none sends nothing.
@dg.schedule(
    job=REFRESH,
    cron_schedule="17 9 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every day at 09:17 UTC: refreshes the catalogs that there are.",
)
def daily_pairs(tools: dg.ResourceParam[Tools]) -> dg.RunRequest | dg.SkipReason:
    """Request one run for the markets that have a snapshot."""
    markets = [market for market in Market if tools.catalog(market).days()]
    if not markets:
        return dg.SkipReason("There is no catalog yet; market-data pairs makes the first one.")
    return dg.RunRequest(asset_selection=[pairs_key(market) for market in markets])


def market_definitions(tools: Tools) -> dg.Definitions:
    """The definitions of all markets, for `location_of`."""
    sources = [source for market in Market for source in sources_of(market, tools)]
    return dg.Definitions(
        assets=[*sources, *(pairs_of(market, tools.owners) for market in Market)],
        asset_checks=[lost_pairs_check_of(market) for market in Market],
        jobs=[REFRESH],
        schedules=[daily_pairs],
    )


def _metadata(snapshot: Snapshot, changes: Changes) -> dict[str, Any]:
    statuses = Counter(pair.status for pair in snapshot.pairs)
    return {
        "day": snapshot.day.isoformat(),
        "pairs": len(snapshot.pairs),
        **{status.value: statuses[status] for status in PairStatus},
        "new": len(changes.new),
        "newly_ended": len(changes.ended),
        "changes": _changes_text(changes),
        "gaps": "; ".join(snapshot.gaps) or "none",
    }


def _changes_text(changes: Changes) -> str:
    told = {"new": changes.new, "ended": changes.ended, "paused": changes.paused, "resumed": changes.resumed}
    return "; ".join(f"{what}: {_names(pairs)}" for what, pairs in told.items() if pairs) or "none"


def _names(pairs: Sequence[ListedPair]) -> str:
    names = ", ".join(pair.pair for pair in pairs[:_MOST_NAMES])
    return names if len(pairs) <= _MOST_NAMES else f"{names} and {len(pairs) - _MOST_NAMES} more"
