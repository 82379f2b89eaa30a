"""A walk through the browse page in a real browser: what a person clicks, presses and sees.

Chromium's own complaints count, on every page that is opened: an error in a script, a file that is not there, a thing
that the content security policy refused.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect, sync_playwright
from pydantic import SecretStr

from market_data_pipeline.api.app import create_app
from market_data_pipeline.settings import Settings
from market_data_pipeline_tests.api.conftest import NOWHERE, Api, served
from market_data_pipeline_tests.api.pages.browsing import store_days
from market_data_pipeline_tests.support import dataset_folder, flip_a_byte, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("api")]
PAIR = {"market": "spot", "pair": "SIM07/USDT"}
DATASET = "/browse?market=spot&pair=SIM07/USDT"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
_QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
_PATIENCE_MS = 120_000
# The browser says of each refusal what the page itself shows.
_EXPECTED = re.compile(r"status of (401|422)|NO/SUCH|/runs/")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        refuse = pytest.fail if os.environ.get("MARKET_DATA_REQUIRE_BROWSER") else pytest.skip
        refuse("no Chromium is installed")
    expect.set_options(timeout=30_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(_QUIET))
        yield browser
        browser.close()


@contextmanager
def visiting(browser: Browser, url: str, *, width: int = 1280, **options: Any) -> Iterator[Page]:
    """A page of a fresh browser, in which nothing may go wrong that is not expected."""
    context = browser.new_context(base_url=url, viewport={"width": width, "height": 900}, **options)
    context.set_default_timeout(30_000)
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        told = f"{message.text} ({message.location['url']})"
        if message.type == "error" and not _EXPECTED.search(told):
            complaints.append(told)

    context.on("console", note)
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    yield context.new_page()
    context.close()
    assert complaints == []


@pytest.fixture
def page(browser: Browser, api: Api) -> Iterator[Page]:
    with visiting(browser, api.url) as page:
        yield page


@pytest.fixture(scope="module")
def loaded(api: Api) -> Api:
    asked = {**PAIR, "tz": "Europe/Zurich", "start": "2024-01-01", "end": "2024-01-11"}
    assert api.ended(api.post("/backfill", json=asked))["status"] == "success"
    return api


def told(page: Page, text: str) -> None:
    """The newest run says so."""
    expect(page.locator(".run .grow").first).to_have_text(re.compile(text), timeout=_PATIENCE_MS)


def test_a_backfill_is_started_and_seen_to_finish(page: Page) -> None:
    page.goto("/browse")
    page.select_option(".start [name=market]", "spot")
    page.fill("[name=pair]", "SIM06/USDT")
    page.fill("[name=start]", "2024-13-01")
    page.click(".start button[type=submit]")
    expect(page.locator(".problem")).to_contain_text("not a date or ISO time")
    expect(page.locator("[name=start]")).to_be_focused()
    page.fill("[name=start]", "2024-01-01")
    page.fill("[name=end]", "2024-01-21")
    page.click(".start button[type=submit]")
    expect(page.locator(".run progress")).to_be_visible()
    told(page, r"backfill success, 20 of 20 days, 28,800 klines")
    page.click("text=Show the dataset as it is now")
    expect(page.locator("h1")).to_have_text("SIM06/USDT spot")
    assert page.locator("a.cell.complete").count() == 20
    expect(page.locator("#runs + [data-part] .status").first).to_have_text("success")


def test_days_open_by_keyboard_and_by_double_click(page: Page, loaded: Api) -> None:
    page.goto(DATASET)
    page.focus('a.cell[tabindex="0"]')
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("SIM07/USDT spot, 2024-01-03")
    page.goto(DATASET)
    with page.expect_popup() as opened:
        page.dblclick(".files tbody tr:nth-child(2) td:nth-child(4)")
    expect(opened.value.locator("h1")).to_have_text("SIM07/USDT spot, 2024-01-09")


def test_the_chart_is_drawn_and_zooms_and_the_table_turns(page: Page, loaded: Api) -> None:
    page.goto(DATASET)
    page.get_by_role("link", name="2024-01-05", exact=True).last.evaluate("link => link.removeAttribute('target')")
    page.get_by_role("link", name="2024-01-05", exact=True).last.click()
    page.wait_for_selector("#chart .plot-container")
    expect(page.locator("#chart .boxlayer path.box")).to_have_count(1440)
    box = page.locator("#chart").bounding_box()
    assert box
    visible = "document.getElementById('chart').layout.xaxis.range.map(String)"
    before = page.evaluate(visible)
    page.mouse.move(box["x"] + 300, box["y"] + 100)
    pointed_at = page.locator("#chart .hovertext")
    expect(pointed_at).to_contain_text(re.compile(r"2024-01-0[45] \d\d:\d\d UTC"))
    expect(pointed_at).to_contain_text(re.compile(r"2024-01-05 \d\d:\d\d \+01:00 Europe/Zurich"))
    page.mouse.down()
    page.mouse.move(box["x"] + 600, box["y"] + 100, steps=5)
    page.mouse.up()
    page.wait_for_function(f"before => String({visible}) !== String(before)", arg=before)
    turns = page.get_by_role("navigation", name="Pages of rows", exact=True)
    expect(turns).to_contain_text("1 to 100 of 1,440")
    turns.get_by_text("Next").click()
    expect(turns).to_contain_text("101 to 200 of 1,440")
    turns.get_by_text("Previous").click()
    expect(turns).to_contain_text("1 to 100 of 1,440")


def test_the_buttons_do_what_they_say(page: Page, loaded: Api) -> None:
    chunks = dataset_folder(loaded.root, "spot", "SIM07USDT") / "chunks"
    (gone,), (spoiled,) = chunks.glob("*_2024-01-04.parquet"), chunks.glob("*_2024-01-06.parquet")
    gone.unlink()
    flip_a_byte(spoiled)
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(DATASET)
    expect(page.locator(".cell.damaged[title]")).to_have_attribute("title", re.compile("2024-01-04 damaged"))
    page.get_by_role("button", name="Verify").click()
    told(page, r"verify success, \d of \d checks did not pass")
    page.goto("/browse?q=sim07")
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="SIM07/USDT"))
    expect(row).to_contain_text("failed chunks_match_manifest", timeout=_PATIENCE_MS, use_inner_text=True)
    page.goto(DATASET)
    page.get_by_role("button", name="Repair").click()
    told(page, "repair success, 2,880 klines, 2 repaired")
    page.get_by_role("link", name="Show the dataset as it is now").first.click()
    expect(page.locator(".runs-here .run")).to_have_count(0)
    expect(page.locator(".cell.damaged[title]")).to_have_count(0)
    page.get_by_role("button", name="Verify").click()
    told(page, "verify success, all checks passed")
    page.goto("/browse?q=sim07")
    expect(row).to_contain_text("all checks passed", timeout=_PATIENCE_MS)
    page.goto(DATASET)
    page.get_by_role("button", name="Combine").click()
    told(page, "combine success")
    page.goto(DATASET)
    with page.expect_popup() as opened:
        page.get_by_role("link", name="SIM07USDT_1m_all.parquet").click()
    expect(opened.value.get_by_role("navigation", name="Pages of rows", exact=True)).to_contain_text("of 14,400")
    opened.value.wait_for_selector("#chart .plot-container")


def test_live_is_switched_on_and_off(page: Page, loaded: Api) -> None:
    page.goto(DATASET)
    switch = page.get_by_role("switch")
    switch.click()
    expect(switch).to_have_attribute("aria-checked", "true", timeout=_PATIENCE_MS)
    assert loaded.get("/status", params=PAIR).json()[0]["live"] is True
    switch.click()
    expect(switch).to_have_attribute("aria-checked", "false", timeout=_PATIENCE_MS)
    assert loaded.get("/status", params=PAIR).json()[0]["live"] is False


def test_a_backfill_is_canceled(page: Page, loaded: Api) -> None:
    page.goto(DATASET)
    page.fill("[name=start]", "2020-02-01")
    page.select_option("[name=source]", "rest")
    page.click("button[type=submit]")
    told(page, r"running, [1-9]")
    page.reload()
    page.get_by_role("button", name="Cancel").click()
    told(page, "backfill canceled")
    expect(page.locator(".run .note")).to_have_count(0)


def test_a_run_is_watched_again_when_dagster_is_back(page: Page, loaded: Api) -> None:
    """After a restart of `market-data up` the API is there first. A browser does not open a refused stream again."""
    refused = list[str]()

    def answer(route: Route) -> None:
        if len(refused) == 2:
            route.fallback()
            return
        refused.append(route.request.url)
        route.fulfill(status=503, content_type="application/problem+json", body='{"title": "Dagster is not available"}')

    page.route("**/runs/*/events", answer)
    page.goto(DATASET)
    page.get_by_role("button", name="Verify").click()
    told(page, "verify success")
    assert len(refused) == 2


def test_only_a_run_that_the_api_does_not_know_is_gone(page: Page, loaded: Api) -> None:
    page.route("**/runs/*/events", lambda route: route.fulfill(status=503))
    page.route(re.compile(r"/runs/[\w-]+$"), lambda route: route.fulfill(status=404))
    page.goto(DATASET)
    page.get_by_role("button", name="Verify").click()
    told(page, "The API has no such run any more")


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_one_of_many_datasets_is_found(browser: Browser, tmp_path: Path, scripts: bool) -> None:
    for number in range(105):
        store_days(tmp_path, f"N{number:03d}/USDT", 40 + number, without=[5] if number == 77 else ())
    app = create_app(Settings(market_data_dir=tmp_path), dagster_url=NOWHERE)
    with served(app) as url, visiting(browser, url, java_script_enabled=scripts) as page:
        page.goto("/browse")
        if not scripts:
            wait_until(lambda: page.reload() is not None and page.locator("[data-again]").count() == 0)
        expect(page.locator("[data-again]")).to_have_count(0)
        expect(page.locator("tbody tr")).to_have_count(100)
        page.get_by_role("link", name="Next").click()
        expect(page.locator("tbody tr")).to_have_count(5)
        page.get_by_role("columnheader", name="Days").get_by_role("link").click()
        expect(page.get_by_role("columnheader", name="Days")).to_have_attribute("aria-sort", "descending")
        expect(page.locator("tbody th a").first).to_have_text("N104/USDT")
        page.get_by_role("link", name="warning 1").click()
        expect(page.locator("tbody tr")).to_have_count(1)
        expect(page.locator("tbody tr")).to_contain_text("no chunk for 1 requested day")
        page.get_by_role("link", name="Coverage by month").click()
        expect(page.get_by_role("cell", name="2024-01 unexplained")).to_have_text("!")
        page.get_by_label("Search").fill("n00")
        page.get_by_role("button", name="Show").click()
        expect(page.locator("#many")).to_contain_text("No dataset is like that")
        page.get_by_role("link", name="Show all").click()
        expect(page.locator("tbody tr")).to_have_count(50)
        page.get_by_label("Search").fill("n00")
        page.keyboard.press("Enter")
        expect(page.locator("tbody tr")).to_have_count(10)
        page.get_by_role("link", name="N003/USDT").click()
        expect(page.locator("h1")).to_have_text("N003/USDT spot")


def test_a_token_is_asked_for(browser: Browser, loaded: Api) -> None:
    settings = Settings(market_data_dir=loaded.root, market_data_api_token=SecretStr("open sesame"))
    with served(create_app(settings, dagster_url=loaded.ui.url)) as url, visiting(browser, url) as page:
        page.goto(DATASET)
        page.fill("[name=start]", "2024-13-01")
        page.click("button[type=submit]")
        asked = page.get_by_role("alert")
        expect(asked).to_contain_text("asks for its token")
        page.get_by_label("API token").fill("wrong")
        page.keyboard.press("Enter")
        expect(asked).to_contain_text("did not accept")
        page.get_by_label("API token").fill("open sesame")
        page.get_by_role("button", name="Continue").click()
        expect(page.locator(".problem")).to_contain_text("not a date or ISO time")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out(browser: Browser, loaded: Api, scheme: str, width: int) -> None:
    with visiting(browser, loaded.url, width=width, color_scheme=scheme) as page:
        page.goto(DATASET)
        file = page.locator("a.cell").first.get_attribute("href")
        runs = DATASET.replace("?", "/runs?")
        for path in ("/browse", "/browse/coverage", DATASET, file, runs, "/browse?market=spot&pair=NO/SUCH"):
            page.goto(str(path))
            wide = page.evaluate("document.scrollingElement.scrollWidth - window.innerWidth")
            assert wide <= 0, f"{path} is {wide} px too wide"
            background = page.evaluate("getComputedStyle(document.body).backgroundColor")
            lightness = sum(map(int, re.findall(r"\d+", background)[:3]))
            assert (lightness < 200) == (scheme == "dark"), background
