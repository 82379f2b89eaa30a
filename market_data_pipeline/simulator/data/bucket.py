"""The bucket that holds the archive, as a store of objects lists it.

Belongs here: the keys of published files in their order, folders, pages of a listing.
Does not belong here: which days a pair has files of (`lives`), the XML (`responses`).
"""

import sys
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from market_data_pipeline.simulator.data.archive import EPOCH, FOLDERS, PUBLICATION_DELAY_MS, ArchiveName
from market_data_pipeline.simulator.data.clock import DAY_MS
from market_data_pipeline.simulator.data.history import History
from market_data_pipeline.simulator.data.pairs import Pair

MOST_KEYS = 1000
_SHA256_DIGITS = 64
_AFTER_ALL = chr(sys.maxunicode)


@dataclass(frozen=True, slots=True)
class BucketQuery:
    """What a request asks for. Names that have the delimiter after the prefix are one folder."""

    prefix: str = ""
    delimiter: str = ""
    marker: str = ""
    max_keys: int = MOST_KEYS


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One file: its key, when it was published, and its size if that is known without packing it."""

    key: str
    modified_ms: int
    size: int | None


@dataclass(slots=True)
class BucketPage:
    """One page of a listing; `next_marker` is the last name on it if more follow."""

    objects: list[StoredObject] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    next_marker: str = ""


@dataclass(frozen=True, slots=True)
class _Folder:
    path: str
    pair: Pair
    daily: bool

    def zip(self, first: int) -> str:
        """Return the key of the zip of the period that begins on a day."""
        day = EPOCH + timedelta(days=first)
        period = day.isoformat() if self.daily else f"{day:%Y-%m}"
        return f"{self.path}{self.pair.symbol}-1m-{period}.zip"

    def last_key(self, first: int) -> str:
        """Return the last key of the period: that of the checksum."""
        return f"{self.zip(first)}.CHECKSUM"


def bucket_page(history: History, query: BucketQuery, now_ms: int) -> BucketPage:
    """Return the page of names after the marker, in the order of their bytes."""
    page = BucketPage()
    last = ""
    for name, found in _names(history, query, now_ms):
        if name <= query.marker or query.marker.startswith(name) or name == last:
            continue
        if len(page.objects) + len(page.folders) == query.max_keys:
            page.next_marker = last
            return page
        last = name
        if found is None:
            page.folders.append(name)
        else:
            page.objects.append(found)
    return page


def _names(history: History, query: BucketQuery, now_ms: int) -> Iterator[tuple[str, StoredObject | None]]:
    """Yield keys, and folders without an object, under a prefix. A folder is there once for each folder inside it."""
    for folder in _folders(history):
        path = folder.path
        if not (path.startswith(query.prefix) or query.prefix.startswith(path)):
            continue
        outer = _common(path, query) if path.startswith(query.prefix) else None
        if outer is not None:
            if outer > query.marker and _periods(history, folder, now_ms):
                yield outer, None
            continue
        yield from _names_in(history, folder, query, now_ms)


def _names_in(
    history: History, folder: _Folder, query: BucketQuery, now_ms: int
) -> Iterator[tuple[str, StoredObject | None]]:
    """Yield the names of one folder from the prefix and the marker on; of those with a common part, only that part."""
    periods = _periods(history, folder, now_ms)
    at = bisect_left(periods, max(query.prefix, query.marker), key=folder.last_key)
    while at < len(periods) and folder.last_key(periods[at]).startswith(query.prefix):
        key = folder.zip(periods[at])
        common = _common(key, query) if key.startswith(query.prefix) else None
        if common is not None:
            yield common, None
            at = bisect_left(periods, common + _AFTER_ALL, lo=at, key=folder.last_key)
            continue
        for found in _objects(history, folder, periods[at]):
            if found.key.startswith(query.prefix):
                part = _common(found.key, query)
                yield (found.key, found) if part is None else (part, None)
        at += 1


def _common(name: str, query: BucketQuery) -> str | None:
    at = name.find(query.delimiter, len(query.prefix)) if query.delimiter else -1
    return None if at < 0 else name[: at + len(query.delimiter)]


def _folders(history: History) -> list[_Folder]:
    """Return the folders that files can be in, in the order of their bytes, which is that of code points."""
    names = {market: folder for folder, market in FOLDERS.items()}
    folders = [
        _Folder(f"data/{names[pair.market]}/{span}/klines/{pair.symbol}/1m/", pair, span == "daily")
        for pair in history.pairs.values()
        for span in ("daily", "monthly")
    ]
    return sorted(folders, key=lambda folder: folder.path)


def _objects(history: History, folder: _Folder, first: int) -> Iterator[StoredObject]:
    """Yield the files of a period: the zip, then its checksum."""
    path, begins = folder.zip(first), EPOCH + timedelta(days=first)
    last = begins if folder.daily else _next_month(begins) - timedelta(days=1)
    name = ArchiveName(path, folder.pair.market, folder.pair.symbol, begins, last, is_checksum=False)
    stored = history.stored(name)
    yield StoredObject(path, name.published_ms, None if stored is None else stored.stat().st_size)
    # The digits, two spaces, the name, the end of the line.
    yield StoredObject(path + ".CHECKSUM", name.published_ms, _SHA256_DIGITS + 3 + len(name.file.encode()))


def _periods(history: History, folder: _Folder, now_ms: int) -> Sequence[int]:
    """Return the first days of the periods that a folder has published files of."""
    until = (now_ms - PUBLICATION_DELAY_MS) // DAY_MS
    days = history.archived_days(folder.pair, until)
    if folder.daily:
        return days
    months = dict.fromkeys((EPOCH + timedelta(days=day)).replace(day=1) for day in days)
    return [(month - EPOCH).days for month in months if (_next_month(month) - EPOCH).days <= until]


def _next_month(first: date) -> date:
    return (first + timedelta(days=32)).replace(day=1)
