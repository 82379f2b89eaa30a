"""The numbers of all datasets, for pages that show many: kept in memory, read by one thread in the background.

Belongs here: what is kept of a dataset, and when it is read again. Does not belong here: reading a dataset (`catalog`),
what the numbers mean (`health`).

A page may be late, but never untrue in silence. Each call compares the stamps of all files with those at the last
reading. A dataset whose files have changed since is marked as being read until it is. The numbers are kept in a file
(`kept`), so that a server that was started anew has those of all datasets whose files have not changed. A server that
ends closes this: Python cannot end a thread in the midst of reading a file without ending the process by force.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date

from market_data_pipeline.api.datasets.catalog import (
    Catalog,
    DatasetView,
    Stamps,
    are_settled,
    stamps_of,
    stamps_of_each,
    watched_of,
)
from market_data_pipeline.api.datasets.kept import KeptFile, Remembered, Summary, name_of, noted_of
from market_data_pipeline.api.datasets.months import is_any_requested, missing_days, months_of
from market_data_pipeline.core.errors import PASSING, MarketDataError
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import MINUTE_MS, day_at
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.storage.protocol import StorePath

# A page with a few datasets to read waits for them, so that it is complete at once.
_FEW, _LONGEST_WAIT_S = 10, 0.1
_LONGEST_PAUSE_S = 0.25
# A server says that it is ready when it knows the names of all datasets, unless the disk or bucket is slow.
_LONGEST_START_S, _LONGEST_END_S = 3.0, 2.0
# Live mode changes all datasets each minute, and the file has megabytes.
_WRITTEN_EVERY_S = 300
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A dataset that cannot be read: its folder relative to the data root, and the reason."""

    folder: str
    problem: str


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a dataset: nothing before it was read first, and something older while it is being read."""

    dataset: Dataset
    summary: Summary | None
    is_current: bool


@dataclass(frozen=True, slots=True)
class _Kept:
    """The last reading of a dataset, `today` the day that was current then.

    `stamps` are those before it. None if they do not show the next change: they were too new, or the disk or bucket
    refused something, which it may give again without any change.
    """

    dataset: Dataset | None = None
    summary: Summary | None = None
    problem: str = ""
    stamps: Stamps | None = None
    today: date | None = None


class Summaries:
    """The numbers of the datasets of a data root. Threads may share it."""

    def __init__(self, catalog: Catalog, file: KeptFile, clock: Callable[[], float] = time.time) -> None:
        """Files are read at the first call that needs them.

        Args:
            catalog: reads a dataset.
            file: keeps the numbers for the next server.
            clock: seconds since 1970.
        """
        self._catalog, self._file, self._clock = catalog, file, clock
        self._written_s, self._is_unwritten, self._is_closed = -math.inf, False, False
        self._remembered: dict[str, Remembered] | None = None
        self._kept: dict[StorePath, _Kept] = {}
        self._due: dict[StorePath, None] = {}
        self._condition, self._remembering = threading.Condition(), threading.Lock()
        self._pages = 0
        self._reader: threading.Thread | None = None

    @contextmanager
    def read_ahead(self) -> Iterator[None]:
        """Read all datasets in the background while the block serves pages; it begins when the first page can be made.

        At its end nothing is read any more, and what was read is in the file.
        """

        def read() -> None:
            # What is wrong with the disk is said by the page that needs it.
            with suppress(OSError):
                self.known()

        self._is_closed = False
        ahead = threading.Thread(target=read, name="read ahead", daemon=True)
        ahead.start()
        ahead.join(_LONGEST_START_S)
        try:
            yield
        finally:
            self._close(ahead)

    def known(self, market: Market | None = None) -> list[Known | Unreadable]:
        """All datasets, or those of a market, by market and pair.

        What has changed is read in the background. If that is little, this call waits for it, but only for a blink.
        """
        with self.paused():
            paths, todays = self._catalog.store.dataset_files(market), dict[str, date]()
            found = dict(zip(paths, stamps_of_each(paths), strict=True))
            self._remember(found)
            due = [path for path, stamps in found.items() if self._is_due(path, stamps, todays)]
        if due:
            self._read_soon(due)
        with self.paused():
            with self._condition:
                waiting = set(self._due)
            return [self._known(path, path not in waiting) for path in paths]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Read nothing in the background while the block makes a page: Python runs one thread at a time."""
        with self._condition:
            self._pages += 1
        try:
            yield
        finally:
            with self._condition:
                self._pages -= 1
                self._condition.notify_all()

    def _is_due(self, path: StorePath, stamps: Stamps | None, todays: dict[str, date]) -> bool:
        kept = self._kept.get(path)
        if kept is None or kept.stamps is None or stamps is None:
            return True
        now = kept
        if kept.stamps != stamps:
            if (summary := _journaled(kept, stamps)) is None:
                return True
            now = replace(kept, summary=summary, stamps=stamps)
        if kept.dataset is not None:
            zone = kept.dataset.zone.name
            if zone not in todays:
                todays[zone] = self._today(kept.dataset)
            if kept.today != (today := todays[zone]):
                # A requested day that has passed meanwhile is missing now if it has no chunk.
                if kept.today is None or is_any_requested(kept.dataset, kept.today, today):
                    return True
                now = replace(now, today=today)
        if now is not kept:
            with self._condition:
                if self._kept.get(path) is kept:
                    self._kept[path], self._is_unwritten = now, True
        return False

    def _known(self, path: StorePath, is_current: bool) -> Known | Unreadable:
        kept = self._kept.get(path) or _Kept()
        if not is_current and kept.dataset is None and not kept.problem:
            kept = self._named(path)
        if kept.dataset is None:
            return Unreadable("/".join((*layout.owner_of(path), path.parent.name)), kept.problem)
        return Known(kept.dataset, kept.summary, is_current)

    def _named(self, path: StorePath) -> _Kept:
        """The dataset without its numbers, which are still to be read."""
        try:
            kept = _Kept(self._catalog.store.read(path))
        except (MarketDataError, OSError) as error:
            kept = _Kept(problem=" ".join(str(error).split()))
        return self._kept.setdefault(path, kept)

    def _remember(self, stamps_now: Mapping[StorePath, Stamps | None]) -> None:
        """Take the numbers of datasets not read yet from the file. They count if nothing has changed since."""
        with self._remembering:
            if self._remembered is None:
                self._remembered = self._file.read()
            for path, stamps in stamps_now.items() if self._remembered else ():
                if path in self._kept or (found := self._remembered.pop(name_of(path), None)) is None:
                    continue
                relied_on = stamps if stamps and noted_of(stamps) == found.noted else None
                with suppress(MarketDataError, OSError):
                    dataset = self._catalog.store.read(path)
                    summary = found.summary(dataset, path.parent)
                    self._kept.setdefault(path, _Kept(dataset, summary, "", relied_on, found.today))

    # --- in the background

    def _read_soon(self, paths: list[StorePath]) -> None:
        with self._condition:
            self._due.update(dict.fromkeys(paths))
            if not (self._is_closed or (self._reader and self._reader.is_alive())):
                # A daemon: the server may end while it reads.
                reader = threading.Thread(target=self._read_all, name="summaries", daemon=True)
                reader.start()
                self._reader = reader
            mine = set(paths)
            if len(self._due) <= _FEW:
                self._condition.wait_for(lambda: not mine & self._due.keys(), timeout=_LONGEST_WAIT_S)

    def _read_all(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: not self._pages, timeout=_LONGEST_PAUSE_S)
                path = None if self._is_closed else next(iter(self._due), None)
                if path is None:
                    self._reader = None
                    break
            kept = self._read(path)
            with self._condition:
                self._kept[path], self._is_unwritten = kept, True
                del self._due[path]
                self._condition.notify_all()

        if time.monotonic() - self._written_s >= _WRITTEN_EVERY_S:
            self._write()

    def _close(self, ahead: threading.Thread) -> None:
        with self._condition:
            self._is_closed, reader = True, self._reader
            self._condition.notify_all()
        for thread in (ahead, reader):
            if thread is not None:
                thread.join(_LONGEST_END_S)
        if self._is_unwritten:
            self._write()

    def _write(self) -> None:
        self._written_s, self._is_unwritten = time.monotonic(), False
        self._file.write(dict(self._lines()))

    def _lines(self) -> Iterator[tuple[str, Remembered]]:
        for path, kept in list(self._kept.items()):
            if kept.summary and kept.stamps and kept.today:
                yield name_of(path), Remembered.of(kept.summary, kept.stamps, kept.today)

    def _read(self, path: StorePath) -> _Kept:
        relied_on = None
        try:
            stamps = stamps_of(watched_of(path))
            relied_on = stamps if are_settled(stamps) else None
            view = self._catalog.view(path)
            today = self._today(view.dataset)
            return _Kept(view.dataset, _summary(view, today, stamps), "", relied_on, today)
        except (MarketDataError, OSError) as error:
            relied_on = None if isinstance(error, PASSING) else relied_on
            return _Kept(problem=" ".join(str(error).split()), stamps=relied_on)
        except Exception as error:
            _log.exception("%s cannot be read", path)
            return _Kept(problem=f"{type(error).__name__}, see the server's log", stamps=relied_on)

    def _today(self, dataset: Dataset) -> date:
        return day_at(dataset.zone, round(self._clock() * 1000)).date


def _summary(view: DatasetView, today: date, stamps: Stamps) -> Summary:
    missing = missing_days(view.dataset, view.entries, today)
    months = months_of(view.dataset, view.entries, missing)
    manifest = stamps.files[1]
    return Summary(view.status, months, len(missing), view.since_ms, manifest.modified_ns / 1e9 if manifest else 0.0)


def _journaled(kept: _Kept, stamps: Stamps) -> Summary | None:
    """The numbers of a dataset that got klines in the journal, and nothing else; None if more has changed."""
    summary, before = kept.summary, kept.stamps
    if summary is None or before is None or before.files != stamps.files:
        return None
    if before.journaled_ms is None or stamps.journaled_ms is None or stamps.journaled_ms < before.journaled_ms:
        return None
    newest_ms, since_ms = stamps.journaled_ms, summary.since_ms
    status = replace(summary.status, newest_open_ms=max(newest_ms, summary.status.newest_open_ms or newest_ms))
    return replace(summary, status=status, since_ms=since_ms and max(since_ms, newest_ms + MINUTE_MS))
