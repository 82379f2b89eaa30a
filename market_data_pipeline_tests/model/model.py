"""What may be and what must be stored, and the files of the store that is modelled.

Belongs here: how the model follows what commands were told, and what must hold of what is read. Does not belong here:
the commands (`machine`), what the exchange says (`said`).

The model has two facts of each minute: which versions of its kline may be stored, and whether one must be. A command
that ends well settles both for what it was told. One that is cut off may have stored any part of it. A damaged day owes
nothing until it is loaded again; what is read of it must still be true.
"""

import shutil
import threading
import uuid
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis.stateful import RuleBasedStateMachine

from market_data_pipeline.core.klines.coverage import Absence, Span, total_minutes
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import MINUTE_MS, Day, Zone, day_at, day_of
from market_data_pipeline.core.klines.table import open_times
from market_data_pipeline.core.live.market import LiveMarket
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.core.loading.resolve import Resolved, dataset_of
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.chunks.manifest_file import ManifestFile
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.reader.stored import StoredDataset
from market_data_pipeline_tests.model.said import Said, versions_of

PAIR = "BTC/USDT"
DAYS = 6
"""So many local days the exchange has klines of when a sequence begins."""
_MORE_DAYS = 8
WRITERS = 2


class Model(RuleBasedStateMachine):
    """One dataset on disk, two writers of it, and what is known of each minute. `machine` has the commands."""

    zone: Zone
    first_day: date
    new_root: Callable[[], Any]

    def start(self, days: int, minute: int) -> None:
        """Nothing is stored; it is so many days and minutes after the pair's first kline."""
        start_ms = day_of(self.zone, self.first_day).start_ms
        end_ms = day_of(self.zone, self.first_day + timedelta(DAYS + _MORE_DAYS)).start_ms
        now_ms = day_of(self.zone, self.first_day + timedelta(days)).start_ms + (minute + 30) * MINUTE_MS
        self.said = Said(Span(start_ms, end_ms), now_ms + 5_000)
        self.may_be = np.zeros(self.said.within.minutes, np.int64)
        """By minute, a bit for each version that may be stored."""
        self.must_be = np.zeros(self.said.within.minutes, bool)
        self.damaged: set[str] = set()
        self.unproven: set[str] = set()
        """Days that a command was cut off at, so that there may be minutes which it was to load."""
        self.root = self.new_root()
        self.stores: list[DatasetStore | None] = [None] * WRITERS

    def check_klines(self, table: Any, *, whole: bool) -> None:
        times = open_times(table)
        assert (np.diff(times) > 0).all()
        where = self.said.at(times)
        assert ((self.may_be[where] >> versions_of(table)) & 1).all(), "a kline that was never said"
        if whole:
            has = np.zeros(len(self.must_be), bool)
            has[where] = True
            lost = self.must_be & ~has
            assert not lost.any(), f"lost: {np.flatnonzero(lost)[:3]} and {lost.sum()} in all"

    def check_absences(self, absences: Iterable[Absence], table: Any) -> None:
        spans = [absence.span for absence in absences]
        assert total_minutes(spans) + table.num_rows == self.said.within.minutes

    # --- how the model follows

    @contextmanager
    def told(self) -> Any:
        self.said.forget()
        yield

    @contextmanager
    def cut_off(self, on_page: Callable[[], None]) -> Any:
        self.said.forget()
        self.said.on_page = on_page
        try:
            yield
        finally:
            self.said.on_page, self.said.is_down = None, False
            self.may_have(slice(None))

    def follow_results(self, results: Iterable[DayResult]) -> None:
        """Days that are loaded have what was delivered of them, and that alone."""
        for result in results:
            part = self.said.part(self.known(result.day))
            if result.outcome is Outcome.LOADED:
                self.must_have(part)
                self.damaged.discard(result.day.key)
                self.unproven.discard(result.day.key)
            else:
                assert result.outcome is not Outcome.FAILED or result.may_pass, result
                self.may_have(part)

    def must_have(self, part: slice) -> None:
        told = self.said.delivered[part]
        is_told = told >= 0
        self.may_be[part] = np.where(is_told, 1 << np.maximum(told, 0), self.may_be[part])
        self.must_be[part] |= is_told

    def may_have(self, part: slice) -> None:
        told = self.said.delivered[part]
        self.may_be[part] |= np.where(told >= 0, 1 << np.maximum(told, 0), 0)

    def tick(self, live: LiveMarket) -> None:
        self.said.forget()
        edge_ms = live.await_minute(threading.Event(), longest_s=5)
        assert edge_ms is not None
        for update in live.tick(edge_ms, patience_s=0, stopped=threading.Event()):
            assert update.error is None, update
            stored = not update.is_behind
            (self.must_have if stored else self.may_have)(slice(None))

    def doubt(self, window: Span) -> None:
        ms = window.start_ms
        while ms < window.end_ms:
            day = day_at(self.zone, ms)
            self.unproven.add(day.key)
            ms = day.end_ms

    def owe_nothing(self, day: Day) -> None:
        self.must_be[self.said.part(self.known(day))] = False

    # --- the store

    def window(self, back: int, days: int) -> Span:
        """Some whole local days until `back` days ago, as far as they are over."""
        until = day_at(self.zone, self.said.clock_ms).date - timedelta(back)
        first = max(self.first_day, until - timedelta(days - 1))
        start_ms = day_of(self.zone, first).start_ms
        end_ms = max(day_of(self.zone, until).end_ms, start_ms + MINUTE_MS)
        return Span(start_ms, max(min(end_ms, self.said.closed_ms), start_ms + MINUTE_MS))

    def day(self, key: str) -> Day:
        return self.dataset.day(key)

    def known(self, day: Day) -> Span:
        start_ms = max(day.start_ms, self.said.within.start_ms)
        return Span(start_ms, max(start_ms, min(day.end_ms, self.said.within.end_ms)))

    def store_of_all(self) -> Store:
        return Store(self.root, manifest_interval_s=1e9)

    def find(self) -> Dataset | None:
        """The dataset as it is on disk, None before the first load."""
        return self.store_of_all().find(Market.SPOT, PAIR) if hasattr(self, "root") else None

    @property
    def dataset(self) -> Dataset:
        """The dataset as it is on disk."""
        found = self.find()
        assert found is not None
        return found

    def opened(self, who: int) -> DatasetStore:
        """The writer's own view of the files, which may be old."""
        return self.stores[who] or self.store_of_all().open(self.dataset)

    def store_of(self, who: int, window: Span) -> DatasetStore:
        if (store := self.stores[who]) is None:
            resolved = Resolved(Market.SPOT, PAIR, self.said)
            store = self.stores[who] = dataset_of(self.store_of_all(), resolved, zone=self.zone, window=window)
        return store

    def folder(self) -> Any:
        return self.store_of_all().folder(Market.SPOT, PAIR)

    def reader(self) -> StoredDataset:
        folder, dataset = self.folder(), self.dataset
        return StoredDataset(folder, dataset, ManifestFile(folder / layout.MANIFEST_FILE, dataset))

    def chunk_files(self) -> dict[str, Any]:
        """The files of chunks by day."""
        folder = self.folder() / layout.CHUNKS
        named = {name: layout.parse_chunk_name(name) for name in storage_of(folder).names(folder)}
        return {found.day: folder / name for name, found in named.items() if found}

    def copy(self) -> Any:
        """What a kill at this instant leaves, in a root of its own."""
        if isinstance(self.root, Path):
            copied = self.root.with_name(uuid.uuid4().hex)
            shutil.copytree(self.root, copied) if self.root.exists() else copied.mkdir()
            return copied
        copied = self.new_root()
        for path in self.root._files():
            if "/.sessions/" in f"/{path.key}":
                continue  # it has run out by the time that another process comes
            (copied / path.key.removeprefix(f"{self.root.key}/").lstrip("/")).write_bytes(path.read_bytes())
        return copied

    def go_on_with(self, copied: Any) -> None:
        if isinstance(self.root, Path):
            shutil.rmtree(self.root)
        self.root, self.stores = copied, [None] * WRITERS

    def teardown(self) -> None:
        if hasattr(self, "root") and isinstance(self.root, Path):
            shutil.rmtree(self.root, ignore_errors=True)
