"""Which run the API starts for a request about all datasets or many, of which one may be damaged."""

from pathlib import Path
from typing import Any

import pytest

from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline_tests.api.conftest import client, served
from market_data_pipeline_tests.api.fake_dagster import fake_dagster
from market_data_pipeline_tests.api.pages.browsing import store_days
from market_data_pipeline_tests.support import Simulate


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make three datasets, of which one of spot cannot be read."""
    for pair, market in (("BTC/USDT", Market.SPOT), ("ETH/USDT", Market.SPOT), ("ETH/USDT", Market.FUTURES)):
        store_days(tmp_path, pair, 3, market=market)
    (tmp_path / "binance" / "BTCUSDT" / "1m" / "dataset.json").write_text("{", encoding="utf-8")
    return tmp_path


def started(root: Path, path: str, body: dict[str, Any]) -> tuple[int | None, str, dict[str, Any]]:
    """Of how many pairs the run is that the request starts, its job, and the config of its op."""
    dagster, received = fake_dagster()
    with served(dagster) as url:
        answer = client(root, dagster_url=url).post(path, json=body)
    assert answer.status_code == 202, answer.text
    assert answer.json()["dataset"] is None
    [launched] = [sent["variables"]["params"] for sent in received if "params" in sent["variables"]]
    [op] = launched["runConfigData"]["ops"].values()
    return answer.json()["pairs"], launched["selector"]["jobName"], op["config"]


@pytest.mark.parametrize(
    ("path", "body", "job", "config"),
    [
        ("/verify", {}, "proof", {"whole": True}),
        ("/verify", {"repair": True}, "repair", {}),
        ("/report", {}, "report", {}),
    ],
)
def test_a_run_about_all_starts_though_one_is_damaged(
    root: Path, path: str, body: dict[str, Any], job: str, config: dict[str, Any]
) -> None:
    assert started(root, path, body) == (None, job, config)
    assert started(root, path, {**body, "market": "spot"}) == (2, job, {**config, "market": "spot"})


def test_a_load_chosen_by_a_glob_says_that_pairs_may_be_missing(tmp_path: Path, simulate: Simulate) -> None:
    exchange = simulate()
    exchange.exchange.hooks.append(lambda request: "403" if request.area == "listing" else None)
    app, _ = fake_dagster()
    with served(app) as url:
        api = client(tmp_path, dagster_url=url, exchange_url=exchange.url)
        window = {"start": "2024-05-01", "end": "2024-05-02"}
        answer = api.post("/backfill", json={"market": "spot", "pairs": ["ETH/*"], **window})
    assert answer.status_code == 202, answer.text
    assert ["the archive cannot be listed" in warning for warning in answer.json()["warnings"]] == [True]


@pytest.mark.parametrize("body", [{}, {"repair": True}])
def test_a_run_about_all_needs_one_that_is_stored(tmp_path: Path, body: dict[str, Any]) -> None:
    store_days(tmp_path, "ETH/USDT", 1, market=Market.FUTURES)
    api = client(tmp_path)
    refused = api.post("/verify", json={**body, "market": "spot"})
    assert (refused.status_code, "there is no spot dataset" in refused.json()["detail"]) == (422, True)
    refused = client(tmp_path / "none").post("/verify", json=body)
    assert (refused.status_code, "run market-data backfill first" in refused.json()["detail"]) == (422, True)


@pytest.mark.parametrize("path", ["/verify", "/report"])
def test_a_manifest_of_a_newer_version_keeps_no_run_about_many_from_starting(tmp_path: Path, path: str) -> None:
    for pair in ("BTC/USDT", "ETH/USDT"):
        store_days(tmp_path, pair, 3)
    for manifest in tmp_path.glob("binance/*/1m/manifest.json"):
        manifest.write_text(manifest.read_text(encoding="utf-8").replace('"format": 1', '"format": 99'))
    app, _ = fake_dagster()
    with served(app) as url:
        answer = client(tmp_path, dagster_url=url).post(path, json={"market": "spot", "pairs": ["*/USDT"]})
    assert (answer.status_code, answer.json()["pairs"]) == (202, 2)
