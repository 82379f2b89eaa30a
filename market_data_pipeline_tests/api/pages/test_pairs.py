"""A pair in any spelling and any script: its page, its files, its links, and the API's requests about it."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from market_data_pipeline_tests.api.conftest import client, served
from market_data_pipeline_tests.api.fake_dagster import fake_dagster
from market_data_pipeline_tests.api.pages.browsing import Browser, load
from market_data_pipeline_tests.simulator.scenarios import scenario_exchange

LIFE, TOKEN = "币安人生/USDT", "币安人生USDT"
IN_DAGSTER = ["binance", "u5e01u5b89u4ebau751fUSDT"]
SCENARIO = {
    "now": "2024-05-04T12:00Z",
    "spot": {TOKEN: {"first": "2024-05-01T10:00Z", "base": "币安人生"}},
    "futures": {"BTCUSDT_240531": {"first": "2024-05-01T00:00Z", "base": "BTC"}},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("pairs")
    with scenario_exchange(SCENARIO) as exchange:
        load(root, exchange.url, pair=TOKEN, start="2024-05-02", end="2024-05-04")
        load(root, exchange.url, pair="BTC/USDT", start="2024-05-02", end="2024-05-03")
        load(root, exchange.url, market="futures", pair="BTC/USDT_240531", start="2024-05-02", end="2024-05-03")
    yield root


@pytest.fixture
def browser(root: Path) -> Browser:
    return Browser(root)


def test_the_page_of_all_datasets_links_to_each(browser: Browser) -> None:
    page = browser()
    assert f"{LIFE} spot, UTC" in page.text
    assert "BTC/USDT_240531" in page.text
    assert "2 2024-05-02 to 2024-05-03 2,880" in page.text
    links = [link for link in page.links if "pair=" in link]
    assert all(link.isascii() for link in links)
    assert {parse_qs(urlsplit(link).query)["pair"][0] for link in links} == {"BTC/USDT", LIFE, "BTC/USDT_240531"}
    assert all(browser(link).status == 200 for link in links)


@pytest.mark.parametrize(
    ("market", "spelling", "pair"),
    [
        ("spot", LIFE, LIFE),
        ("spot", TOKEN, LIFE),
        ("spot", "币安人生/usdt", LIFE),
        ("futures", "BTCUSDT_240531", "BTC/USDT_240531"),
        ("futures", "BTC/USDT:USDT-240531", "BTC/USDT_240531"),
    ],
)
def test_the_page_of_a_dataset_and_its_files_are_found_by_each_spelling(browser, market, spelling, pair):
    page = browser.dataset(market, spelling)
    assert page.status == 200
    assert pair in page.text
    assert page.files
    for link in page.files:
        assert link.isascii()
        file = browser(link)
        assert (file.status, len(file.rows)) == (200, 100)
        assert pair in file.text


def test_a_slash_in_the_wrong_place_opens_nothing(browser: Browser) -> None:
    page = browser.dataset("spot", "BTCU/SDT")
    assert page.status == 422
    assert "there is no BTCU/SDT: BTCUSDT is BTC/USDT; write BTC/USDT or BTCUSDT" in page.text
    assert browser.dataset("spot", "BTC/USDT:USDT").status == 422


@pytest.mark.parametrize("spelling", [LIFE, TOKEN])
def test_the_api_answers_about_a_pair_and_starts_its_runs(root: Path, spelling: str) -> None:
    dagster, received = fake_dagster()
    with served(dagster) as url:
        api = client(root, dagster_url=url)
        query = {"market": "spot", "pair": spelling}
        [status] = api.get("/status", params=query).json()
        assert (status["pair"], status["rows"]) == (LIFE, 2880)
        for path, how in (("/backfill", "json"), ("/verify", "json"), ("/combine", "params"), ("/live", "params")):
            asked = {**query, "start": "2024-05-02", "end": "2024-05-04"} if path == "/backfill" else query
            answer = api.post(path, **{how: asked})
            assert answer.status_code == 202, answer.text
            assert answer.json()["dataset"]["pair"] == LIFE
        assert api.request("DELETE", "/live", params=query).json()["live"] is False
    launched = [sent["variables"]["params"] for sent in received if "params" in sent["variables"]]
    assert [params["executionMetadata"]["tags"][1]["value"] for params in launched] == [f"binance/{TOKEN}"] * 3
    keys = [asset["path"][:2] for params in launched for asset in params["selector"]["assetSelection"]]
    assert keys
    assert all(key == IN_DAGSTER for key in keys)


def test_the_api_refuses_a_slash_in_the_wrong_place(root: Path) -> None:
    dagster, _ = fake_dagster()
    with served(dagster) as url:
        api = client(root, dagster_url=url)
        for answer in (
            api.post("/backfill", json={"market": "spot", "pair": "BTCU/SDT"}),
            api.post("/combine", params={"market": "spot", "pair": "BTCU/SDT"}),
            api.request("DELETE", "/live", params={"market": "spot", "pair": "BTCU/SDT"}),
        ):
            assert answer.status_code == 422
            assert "BTCUSDT is BTC/USDT" in answer.json()["detail"]
