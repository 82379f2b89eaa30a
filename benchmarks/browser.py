"""Pages of the Dagster UI in Chromium, timed until what the reader came for is on the screen.

Belongs here: the browser, the pages and what has to be on each. Does not belong here: the processes that serve them.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from playwright.sync_api import BrowserContext, Request, ViewportSize, sync_playwright

from benchmarks.processes import BenchmarkFailed
from market_data_pipeline.core.klines import findings
from market_data_pipeline.instance.names import KLINES, LOAD_JOB, LOAD_OP, LOCATION, REPOSITORY

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_PATIENCE_MS = 60_000
_WINDOW: ViewportSize = {"width": 1400, "height": 900}
# JavaScript that is true once the visible text has the words; a text may be spread over several elements.
_HAS_WORDS = "words => words.every(word => document.body.innerText.includes(word))"


@dataclass(frozen=True, slots=True)
class Page:
    """A path of the UI, and the words on the screen that make it usable."""

    path: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """Seconds from the request to the words, and the slowest query on the way with its seconds."""

    seconds: float
    slowest: str


def pages_of(dataset: str, *, days: int, last_day: str, datasets: int, run_id: str) -> Mapping[str, Page]:
    """The pages that docs/dagster.md and docs/universe.md name, for the asset `binance/<dataset>/klines_1m`."""
    asset, location = f"/assets/binance/{dataset}/{KLINES}", f"/locations/{REPOSITORY}@{LOCATION}"
    assets, chosen = 3 * datasets, f"/assets?asset-selection=key%3A%22binance%2F{dataset}%2F*%22"
    return {
        "catalog": Page("/assets", (f"{days}\n", "partitions", "Materialized")),
        "catalog, the assets of a pair": Page(chosen, (f"{days}\n", "partitions", "Materialized")),
        "catalog, the group as a list": Page(
            f"{location}/asset-groups/spot_USDT/list", (f"{days}\n", "partitions", "Materialized")
        ),
        "klines_1m": Page(asset, ("Latest check results", last_day)),
        "klines_1m, its days": Page(f"{asset}?view=partitions", (f"Materialized ({days})",)),
        "klines_1m, its events": Page(f"{asset}?view=events", (last_day, "archived")),
        "klines_1m, its checks": Page(f"{asset}?view=checks", (findings.JOINED, "Evaluation result")),
        "klines_1m, its lineage": Page(f"{asset}?view=lineage", ("% filled", "Materialized")),
        "lineage of all, by group": Page("/asset-groups", (f"{assets} assets",)),
        "runs": Page("/runs", (run_id[:8], "Success")),
        "a run": Page(f"/runs/{run_id}", (run_id[:8], "Success", "ASSET_MATERIALIZATION")),
        "a job": Page(f"{location}/jobs/{LOAD_JOB}", (LOAD_OP,)),
        "a job, its launchpad": Page(f"{location}/jobs/{LOAD_JOB}/playground", ("Launch Run",)),
        "automation": Page("/automation", ("binance_live", "nightly_proof")),
        "deployment": Page("/deployment/locations", (LOCATION, "Loaded")),
    }


@contextmanager
def visitors(url: str) -> Iterator[Callable[[], AbstractContextManager[BrowserContext]]]:
    """Makes visitors of the UI at that URL, who have never seen it, in the Chromium that is installed.

    Raises:
        BenchmarkFailed: there is none.
    """
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise BenchmarkFailed(f"pages are timed in Chromium; install it so that one of {', '.join(_NAMES)} is found")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield lambda: browser.new_context(base_url=url, viewport=_WINDOW)
        browser.close()


def shown(visitor: BrowserContext, page: Page, *, stays_ms: int = 0) -> Shown:
    """Open the page in a new tab. What the visitor has seen before may come from the browser's caches.

    Args:
        visitor: who opens it.
        page: which one.
        stays_ms: so long the tab stays open after that; the UI fills its caches when a page is shown.

    Raises:
        BenchmarkFailed: the words are not on the screen within a minute.
    """
    began: dict[Request, tuple[str, float]] = {}
    taken: list[tuple[float, str]] = []

    def note_begin(request: Request) -> None:
        if "/graphql" in request.url and isinstance(sent := request.post_data_json, dict):
            began[request] = str(sent.get("operationName")), time.perf_counter()

    def note_end(request: Request) -> None:
        if request in began:
            name, since = began[request]
            taken.append((time.perf_counter() - since, name))

    tab = visitor.new_page()
    try:
        tab.on("request", note_begin)
        tab.on("requestfinished", note_end)
        since = time.perf_counter()
        tab.goto(page.path)
        try:
            tab.wait_for_function(_HAS_WORDS, arg=list(page.words), timeout=_PATIENCE_MS)
        except Exception as error:
            raise BenchmarkFailed(
                f"{page.path} does not show {page.words}:\n{tab.inner_text('body')[:2000]}"
            ) from error
        seconds = time.perf_counter() - since
        tab.wait_for_timeout(stays_ms)
    finally:
        tab.close()
    slowest, name = max(taken, default=(0.0, "none"))
    return Shown(seconds, f"{name} {slowest:.2f} s")
