"""The live datasets of one market, kept current together by one process.

Belongs here: whom this process follows, the minute edge, one tick for all. Does not belong here: what a tick does for
one dataset (`live`), who turns the handle (the sensors, the command line).
"""

import logging
import math
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from queue import SimpleQueue

from market_data_pipeline.core.errors import Banned, MarketDataError, SourceUnavailable, StoreError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.live.dataset import LiveDataset, Newest, Patience, Update
from market_data_pipeline.core.live.runs_due import DueDays, due_days
from market_data_pipeline.core.sources.opening import LIVE_CONNECTIONS, LiveSources
from market_data_pipeline.core.sources.protocol import Usage
from market_data_pipeline.core.store.dataset_file import read_dataset
from market_data_pipeline.core.store.note_lock import NoteLock
from market_data_pipeline.core.store.root import Store

_log = logging.getLogger(__name__)

# The exchange needs a moment to close a kline (facts measured by others; too early costs one more request).
_HEARD_AFTER_MS = 300
# Clocks drift, jump, and sleep with their machine.
_CLOCK_ASKED_EVERY_S = 10
_PAUSE_WHILE_LATE_S = 5.0
# To ask for all and then to store all takes a quarter less than the two by turns, as the processor finds its caches
# warm. Whoever answers later than this is far away, and there is time to store in between.
_ANSWERS_FIRST_S = 0.25
# Half of the time Python's lock is not needed; more would make all of them late instead of the last ones.
_STORED_AT_ONCE = 2


class LiveMarket:
    """The live datasets of one market."""

    def __init__(
        self, store: Store, sources: LiveSources, *, who: str, manifest_interval_s: float, archived: bool = True
    ) -> None:
        """Nothing is asked yet.

        Args:
            store: the data root, whose manifests are written only by `flush`.
            sources: the pairs' sources; closed with this object.
            who: what others are told who want to follow the same datasets.
            manifest_interval_s: least time between two writes of a manifest.
            archived: whether days are due once more when the archive should have them.
        """
        self.market: Market = sources.market
        self.clock_offset_ms = 0
        """How far this machine's clock was behind the exchange's when that was asked last, ms."""
        self._store, self._sources, self._who = store, sources, who
        self._archived = archived
        self._interval_s = manifest_interval_s
        self._flushed_s = time.monotonic()
        self._locks: dict[str, NoteLock] = {}
        self._followed: dict[str, LiveDataset] = {}
        self._asking = ThreadPoolExecutor(LIVE_CONNECTIONS, thread_name_prefix=f"ask-{sources.market}")
        self._storing = ThreadPoolExecutor(_STORED_AT_ONCE, thread_name_prefix=f"store-{sources.market}")
        self._was_late = False
        self._edge_ms = 0

    @property
    def followed(self) -> list[LiveDataset]:
        """The datasets that this process keeps current."""
        return list(self._followed.values())

    def marked(self) -> list[Dataset]:
        """The market's datasets whose `dataset.json` says live; a damaged one is logged."""
        found = []
        for path in self._store.dataset_files(self.market):
            try:
                dataset = read_dataset(path)
            except StoreError as error:
                _log.warning("%s", error)
                continue
            if dataset.live:
                found.append(dataset)
        return found

    def follow(self, datasets: Iterable[Dataset]) -> dict[str, str]:
        """Follow these datasets and no others; return who else follows which of them, by name."""
        wanted = {dataset.name: dataset for dataset in datasets}
        for name in self._followed.keys() - wanted.keys():
            self._let_go(name)
        elsewhere = {}
        for name in wanted.keys() - self._followed.keys():
            if holder := self._take(wanted[name]):
                elsewhere[name] = holder
        return elsewhere

    def await_minute(self, stopped: threading.Event, *, longest_s: float = math.inf) -> int | None:
        """Wait until the exchange can have closed a minute that was not asked for yet; return where it ends, ms UTC.

        Returns:
            None if that takes longer than `longest_s`, or when `stopped` is set.

        Raises:
            SourceUnavailable: the exchange was never reached, so its clock is not known.
        """
        now_ms = self._clock()
        edge_ms = max(now_ms // MINUTE_MS * MINUTE_MS, self._edge_ms + MINUTE_MS)
        if self._early_s(edge_ms) > longest_s:
            return None
        while (early_s := self._early_s(edge_ms)) > 0:
            if stopped.wait(min(early_s, _CLOCK_ASKED_EVERY_S)):
                return None
            if early_s > _CLOCK_ASKED_EVERY_S:
                self._clock()
        self._edge_ms = self._sources.now_ms() // MINUTE_MS * MINUTE_MS
        return self._edge_ms

    def tick(self, edge_ms: int, *, patience_s: float, stopped: threading.Event) -> Iterator[Update]:
        """Ask for the minutes before the edge, of all datasets at once; store each answer as it comes.

        Args:
            edge_ms: the end of the newest minute, ms UTC.
            patience_s: how long klines that are not there yet are asked for.
            stopped: ends all waiting when it is set.
        """
        at_once = threading.Semaphore(self._sources.worth_asking_at_once())
        patience = Patience(time.monotonic() + patience_s, stopped, at_once=at_once)
        if self._was_late:
            patience.first_pause_s = _PAUSE_WHILE_LATE_S
        self._was_late = False
        wanted = [(one, one.missing(edge_ms)) for one in self.followed]
        # One look at the budget for all of them, which takes a lock that other processes have too.
        patience.paid = self._pay(span for one, span in wanted if span and not one.has_ended)
        asked: dict[LiveDataset, Future[Newest | Update]] = {}
        for one, span in wanted:
            if one.has_ended:
                yield Update(one.name, one.last_open_ms, has_ended=True)
            else:
                asked[one] = self._asking.submit(self._asked, one, span, patience)
        wait(asked.values(), timeout=_ANSWERS_FIRST_S)
        stored: SimpleQueue[Future[Update]] = SimpleQueue()
        for one, answer in asked.items():
            answer.add_done_callback(partial(self._to_be_stored, one, stored))
        for _ in asked:
            update = stored.get().result()
            self._was_late |= update.is_late
            yield update

    def flush(self) -> None:
        """Write the manifests, if it is time to."""
        if time.monotonic() - self._flushed_s >= self._interval_s:
            self._flushed_s = time.monotonic()
            for one in self.followed:
                one.flush()

    def due_days(self) -> list[DueDays]:
        """The days that need a run, one stretch of them for each dataset."""
        now_ms = self._sources.now_ms()
        found = []
        for one in self.followed:
            if due_days(one, now_ms, archived=self._archived):
                one.store.refresh()  # whoever was asked to load them may have done it
                found.append(due_days(one, now_ms, archived=self._archived))
        return [one for one in found if one]

    def usage(self) -> Usage:
        """The request weight that is used."""
        return self._sources.usage()

    def now_ms(self) -> int:
        """The exchange's clock."""
        return self._sources.now_ms()

    def close(self) -> None:
        """Write the manifests, let go of the datasets, and wait for the threads."""
        self._sources.close()
        for threads in (self._asking, self._storing):
            threads.shutdown(cancel_futures=True)
        for name in list(self._followed):
            self._let_go(name)

    # --- inside

    def _pay(self, spans: Iterable[Span]) -> bool:
        try:
            return self._sources.try_to_pay(spans)
        except Banned:
            return False  # each dataset says so when it pays for itself

    def _asked(self, one: LiveDataset, wanted: Span | None, patience: Patience) -> Newest | Update:
        try:
            return one.check_life() if wanted is None else one.fetch(wanted, patience)
        except (MarketDataError, OSError) as error:
            return _failed(one, error)

    def _to_be_stored(
        self, one: LiveDataset, stored: "SimpleQueue[Future[Update]]", asked: "Future[Newest | Update]"
    ) -> None:
        self._storing.submit(self._stored, one, asked).add_done_callback(stored.put)

    def _stored(self, one: LiveDataset, asked: "Future[Newest | Update]") -> Update:
        answer = asked.result()
        try:
            return one.store_newest(answer) if isinstance(answer, Newest) else answer
        except (MarketDataError, OSError) as error:  # a full disk, for one, may be empty again in a minute
            return _failed(one, error)

    def _early_s(self, edge_ms: int) -> float:
        """How long until a question is to be sent that the exchange hears soon after this instant."""
        return (edge_ms + _HEARD_AFTER_MS - self._sources.way_ms() - self._sources.now_ms()) / 1000

    def _take(self, dataset: Dataset) -> str | None:
        folder = self._store.folder(dataset.market, dataset.pair)
        lock = self._locks.setdefault(dataset.name, NoteLock(folder, ".live", self._who))
        if not lock.acquire():
            return lock.holder()
        self._sources.open_budget()
        self._followed[dataset.name] = LiveDataset(self._store.open(dataset), self._sources.of(dataset.pair))
        return None

    def _let_go(self, name: str) -> None:
        self._followed.pop(name).flush()
        self._locks.pop(name).release()

    def _clock(self) -> int:
        try:
            self.clock_offset_ms = self._sources.set_clock()
        except SourceUnavailable as error:
            _log.warning("the exchange's clock could not be asked: %s", error)
        return self._sources.now_ms()


def _failed(one: LiveDataset, error: Exception) -> Update:
    _log.warning("%s: %s", one.name, error)
    return Update(one.name, one.last_open_ms, error=" ".join(str(error).split()))
