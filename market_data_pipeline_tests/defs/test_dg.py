"""This project as `dg` sees it: its definitions are checked and listed."""

import json
from pathlib import Path

import pytest

from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.instance.home import prepare_home
from market_data_pipeline_tests.defs.loading import BTC
from market_data_pipeline_tests.dg import dg, needs_dg
from market_data_pipeline_tests.support import CHECKOUT

pytestmark = [needs_dg, pytest.mark.slow]


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """A data root with one dataset beside the default one, and a Dagster home."""
    Store(tmp_path / "data").create(Market.SPOT, BTC.pair, zone=parse_zone("UTC"), start=BTC.start)
    prepare_home(tmp_path / "dagster")
    folders = {"MARKET_DATA_DIR": "data", "LOG_DIR": "logs", "DAGSTER_HOME": "dagster"}
    return {name: str(tmp_path / folder) for name, folder in folders.items()}


def test_dg_checks_the_definitions_of_this_project(variables: dict[str, str]) -> None:
    done = dg("check", "defs", project=CHECKOUT, **variables)
    assert done.returncode == 0, done.stderr
    assert "All definitions loaded successfully." in done.stdout
    assert "Warning" not in done.stdout + done.stderr


def test_dg_lists_the_definitions_of_this_project(variables: dict[str, str]) -> None:
    done = dg("list", "defs", "--json", project=CHECKOUT, **variables)
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    assets = {asset["asset_key"]: asset for asset in listed["assets"]}
    assert set(assets["binance/BTCUSDT/klines_1m"]["dependency_keys"]) == {"binance/archive", "binance/rest"}
    assert assets["binanceusdm/BTCUSDT/manifest"]["group_name"] == "futures_USDT"
    assert {job["name"] for job in listed["jobs"]} >= {"load", "repair", "combine", "report", "proof"}
    assert {schedule["name"] for schedule in listed["schedules"]} == {"daily_pairs", "daily_prune", "nightly_proof"}
    assert {sensor["name"] for sensor in listed["sensors"]} == {"binance_live", "binanceusdm_live", "live_is_followed"}
