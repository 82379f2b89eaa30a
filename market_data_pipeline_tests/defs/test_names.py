"""Names of pairs in Dagster, and odd datasets: each is shown, and none keeps the code location from loading."""

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.defs.location import datasets_of, location_of
from market_data_pipeline.defs.resources import tools_of
from market_data_pipeline.instance.home import prepare_home
from market_data_pipeline.instance.names import CAN_BE_READ, dagster_name
from market_data_pipeline.settings import Settings
from market_data_pipeline_tests.defs.test_location import validate, warnings_in

LIFE = "u5e01u5b89u4ebau751fUSDT"
CODE_POINT = re.compile(r"u([0-9a-f]{4})|w([0-9a-f]{6})")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    store = Store(tmp_path / "data")
    for market, pair in (("spot", "BTC/USDT"), ("spot", "币安人生/USDT"), ("futures", "BTC/USDT_240628")):
        store.create(Market(market), pair, zone=parse_zone("UTC"), start=date(2024, 5, 1))
    return Settings(
        market_data_dir=store.root, market_type="spot", symbol="BTCUSDT", dagster_home=tmp_path / "h", log_dir=tmp_path
    )


def location(settings: Settings) -> dg.RepositoryDefinition:
    tools = tools_of(settings)
    return location_of(datasets_of(tools.store, settings), tools).get_repository_def()


def assets(settings: Settings) -> set[str]:
    return {key.to_user_string() for key in location(settings).asset_graph.materializable_asset_keys}


def damage_checks(settings: Settings) -> dict[str, dg.AssetCheckKey]:
    checks = location(settings).asset_graph.asset_check_keys
    return {check.asset_key.to_user_string(): check for check in checks if check.name == CAN_BE_READ}


def verdict(settings: Settings, check: dg.AssetCheckKey) -> tuple[bool, str]:
    """What the check says when it is evaluated."""
    job = dg.define_asset_job("evaluate", dg.AssetSelection.checks(check))
    tools = tools_of(settings)
    definitions = dg.Definitions.merge(
        location_of(datasets_of(tools.store, settings), tools), dg.Definitions(jobs=[job])
    )
    result = definitions.resolve_job_def("evaluate").execute_in_process()
    (evaluation,) = result.get_asset_check_evaluations()
    return evaluation.passed, evaluation.description or ""


@given(st.text())
def test_a_name_is_read_back_and_may_be_used_in_dagster(text):
    name = dagster_name(text)
    assert re.fullmatch("[A-Za-z0-9_]*", name)
    assert CODE_POINT.sub(lambda found: chr(int(found[1] or found[2], 16)), name) == text


@pytest.mark.parametrize(
    ("token", "name"),
    [("BTCUSDT", "BTCUSDT"), ("BTCUSDT_240628", "BTCUSDT_240628"), ("币安人生USDT", LIFE), ("𝔹USDT", "w01d539USDT")],
)
def test_the_name_of_a_symbol(token, name):
    assert dagster_name(token) == name


def test_every_dataset_has_its_assets_and_shows_its_pair(settings):
    graph = location(settings).asset_graph
    assert {key.path[1] for key in graph.materializable_asset_keys if len(key.path) == 3} == {
        "BTCUSDT",
        LIFE,
        "BTCUSDT_240628",
    }
    node = graph.get(dg.AssetKey(["binance", LIFE, "klines_1m"]))
    assert node.metadata["pair"] == "币安人生/USDT"
    assert "spot 币安人生/USDT" in str(node.description)
    assert (node.group_name, node.tags["quote"]) == ("spot_USDT", "USDT")


@pytest.mark.parametrize(
    ("symbol", "pairs"),
    [
        ("ETHUSDT", {"ETH/USDT"}),
        ("ETH/USDT", {"ETH/USDT"}),
        ("ADAEUR", set()),
        ("BTC/USDT", set()),
        ("BTCU/SDT", set()),
    ],
)
def test_the_default_dataset_is_there_before_it_is_loaded_if_its_pair_is_known(settings, symbol, pairs):
    other = settings.model_copy(update={"symbol": symbol})
    named = {dataset.pair for dataset in datasets_of(Store(settings.root), other) if dataset.market is Market.SPOT}
    assert named == {"BTC/USDT", "币安人生/USDT"} | pairs
    assert assets(other)


def odd(root: Path, name: str, **changes: Any) -> None:
    """A dataset.json like that of spot BTC/USDT with other values, in a folder of that name."""
    content = json.loads((root / "binance" / "BTCUSDT" / "1m" / "dataset.json").read_bytes())
    folder = root / name / "1m"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps({**content, **changes}), encoding="utf-8")


ODD = [
    ("binance/ETHUSDT", {"pair": "ETHUSDT"}, "binance/ETHUSDT", "damaged"),
    ("binance/ETHUSDT", {"pair": "../ETH"}, "binance/ETHUSDT", "damaged"),
    ("binance/ETHUSDT", {"pair": 7}, "binance/ETHUSDT", "damaged"),
    ("binance/ETHUSDT", {"pair": "ETH/USDT", "tz": "Mars/Olympus"}, "binance/ETHUSDT", "no such time zone"),
    ("binance/ETHUSDT", {"pair": "ETH/USDT", "start": "9999-12-31"}, "binance/ETHUSDT", ""),
    ("binance/ETHUSDT", {"pair": "ETH/USDT", "start": "0001-01-01", "tz": "Asia/Tokyo"}, "binance/ETHUSDT", ""),
    ("binance/ETHUSDT", {"pair": "ETHU/SDT", "market": "margin"}, "binance/ETHUSDT", "damaged"),
    ("binance/ETHUSDT", {"pair": "ETH/USDT", "market": "futures"}, "binance/ETHUSDT", "says it is futures ETH/USDT"),
    ("binance/BTCUSDT copy", {}, "binance/BTCUSDTu0020u0063u006fu0070u0079", "says it is spot BTC/USDT"),
    ("binance/btc-usdt", {}, "binance/u0062u0074u0063u002du0075u0073u0064u0074", "says it is spot BTC/USDT"),
]


@pytest.mark.parametrize(("folder", "changes", "key", "words"), ODD)
def test_an_odd_dataset_is_shown_and_harms_no_other(settings, folder, changes, key, words):
    before = assets(settings)
    odd(settings.root, folder, **changes)
    assert assets(settings) == before
    checks = damage_checks(settings)
    assert checks.keys() == {f"{key}/klines_1m"}
    passed, text = verdict(settings, checks[f"{key}/klines_1m"])
    assert not passed
    assert words in text
    assert "\n" not in text


def test_a_dataset_file_that_is_a_folder_or_no_text_is_shown_too(settings):
    for name in ("ETHUSDT", "LTCUSDT"):
        odd(settings.root, f"binance/{name}")
    file = settings.root / "binance" / "ETHUSDT" / "1m" / "dataset.json"
    file.unlink()
    file.mkdir()
    (settings.root / "binance" / "LTCUSDT" / "1m" / "dataset.json").write_bytes(b"\xff\xfe\x00{")
    assert damage_checks(settings).keys() == {"binance/ETHUSDT/klines_1m", "binance/LTCUSDT/klines_1m"}


def test_dagster_validates_the_workspace_with_every_odd_dataset_at_once(settings, tmp_path):
    for number, (folder, changes, *_) in enumerate(ODD):
        odd(settings.root, folder.replace("ETHUSDT", f"ETH{number}USDT"), **changes)
    prepare_home(settings.home)
    done = validate(settings, tmp_path, home=settings.home)
    assert done.returncode == 0, done.stderr
    assert warnings_in(done) == []
