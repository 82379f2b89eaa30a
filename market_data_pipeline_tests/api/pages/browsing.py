"""A data root that the browse page shows, filled over real HTTP. Does not belong here: any assertion."""

import errno
import html
import os
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi.testclient import TestClient

from market_data_pipeline.api.app import create_app
from market_data_pipeline.core.klines.coverage import Absence, Span
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import MINUTE_MS, day_of, parse_instant, parse_zone
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.loading.resolve import dataset_of, resolve
from market_data_pipeline.core.loading.window import parse_window
from market_data_pipeline.core.sources.opening import open_source
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.dataset_file import write_dataset
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.manifest import Entry, State, to_text
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.storage.folder import FOLDER
from market_data_pipeline.settings import Settings
from market_data_pipeline_tests.support import budget_in

NOBODY = "http://127.0.0.1:9"


@contextmanager
def opened(
    root: Path, url: str, *, start: str, end: str, market: str = "spot", pair: str = "BTC/USDT", tz: str = "UTC"
) -> Iterator[tuple[DatasetStore, Any]]:
    """The dataset made ready, and its days being loaded, one at each step."""
    opener, zone = partial(open_source, "rest", budget_of=budget_in(root), base_url=url), parse_zone(tz)
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


def age(root: Path, since_s: float = 60) -> None:
    """Make all files so old; by itself, old enough that each further change shows."""
    then_s = time.time() - since_s
    for path in [*root.rglob("*"), root]:
        os.utime(path, (then_s, then_s))


@contextmanager
def refused(path: Path, *calls: str) -> Iterator[None]:
    """In the block the disk lets nobody look at this path and below it, by these methods of its storage.

    Root may look at anything, so that the disk itself has to refuse.
    """

    def refusing(call: Callable[..., Any]) -> Callable[..., Any]:
        def of(asked: Path, *more: Any) -> Any:
            if asked.is_relative_to(path):
                raise PermissionError(errno.EACCES, "Permission denied", str(asked))
            return call(asked, *more)

        return of

    with pytest.MonkeyPatch.context() as patch:
        for name in calls:
            patch.setattr(FOLDER, name, refusing(getattr(FOLDER, name)))
        yield


def store_days(
    root: Path,
    pair: str,
    days: int,
    *,
    market: Market = Market.SPOT,
    first: str = "2024-01-01",
    absent: Mapping[int, Absence] | None = None,
    without: Collection[int] = (),
    live: bool = False,
) -> Dataset:
    """A dataset of so many days in UTC, of which only the notes are written, no klines.

    `absent` has an absence by the number of its day, `without` the days that have no chunk.
    """
    store, zone, start = Store(root), parse_zone("UTC"), date.fromisoformat(first)
    last = day_of(zone, start + timedelta(days - 1))
    requested = Span(day_of(zone, start).start_ms, last.end_ms)
    dataset = Dataset(market, pair, zone, start, (requested,), live)
    entries = []
    for number in sorted(set(range(days)) - set(without)):
        day = day_of(zone, start + timedelta(number))
        absences = tuple(filter(None, [(absent or {}).get(number)]))
        rows = 1440 - sum(absence.span.minutes for absence in absences)
        bounds = (day.start_ms, day.end_ms - MINUTE_MS)
        entries.append(
            Entry(day.key, rows, 1440, *bounds, absences, "archive", 60_000, f"{number:064x}", State.ARCHIVED)
        )
    folder = store.folder(market, pair)
    folder.mkdir(parents=True)
    write_dataset(folder, dataset)
    (folder / layout.MANIFEST_FILE).write_bytes(to_text(dataset, entries))
    return dataset


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
    def pairs(self) -> list[str]:
        """The pairs in a list of datasets or in the heat map, in their order."""
        return re.findall(r'<th scope="row"[^>]*><a [^>]*>([^<]*)</a>', self.answer.text)

    @property
    def months(self) -> dict[str, str]:
        """What the cells of the heat map say, by month."""
        found = re.findall(r'<td class="\w+" title="(\d{4}-\d{2}) ([^"]*)"', self.answer.text)
        return {month: html.unescape(said) for month, said in found}

    def of(self, pair: str) -> str:
        """The words of the row of a pair."""
        row = next(row for row in self.answer.text.split("<tr") if f">{pair}</a>" in row)
        return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", "<tr" + row)).split())

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
        """The page; one that is not complete yet is asked for again, as its script does."""
        page = Page(self.client.get(path, params=query or None))
        until = time.monotonic() + 60
        while "data-again" in page.answer.text:
            assert time.monotonic() < until, "it is never complete"
            time.sleep(0.05)
            page = Page(self.client.get(path, params=query or None))
        return page

    def dataset(self, market: str = "spot", pair: str = "BTC/USDT", **query: Any) -> Page:
        return self("/browse", market=market, pair=pair, **query)

    def file(self, name: str, **query: Any) -> Page:
        more = "".join(f"&{key}={value}" for key, value in query.items())
        return self(f"/browse/file?file={quote(name)}{more}")
