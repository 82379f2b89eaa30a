"""A data root that the browse page shows, filled over real HTTP. Does not belong here: any assertion."""

import html
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from fastapi.testclient import TestClient

from market_data_pipeline.api.app import create_app
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import parse_instant, parse_zone
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.loading.resolve import dataset_of, resolve
from market_data_pipeline.core.loading.window import parse_window
from market_data_pipeline.core.sources.opening import open_source
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.settings import Settings

NOBODY = "http://127.0.0.1:9"


@contextmanager
def opened(
    root: Path, url: str, *, start: str, end: str, market: str = "spot", pair: str = "BTC/USDT", tz: str = "UTC"
) -> Iterator[tuple[DatasetStore, Any]]:
    """The dataset made ready, and its days being loaded, one at each step."""
    opener, zone = partial(open_source, "rest", budgets=[root], base_url=url), parse_zone(tz)
    resolved = resolve(opener, Market(market), pair, strict=True)
    with closing(resolved.source) as source:
        window = parse_window(
            start_ms=parse_instant(start, zone),
            end_ms=parse_instant(end, zone),
            now_ms=source.now_ms(),
            align_to=[zone],
        )
        files = dataset_of(Store(root), resolved, zone=zone, window=window)
        yield files, backfill(files, source, window)


def load(root: Path, url: str, **what: str) -> DatasetStore:
    """Load days; return the dataset's files."""
    with opened(root, url, **what) as (files, days):
        for _ in days:
            pass
    return files


@dataclass(frozen=True)
class Page:
    """An answer, as a reader sees it."""

    answer: httpx.Response

    @property
    def status(self) -> int:
        return self.answer.status_code

    @property
    def text(self) -> str:
        """The words of the page, each space one space."""
        shown = re.sub(r"<script.*?</script>", "", self.answer.text, flags=re.DOTALL)
        return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", shown)).split())

    @property
    def titles(self) -> dict[str, str]:
        """What the days of the calendar say, by day."""
        found = re.findall(r'<(?:a|span) class="cell [^>]*title="(\d{4}-\d{2}-\d{2}) ([^"]*)"', self.answer.text)
        return {day: html.unescape(said) for day, said in found}

    @property
    def rows(self) -> list[list[str]]:
        """The rows of a file's table."""
        body = self.answer.text.rpartition("<tbody>")[2].partition("</tbody>")[0]
        return [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in body.split("</tr>") if "<td" in row]

    @property
    def links(self) -> list[str]:
        """Where its links to datasets lead."""
        return sorted({html.unescape(link) for link in re.findall(r'href="(/browse\?[^"]*)"', self.answer.text)})

    @property
    def files(self) -> list[str]:
        """Where its links to files lead."""
        return sorted({html.unescape(link) for link in re.findall(r'href="(/browse/file\?[^"]*)"', self.answer.text)})


class Browser:
    """Asks for pages as a browser does."""

    def __init__(self, root: Path, *, dagster_url: str = NOBODY) -> None:
        app = create_app(Settings(market_data_dir=root), dagster_url=dagster_url)
        self.client = TestClient(app, base_url="http://127.0.0.1:8000", headers={"Accept": "text/html"})

    def __call__(self, path: str = "/browse", **query: Any) -> Page:
        return Page(self.client.get(path, params=query or None))

    def dataset(self, market: str = "spot", pair: str = "BTC/USDT", **query: Any) -> Page:
        return self("/browse", market=market, pair=pair, **query)

    def file(self, name: str, **query: Any) -> Page:
        more = "".join(f"&{key}={value}" for key, value in query.items())
        return self(f"/browse/file?file={quote(name)}{more}")
