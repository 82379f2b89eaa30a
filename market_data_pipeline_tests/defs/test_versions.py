"""The versions that Dagster shows of manifests and combined files, and whether it takes a combined file for current."""

import dagster as dg
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from market_data_pipeline.defs.assets import asset_key
from market_data_pipeline.defs.location import definitions_of
from market_data_pipeline.instance.names import COMBINED, KLINES, MANIFEST
from market_data_pipeline_tests.defs.loading import BTC, Loading


def version(load: Loading, name: str) -> str:
    """The data version of the newest materialization."""
    event = load.instance.get_latest_materialization_event(asset_key(BTC, name))
    assert event is not None
    tags = event.asset_materialization.tags if event.asset_materialization else {}
    return str((tags or {})["dagster/data_version"])


def status(load: Loading, name: str) -> StaleStatus:
    """What the page of the asset says: missing, out of date, or neither."""
    graph = definitions_of([BTC], load.tools).get_repository_def().asset_graph
    resolver = CachingStaleStatusResolver(load.instance, graph, LoadingContextForTest(load.instance))
    return resolver.get_status(asset_key(BTC, name))


def test_a_combined_file_is_out_of_date_as_soon_as_the_manifest_has_other_chunks(load: Loading) -> None:
    load.run(BTC, "2022-01-01", "2022-01-02")
    of_two = version(load, MANIFEST)
    assert {status(load, name) for name in (MANIFEST, COMBINED)} == {StaleStatus.FRESH}

    load.run(BTC, "2022-01-02", assets=[KLINES, MANIFEST])
    assert version(load, MANIFEST) == of_two
    assert status(load, COMBINED) is StaleStatus.FRESH

    load.run(BTC, "2022-01-03", assets=[KLINES, MANIFEST])
    assert version(load, MANIFEST) != of_two
    assert status(load, COMBINED) is StaleStatus.STALE

    before = version(load, COMBINED)
    load.run(BTC, assets=[COMBINED])
    assert version(load, COMBINED) != before
    assert status(load, COMBINED) is StaleStatus.FRESH


def test_days_are_not_out_of_date_whatever_version_they_were_loaded_with(load: Loading) -> None:
    load.run(BTC, "2022-01-01", assets=[KLINES, MANIFEST])
    graph = definitions_of([BTC], load.tools).get_repository_def().asset_graph
    resolver = CachingStaleStatusResolver(load.instance, graph, LoadingContextForTest(load.instance))
    assert resolver.get_status(asset_key(BTC, KLINES), "2022-01-01") is StaleStatus.FRESH
    [event] = load.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key(BTC, KLINES), asset_partitions=["2022-01-01"]), limit=5
    ).records
    assert not (event.asset_materialization and event.asset_materialization.tags)
