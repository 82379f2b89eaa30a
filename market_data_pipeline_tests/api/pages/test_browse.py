"""The browse page over HTTP: what it shows, that it is true now, and what no name in a URL can reach."""

import json
import random
import re
import threading
from pathlib import Path

import pytest
import requests

from market_data_pipeline.api.app import create_app
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.store import revisions
from market_data_pipeline.core.store.revisions import Change, Revision
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.settings import Settings
from market_data_pipeline_tests.api.conftest import served
from market_data_pipeline_tests.api.fake_dagster import fake_dagster
from market_data_pipeline_tests.api.pages.browsing import NOBODY, Browser, load, opened
from market_data_pipeline_tests.support import Simulate, at, chunk_files, dataset_folder

OUTAGE = "2021-04-25"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def browser(root: Path, simulate: Simulate) -> Browser:
    """Three days of spot in Zurich, with the halt of 2021-04-25 in the second, and one day of futures."""
    url = simulate().url
    load(root, url, start="2021-04-24", end="2021-04-27", tz="Europe/Zurich")
    load(root, url, start="2024-02-01", end="2024-02-02", market="futures", pair="ETH/USDT")
    return Browser(root)


def test_an_empty_root_says_how_to_begin(tmp_path: Path) -> None:
    page = Browser(tmp_path)()
    assert page.status == 200
    assert "Nothing is stored yet" in page.text


def test_all_datasets_with_their_numbers(browser: Browser) -> None:
    text = browser().text
    assert "BTC/USDT spot, Europe/Zurich" in text
    assert "3 2021-04-24 to 2021-04-26 4,036" in text
    assert "2021-04-26 21:59 UTC" in text
    assert "outage 284 min" in text
    assert "ETH/USDT futures, UTC" in text
    assert "1 2024-02-01 to 2024-02-01 1,440" in text
    assert "ETH/USDT" not in browser("/browse", market="spot").text


def test_a_damaged_dataset_is_said_and_hides_nothing(browser: Browser, root: Path) -> None:
    (dataset_folder(root, "futures", "ETHUSDT") / "dataset.json").write_text("oops")
    text = browser().text
    assert "binanceusdm/ETHUSDT/1m cannot be read" in text
    assert "BTC/USDT spot, Europe/Zurich" in text
    page = browser.dataset("futures", "ETH/USDT")
    assert page.status == 500
    assert "is damaged" in page.text


def test_a_dataset_in_the_folder_of_another_is_said(browser: Browser, root: Path) -> None:
    ours, other = dataset_folder(root, "spot", "BTCUSDT"), dataset_folder(root, "spot", "LTCUSDT")
    other.mkdir(parents=True)
    (other / "dataset.json").write_bytes((ours / "dataset.json").read_bytes())
    assert "says it is spot BTC/USDT" in browser().text


def test_the_calendar_of_a_dataset(browser: Browser) -> None:
    page = browser.dataset()
    assert page.titles["2021-04-24"] == "complete: 1,440 of 1,440 klines"
    assert page.titles[OUTAGE] == "outage: 1,156 of 1,440 klines, 284 min outage"
    assert page.titles["2021-04-27"] == "not requested: no backfill requested it"
    assert "/browse/file?file=binance/BTCUSDT/1m/chunks/chunk_000480_2021-04-24.parquet" in page.files


def test_damage_that_a_glance_can_see(browser: Browser, root: Path) -> None:
    chunks = chunk_files(root)
    chunks["2021-04-24"].write_bytes(chunks["2021-04-24"].read_bytes()[:1000])
    chunks["2021-04-26"].unlink()
    page = browser.dataset()
    assert page.titles["2021-04-24"].startswith("damaged (its file has 1,000 bytes, not the ")
    assert page.titles["2021-04-26"].startswith("damaged (its file is gone)")
    assert page.titles[OUTAGE].startswith("outage")
    assert "2 chunks are damaged" in page.text
    assert browser.file("binance/BTCUSDT/1m/chunks/" + chunks["2021-04-24"].name).status == 422


def test_what_is_written_later_is_shown(browser: Browser, root: Path, simulate: Simulate) -> None:
    assert "2021-04-27" not in browser.dataset().text
    load(root, simulate().url, start="2021-04-27", end="2021-04-28", tz="Europe/Zurich")
    assert browser.dataset().titles["2021-04-27"].startswith("complete")
    # An earlier start gives every file another name.
    load(root, simulate().url, start="2019-12-31", end="2020-01-01", tz="Europe/Zurich")
    names = [name for name in browser.dataset().files if OUTAGE in name]
    assert names == ["/browse/file?file=binance/BTCUSDT/1m/chunks/chunk_000482_2021-04-25.parquet"]
    assert browser(names[0]).status == 200


def test_chunks_that_no_manifest_lists_yet_are_shown(browser: Browser, root: Path) -> None:
    (dataset_folder(root, "spot", "BTCUSDT") / "manifest.json").unlink()
    assert browser.dataset().titles[OUTAGE].startswith("outage")


def test_revisions_are_shown(browser: Browser, root: Path) -> None:
    minute = at("2021-04-24T10:00")
    change = Change(minute, "volume", 1.0, 2.0)
    known = Revision(
        "2021-04-24", "2021-04-30T00:00Z", "a" * 64, "b" * 64, "rest", "archive",
        (Span(minute, minute + 60_000),), ("volume", "trades"), (change,),
    )  # fmt: skip
    revisions.append(dataset_folder(root, "spot", "BTCUSDT"), known)
    text = browser.dataset().text
    assert "2021-04-30 00:00 UTC 2021-04-24 1 volume, trades rest archive" in text


def test_combined_files_and_whether_they_are_up_to_date(browser: Browser, root: Path, simulate: Simulate) -> None:
    combined(root)
    assert "BTCUSDT_1m_all.parquet 4,036 3" in browser.dataset().text
    assert "up to date" in browser.dataset().text
    load(root, simulate().url, start="2021-04-27", end="2021-04-28", tz="Europe/Zurich")
    assert "older than its chunks" in browser.dataset().text


def combined(root: Path) -> Path:
    from market_data_pipeline.core.store.combined import combine

    store = Store(root)
    dataset = store.find(Market.SPOT, "BTC/USDT")
    assert dataset
    files = store.open(dataset)
    return combine(files).path


def test_chunks_come_in_pages(browser: Browser) -> None:
    assert "There are no more" in browser.dataset(page=2).text
    assert browser.dataset(page=0).status == 422


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ({"market": "spot", "pair": "XRP/USDT"}, 404, "spot XRP/USDT is not in the store"),
        ({"market": "margin"}, 422, "'spot' or 'futures'"),
        ({"market": "spot", "pair": "non-sense"}, 422, "write BASE/QUOTE"),
        ({"pair": "BTC/USDT"}, 422, "give a market with the pair"),
        ({"market": "spot", "pair": "../../x"}, 422, "not a pair"),
    ],
)
def test_errors_are_pages_for_people_and_problems_for_programs(
    browser: Browser, query: dict[str, str], status: int, words: str
) -> None:
    page = browser("/browse", **query)
    assert page.status == status
    assert words in page.text
    answer = browser.client.get("/browse", params=query, headers={"Accept": "application/json"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json()["detail"]


def test_without_dagster_the_page_works_and_says_so(browser: Browser) -> None:
    page = browser("/browse/runs", market="spot", pair="BTC/USDT")
    assert page.status == 200
    assert "Dagster is not available" in page.text


def test_runs_and_the_live_sensor(browser: Browser, root: Path) -> None:
    store = Store(root)
    dataset = store.find(Market.SPOT, "BTC/USDT")
    assert dataset
    store.open(dataset).mark_live(True)
    with served(fake_dagster()[0]) as url:
        page = Browser(root, dagster_url=url)("/browse/runs", market="spot", pair="BTC/USDT")
    assert "Live sensor binance_live is on" in page.text
    assert "has no recent run" in page.text
    assert 'aria-checked="true"' in browser.dataset().answer.text
    assert "behind" in browser.dataset().text


def some_chunk(browser: Browser) -> str:
    return browser.dataset().files[0].partition("file=")[2]


def test_pages_load_nothing_from_elsewhere(browser: Browser) -> None:
    for page in (browser(), browser.dataset(), browser.file(some_chunk(browser))):
        assert re.findall(r'(?:src|href)="(?!/|#|data:)[^"]*"', page.answer.text) == []
        assert re.findall(r"<script(?! src=| type=\"application/json\")", page.answer.text) == []
        assert re.findall(r"\son\w+=", page.answer.text) == []


def test_methods_that_change_are_refused(browser: Browser) -> None:
    for path in ("/browse", "/browse/file", "/static/app.js"):
        assert browser.client.post(path).status_code == 405


@pytest.mark.slow
def test_fifty_readers_during_a_backfill_see_whole_files_and_no_error(root: Path, simulate: Simulate) -> None:
    exchange, over, seen, wrong = simulate(weights=False), threading.Event(), [], []
    app = create_app(Settings(market_data_dir=root), dagster_url=NOBODY)
    days = {"start": "2023-01-01", "end": "2023-04-01"}
    with served(app) as url, opened(root, exchange.url, **days) as (_, loading):
        next(loading)

        def read(number: int) -> None:
            chance = random.Random(number)
            while not over.is_set():
                try:
                    seen.append(looked(url, chance))
                except Exception as error:
                    wrong.append(f"{type(error).__name__}: {error}")
                    return

        readers = [threading.Thread(target=read, args=(number,)) for number in range(50)]
        for reader in readers:
            reader.start()
        for _ in loading:
            pass
        over.set()
        for reader in readers:
            reader.join()
    assert wrong == []
    assert len(seen) > 50
    assert max(seen) > 30
    assert Browser(root).dataset().titles["2023-03-31"] == "complete: 1,440 of 1,440 klines"


def looked(url: str, chance: random.Random) -> int:
    """Look at the dataset and at one of its days; return how many days it had."""
    query = {"market": "spot", "pair": "BTC/USDT"}
    got = requests.get(f"{url}/browse", params=query, timeout=120)
    assert got.status_code == 200, got.text
    assert 'role="alert"' not in got.text, re.findall(r'role="alert">.*', got.text)
    files = sorted(set(re.findall(r'href="(/browse/file\?file=[^"]*/chunks/[^"]*)"', got.text)))
    day = requests.get(url + chance.choice(files), timeout=120)
    assert day.status_code == 200, day.text
    drawn = json.loads(re.findall(r'<script type="application/json" id="klines">(.*?)</script>', day.text)[0])
    halted = 1440 - len(drawn["open_time"])
    assert halted == 0 or f"outage&nbsp;{halted}" in day.text, halted
    return len(files)
