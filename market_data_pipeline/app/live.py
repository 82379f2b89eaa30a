"""Live mode in the foreground: which datasets are followed, and for how many minutes.

Belongs here: one thread per market that calls `core.live.market` each minute, and the live mark of a dataset. Does not
belong here: fetching and storing a minute (`core.live`), events and runs in Dagster (`live_dagster`), the table on the
terminal (`cli.live_table`), the sensors (`defs.sensors`).
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from market_data_pipeline.app.backfill import OnDay, OnStart
from market_data_pipeline.app.live_dagster import DagsterThread, load_missing
from market_data_pipeline.app.targets import Target, find_or_create_dataset
from market_data_pipeline.core.errors import PASSING, MarketDataError, SourceError, StoreError, UsageError
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.live.dataset import Update
from market_data_pipeline.core.live.market import LiveMarket
from market_data_pipeline.core.live.runs_due import DueDays, Reason
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.storage.places import outlived_by_s, storage_of
from market_data_pipeline.core.text import one_line
from market_data_pipeline.instance.composition import live_market_of, store_of
from market_data_pipeline.instance.home import prepare_home
from market_data_pipeline.instance.logs import log_to
from market_data_pipeline.settings import Settings

WHO = "market-data live"
_log = logging.getLogger(__name__)
_PATIENCE_S = 20.0
_PAUSE_AFTER_FAILURE_S = 5.0


@dataclass(frozen=True, slots=True)
class LiveRequest:
    """What to follow, and for how many minutes; None follows until it is stopped. `datasets` replace the target's."""

    target: Target
    minutes: int | None = None
    strict_pair: bool = False
    datasets: tuple[Dataset, ...] = ()


class Watcher(Protocol):
    """Callbacks that show the progress of live mode. Several threads call them."""

    def on_update(self, market: LiveMarket, edge_ms: int, update: Update) -> None:
        """A tick updated a dataset up to the minute that ended at `edge_ms`, ms UTC."""

    def on_minute(self, market: LiveMarket, edge_ms: int) -> None:
        """A tick updated all datasets of the market."""

    def on_trouble(self, trouble: str) -> None:
        """Something failed; `trouble` is one line."""


@dataclass(slots=True)
class LiveReport:
    """What live mode did: counts, and in `errors` the last error of each dataset whose last update failed.

    `passing` has those of them that failed because of the exchange, the network or the disk.
    """

    warnings: list[str] = field(default_factory=list)
    datasets: int = 0
    minutes: int = 0
    added: int = 0
    revised: int = 0
    errors: dict[str, str] = field(default_factory=dict)
    passing: set[str] = field(default_factory=set)

    @property
    def may_pass(self) -> bool:
        """True if the same may succeed later: whatever failed did so by the exchange, the network or the disk."""
        return self.passing >= self.errors.keys()

    def refuse(self, name: str, why: str, *, may_pass: bool = False) -> None:
        """Note a dataset that cannot be followed."""
        self.warnings.append(f"{name} is not followed: {why}")
        self.errors[name] = why
        self.passing |= {name} if may_pass else set()

    def note(self, update: Update) -> None:
        """Count one update."""
        self.added += update.added
        self.revised += update.revised
        self.errors.pop(update.name, None)
        self.passing.discard(update.name)
        if update.error:
            self.errors[update.name] = update.error
            if update.may_pass:
                self.passing.add(update.name)


def mark(settings: Settings, target: Target, *, live: bool) -> DatasetStore:
    """Mark the dataset as live, or not live, in its `dataset.json`; the sensors follow the datasets that are marked.

    Raises:
        UsageError: there is no such dataset.
    """
    store = store_of(settings)
    dataset = store.find(target.market, target.pair)
    if dataset is None:
        raise store.lacks(target.market, target.pair)
    files = store.open(dataset)
    files.mark_live(live)
    if not live:
        storage_of(files.folder).remove(files.folder / layout.LIVE_ERROR_FILE)
    return files


def follow(
    settings: Settings,
    request: LiveRequest,
    *,
    stopped: threading.Event,
    on_load: Callable[[list[DueDays]], tuple[OnStart, OnDay]],
    watch: Callable[[Sequence[Dataset], Sequence[str]], Watcher],
) -> LiveReport:
    """Keep datasets current until `stopped` is set or the minutes are over.

    Args:
        settings: the settings.
        request: what to follow.
        stopped: ends live mode when it is set; the manifests are then written.
        on_load: called with the days that have to be loaded before the first minute, if there are any; returns the
            callbacks of that load.
        watch: called with the followed datasets and the warnings so far; returns the callbacks of the minutes.

    Raises:
        UsageError: other processes follow the requested datasets, or there is no such pair.
        StoreError, SourceError: no dataset could be followed.
    """
    report, failed, until_s = LiveReport(), None, time.monotonic() + outlived_by_s(settings.root)
    log_to(settings.logs)
    datasets = _requested(settings, request, report)
    with ExitStack() as stack:
        markets: list[LiveMarket] = []
        for market in Market:
            if of_market := [dataset for dataset in datasets if dataset.market is market]:
                markets.append(stack.enter_context(closing(live_market_of(settings, market, WHO))))
                try:
                    holders = markets[-1].follow(of_market, within_s=until_s - time.monotonic())
                except (StoreError, OSError) as error:  # none of this market can be followed
                    failed = failed or error
                    report.refuse(f"{market}", one_line(str(error), 1000), may_pass=isinstance(error, PASSING))
                    continue
                report.warnings += [f"{name} is followed by {holder}" for name, holder in holders.items()]
                for name, why in markets[-1].trouble.items():
                    report.refuse(name, why)
        followed = [live for market in markets for live in market.followed]
        if not followed:
            raise failed or UsageError(f"{'; '.join(report.warnings)}; stop that first")
        report.datasets = len(followed)
        if missing := [due for due in _due_days(markets, report) if due.reason is Reason.MISSING]:
            report.warnings += load_missing(settings, missing, *on_load(missing), is_all=len(missing) == len(followed))
        watcher = watch([live.store.dataset for live in followed], report.warnings)
        ended = _Ended(report, watcher, stopped)
        with DagsterThread(settings, watcher.on_trouble, partial(ended.by, "the thread for Dagster")) as dagster:
            _MarketThreads(request.minutes, report, watcher, dagster, stopped, ended).run(markets)
        if ended.reason:
            for live_market in markets:
                live_market.note_end(ended.reason)
    return report


def _due_days(markets: Sequence[LiveMarket], report: LiveReport) -> list[DueDays]:
    """The days that need a run. A market that does not answer is told in the report, and tried again by its thread.

    Raises:
        SourceError: no market answers.
    """
    due, errors, following = list[DueDays](), list[SourceError](), [market for market in markets if market.followed]
    for market in following:
        try:
            due += market.due_days()
        except SourceError as error:
            errors.append(error)
            report.warnings.append(f"{market.market} is tried again until it answers: {error}")
            names = {live.name for live in market.followed}  # each is an error until its first update
            report.errors |= dict.fromkeys(names, str(error))
            report.passing |= names
    if len(errors) == len(following):
        raise errors[0]
    return due


def _requested(settings: Settings, request: LiveRequest, report: LiveReport) -> list[Dataset]:
    """The dataset of the pair that the user named, else all that are marked live, else the default one.

    A market alone means those of the market. The default one is created if it is new.

    Raises:
        StoreError: a damaged one may be marked, and no other is. If another is, the damaged one is told in the report.
    """
    if request.datasets:
        return list(request.datasets)
    target = request.target
    if not target.pair_named:
        store = store_of(settings)
        marked, damaged = store.marked(target.market if target.named else None)
        for name, error in damaged.items():
            if not marked:  # it may be the one to follow, so that the default one does not take its place
                raise error
            report.refuse(name, str(error), may_pass=isinstance(error, PASSING))
        if marked:
            store.require_writable()
            prepare_home(settings.home)
            return marked
    dataset, warnings = find_or_create_dataset(settings, target, strict_pair=request.strict_pair)
    report.warnings += warnings
    return [dataset]


@dataclass(slots=True)
class _Ended:
    """How the session ended before its time: by an error that no thread of it should meet."""

    report: LiveReport
    watcher: Watcher
    stopped: threading.Event
    reason: str = ""

    def by(self, what: str, error: BaseException) -> None:
        """Make the end of a thread an error of the session, and end the session: nothing else would tell."""
        _log.error("%s of live mode ended", what, exc_info=error)
        text = " ".join(str(error).split())
        self.reason = f"{what} ended by {type(error).__name__}{f': {text}' if text else ''}"
        self.report.errors["live mode"] = self.reason
        self.stopped.set()
        with suppress(Exception):  # it may be the watcher that fails
            self.watcher.on_trouble(self.reason)


@dataclass(slots=True)
class _MarketThreads:
    """One thread per market, as each market has its own clock and request budget."""

    minutes: int | None
    report: LiveReport
    watcher: Watcher
    dagster: DagsterThread
    stopped: threading.Event
    ended: _Ended
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, markets: Sequence[LiveMarket]) -> None:
        """Start the threads and wait until they end: `stopped` is set, or the minutes are over."""
        threads = [threading.Thread(target=self._run, args=(market,), name=f"{market.market}") for market in markets]
        for thread in threads:
            thread.start()
        for thread in threads:
            # With a timeout: Windows delivers no Ctrl-C during a join without one.
            while thread.is_alive():
                thread.join(0.2)

    def _run(self, market: LiveMarket) -> None:
        try:
            self._follow(market)
        except BaseException as error:  # a thread that ends in silence leaves its datasets behind
            self.ended.by(f"the thread of {market.market}", error)

    def _follow(self, market: LiveMarket) -> None:
        first_ms = None
        while not self.stopped.is_set():
            try:
                edge_ms = market.await_minute(self.stopped)
                if edge_ms is None:
                    return
                self._minute(market, edge_ms)
            except (MarketDataError, OSError) as error:
                self.watcher.on_trouble(" ".join(str(error).split()))
                self.stopped.wait(_PAUSE_AFTER_FAILURE_S)
                continue
            if not market.followed:  # other processes have taken over, as the updates said
                return
            first_ms = first_ms or edge_ms
            passed = (edge_ms - first_ms) // MINUTE_MS
            with self.lock:
                self.report.minutes = max(self.report.minutes, passed)
            if self.minutes is not None and passed >= self.minutes:
                return

    def _minute(self, market: LiveMarket, edge_ms: int) -> None:
        followed = {live.name: live for live in market.followed}
        for update in market.tick(edge_ms, patience_s=_PATIENCE_S, stopped=self.stopped):
            self.watcher.on_update(market, edge_ms, update)
            self.dagster.record(followed[update.name].store.dataset, update)
            with self.lock:
                self.report.note(update)
        self.watcher.on_minute(market, edge_ms)
        market.flush()
        self.dagster.load(market.due_days())
