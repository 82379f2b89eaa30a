"""The numbers of all datasets, for pages that show many: kept in memory, read by one thread in the background.

Belongs here: what is kept of a dataset, and when it is read again. Does not belong here: reading a dataset (`catalog`),
what the numbers mean (`health`).

A page may be late, but never untrue in silence. Each call compares the stamps of all files with those at the last
reading. A dataset whose files have changed since is marked as being read until it is.
"""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from market_data_pipeline.api.datasets.catalog import Catalog, DatasetView, Stamps, are_settled, stamps_of, watched_of
from market_data_pipeline.api.datasets.months import Month, missing_days, months_of
from market_data_pipeline.core.errors import MarketDataError
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import day_at
from market_data_pipeline.core.store.status import DatasetStatus

# A page with a few datasets to read waits for them, so that it is complete at once.
_FEW, _LONGEST_WAIT_S = 10, 0.1
_LONGEST_PAUSE_S = 0.25
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Summary:
    """A dataset in numbers: as in `status`, its months, the requested days without a chunk, the first minute it lacks.

    `changed_at_s` is when its manifest was last written, seconds since 1970.
    """

    status: DatasetStatus
    months: Mapping[str, Month]
    missing_days: int
    since_ms: int | None
    changed_at_s: float


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


@dataclass(slots=True)
class _Kept:
    """The last reading of a dataset, `today` the day that was current then.

    `stamps` are those of `watched` before it; None if they were too new to show the next change, or nothing was read.
    """

    dataset: Dataset | None = None
    summary: Summary | None = None
    problem: str = ""
    watched: tuple[Path, ...] = ()
    stamps: Stamps | None = None
    today: date | None = None


class Summaries:
    """The numbers of the datasets of a data root. Threads may share it."""

    def __init__(self, catalog: Catalog) -> None:
        """Files are read at the first call that needs them."""
        self._catalog = catalog
        self._kept: dict[Path, _Kept] = {}
        self._due: dict[Path, None] = {}
        self._condition = threading.Condition()
        self._pages = 0
        self._reader: threading.Thread | None = None

    def read_ahead(self) -> None:
        """Read all datasets in the background, before a page asks for them."""

        def read() -> None:
            # What is wrong with the disk is said by the page that needs it.
            with suppress(OSError):
                self.known()

        threading.Thread(target=read, name="read ahead", daemon=True).start()

    def known(self, market: Market | None = None) -> list[Known | Unreadable]:
        """All datasets, or those of a market, by market and pair.

        What has changed is read in the background. If that is little, this call waits for it, but only for a blink.
        """
        with self.paused():
            paths, todays = self._catalog.store.dataset_files(market), dict[str, date]()
            due = [path for path in paths if self._is_due(path, todays)]
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

    def _is_due(self, path: Path, todays: dict[str, date]) -> bool:
        kept = self._kept.get(path)
        if kept is None or kept.stamps is None or kept.stamps != stamps_of(kept.watched):
            return True
        if kept.dataset is None:
            return False
        zone = kept.dataset.zone.name
        if zone not in todays:
            todays[zone] = _today(kept.dataset)
        return kept.today != todays[zone]

    def _known(self, path: Path, is_current: bool) -> Known | Unreadable:
        kept = self._kept.get(path) or _Kept()
        if not is_current and kept.dataset is None and not kept.problem:
            kept = self._named(path)
        if kept.dataset is None:
            folder = path.parent.relative_to(self._catalog.store.root).as_posix()
            return Unreadable(folder, kept.problem)
        return Known(kept.dataset, kept.summary, is_current)

    def _named(self, path: Path) -> _Kept:
        """The dataset without its numbers, which are still to be read."""
        try:
            kept = _Kept(self._catalog.store.read(path))
        except (MarketDataError, OSError) as error:
            kept = _Kept(problem=" ".join(str(error).split()))
        return self._kept.setdefault(path, kept)

    # --- in the background

    def _read_soon(self, paths: list[Path]) -> None:
        with self._condition:
            self._due.update(dict.fromkeys(paths))
            if self._reader is None:
                # A daemon: the server may end while it reads.
                self._reader = threading.Thread(target=self._read_all, name="summaries", daemon=True)
                self._reader.start()
            mine = set(paths)
            if len(self._due) <= _FEW:
                self._condition.wait_for(lambda: not mine & self._due.keys(), timeout=_LONGEST_WAIT_S)

    def _read_all(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: not self._pages, timeout=_LONGEST_PAUSE_S)
                path = next(iter(self._due), None)
                if path is None:
                    self._reader = None
                    return
            kept = self._read(path)
            with self._condition:
                self._kept[path] = kept
                del self._due[path]
                self._condition.notify_all()

    def _read(self, path: Path) -> _Kept:
        watched = watched_of(path)
        stamps = stamps_of(watched)
        relied_on = stamps if are_settled(stamps) else None
        try:
            view = self._catalog.view(path)
            today = _today(view.dataset)
            return _Kept(view.dataset, _summary(view, today, stamps), "", watched, relied_on, today)
        except (MarketDataError, OSError) as error:
            return _Kept(problem=" ".join(str(error).split()), watched=watched, stamps=relied_on)
        except Exception as error:
            _log.exception("%s cannot be read", path)
            return _Kept(problem=f"{type(error).__name__}, see the server's log", watched=watched, stamps=relied_on)


def _summary(view: DatasetView, today: date, stamps: Stamps) -> Summary:
    missing = missing_days(view.dataset, view.entries, today)
    months = months_of(view.dataset, view.entries, missing)
    manifest = stamps.files[1]
    return Summary(view.status, months, len(missing), view.since_ms, manifest.modified_ns / 1e9 if manifest else 0.0)


def _today(dataset: Dataset) -> date:
    return day_at(dataset.zone, round(time.time() * 1000)).date
