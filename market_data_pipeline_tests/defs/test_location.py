"""The code location: its assets, checks and partitions, and that Dagster loads it without a warning."""

import json
import os
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.defs.location import datasets_of, definitions_of, location_of
from market_data_pipeline.defs.resources import tools_of
from market_data_pipeline.instance.home import prepare_home
from market_data_pipeline.instance.names import CAN_BE_READ
from market_data_pipeline.settings import Settings

PROJECT = Path(__file__).parents[2]
CHECKS = {
    "klines_1m": {"days_are_joined", "klines_are_plausible", "klines_keep_schema", "minutes_are_covered"},
    "manifest": {"chunks_match_manifest"},
    "combined": {"combined_equals_chunks"},
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A data root with two datasets, neither of which is the default one."""
    store = Store(tmp_path / "data")
    store.create(Market.SPOT, "BTC/USDT", zone=parse_zone("Europe/Zurich"), start=date(2020, 1, 1))
    store.create(Market.FUTURES, "NEAR/USDT", zone=parse_zone("+05:30"), start=date(2020, 10, 15))
    return Settings(
        market_data_dir=store.root,
        market_type="futures",
        symbol="BTC/USDT",
        align_tz="UTC",
        dagster_home=tmp_path / "dagster",
        log_dir=tmp_path / "logs",
    )


def datasets(settings: Settings) -> list[Dataset]:
    return datasets_of(Store(settings.root), settings)


def repository(settings: Settings) -> dg.RepositoryDefinition:
    return definitions_of(datasets(settings), tools_of(settings)).get_repository_def()


def graph_of(settings: Settings) -> dict[str, str]:
    """Every asset with its group and the assets it is made from, as text: `group <- parent`."""
    graph = repository(settings).asset_graph
    return {
        key.to_user_string(): " <- ".join(
            [str(graph.get(key).group_name), *sorted(parent.to_user_string() for parent in graph.get(key).parent_keys)]
        )
        for key in graph.materializable_asset_keys
    }


def test_every_dataset_of_the_store_and_the_default_one_has_its_assets(settings):
    assert graph_of(settings) == {
        "binance/BTCUSDT/klines_1m": "spot_USDT <- binance/archive <- binance/rest",
        "binance/BTCUSDT/manifest": "spot_USDT <- binance/BTCUSDT/klines_1m",
        "binance/BTCUSDT/combined": "spot_USDT <- binance/BTCUSDT/manifest",
        "binanceusdm/NEARUSDT/klines_1m": "futures_USDT <- binanceusdm/archive <- binanceusdm/rest",
        "binanceusdm/NEARUSDT/manifest": "futures_USDT <- binanceusdm/NEARUSDT/klines_1m",
        "binanceusdm/NEARUSDT/combined": "futures_USDT <- binanceusdm/NEARUSDT/manifest",
        "binanceusdm/BTCUSDT/klines_1m": "futures_USDT <- binanceusdm/archive <- binanceusdm/rest",
        "binanceusdm/BTCUSDT/manifest": "futures_USDT <- binanceusdm/BTCUSDT/klines_1m",
        "binanceusdm/BTCUSDT/combined": "futures_USDT <- binanceusdm/BTCUSDT/manifest",
    }


def test_an_empty_store_has_the_default_dataset_alone(tmp_path):
    settings = Settings(market_data_dir=tmp_path, market_type="spot", symbol="LTC/USDT", align_tz="Asia/Tokyo")
    (dataset,) = datasets(settings)
    assert (dataset.name, dataset.zone.name, dataset.start) == ("spot LTC/USDT", "Asia/Tokyo", date(2020, 1, 1))
    assert not list(tmp_path.iterdir()), "reading an empty store made files"


def test_a_stored_dataset_keeps_its_zone_whatever_the_settings(settings):
    same = settings.model_copy(update={"market_type": "spot"})
    (spot,) = [dataset for dataset in datasets(same) if dataset.market is Market.SPOT]
    assert spot.zone.name == "Europe/Zurich"


def test_each_asset_has_its_checks(settings):
    names: dict[str, set[str]] = {}
    for check in repository(settings).asset_graph.asset_check_keys:
        names.setdefault(check.asset_key.to_user_string(), set()).add(check.name)
    assert names == {asset: CHECKS[asset.rpartition("/")[2]] for asset in graph_of(settings)}


@pytest.mark.parametrize(
    ("asset", "start", "timezone", "offset"),
    [
        ("binance/BTCUSDT", "2020-01-01", "Europe/Zurich", 0),
        ("binanceusdm/NEARUSDT", "2020-10-15", "Etc/GMT-6", 30),
        ("binanceusdm/BTCUSDT", "2020-01-01", "UTC", 0),
    ],
)
def test_klines_are_partitioned_by_the_local_days_of_the_dataset(settings, asset, start, timezone, offset):
    node = repository(settings).asset_graph.get(dg.AssetKey([*asset.split("/"), "klines_1m"]))
    partitions = node.partitions_def
    assert isinstance(partitions, dg.DailyPartitionsDefinition)
    assert partitions.get_first_partition_key() == start
    assert (partitions.timezone, partitions.minute_offset, partitions.end_offset) == (timezone, offset, 1)
    assert node.backfill_policy == dg.BackfillPolicy.single_run()


def test_manifest_and_combined_are_not_partitioned(settings):
    graph = repository(settings).asset_graph
    partitioned = {key for key in graph.materializable_asset_keys if graph.get(key).is_partitioned}
    assert {key.path[-1] for key in partitioned} == {"klines_1m"}


def test_the_metadata_of_an_asset_has_its_market_pair_and_zone(settings):
    graph = repository(settings).asset_graph
    metadata = graph.get(dg.AssetKey(["binanceusdm", "NEARUSDT", "klines_1m"])).metadata
    assert {name: metadata[name] for name in ("market", "pair", "zone")} == {
        "market": "futures",
        "pair": "NEAR/USDT",
        "zone": "+05:30",
    }
    assert len(metadata["dagster/column_schema"].columns) == 12


def test_each_market_has_its_rest_api_and_its_archive_as_assets_of_others(settings):
    graph = location_of(datasets(settings), tools_of(settings)).resolve_asset_graph()
    shown = {key.to_user_string(): graph.get(key) for key in graph.external_asset_keys}
    assert {name: node.group_name for name, node in shown.items()} == {
        "binance/rest": "spot_sources",
        "binance/archive": "spot_sources",
        "binanceusdm/rest": "futures_sources",
        "binanceusdm/archive": "futures_sources",
    }
    assert {name: node.metadata["url"].value for name, node in shown.items()} == {
        "binance/rest": "https://api.binance.com/api/v3/klines",
        "binance/archive": "https://data.binance.vision/?prefix=data/spot/daily/klines/",
        "binanceusdm/rest": "https://fapi.binance.com/fapi/v1/klines",
        "binanceusdm/archive": "https://data.binance.vision/?prefix=data/futures/um/daily/klines/",
    }
    assert all(node.description and "documentation" in node.metadata for node in shown.values())
    assert graph.get(dg.AssetKey(["binance", "pairs"])).parent_keys == {
        dg.AssetKey(["binance", "rest"]),
        dg.AssetKey(["binance", "archive"]),
    }


def test_another_address_of_the_exchange_is_shown(settings):
    same = settings.model_copy(update={"market_data_exchange_url": "http://127.0.0.1:9000"})
    graph = location_of(datasets(same), tools_of(same)).resolve_asset_graph()
    urls = [graph.get(dg.AssetKey(["binanceusdm", name])).metadata["url"].value for name in ("rest", "archive")]
    assert urls == ["http://127.0.0.1:9000/fapi/v1/klines", "http://127.0.0.1:9000/data/futures/um/daily/klines/"]


def test_assets_have_owners_tags_kinds_and_the_format_of_the_store_as_their_code_version(settings):
    owned = settings.model_copy(update={"market_data_owners": "team:quants, data@example.org"})
    graph = location_of(datasets(owned), tools_of(owned)).resolve_asset_graph()
    assert {tuple(graph.get(key).owners) for key in graph.get_all_asset_keys()} == {("team:quants", "data@example.org")}
    near = graph.get(dg.AssetKey(["binanceusdm", "NEARUSDT", "klines_1m"]))
    assert dict(near.tags) == {
        "market": "futures",
        "quote": "USDT",
        "dagster/kind/binance": "",
        "dagster/kind/parquet": "",
    }
    keys = [key for key in graph.materializable_asset_keys if key.path[-1] != "pairs"]
    store = settings.root / "binance" / "BTCUSDT" / "1m" / "dataset.json"
    assert {graph.get(key).code_version for key in keys} == {str(json.loads(store.read_text())["format"])}


def test_a_damaged_dataset_has_one_check_and_the_others_keep_their_assets(settings):
    path = settings.root / "binance" / "BTCUSDT" / "1m" / "dataset.json"
    path.write_text('{"format": 1, "market"', encoding="ascii")
    assert {dataset.name for dataset in datasets(settings)} == {"futures NEAR/USDT", "futures BTC/USDT"}
    tools = tools_of(settings)
    (check,) = (
        check
        for check in location_of(datasets(settings), tools).resolve_asset_graph().asset_check_keys
        if check.name == CAN_BE_READ
    )
    assert check.asset_key == dg.AssetKey(["binance", "BTCUSDT", "klines_1m"])


# --- loaded by Dagster's own commands


def validate(settings: Settings, folder: Path, *, home: Path | None) -> subprocess.CompletedProcess[str]:
    """`dagster definitions validate` in a folder with the project's own files of Dagster."""
    for name in ("workspace.yaml", "dagster.yaml"):
        shutil.copyfile(PROJECT / name, folder / name)
    environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"} | {
        "MARKET_DATA_DIR": str(settings.root),
        "LOG_DIR": str(settings.logs),
        "PYTHONPATH": str(PROJECT),
        "PYTHONUTF8": "1",
        **({"DAGSTER_HOME": str(home)} if home else {}),
    }
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
    )


def warnings_in(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The warnings except Dagster's own that the command has a newer name."""
    lines = (done.stdout + done.stderr).splitlines()
    return [line for line in lines if "Warning" in line and "definitions_validate_command" not in line]


def test_dagster_validates_the_workspace_without_a_warning(settings, tmp_path):
    prepare_home(settings.home)
    done = validate(settings, tmp_path, home=settings.home)
    assert done.returncode == 0, done.stderr
    assert "Validation successful for code location market_data_pipeline" in done.stdout + done.stderr
    assert warnings_in(done) == []


def test_dagster_validates_the_workspace_also_where_dagster_home_is_not_set(settings, tmp_path):
    done = validate(settings, tmp_path, home=None)
    assert done.returncode == 0, done.stderr
    assert warnings_in(done) == []


def test_dagster_validates_the_workspace_with_a_damaged_dataset_too(settings, tmp_path):
    (settings.root / "binance" / "BTCUSDT" / "1m" / "dataset.json").write_bytes(b"{}")
    prepare_home(settings.home)
    done = validate(settings, tmp_path, home=settings.home)
    assert done.returncode == 0, done.stderr
    assert warnings_in(done) == []
