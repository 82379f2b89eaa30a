"""The live datasets of one market, kept current together by one process.

Belongs here: which datasets this process keeps current, the wait for the minute's end, one tick for all of them. Does
not belong here: what a tick does for one dataset (`dataset`), the loop around ticks (`defs.sensors`, `app.live`).
"""

import gc
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from datetime import date
from functools import cache, partial

from market_data_pipeline.core.counting.counts import LIVE_KLINES, LIVE_TICK, LIVE_UPDATES
from market_data_pipeline.core.errors import Banned, BudgetUnavailable, MarketDataError, SourceUnavailable
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.live.dataset import LiveDataset, Update
from market_data_pipeline.core.live.failures import Failures, logged
from market_data_pipeline.core.live.journaling import MarketJournal
from market_data_pipeline.core.live.newest import NOT_TRIED, Newest, Patience, Turns
from market_data_pipeline.core.live.open_files import allow_open_files
from market_data_pipeline.core.live.rights import Rights
from market_data_pipeline.core.live.runs_due import DueDays, due_days
from market_data_pipeline.core.live.storing import Storing, failed
from market_data_pipeline.core.sources.opening import LIVE_CONNECTIONS, LiveSources
from market_data_pipeline.core.sources.protocol import Usage
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.journal.segments import Owner
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.text import one_line

_log = logging.getLogger(__name__)

# The exchange needs a moment to close a kline; a request that arrives sooner has to be sent a second time.
_ARRIVES_AFTER_MS = 300
# This machine's clock drifts, and jumps when it is set or the machine wakes from sleep.
_CLOCK_READ_EVERY_S = 10
_MOST_STEP_S = 0.25
_PAUSE_WHILE_LATE_S = 5.0
# Fetching all datasets and then storing all of them takes a quarter less than doing both at once, as the processor's
# caches stay warm. Responses that take longer come from far away, and leave time to store in between.
_FETCH_FIRST_S = 0.25
# Its lock, and once a gap is looked up a connection to the archive's files and one to their listing.
_FILES_OF_DATASET = 3


class LiveMarket:
    """The live datasets of one market."""

    def __init__(
        self, store: Store, sources: LiveSources, *, who: str, manifest_interval_s: float, archived: bool = True
    ) -> None:
        """Send no request and take no lock.

        Args:
            store: the data root, whose manifests are written only by `flush`.
            sources: the pairs' sources; `close` closes them.
            who: a name for this process, which others see when they want to follow the same datasets.
            manifest_interval_s: least seconds between two writes of a manifest.
            archived: whether days are due once more when the archive should have them.
        """
        self.market: Market = sources.market
        self.clock_offset_ms = 0
        """How far this machine's clock was behind the exchange's at the last reading, ms."""
        self.trouble: dict[str, str] = {}
        """Why datasets could not be followed by the last `follow`, one line each, by name."""
        self._store, self._sources = store, sources
        self._archived = archived
        self._interval_s, self._flushed_s = manifest_interval_s, time.monotonic()
        self._rights = Rights(who)
        self._followed: dict[str, LiveDataset] = {}
        self._fetching = ThreadPoolExecutor(LIVE_CONNECTIONS, thread_name_prefix=f"fetch-{sources.market}")
        self._journal = MarketJournal(store, sources.market)
        self._storing = Storing(self._journal, f"{sources.market}")
        self._failures = Failures()
        self._was_late = False
        self._edge_ms = 0

    @property
    def followed(self) -> list[LiveDataset]:
        """The datasets that this process keeps current."""
        return list(self._followed.values())

    def marked(self) -> list[Dataset]:
        """The market's datasets whose `dataset.json` says live; a damaged one is logged.

        Raises:
            StoreUnavailable, OSError: a bucket is away.
        """
        found, damaged = self._store.marked(self.market)
        for error in damaged.values():
            _log.warning("%s", error)
        return found

    def follow(self, datasets: Iterable[Dataset], *, within_s: float = 0) -> dict[str, str]:
        """Follow these datasets and no others, and wait so long at most for those that others follow.

        One that cannot be read or written harms no other: see `trouble`, and the next call tries it again.

        Returns:
            The name of the process that follows a dataset already, by the dataset's name.

        Raises:
            StoreError, OSError: none can be followed.
        """
        wanted, holders = {dataset.name: dataset for dataset in datasets}, dict[str, str | None]()
        with logged() as failures:
            for name in self._followed.keys() - wanted.keys():
                with failures.apart(name, self._store.root):
                    self._release(name)
        allow_open_files(self.market, _FILES_OF_DATASET * len(wanted) + LIVE_CONNECTIONS)
        joining = wanted.keys() - self._followed.keys()
        take_over, latest_s = cache(self._journal.take_over), time.monotonic() + within_s
        with logged() as failures:
            for name in joining:
                with failures.apart(name, self._store.root):
                    folder = self._store.folder(wanted[name].market, wanted[name].pair)
                    holders[name] = self._rights.take(name, folder, latest_s)
            # Not before all rights are taken: until then a killed process may have some, and its journal.
            for name in [name for name, holder in holders.items() if holder is None]:
                with failures.apart(name, self._store.root):
                    self._open(wanted[name], take_over)
            if failures.first and not self._followed:
                raise failures.first
            self.trouble = failures.by_name
        if joining & self._followed.keys():
            # They stay, and each garbage collection would search them all in the middle of a tick.
            gc.collect()
            gc.freeze()
        return {name: holder for name, holder in holders.items() if holder}

    def await_minute(self, stopped: threading.Event, *, longest_s: float = math.inf) -> int | None:
        """Wait until the exchange can have closed a minute that no tick requested yet; return its end, ms UTC.

        Returns:
            None if that takes longer than `longest_s`, or when `stopped` is set.

        Raises:
            SourceUnavailable: the exchange's clock was never read.
        """
        this_ms = self._read_clock() // MINUTE_MS * MINUTE_MS
        # Where the last edge is still to come, the clock was wrong then.
        edge_ms = max(this_ms, self._edge_ms + MINUTE_MS) if self._edge_ms <= this_ms + MINUTE_MS else this_ms
        if self._early_s(edge_ms) > longest_s:
            return None
        while (early_s := self._early_s(edge_ms)) > 0:
            began_s = time.monotonic()
            if stopped.wait(min(early_s, _CLOCK_READ_EVERY_S)):
                return None
            step_s = early_s - self._early_s(edge_ms) - (time.monotonic() - began_s)
            if early_s > _CLOCK_READ_EVERY_S or abs(step_s) > _MOST_STEP_S:
                self._read_clock()
        self._edge_ms = self._sources.now_ms() // MINUTE_MS * MINUTE_MS
        return self._edge_ms

    def tick(self, edge_ms: int, *, patience_s: float, stopped: threading.Event) -> Iterator[Update]:
        """Fetch the minutes before the edge for all datasets at once; yield each one's update when it is stored.

        A dataset that another process has taken over is not followed any more; its update says so.

        Args:
            edge_ms: the end of the newest minute, ms UTC.
            patience_s: how many seconds klines that are not there yet are requested.
            stopped: ends all waiting when it is set.
        """
        for name, reason in self._rights.lost().items():
            yield Update(name, self._followed.pop(name).last_open_ms, error=reason, may_pass=True)
        began_s = time.monotonic()
        at_once = self._sources.worth_asking_at_once()
        # A life takes two requests at once.
        patience = Patience(began_s + patience_s, stopped, at_once=Turns(at_once), lives=Turns(1 + at_once // 2))
        if self._was_late:
            patience.first_pause_s = _PAUSE_WHILE_LATE_S
        self._was_late = False
        missing = [(live, live.missing(edge_ms)) for live in self.followed]
        # Paid together: the budget has a lock that other processes take too.
        patience.paid = self._pay(span for live, span in missing if span and not live.has_ended)
        fetched: dict[LiveDataset, Future[Newest | Update]] = {}
        for live, span in missing:
            if live.has_ended:
                yield Update(live.name, live.last_open_ms, has_ended=True)
            else:
                fetched[live] = self._fetching.submit(self._fetch, live, span, patience)
        wait(fetched.values(), timeout=_FETCH_FIRST_S)
        for update in self._storing.stored(fetched):
            self._was_late |= update.is_late
            if update.error:
                self._failures.note(update.name, update.error.removeprefix(NOT_TRIED))
            LIVE_KLINES.add(self.market.value, by=update.added)
            LIVE_UPDATES.add(self.market.value, update.result)
            yield update
        self._failures.log()
        if fetched:
            LIVE_TICK.note(time.monotonic() - began_s, self.market.value)

    def flush(self) -> None:
        """Fold the datasets whose turn it is; write the manifests, if `manifest_interval_s` has passed since then."""
        self._journal.fold_due(self.followed, self._edge_ms)
        if time.monotonic() - self._flushed_s >= self._interval_s:
            self._flushed_s = time.monotonic()
            with logged() as failures:
                for live in self.followed:
                    with failures.apart(live.name, self._store.root):
                        live.flush(open_days=False)

    def due_days(self, first_days: Mapping[str, date] = {}) -> list[DueDays]:
        """The days that need a run, a range for each reason; of a dataset that is named here, from this day on."""
        now_ms, due = self._sources.now_ms(), list[DueDays]()
        with logged() as failures:
            for live in self.followed:
                first = first_days.get(live.name)
                look = partial(due_days, live, now_ms, archived=self._archived, first_day=first)
                with failures.apart(live.name, self._store.root):
                    if look():
                        live.store.refresh()  # a run may have loaded them meanwhile
                        due += look()
        return due

    def usage(self) -> Usage:
        """The request weight used so far."""
        return self._sources.usage()

    def now_ms(self) -> int:
        """The exchange's clock, ms UTC."""
        return self._sources.now_ms()

    def close(self) -> None:
        """End all waiting and the threads, write the manifests, and release the datasets."""
        self._sources.close()
        self._fetching.shutdown(cancel_futures=True)
        self._storing.close()
        with ExitStack() as stack:  # each is released, though the manifest of another cannot be written
            stack.callback(self._journal.close)
            for name in list(self._followed):
                stack.callback(self._release, name)

    def note_end(self, reason: str) -> None:
        """Leave the error by which live mode ends with each dataset, for `health`, until it is followed again."""
        for live in self.followed:
            with suppress(OSError):  # the disk may be what ended it
                path = live.store.folder / layout.LIVE_ERROR_FILE
                storage_of(path).write(path, one_line(reason, 1000).encode())

    # --- inside

    def _pay(self, spans: Iterable[Span]) -> bool:
        try:
            return self._sources.try_to_pay(spans)
        except (Banned, BudgetUnavailable):
            return False  # each dataset's own payment raises it, and gives its update the reason

    def _fetch(self, live: LiveDataset, missing: Span | None, patience: Patience) -> Newest | Update:
        try:
            return live.check_life(patience) if missing is None else live.fetch(missing, patience)
        except (MarketDataError, OSError) as error:
            return failed(live, error)

    def _early_s(self, edge_ms: int) -> float:
        """Seconds until a request has to be sent to arrive soon after this instant."""
        return (edge_ms + _ARRIVES_AFTER_MS - self._sources.way_ms() - self._sources.now_ms()) / 1000

    def _open(self, dataset: Dataset, take_over: Callable[[], None]) -> None:
        folder = self._store.folder(dataset.market, dataset.pair)
        try:
            take_over()
            storage_of(folder).remove(folder / layout.LIVE_ERROR_FILE)
            self._sources.open_budget()
            self._followed[dataset.name] = LiveDataset(
                self._store.open(dataset),
                self._sources.of(dataset.pair),
                on_folded=partial(self._journal.note_folded, Owner.of(dataset)),
                require_right=self._rights.required(dataset.name),
            )
        except BaseException:  # else the next try would find this very process to follow it
            self._rights.release(dataset.name)
            raise

    def _release(self, name: str) -> None:
        try:
            live = self._followed.pop(name)
            try:
                live.fold()
            finally:
                live.flush()
        finally:
            self._rights.release(name)

    def _read_clock(self) -> int:
        try:
            self.clock_offset_ms = self._sources.set_clock()
        except SourceUnavailable as error:
            _log.warning("the exchange's clock could not be read: %s", error)
        return self._sources.now_ms()
