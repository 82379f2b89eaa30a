"""Many datasets: found, sorted and filtered by the query of a URL, the health of each, and coverage by month."""

import time
from pathlib import Path

import pytest

from market_data_pipeline.core.klines.coverage import Absence, Kind, Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.instance.names import CHECKS
from market_data_pipeline_tests.api.conftest import served
from market_data_pipeline_tests.api.fake_dagster import execution, fake_dagster
from market_data_pipeline_tests.api.pages.browsing import Browser, age, refused, store_days
from market_data_pipeline_tests.support import MINUTE_MS, at, dataset_folder

ALL = "/browse"
MAP = "/browse/coverage"


def absence(kind: Kind, day: str, minutes: int) -> Absence:
    return Absence(kind, Span(at(day), at(day) + minutes * MINUTE_MS))


def results(token: str, **other: list):
    """An execution of each check of a dataset an hour ago that passed, and others in place of some."""
    passed = {name: [execution(text="2 days", at_s=time.time() - 12_600)] for name in CHECKS}
    assets = {name: asset for name, (asset, _) in CHECKS.items()}
    return {
        (f"binance/{token}/{assets[name]}", name): executions
        for name, executions in (passed | other).items()
        if executions
    }


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """Of 105 datasets, N000 to N104 against USDT or BTC, N007 is of futures and has the most days."""
    root = tmp_path_factory.mktemp("many")
    for number in range(105):
        market = Market.FUTURES if number == 7 else Market.SPOT
        quote = "BTC" if number % 10 == 4 else "USDT"
        store_days(root, f"N{number:03d}/{quote}", 9 if number == 7 else 1 + number % 5, market=market)
    return Browser(root)


def test_a_hundred_datasets_are_on_a_page(many: Browser) -> None:
    first, second = many(ALL), many(ALL, page=2)
    assert (len(first.pairs), first.pairs[:2], first.pairs[-1]) == (100, ["N000/USDT", "N001/USDT"], "N099/USDT")
    assert second.pairs == ["N100/USDT", "N101/USDT", "N102/USDT", "N103/USDT", "N104/BTC"]
    assert "105 datasets, page 1 of 2" in first.text
    assert "/browse?page=2" in first.links
    assert "There are no more" in many(ALL, page=3).text
    assert [len(many(MAP, page=page).pairs) for page in (1, 2, 3)] == [50, 50, 5]


@pytest.mark.parametrize("path", [ALL, MAP])
@pytest.mark.parametrize(
    ("query", "pairs"),
    [
        ({"q": "n007"}, ["N007/USDT"]),
        ({"q": "N007USDT"}, ["N007/USDT"]),
        ({"q": "n01 /btc"}, ["N014/BTC"]),
        ({"q": "futures"}, ["N007/USDT"]),
        ({"market": "futures"}, ["N007/USDT"]),
        ({"q": "n00", "sort": "-name"}, ["N009/USDT", "N008/USDT", "N007/USDT", "N006/USDT", "N005/USDT", "N004/BTC"]),
        ({"q": "n00", "sort": "-days", "page": 1}, ["N007/USDT", "N004/BTC", "N009/USDT"]),
        ({"q": "n00", "sort": "quote"}, ["N004/BTC", "N000/USDT"]),
        ({"q": "n00", "sort": "market"}, ["N007/USDT", "N000/USDT"]),
        ({"q": "nothing like it"}, []),
        ({"state": "failed"}, []),
    ],
)  # fmt: skip
def test_datasets_are_searched_filtered_and_sorted(many: Browser, path: str, query: dict, pairs: list) -> None:
    page = many(path, **query)
    assert page.pairs[: len(pairs)] == pairs
    if not pairs:
        assert page.pairs == []
        assert "No dataset is like that" in page.text


@pytest.mark.parametrize("query", [{"sort": "price"}, {"state": "fine"}, {"page": 0}, {"q": "x" * 81}])
def test_what_cannot_be_asked_is_refused(many: Browser, query: dict) -> None:
    assert many(ALL, **query).status == many(MAP, **query).status == 422


def test_the_order_and_the_search_stay_in_the_links(many: Browser) -> None:
    page = many(ALL, q="n0", sort="-size", market="spot")
    assert "/browse?q=n0&market=spot&sort=size" not in page.links
    assert "/browse?q=n0&market=spot" in page.links
    assert "/browse/coverage?q=n0&market=spot&sort=-size" in page.answer.text.replace("&amp;", "&")
    assert 'aria-sort="ascending"' in many(ALL).answer.text


def test_health_is_what_dagster_and_the_manifest_say(tmp_path: Path) -> None:
    store_days(tmp_path, "GOOD/USDT", 2)
    store_days(tmp_path, "BAD/USDT", 2)
    store_days(tmp_path, "ODD/USDT", 2)
    store_days(tmp_path, "NEW/USDT", 2)
    store_days(tmp_path, "PART/USDT", 2)
    store_days(tmp_path, "AGAIN/USDT", 2)
    store_days(tmp_path, "BROKEN/USDT", 2)
    store_days(tmp_path, "HOLE/USDT", 2, absent={1: absence(Kind.UNEXPLAINED, "2024-01-02", 30)})
    store_days(tmp_path, "LACK/USDT", 3, without=[1])
    at_s = time.time() - 9000
    gone = execution(False, text="2024-01-02: its file is gone", at_s=at_s)
    implausible = execution(False, severity="WARN", text="2024-01-02: prices repeat", at_s=at_s)
    checks = {
        **results("GOODUSDT"),
        **results("BADUSDT", chunks_match_manifest=[gone]),
        **results("ODDUSDT", klines_are_plausible=[implausible]),
        **results("PARTUSDT", days_are_joined=[]),
        **results("AGAINUSDT", minutes_are_covered=[execution(None), execution(False, text="no", at_s=at_s)]),
        **results("BROKENUSDT", minutes_are_covered=[execution(None, status="EXECUTION_FAILED")]),
        **results("HOLEUSDT"),
        **results("LACKUSDT"),
    }
    with served(fake_dagster(checks=checks)[0]) as url:
        browser = Browser(tmp_path, dagster_url=url)
        page = browser(ALL, sort="health")
        good, failed = browser(ALL, state="good"), browser(ALL, state="failed")
    assert "GOOD/USDT spot, UTC good 3 h ago all checks passed" in page.of("GOOD/USDT")
    assert "failed chunks_match_manifest: 2024-01-02: its file is gone 2 h ago 1 of 6 checks" in page.of("BAD/USDT")
    assert "warning klines_are_plausible: 2024-01-02: prices repeat" in page.of("ODD/USDT")
    assert "not proven not proven no check has run" in page.of("NEW/USDT")
    assert "not proven 3 h ago 1 of 6 checks not run yet" in page.of("PART/USDT")
    assert "failed minutes_are_covered: no" in page.of("AGAIN/USDT")
    assert "failed minutes_are_covered: its run broke" in page.of("BROKEN/USDT")
    assert "failed 30 min unexplained" in page.of("HOLE/USDT")
    assert "warning no chunk for 1 requested day" in page.of("LACK/USDT")
    assert "nothing" not in page.of("BAD/USDT")
    assert good.pairs == ["GOOD/USDT"]
    assert failed.pairs == ["AGAIN/USDT", "BAD/USDT", "BROKEN/USDT", "HOLE/USDT"]
    assert page.pairs == [*failed.pairs, "LACK/USDT", "ODD/USDT", "NEW/USDT", "PART/USDT", "GOOD/USDT"]


def test_without_dagster_health_is_not_known(tmp_path: Path) -> None:
    store_days(tmp_path, "AAA/USDT", 2)
    page = Browser(tmp_path)()
    assert "unknown not known" in page.of("AAA/USDT")
    assert "Results of checks are not known: the Dagster webserver at" in page.text


def test_a_live_dataset_that_is_late_is_said(tmp_path: Path) -> None:
    store_days(tmp_path, "AAA/USDT", 2, live=True)
    with served(fake_dagster(checks=results("AAAUSDT"))[0]) as url:
        assert "warning live, but" in Browser(tmp_path, dagster_url=url)().of("AAA/USDT")


def test_data_that_is_newer_than_its_proof_is_said(tmp_path: Path) -> None:
    store_days(tmp_path, "AAA/USDT", 2)
    with served(fake_dagster(checks=results("AAAUSDT"))[0]) as url:
        assert "changed since" in Browser(tmp_path, dagster_url=url)().of("AAA/USDT")


@pytest.mark.parametrize("was_read", [False, True])
def test_a_dataset_that_may_not_be_looked_into_is_said_and_hides_nothing(tmp_path: Path, was_read: bool) -> None:
    root = tmp_path / "root"
    for pair in ("A/USDT", "B/USDT", "C/USDT"):
        store_days(root, pair, 3)
    age(root)
    browser = Browser(root)
    if was_read:
        assert browser(ALL).pairs == ["A/USDT", "B/USDT", "C/USDT"]
    with refused(root / "binance" / "AUSDT" / "1m", "version", "read_version", "read", "names", "sizes"):
        for path in (ALL, MAP):
            page = browser(path)
            assert (page.status, page.pairs) == (200, ["B/USDT", "C/USDT"])
            assert "binance/AUSDT/1m cannot be read: " in page.text
        metrics = browser.client.get("/metrics")
        assert metrics.status_code == 200
        assert "market_data_unreadable_datasets 1.0" in metrics.text
        assert 'market_data_stored_days{market="spot"} 6.0' in metrics.text
    assert browser(ALL).pairs == ["A/USDT", "B/USDT", "C/USDT"]


def test_a_change_on_disk_is_on_the_next_page(tmp_path: Path) -> None:
    store_days(tmp_path, "AAA/USDT", 2)
    browser = Browser(tmp_path)
    assert "2 2024-01-01 to 2024-01-02" in browser().of("AAA/USDT")
    store_days(tmp_path / "other", "AAA/USDT", 3)
    ours, other = (dataset_folder(root, "spot", "AAAUSDT") for root in (tmp_path, tmp_path / "other"))
    for name in ("dataset.json", "manifest.json"):
        (other / name).replace(ours / name)
    assert "3 2024-01-01 to 2024-01-03" in browser().of("AAA/USDT")
    (ours / "dataset.json").unlink()
    assert "Nothing is stored yet" in browser().text


def test_the_heat_map_has_a_cell_for_each_month(tmp_path: Path) -> None:
    absent = {
        31: absence(Kind.OUTAGE, "2024-02-01", 144),
        60: absence(Kind.NOT_REQUESTED, "2024-03-01", 720),
        91: absence(Kind.UNEXPLAINED, "2024-04-01", 40),
    }
    store_days(tmp_path, "AAA/USDT", 152, absent=absent, without=[125])
    page = Browser(tmp_path)(MAP)
    assert page.months == {
        "2024-01": "complete: 100 % of 44,640 min",
        "2024-02": "explained: 100 % of 41,760 min, 144 min outage",
        "2024-03": "partial: 98.3 % of 44,640 min, 720 min not requested",
        "2024-04": "unexplained: 99.9 % of 43,200 min, 40 min unexplained",
        "2024-05": "unexplained: 96.7 % of 44,640 min, 1,440 min of days without a chunk",
    }
    assert "AAA/USDT spot o 98 ! !" in page.text


def test_the_heat_map_has_five_years_on_a_page(tmp_path: Path) -> None:
    store_days(tmp_path, "AAA/USDT", 2200, first="2018-01-01")
    store_days(tmp_path, "NEW/USDT", 2, first="2024-01-01")
    page = Browser(tmp_path)(MAP)
    assert "2019-02 to 2024-01" in page.text
    earlier = next(link for link in page.answer.text.split('"') if "until=2019-01" in link)
    assert "2018-01 to 2019-01" in Browser(tmp_path)(earlier).text
    assert Browser(tmp_path)(MAP, until="2024-13").status == 422
    assert "2018-01 to 2018-01" in Browser(tmp_path)(MAP, until="1950-01").text
